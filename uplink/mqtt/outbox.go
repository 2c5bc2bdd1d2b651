package mqtt

import (
	"errors"
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

	mu     sync.Mutex
	left   []byte // guarded by mu: what the socket has not taken
	room   []byte // guarded by mu: memory for left
	coming int64  // guarded by mu: bytes of a message that will be written next
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
	o.coming = max(0, o.coming-int64(len(p)))
	if len(o.left) == 0 {
		if n, err = tryWrite(o.fd, p); err != nil {
			return n, err
		}
	}
	if n == len(p) {
		return n, nil
	}
	if len(o.left) == 0 {
		o.left = o.room[:0]
	}
	o.left = append(o.left, p[n:]...)
	if o.room = o.left; cap(o.room) > 4*maxPacketBytes {
		o.room = nil
	}
	return len(p), nil
}

// announce says that a message of so many bytes comes: it counts as waiting until
// it is written, or 0 is announced.
func (o *outbox) announce(bytes int) {
	o.mu.Lock()
	o.coming = int64(bytes)
	o.mu.Unlock()
}

// size returns how many bytes wait for a flush.
func (o *outbox) size() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return int64(len(o.left))
}

// unacked returns how many bytes were announced or written and are not confirmed by
// the other end. Nothing moves to the socket meanwhile, so each counts once.
func (o *outbox) unacked() (int64, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, ok := unacked(o.Conn)
	return n + int64(len(o.left)) + o.coming, ok
}

// flush waits until the socket has taken all. One goroutine at a time calls it;
// after an error the connection is of no use.
func (o *outbox) flush() error {
	if o.size() == 0 {
		return nil
	}
	var werr error
	err := o.fd.Write(func(fd uintptr) bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		var n int
		n, werr = writeSome(fd, o.left)
		o.left = o.left[n:]
		return len(o.left) == 0 || werr != nil
	})
	return errors.Join(err, werr)
}
