package simulate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"telemetry/uplink"
)

// dialer makes connections of one link: what package mqtt does in a car.
type dialer struct {
	l *life
	k *link
}

const (
	connectTimeout = 2 * sec
	writeTimeout   = 4 * sec
	goodbyeTimeout = 500 * ms
	lateDown       = 2 * sec // a connection whose write has failed may say so much later that it has ended
)

var (
	errDead    = errors.New("simulate: the agent is dead")
	errClosed  = errors.New("simulate: connection is closed")
	errTimeout = errors.New("simulate: timeout")
	errRefused = errors.New("simulate: connection refused")
)

// Dial implements [uplink.Dialer].
func (d *dialer) Dial(ctx context.Context, req uplink.DialRequest) (uplink.Conn, error) {
	l, k, w := d.l, d.k, d.l.b.w
	a := l.actor(req.Link, req.Gen, roleDial)
	w.act(func() { w.o.dials(l, k) })
	a.rest(promptNS)
	c := &conn{k: k, l: l, gen: req.Gen, req: req, end: make(chan struct{})}
	var wait int64
	var err error
	w.act(func() { wait, err = c.dial() })
	cerr := a.pause(ctx, wait, nil)
	if l.dead.Load() {
		return nil, errDead
	}
	w.act(func() {
		switch {
		case cerr != nil:
			err = cerr
		case err == nil:
			err = c.establish()
		}
		if err != nil {
			c.shut()
			w.o.dialed(k, err)
		}
	})
	if err != nil {
		return nil, err
	}
	if a.rest(promptNS); req.Gen&4 == 0 {
		a.rest(slowNS) // messages may come before the dial has ended, and the connection's end too
	}
	if errors.Is(ctx.Err(), context.Canceled) { // given up meanwhile; a dial that was in time outlives its limit
		w.act(c.mustClose)
	}
	car := &carConn{c: c, writer: l.actor(req.Link, req.Gen, roleWrite), closer: l.actor(req.Link, req.Gen, roleClose)}
	if k.plain {
		return car, nil
	}
	return promptConn{car}, nil
}

// dial returns how long a dial takes, and how it ends if not well.
func (c *conn) dial() (int64, error) {
	w, k := c.k.w, c.k
	c.e = w.endpoint(c.req.Addr)
	c.l.conns = append(c.l.conns, c)
	switch {
	case c.e.frozen():
		return dialTimeout, errTimeout // the kernel has taken the connection, and nobody answers
	case k.silent > w.now()+connectTimeout:
		return connectTimeout, errTimeout
	case k.down > w.now() || c.e.dead():
		return 2 * k.travel(), errRefused
	}
	return max(0, k.silent-w.now()) + 6*k.travel(), nil
}

// establish ends a dial well, if the other end is still there.
func (c *conn) establish() error {
	w := c.k.w
	switch {
	case c.e.dead() || c.k.down > w.now():
		return errRefused
	case w.now() < c.e.turns:
		w.happened(KindTurnAway)
		return &uplink.RefusedError{Addr: c.e.addr, Step: "connect", Code: 0x87, Reason: "not authorized"}
	}
	c.up, c.epoch = true, c.e.epoch
	c.l.open[c] = true
	if slices.ContainsFunc(c.l.conns, func(o *conn) bool { return o != c && o.k == c.k && o.up }) {
		w.happened(KindBeside)
	}
	c.e.attach(c)
	w.o.dialed(c.k, nil)
	w.tracef("%s: link %d gen %d is up to %s", c.l.b, c.k.no, c.gen, c.e.addr)
	return nil
}

// mustClose checks, later, that a connection that is of no use was closed.
func (c *conn) mustClose() {
	w := c.k.w
	w.after(5*sec, func() {
		if c.l.open[c] && !c.l.dead.Load() {
			w.o.violate("uplink", "%s has not closed link %d gen %d for 5 s after its end", c.l.b, c.k.no, c.gen)
		}
	})
}

// carConn is the car's end of a connection.
type carConn struct {
	c              *conn
	writer, closer *actor
}

// message is one on its way up.
type message struct {
	topic   string
	payload []byte // ours
	theirs  []byte // the uplink's, which it must leave alone
	leaves  int64  // when the modem has sent it
}

// Send implements [uplink.Conn].
func (x *carConn) Send(topic string, payload []byte) error {
	x.writer.rest(promptNS)
	c, w := x.c, x.c.k.w
	var m *message
	var err error
	w.act(func() {
		if c.part != nil {
			w.o.violate("uplink", "%s: Send on link %d gen %d before the rest of the message was sent", c.l.b, c.k.no, c.gen)
		}
		if err = c.usable(); err == nil {
			m = c.give(topic, payload)
			c.part = m
		}
	})
	if err != nil {
		return err
	}
	return x.wait(m)
}

// Flush implements [uplink.Prompt].
func (x promptConn) Flush() error {
	x.writer.rest(promptNS)
	var err error
	x.c.k.w.act(func() {
		if err = x.c.usable(); err == nil && x.c.part == nil {
			x.c.k.w.o.violate("uplink", "%s: Flush on link %d gen %d without anything to flush", x.c.l.b, x.c.k.no, x.c.gen)
			err = errClosed
		}
	})
	if err != nil {
		return err
	}
	return x.wait(x.c.part)
}

// wait returns when the socket has all of m.
func (x *carConn) wait(m *message) (err error) {
	c, w := x.c, x.c.k.w
	deadline := w.now() + writeTimeout
	for {
		var left int64
		w.act(func() {
			if err = c.usable(); err != nil {
				return
			}
			if left = c.untaken(m); left == 0 {
				c.part = nil
				c.taken(m)
				return
			}
			if w.now() >= deadline {
				w.happened(KindWriteTimeout)
				w.tracef("%s: link %d gen %d: the socket takes nothing", c.l.b, c.k.no, c.gen)
				err = errTimeout
				c.failed = true
				c.breaks(errTimeout, w.rng(c.l.b.name("late")).Int64N(lateDown))
			}
		})
		if err != nil || left == 0 {
			return err
		}
		_ = x.writer.pause(c.l.ctx, min(left, max(1, deadline-w.now())), c.end)
	}
}

// usable says why a connection takes nothing more. Who was told must not try again.
func (c *conn) usable() error {
	switch {
	case c.l.dead.Load():
		return errDead
	case c.closing:
		return errClosed
	case c.failed:
		c.k.w.o.violate("uplink", "%s writes on to link %d gen %d after a write has failed", c.l.b, c.k.no, c.gen)
		return errClosed
	case c.broken != nil:
		c.failed = true
		return c.broken
	}
	return nil
}

// Close implements [uplink.Conn].
func (x *carConn) Close() error {
	x.closer.rest(promptNS)
	c, w := x.c, x.c.k.w
	var left int64
	w.act(func() {
		if !c.closing {
			c.closing = true
			delete(c.l.open, c)
			c.unblock()
			if c.part != nil {
				left = min(c.untaken(c.part), goodbyeTimeout)
			}
		}
	})
	if left > 0 && !c.l.dead.Load() {
		_ = x.closer.pause(c.l.ctx, left, nil)
	}
	w.act(func() {
		if !c.l.dead.Load() {
			c.shut()
			w.o.dialed(c.k, nil)
		}
	})
	return nil
}

// promptConn is a connection that knows its socket.
type promptConn struct{ *carConn }

var (
	_ uplink.Prompt  = promptConn{}
	_ uplink.Watched = promptConn{}
	_ uplink.Paced   = promptConn{}
	_ uplink.Dialer  = (*dialer)(nil)
)

// Try implements [uplink.Prompt].
func (x promptConn) Try(topic string, payload []byte) (took uplink.Taken, err error) {
	c, w := x.c, x.c.k.w
	w.act(func() {
		if c.part != nil {
			w.o.violate("uplink", "%s: Try on link %d gen %d while a message is on its way to the socket", c.l.b, c.k.no, c.gen)
		}
		if err = c.usable(); err != nil {
			return
		}
		room := sockBytes - c.inSocket()
		switch {
		case room <= 0 || c.k.rng.IntN(32) == 0: // full, or somebody else writes a packet
			w.happened(KindNotTaken)
		case int64(len(payload)) <= room:
			c.taken(c.give(topic, payload))
			took = uplink.Whole
		default:
			w.happened(KindPartly)
			c.part = c.give(topic, bytes.Clone(payload))
			took = uplink.Partly
		}
	})
	return took, err
}

// Unacked implements [uplink.Watched].
func (x promptConn) Unacked() (n int64, ok bool) {
	x.c.k.w.act(func() { n, ok = x.c.given-x.c.confirmed, !x.c.k.blind })
	return n, ok
}

// Pace implements [uplink.Paced].
func (x promptConn) Pace(bytesPerS int64) {
	x.c.k.w.act(func() {
		if x.c.pace = bytesPerS; bytesPerS > 0 {
			x.c.k.w.happened(KindPaced)
		}
	})
}

// failure is how the end of a connection reads.
func failure(why string) error { return fmt.Errorf("simulate: %s", why) }
