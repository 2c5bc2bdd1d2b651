package live

import (
	"cmp"
	"context"
	"crypto/tls"
	"net"
	"sync"
)

// crowd is the connections of browsers. Where there is no room, a new one gets in,
// and the oldest of those goes that have asked for nothing that needs somebody:
// strangers who hold connections open are in their own way before they are in that
// of people who have logged in.
// The zero value has room for maxConns.
type crowd struct {
	max int // 0: maxConns

	mu      sync.Mutex
	known   map[net.Conn]bool // guarded by mu: false has asked for nothing yet
	unknown []net.Conn        // guarded by mu: oldest first
	driven  uint64            // guarded by mu: ended to make room
}

// guest is a connection as its requests know it.
type guest struct {
	crowd *crowd
	conn  net.Conn
}

type guestKey struct{}

// enter lets a connection in; its requests have the context that is returned.
func (c *crowd) enter(ctx context.Context, conn net.Conn) context.Context {
	c.mu.Lock()
	if c.known == nil {
		c.known = map[net.Conn]bool{}
	}
	c.known[conn] = false
	c.unknown = append(c.unknown, conn)
	var goes net.Conn
	if len(c.known) > cmp.Or(c.max, maxConns) {
		goes = c.unknown[0] // itself, where all others are known
		c.remove(goes)
		c.driven++
	}
	c.mu.Unlock()
	if goes != nil {
		// Below TLS: a farewell could take seconds, and all others would wait.
		if t, ok := goes.(*tls.Conn); ok {
			goes = t.NetConn()
		}
		_ = goes.Close() // nothing was promised to it
	}
	return context.WithValue(ctx, guestKey{}, guest{c, conn})
}

// leave forgets a connection.
func (c *crowd) leave(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(conn)
}

// remove takes one out; the caller holds mu.
func (c *crowd) remove(conn net.Conn) {
	delete(c.known, conn)
	c.forget(conn)
}

// forget takes one off the unknown; the caller holds mu.
func (c *crowd) forget(conn net.Conn) {
	for i, o := range c.unknown {
		if o == conn {
			c.unknown = append(c.unknown[:i], c.unknown[i+1:]...)
			return
		}
	}
}

// introduce makes the connection of a request a known one.
func introduce(ctx context.Context) {
	g, ok := ctx.Value(guestKey{}).(guest)
	if !ok {
		return // a test's
	}
	c := g.crowd
	c.mu.Lock()
	defer c.mu.Unlock()
	if known, in := c.known[g.conn]; in && !known {
		c.known[g.conn] = true
		c.forget(g.conn)
	}
}
