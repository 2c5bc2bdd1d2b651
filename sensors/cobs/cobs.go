// Package cobs cuts a stream of bytes into packets: consistent overhead byte
// stuffing (COBS, packets end with 0x00) and SLIP (RFC 1055, packets end with
// 0xC0), and knows the 16-bit checksums that stand at their ends.
//
// The entry points are [Splitter], which finds packets, and [CRC]. It is pure: no
// clock, no I/O, and never keeps more than [MaxPacket] bytes.
package cobs

import "errors"

// MaxPacket bounds a packet, before and after it is unstuffed.
const MaxPacket = 4096

// Framing says how packets are told apart.
type Framing uint8

// Framings.
const (
	COBS Framing = iota + 1
	SLIP
)

// Bytes of SLIP.
const (
	slipEnd    = 0xC0
	slipEsc    = 0xDB
	slipEscEnd = 0xDC
	slipEscEsc = 0xDD
)

var errStuffing = errors.New("cobs: bytes that no sender stuffs so")

// Encode appends a packet, its end included, to dst. SLIP packets begin with an
// end too, so that noise before them is a packet of its own.
func (f Framing) Encode(dst, packet []byte) []byte {
	if f == SLIP {
		dst = append(dst, slipEnd)
		for _, c := range packet {
			switch c {
			case slipEnd:
				dst = append(dst, slipEsc, slipEscEnd)
			case slipEsc:
				dst = append(dst, slipEsc, slipEscEsc)
			default:
				dst = append(dst, c)
			}
		}
		return append(dst, slipEnd)
	}
	code := len(dst)
	dst = append(dst, 0)
	run := byte(1)
	for i, c := range packet {
		if c != 0 {
			dst = append(dst, c)
			run++
		}
		if c == 0 || run == 0xff && i < len(packet)-1 {
			dst[code] = run
			code, run = len(dst), 1
			dst = append(dst, 0)
		}
	}
	dst[code] = run
	return append(dst, 0)
}

// Decode appends the packet that stuffed bytes, without their end, stand for.
func (f Framing) Decode(dst, stuffed []byte) ([]byte, error) {
	if f == SLIP {
		return decodeSLIP(dst, stuffed)
	}
	for len(stuffed) > 0 {
		n := int(stuffed[0])
		if n == 0 || n > len(stuffed) {
			return dst, errStuffing
		}
		for _, c := range stuffed[1:n] {
			if c == 0 {
				return dst, errStuffing
			}
		}
		dst = append(dst, stuffed[1:n]...)
		if stuffed = stuffed[n:]; n < 0xff && len(stuffed) > 0 {
			dst = append(dst, 0)
		}
	}
	return dst, nil
}

func decodeSLIP(dst, stuffed []byte) ([]byte, error) {
	for i := 0; i < len(stuffed); i++ {
		c := stuffed[i]
		if c == slipEsc {
			if i++; i == len(stuffed) {
				return dst, errStuffing
			}
			switch stuffed[i] {
			case slipEscEnd:
				c = slipEnd
			case slipEscEsc:
				c = slipEsc
			default:
				return dst, errStuffing
			}
		}
		dst = append(dst, c)
	}
	return dst, nil
}

// Splitter cuts a stream at the ends of packets. The zero value is not ready: set
// Framing.
type Splitter struct {
	Framing Framing
	buf     [MaxPacket]byte
	n       int
	long    bool // the packet at hand has more than fits: the rest is passed over
}

// Next takes bytes of b up to the end of a packet and returns the packet's
// stuffed bytes, valid until the next call. ok is false when b is used up before;
// long tells of one that had too many bytes. Empty packets are none.
func (s *Splitter) Next(b []byte) (stuffed []byte, n int, ok, long bool) {
	end := byte(0)
	if s.Framing == SLIP {
		end = slipEnd
	}
	for i, c := range b {
		if c != end {
			if s.n == len(s.buf) {
				s.long = true
				continue
			}
			s.buf[s.n] = c
			s.n++
			continue
		}
		stuffed, long = s.buf[:s.n], s.long
		s.n, s.long = 0, false
		if len(stuffed) > 0 {
			return stuffed, i + 1, !long, long
		}
	}
	return nil, len(b), false, false
}

// Reset forgets what has begun.
func (s *Splitter) Reset() { s.n, s.long = 0, false }
