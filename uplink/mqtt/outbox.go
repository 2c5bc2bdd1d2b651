package mqtt

import (
	"net"
	"sync"
	"syscall"
)

// outbox is a connection whose Write doesn't wait: what the socket doesn't take
// at once is kept until flush. So a message can be given to the socket by a
// goroutine that must not block, under TLS too. It is bounded by its users: each
// flushes what it wrote before the next packet.
type outbox struct {
	net.Conn                 // the socket
	fd       syscall.RawConn // of Conn; nil = it has none, and Write waits
	keep     bool            // Write doesn't wait; set once, after the handshake

	mu       sync.Mutex
	left     []byte // guarded by mu: what the socket has not taken
	flushing bool   // guarded by mu: flush writes what came before left
	spare    []byte // guarded by mu
}

// newOutbox returns one over c that waits until keep is set.
func newOutbox(c net.Conn) *outbox {
	o := &outbox{Conn: c}
	if sc, ok := c.(syscall.Conn); ok && canTry {
		if fd, err := sc.SyscallConn(); err == nil {
			o.fd = fd
		}
	}
	return o
}

// Write implements net.Conn.
func (o *outbox) Write(p []byte) (n int, err error) {
	if !o.keep {
		return o.Conn.Write(p)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.left) == 0 && !o.flushing {
		if n, err = tryWrite(o.fd, p); err != nil {
			return n, err
		}
	}
	o.left = append(o.left, p[n:]...)
	return len(p), nil
}

// size returns how many bytes wait for a flush, those that one writes included.
func (o *outbox) size() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := len(o.left)
	if o.flushing {
		n += len(o.spare)
	}
	return int64(n)
}

// flush waits until the socket has taken all. One goroutine at a time calls it;
// after an error the connection is of no use.
func (o *outbox) flush() error {
	for {
		o.mu.Lock()
		b := o.left
		o.flushing = len(b) > 0
		o.left, o.spare = o.spare[:0], b
		o.mu.Unlock()
		if len(b) == 0 {
			return nil
		}
		if _, err := o.Conn.Write(b); err != nil {
			return err
		}
	}
}
