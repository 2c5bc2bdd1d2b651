package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// castagnoli is the polynomial of every checksum of this package (CRC32C).
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// Errors that a caller tells apart. Every other error of a parser means that
// the bytes are malformed.
var (
	// ErrShort says that the bytes end before the value does.
	ErrShort = errors.New("wire: too short")
	// ErrMagic says that the bytes do not begin with a batch.
	ErrMagic = errors.New("wire: no batch here")
	// ErrChecksum says that a checksum does not match.
	ErrChecksum = errors.New("wire: checksum mismatch")
	// ErrVersion says that a newer version wrote the bytes.
	ErrVersion = errors.New("wire: unknown version")
	// ErrMustUnderstand says that a payload holds a section of a later version
	// which must not be skipped.
	ErrMustUnderstand = errors.New("wire: section that must be understood")
	// ErrUnknownSection says that a section's type is not known here; readers
	// skip such sections.
	ErrUnknownSection = errors.New("wire: unknown section")
)

// reader takes values off the front of a slice. After the first failure err is
// set and every further read gives zero.
type reader struct {
	b   []byte
	off int // of b in what was given to the parser
	err error
}

func (r *reader) fail(what string, err error) {
	if r.err == nil {
		r.err = fmt.Errorf("wire: %s at byte %d: %w", what, r.off, err)
	}
	r.b = nil
}

func (r *reader) take(n int, what string) []byte {
	if r.err != nil || n < 0 || n > len(r.b) {
		r.fail(what, ErrShort)
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	r.off += n
	return v
}

func (r *reader) byte(what string) byte {
	if v := r.take(1, what); v != nil {
		return v[0]
	}
	return 0
}

func (r *reader) u64(what string) uint64 {
	if v := r.take(8, what); v != nil {
		return binary.LittleEndian.Uint64(v)
	}
	return 0
}

// uvarint reads a number of at most limit.
func (r *reader) uvarint(limit uint64, what string) uint64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.b)
	switch {
	case n == 0:
		r.fail(what, ErrShort)
		return 0
	case n < 0 || v > limit || (n > 1 && r.b[n-1] == 0):
		r.fail(what, errRange)
		return 0
	}
	r.b = r.b[n:]
	r.off += n
	return v
}

func (r *reader) varint(what string) int64 { return unzigzag(r.uvarint(1<<64-1, what)) }

// bytes reads a length of at most limit and that many bytes, without copying.
func (r *reader) bytes(limit int, what string) []byte {
	n := r.uvarint(uint64(limit), what)
	return r.take(int(n), what)
}

func (r *reader) string(limit int, what string) string { return string(r.bytes(limit, what)) }

// entry returns a reader of one length-prefixed entry. What a parser leaves of
// it are fields of a later version.
func (r *reader) entry(limit int, what string) *reader {
	off := r.off
	b := r.bytes(limit, what)
	return &reader{b: b, off: off, err: r.err}
}

var errRange = errors.New("value out of range")

func appendU32(dst []byte, v uint32) []byte { return binary.LittleEndian.AppendUint32(dst, v) }

func appendU64(dst []byte, v uint64) []byte { return binary.LittleEndian.AppendUint64(dst, v) }

func appendUvarint(dst []byte, v uint64) []byte { return binary.AppendUvarint(dst, v) }

func appendVarint(dst []byte, v int64) []byte { return binary.AppendUvarint(dst, zigzag(v)) }

func appendString(dst []byte, s string, limit int) []byte {
	s = s[:min(len(s), limit)]
	return append(appendUvarint(dst, uint64(len(s))), s...)
}

func zigzag(v int64) uint64 { return uint64(v<<1) ^ uint64(v>>63) }

func unzigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }

// appendChecksum appends the checksum of dst[from:].
func appendChecksum(dst []byte, from int) []byte {
	return appendU32(dst, checksum(dst[from:]))
}

// cutChecksum checks the last four bytes of b and returns what is before them.
func cutChecksum(b []byte, what string) ([]byte, error) {
	if len(b) < 4 {
		return nil, fmt.Errorf("wire: %s: %w", what, ErrShort)
	}
	body, sum := b[:len(b)-4], b[len(b)-4:]
	if checksum(body) != binary.LittleEndian.Uint32(sum) {
		return nil, fmt.Errorf("wire: %s: %w", what, ErrChecksum)
	}
	return body, nil
}

// MaxSeq is the highest sequence number: 10,000 batches a second for 900 years.
// A higher one is malformed, so that sums of a few never overflow.
const MaxSeq = 1 << 48

// MaxRanges bounds the ranges of one set in any message: a stream with more
// holes than this is told in several messages.
const MaxRanges = 4096

// AppendRanges appends the number of ranges, then for each the distance of its
// first number from the end of the one before and its length less one.
func AppendRanges(dst []byte, rs Ranges) []byte {
	dst = appendUvarint(dst, uint64(len(rs)))
	last := uint64(0)
	for _, r := range rs {
		dst = appendUvarint(dst, r.First-last)
		dst = appendUvarint(dst, r.Last-r.First)
		last = r.Last
	}
	return dst
}

// ParseRanges is the inverse of [AppendRanges] for sets of at most limit ranges;
// n is the number of bytes read.
func ParseRanges(b []byte, limit int) (rs Ranges, n int, err error) {
	r := &reader{b: b}
	rs = r.ranges(limit)
	return rs, r.off, r.err
}

func (r *reader) ranges(limit int) Ranges {
	n := int(r.uvarint(uint64(limit), "number of ranges"))
	if r.err != nil || n == 0 {
		return nil
	}
	if n > len(r.b)/2 { // two bytes a range at the least
		r.fail("ranges", ErrShort)
		return nil
	}
	rs := make(Ranges, 0, n)
	last := uint64(0)
	for i := range n {
		gap := r.uvarint(MaxSeq, "range's first")
		length := r.uvarint(MaxSeq, "range's length")
		first := last + gap
		end := first + length
		// Numbers count from 1; adjacent or overlapping ranges are not a set.
		if r.err == nil && (end > MaxSeq || first == 0 || (i > 0 && gap < 2)) {
			r.fail("range", errRange)
		}
		if r.err != nil {
			return nil
		}
		rs = append(rs, Range{first, end})
		last = end
	}
	return rs
}
