package mqtt

import (
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"time"

	"telemetry/uplink"
)

// socket is what paho writes to. paho writes one packet as four pieces between
// Lock and Unlock; they leave as one write (one TCP segment, one TLS record) with
// a deadline. After a failed write the connection is closed: half a packet may be
// out. Lock is held while the packet is written, as paho expects: packets must
// not mix, and only the writer of this connection and its pinger wait for it.
type socket struct {
	net.Conn // out, or TLS over it
	out      *outbox
	raw      net.Conn
	timeout  time.Duration // of one packet's write
	tuner    *tuner        // guarded by packet; may be nil

	packet sync.Mutex // between Lock and Unlock
	buf    []byte     // guarded by packet

	mu       sync.Mutex
	err      error     // first failed write; guarded by mu
	deadline time.Time // of the goodbye; zero = not leaving; guarded by mu

	in inbound // owned by paho's reader
}

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

// Unlock writes the packet out.
func (s *socket) Unlock() {
	defer s.packet.Unlock()
	if len(s.buf) > 0 && s.arm() {
		_, err := s.Conn.Write(s.buf)
		if err == nil {
			err = s.out.flush()
		}
		if err != nil {
			s.fail(err)
		}
		s.tuner.look()
	}
	s.reset()
}

// reset gives the collected packet up. The caller holds packet.
func (s *socket) reset() {
	s.buf = s.buf[:0]
	if cap(s.buf) > 4*maxPacketBytes {
		s.buf = nil
	}
}

// try writes one message without waiting, if nobody else writes a packet.
func (s *socket) try(topic string, payload []byte) (uplink.Taken, error) {
	if !s.out.keep || !s.packet.TryLock() {
		return uplink.NotTaken, nil
	}
	defer s.packet.Unlock()
	if err := s.failure(); err != nil {
		return uplink.NotTaken, err
	}
	s.buf = appendPublish(s.buf[:0], topic, payload)
	_, err := s.Conn.Write(s.buf)
	s.reset()
	if err != nil {
		s.fail(err)
		return uplink.NotTaken, err
	}
	s.tuner.look()
	if s.out.size() > 0 {
		return uplink.Partly, nil
	}
	return uplink.Whole, nil
}

// rest waits until the socket has taken everything.
func (s *socket) rest() error {
	s.packet.Lock()
	defer s.packet.Unlock()
	if !s.arm() {
		return s.failure()
	}
	if err := s.out.flush(); err != nil {
		s.fail(err)
		return err
	}
	return nil
}

// appendPublish appends an MQTT v5 PUBLISH of QoS 0 without properties.
func appendPublish(dst []byte, topic string, payload []byte) []byte {
	dst = append(dst, 0x30)
	dst = binary.AppendUvarint(dst, uint64(2+len(topic)+1+len(payload))) // MQTT's variable length is the same
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(topic)))
	dst = append(dst, topic...)
	dst = append(dst, 0)
	return append(dst, payload...)
}

// arm sets the deadline of the next write; false after a failure.
func (s *socket) arm() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return false
	}
	d := s.deadline
	if d.IsZero() {
		d = time.Now().Add(s.timeout)
	}
	_ = s.Conn.SetWriteDeadline(d) // fails only when closed: then the write says so
	return true
}

// leave bounds every write from now on, also one that is stuck.
func (s *socket) leave(deadline time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deadline = deadline
	_ = s.raw.SetWriteDeadline(deadline)
}

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

// Close closes at once: the goodbye is MQTT's, TLS's would wait for the socket.
func (s *socket) Close() error { return s.raw.Close() }

// Read passes bytes on as long as no packet announces more than maxPacketBytes.
func (s *socket) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if bad := s.in.scan(p[:n]); bad != nil {
		return 0, bad
	}
	return n, err
}

var errPacketSize = errors.New("uplink/mqtt: the broker sends a packet above the announced limit of 64 KiB")

// inbound follows the packet boundaries of a stream of MQTT packets. The zero
// value stands before a packet.
type inbound struct {
	inLength bool
	shift    uint
	length   uint32
	left     uint32 // bytes of the body still to come
}

func (in *inbound) scan(b []byte) error {
	for len(b) > 0 {
		switch {
		case in.left > 0:
			n := min(in.left, uint32(len(b)))
			in.left -= n
			b = b[n:]
		case !in.inLength:
			in.inLength, in.shift, in.length = true, 0, 0
			b = b[1:]
		default:
			in.length |= uint32(b[0]&0x7f) << in.shift
			in.shift += 7
			if in.length > maxPacketBytes || in.shift > 28 {
				return errPacketSize
			}
			if b[0]&0x80 == 0 {
				in.inLength, in.left = false, in.length
			}
			b = b[1:]
		}
	}
	return nil
}
