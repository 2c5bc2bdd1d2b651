package external

import (
	"bytes"
	"net"
	"sync"
	"time"
)

// socket is what the MQTT library writes to. It writes a packet as several
// pieces between Lock and Unlock; they leave as one write with a deadline. After
// a failed one the connection is closed, as half a packet may be out.
type socket struct {
	net.Conn // raw, or TLS over it
	raw      net.Conn

	packet sync.Mutex // between Lock and Unlock
	buf    []byte     // guarded by packet

	mu   sync.Mutex
	err  error  // of the first failed write; guarded by mu
	head []byte // the first bytes that the broker sent; guarded by mu
}

// headBytes are enough to know a CONNACK of MQTT 3.
const headBytes = 4

// maxSpare bounds the memory kept between two packets.
const maxSpare = 64 << 10

// Lock begins a packet.
func (s *socket) Lock() { s.packet.Lock() }

// Write collects a piece of the packet.
func (s *socket) Write(p []byte) (int, error) {
	if err := s.failure(); err != nil {
		return 0, err
	}
	s.buf = append(s.buf, p...)
	return len(p), nil
}

// Unlock writes the packet out. The lock is held meanwhile: packets must not
// mix, and the deadline ends every wait for it.
func (s *socket) Unlock() {
	defer s.packet.Unlock()
	if len(s.buf) > 0 && s.failure() == nil {
		_ = s.Conn.SetWriteDeadline(time.Now().Add(writeTimeout)) // fails only when closed: the write says so
		if _, err := s.Conn.Write(s.buf); err != nil {
			s.fail(err)
		}
	}
	s.buf = s.buf[:0]
	if cap(s.buf) > maxSpare {
		s.buf = nil
	}
}

// Read passes bytes on and remembers the first.
func (s *socket) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	s.mu.Lock()
	if room := headBytes - len(s.head); room > 0 {
		s.head = append(s.head, p[:min(n, room)]...)
	}
	s.mu.Unlock()
	return n, err
}

// Close closes at once: the goodbye is MQTT's, TLS's would wait for the socket.
func (s *socket) Close() error { return s.raw.Close() }

func (s *socket) fail(err error) {
	s.mu.Lock()
	if s.err == nil {
		s.err = err
	}
	s.mu.Unlock()
	_ = s.raw.Close() // the reader ends, and with it the client
}

// failure returns the first failed write's error.
func (s *socket) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// old reports whether the broker answered as one that knows MQTT 3 only: a
// CONNACK of two bytes that says "unacceptable protocol version".
func (s *socket) old() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.HasPrefix(s.head, []byte{0x20, 0x02, 0x00, 0x01})
}

// silent reports whether the broker said nothing at all.
func (s *socket) silent() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.head) == 0
}
