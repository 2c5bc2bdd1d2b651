package wire

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// packGroup is how many values share one width: small enough that one outlier
// does not widen a whole column, and 32 values of any width end on a byte.
const packGroup = 32

// packedLen returns the bytes that n values of w bits take.
func packedLen(n int, w uint) int { return (n*int(w) + 7) >> 3 }

// width returns the bits that the largest of the values or-ed into v needs.
func width(v uint64) uint { return uint(bits.Len64(v)) }

// uvarintLen returns the bytes that appendUvarint writes for v.
func uvarintLen(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

// pack appends the low w bits of each value, least significant bit first, and
// pads with zero bits to a byte. Every value must be less than 1<<w.
func pack(dst []byte, vals []uint64, w uint) []byte {
	need := packedLen(len(vals), w)
	if need == 0 {
		return dst
	}
	start := len(dst)
	if cap(dst)-start < need+packRoom {
		dst = slices.Grow(dst, need+packRoom)
	}
	p := dst[start : start+need+packRoom]
	switch { // eight values end on a byte
	case w <= 8:
		for ; len(vals) >= 8; vals = vals[8:] {
			v := (*[8]uint64)(vals)
			binary.LittleEndian.PutUint64(p, join4(v[0], v[1], v[2], v[3], w)|join4(v[4], v[5], v[6], v[7], w)<<(4*w&63))
			p = p[w:]
		}
	case w <= 16:
		for ; len(vals) >= 8; vals = vals[8:] {
			v := (*[8]uint64)(vals)
			high := join4(v[4], v[5], v[6], v[7], w)
			binary.LittleEndian.PutUint64(p, join4(v[0], v[1], v[2], v[3], w)|high<<(4*w))
			binary.LittleEndian.PutUint64(p[8:], high>>(64-4*w))
			p = p[w:]
		}
	}
	packRest(p, vals, w)
	return dst[:start+need]
}

// packPadded is pack for the first n of a group, in words of eight values; those
// from n on may be anything and are cleared.
func packPadded(dst []byte, vals *[packGroup]uint64, n int, w uint) []byte {
	if w > 16 {
		return pack(dst, vals[:n], w)
	}
	for i := n; i&7 != 0; i++ {
		vals[i%packGroup] = 0
	}
	need := packedLen(n, w)
	start := len(dst)
	if cap(dst)-start < need+packRoom {
		dst = slices.Grow(dst, need+packRoom)
	}
	p := dst[start : start+need+packRoom]
	for i := 0; i < n; i += 8 {
		v := (*[8]uint64)(vals[i&(packGroup-8):])
		low, high := join4(v[0], v[1], v[2], v[3], w), join4(v[4], v[5], v[6], v[7], w)
		binary.LittleEndian.PutUint64(p, low|high<<(4*w))
		if w > 8 {
			binary.LittleEndian.PutUint64(p[8:], high>>(64-4*w))
		}
		p = p[w:]
	}
	return dst[:start+need]
}

// packRoom is how far pack may write past the bytes of its values.
const packRoom = 16

// join4 joins four values of w bits, at most 16.
func join4(a, b, c, d uint64, w uint) uint64 {
	return a | b<<(w&63) | (c|d<<(w&63))<<(2*w&63)
}

// packRest is pack, value by value or in pairs, into memory with packRoom.
func packRest(p []byte, vals []uint64, w uint) {
	var acc uint64
	var n uint // bits in acc, always less than 64
	if w <= 32 {
		for ; len(vals) >= 2; vals = vals[2:] {
			v := vals[0] | vals[1]<<(w&63)
			acc |= v << (n & 63)
			if n += 2 * w; n >= 64 {
				binary.LittleEndian.PutUint64(p, acc)
				p = p[8:]
				n -= 64
				acc = v >> (2*w - n)
			}
		}
	}
	for _, v := range vals {
		acc |= v << (n & 63)
		if n += w; n >= 64 {
			binary.LittleEndian.PutUint64(p, acc)
			p = p[8:]
			n -= 64
			acc = v >> (w - n)
		}
	}
	binary.LittleEndian.PutUint64(p, acc)
}

// unpackPad is how far unpack may read past the bytes of its values.
const unpackPad = 8

// unpack reads len(out) values of w bits, at most packGroup of them. src must be
// unpackPad bytes longer than they are.
func unpack(out []uint64, src []byte, w uint) {
	switch {
	case w == 0:
		clear(out)
	case w <= 8:
		unpackBytes(out, src, w)
	case w <= 57:
		mask := uint64(1)<<w - 1
		bit := uint(0)
		for i := range out {
			out[i] = binary.LittleEndian.Uint64(src[bit>>3:]) >> (bit & 7) & mask
			bit += w
		}
	default:
		mask := ^uint64(0) >> (64 - w)
		bit := uint(0)
		for i := range out {
			p := src[bit>>3:]
			s := bit & 7
			v := binary.LittleEndian.Uint64(p) >> s
			if s+w > 64 {
				v |= uint64(p[8]) << (64 - s)
			}
			out[i] = v & mask
			bit += w
		}
	}
}

// unpackBytes is unpack for widths up to 8: eight values begin on a byte and
// come out of one word.
func unpackBytes(out []uint64, src []byte, w uint) {
	mask := uint64(1)<<w - 1
	for ; len(out) >= 8; out = out[8:] {
		v := binary.LittleEndian.Uint64(src)
		src = src[w:]
		out[0] = v & mask
		out[1] = v >> (w & 63) & mask
		out[2] = v >> (2 * w & 63) & mask
		out[3] = v >> (3 * w & 63) & mask
		out[4] = v >> (4 * w & 63) & mask
		out[5] = v >> (5 * w & 63) & mask
		out[6] = v >> (6 * w & 63) & mask
		out[7] = v >> (7 * w & 63) & mask
	}
	if len(out) > 0 {
		v := binary.LittleEndian.Uint64(src)
		for i := range out {
			out[i] = v & mask
			v >>= w
		}
	}
}

// packed takes len(out) values of w bits off the front of r; at most packGroup.
func (r *reader) packed(out []uint64, w uint, what string) bool {
	need := packedLen(len(out), w)
	if need+unpackPad <= len(r.b) {
		unpack(out, r.b, w)
		r.b = r.b[need:]
		r.off += need
		return true
	}
	src := r.take(need, what)
	if r.err != nil {
		return false
	}
	var buf [packGroup*8 + unpackPad]byte
	copy(buf[:], src)
	unpack(out, buf[:], w)
	return true
}

// width reads the width of a group of packed values.
func (r *reader) width(what string) uint {
	w := uint(r.byte(what))
	if w > 64 {
		r.fail(what, errRange)
		return 0
	}
	return w
}
