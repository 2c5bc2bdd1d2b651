package wire

import "fmt"

// sendVersion is the version of the send header; its length makes later fields
// skippable.
const sendVersion = 1

const sendPulled = 0x01

// AppendSend appends the send header. The sealed batch follows it in an MQTT
// message.
func AppendSend(dst []byte, s Send) []byte {
	start := len(dst)
	var flags byte
	if s.Pulled {
		flags |= sendPulled
	}
	dst = append(dst, sendVersion, 0, s.Link, flags)
	dst = appendUvarint(dst, uint64(s.Gen))
	dst = appendVarint(dst, s.SentNS)
	dst = appendUvarint(dst, s.Base)
	if s.SealedNS > 0 && s.SealedNS <= s.DurableNS && s.DurableNS <= s.SentNS {
		dst = appendUvarint(dst, uint64(s.SentNS-s.SealedNS))
		dst = appendUvarint(dst, uint64(s.SentNS-s.DurableNS))
	}
	dst[start+1] = byte(len(dst) - start + 4)
	return appendChecksum(dst, start)
}

// ParseSend reads a send header off the front of b; n is its length.
func ParseSend(b []byte) (s Send, n int, err error) {
	if len(b) < 2 {
		return s, 0, fmt.Errorf("wire: send header: %w", ErrShort)
	}
	if b[0] != sendVersion {
		return s, 0, fmt.Errorf("wire: send header of version %d: %w", b[0], ErrVersion)
	}
	n = int(b[1])
	if n > len(b) {
		return s, 0, fmt.Errorf("wire: send header: %w", ErrShort)
	}
	body, err := cutChecksum(b[:n], "send header")
	if err != nil {
		return s, 0, err
	}
	r := &reader{b: body}
	r.take(2, "version")
	s.Link = r.byte("link")
	flags := r.byte("flags")
	s.Pulled = flags&sendPulled != 0
	s.Gen = uint32(r.uvarint(1<<32-1, "generation"))
	s.SentNS = r.varint("send time")
	s.Base = r.uvarint(MaxSeq, "base")
	if r.err == nil && flags&^byte(sendPulled) != 0 {
		r.fail("flags", errRange)
	}
	if r.err == nil && len(r.b) > 0 {
		sealed, durable := r.uvarint(1<<62, "age"), r.uvarint(1<<62, "age on the card")
		if sealed >= durable && s.SentNS > 0 && int64(sealed) < s.SentNS { // else it tells nothing
			s.SealedNS, s.DurableNS = s.SentNS-int64(sealed), s.SentNS-int64(durable)
		}
	}
	if r.err != nil { // bytes left over are fields of a later version
		return Send{}, 0, r.err
	}
	return s, n, nil
}
