package wire

import "fmt"

// SectionType says what a section of a payload holds.
type SectionType byte

// Section types. New ones are only added: readers skip what they do not know.
const (
	SectionBlock     SectionType = 1
	SectionEpochOpen SectionType = 2
	SectionLoss      SectionType = 3
	SectionBase      SectionType = 4
	SectionAnchor    SectionType = 5
	SectionEvent     SectionType = 6

	// SectionMustUnderstand and above are sections that a reader must not skip:
	// what they say changes the meaning of the batch.
	SectionMustUnderstand SectionType = 128

	// SectionAtRest is all that stands in a batch which package spool has encrypted on
	// its card. It never travels: spool/FORMAT.md says what is in it.
	SectionAtRest SectionType = 128
)

// Section is one part of a payload. Body aliases the payload.
type Section struct {
	Type SectionType
	Body []byte
}

// NextSection reads one section off the front of a payload; n is its length.
func NextSection(payload []byte) (s Section, n int, err error) {
	r := &reader{b: payload}
	s.Type = SectionType(r.byte("section type"))
	s.Body = r.bytes(MaxRawBytes, "section")
	if r.err != nil {
		return Section{}, 0, r.err
	}
	if s.Type == 0 {
		return Section{}, 0, fmt.Errorf("wire: section type 0: %w", errRange)
	}
	return s, r.off, nil
}

// appendSection appends a section whose body is written by fill.
func appendSection(dst []byte, t SectionType, fill func([]byte) []byte) []byte {
	dst = append(dst, byte(t), 0)
	start := len(dst)
	dst = fill(dst)
	n := len(dst) - start
	if n < 0x80 {
		dst[start-1] = byte(n)
		return dst
	}
	// The length needs more than the one byte left for it: move the body.
	var l [4]byte
	head := appendUvarint(l[:0], uint64(n))
	dst = append(dst, head[1:]...)
	copy(dst[start-1+len(head):], dst[start:start+n])
	copy(dst[start-1:], head)
	return dst
}
