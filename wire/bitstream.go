package wire

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// bitWriter appends bits to memory, the first in the lowest bit of a byte. What
// it holds is b[:at] and the bits in acc; put writes 8 bytes from at on.
type bitWriter struct {
	b   []byte
	at  int    // bytes written
	acc uint64 // bits not yet written, the oldest lowest
	n   uint   // bits in acc, fewer than 8
}

// maxPut is how many bits one put takes.
const maxPut = 56

// begin starts anew in the memory of b.
func (w *bitWriter) begin(b []byte) { *w = bitWriter{b: b[:cap(b)]} }

// reserve makes room for n bytes, so that put need not look.
func (w *bitWriter) reserve(n int) {
	if len(w.b)-w.at < n+8 {
		b := slices.Grow(w.b[:w.at], n+8)
		w.b = b[:cap(b)]
	}
}

// put appends the low n bits of v, at most maxPut; the others must be 0. There
// must be room for them, and 8 bytes beyond.
func (w *bitWriter) put(v uint64, n uint) {
	w.at, w.acc, w.n = putBits(w.b, w.at, w.acc, w.n, v, n)
}

// putBits is put for a writer whose fields are in registers.
func putBits(b []byte, at int, acc uint64, n uint, v uint64, count uint) (int, uint64, uint) {
	acc |= v << (n & 7)
	n += count
	binary.LittleEndian.PutUint64(b[at:], acc)
	return at + int(n>>3), acc >> (n &^ 7 & 63), n & 7
}

// finish pads with zero bits to a byte and returns the slice.
func (w *bitWriter) finish() []byte {
	w.reserve(1)
	if w.n > 0 {
		w.b[w.at] = byte(w.acc)
		w.at++
		w.acc, w.n = 0, 0
	}
	return w.b[:w.at]
}

// number appends a value of any size: six bits of length and the bits below the
// leading one. There must be room for 9 bytes, and 8 beyond.
func (w *bitWriter) number(v uint64) {
	n := width(v)
	if n <= maxPut-6 {
		w.put(uint64(n)|(v&^(1<<n>>1))<<6, 6+n-b2u(n > 0))
		return
	}
	if n < 63 {
		w.put(uint64(n), 6)
	} else {
		w.put(63|uint64(n-63)<<6, 7)
	}
	v &^= 1 << (n - 1)
	if n > maxPut {
		w.put(v&(1<<32-1), 32)
		v >>= 32
		n -= 32
	}
	w.put(v, n-1)
}

// numberBits returns what number takes.
func numberBits(v uint64) uint {
	n := width(v)
	return 5 + n + b2u(n == 0) + b2u(n >= 63)
}

func b2u(b bool) uint {
	if b {
		return 1
	}
	return 0
}

// bitReader takes bits off a slice. Reading past the end gives zeros and sets
// over; it never fails before.
type bitReader struct {
	b   []byte
	pos int // in bits
}

// left reports that the reader has not gone past the end.
func (r *bitReader) ok() bool { return r.pos <= 8*len(r.b) }

// peek returns at least maxPut+1 bits, zeros past the end.
func (r *bitReader) peek() uint64 {
	at := r.pos >> 3
	if at+8 <= len(r.b) {
		return binary.LittleEndian.Uint64(r.b[at:]) >> (r.pos & 7)
	}
	return r.peekEnd()
}

func (r *bitReader) peekEnd() uint64 {
	var v uint64
	for i, at := 0, r.pos>>3; i < 8 && at+i < len(r.b); i++ {
		v |= uint64(r.b[at+i]) << (8 * i)
	}
	return v >> (r.pos & 7)
}

// take reads n bits, at most maxPut.
func (r *bitReader) take(n uint) uint64 {
	v := r.peek() & (1<<n - 1)
	r.pos += int(n)
	return v
}

// number is the inverse of [bitWriter.number].
func (r *bitReader) number() uint64 {
	n := uint(r.take(6))
	if n == 63 {
		n += uint(r.take(1))
	}
	switch {
	case n == 0:
		return 0
	case n > maxPut:
		low := r.take(32)
		return (r.take(n-33)|1<<(n-33))<<32 | low
	}
	return r.take(n-1) | 1<<(n-1)
}

// ones counts the one bits up to a zero, at most limit (under maxPut), and takes
// them with the zero; at limit there is no zero.
func (r *bitReader) ones(limit uint) uint {
	q := uint(bits.TrailingZeros64(^r.peek()))
	if q >= limit {
		r.pos += int(limit)
		return limit
	}
	r.pos += int(q) + 1
	return q
}

// zeros counts the zero bits up to a one and takes them with it; past the end
// there is none, and the count is out of any range.
func (r *bitReader) zeros() uint {
	q := uint(bits.TrailingZeros64(r.peek()))
	r.pos += int(q) + 1
	return q
}

// wide reads up to 64 bits.
func (r *bitReader) wide(n uint) uint64 {
	if n > maxPut {
		low := r.take(32)
		return r.take(n-32)<<32 | low
	}
	return r.take(n)
}
