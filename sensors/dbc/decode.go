package dbc

import (
	"encoding/binary"
	"math"
)

// kind says what the bits of a signal are.
type kind uint8

const (
	kindUint kind = iota
	kindInt
	kindF16 // widened to float32
	kindF32
	kindF64
	kindZero // factor 0: the raw value does not matter
)

// plan is how to cut one signal out of a payload. Bits are read as two words:
// eight bytes from first, and the one after.
type plan struct {
	first  uint16 // index of the first byte
	need   uint16 // bytes that the payload must have
	signal uint16 // index in Message.Signals
	shift  uint8  // bits before the signal in its first byte, 0..7, in the byte's own order
	spare  uint8  // 64 - length
	kind   kind
	big    bool
	parent int32 // index in Message.Signals of the selector; -1: always there
	ranges []Range
}

// layout places a signal. It fails for what has no bits, too many, or none
// within MaxPayload.
func layout(s *SignalDef) (plan, bool) {
	if s.Length < 1 || s.Length > 64 || s.Start < 0 || s.Start >= MaxPayload*8 {
		return plan{}, false
	}
	p := plan{first: uint16(s.Start / 8), spare: uint8(64 - s.Length), big: s.BigEndian, parent: -1}
	p.shift = uint8(s.Start % 8)
	if s.BigEndian { // the start is the most significant bit; bit 7 is a byte's first
		p.shift = 7 - p.shift
	}
	last := int(p.first) + (int(p.shift)+s.Length-1)/8
	p.need = uint16(last + 1)
	switch {
	case s.Factor == 0 && !s.Mux.Selector:
		p.kind = kindZero
	case s.Float && s.Length == 16:
		p.kind = kindF16
	case s.Float && s.Length == 32:
		p.kind = kindF32
	case s.Float && s.Length == 64:
		p.kind = kindF64
	case s.Signed:
		p.kind = kindInt
	}
	return p, last < MaxPayload
}

// slack is what a payload is padded with so that a plan may always read nine
// bytes.
const slack = 9

// Decode fills values, one raw word per signal (see [wire.Column]), and sets bit
// i of present where the payload holds signal i: a signal is absent when the
// payload is too short for it or its selector says so, and its value is then 0.
// It returns how many are there. values must have room for all signals, present
// a bit for each. It allocates nothing.
func (m *Message) Decode(data []byte, values []int64, present []uint64) int {
	if len(data) > 64 {
		return m.decodeLong(data, values, present)
	}
	var buf [64 + slack]byte
	copy(buf[:], data)
	return m.decode(buf[:], len(data), values, present)
}

// decodeLong keeps the large buffer off the usual path.
//
//go:noinline
func (m *Message) decodeLong(data []byte, values []int64, present []uint64) int {
	var buf [MaxPayload + slack]byte
	n := copy(buf[:MaxPayload], data)
	return m.decode(buf[:], n, values, present)
}

func (m *Message) decode(buf []byte, n int, values []int64, present []uint64) int {
	values = values[:len(m.Signals)]
	present = present[:(len(m.Signals)+63)/64]
	clear(present)
	count := 0
	for i := range m.plans {
		p := &m.plans[i]
		if int(p.need) > n || p.parent >= 0 && !p.selected(values, present) {
			values[p.signal] = 0
			continue
		}
		values[p.signal] = p.extract(buf)
		present[p.signal>>6] |= 1 << (p.signal & 63)
		count++
	}
	return count
}

// selected reports whether the plan's selector is there and has one of its
// values.
func (p *plan) selected(values []int64, present []uint64) bool {
	if present[p.parent>>6]>>(p.parent&63)&1 == 0 {
		return false
	}
	v := uint64(values[p.parent])
	for _, r := range p.ranges {
		if v >= r.First && v <= r.Last {
			return true
		}
	}
	return false
}

// extract reads the raw word. buf must hold nine bytes from p.first.
func (p *plan) extract(buf []byte) int64 {
	b := buf[p.first:][:9]
	var u uint64 // the signal's bits at the top of the word
	if p.big {
		u = binary.BigEndian.Uint64(b)<<p.shift | uint64(b[8])>>(8-p.shift)
	} else {
		u = binary.LittleEndian.Uint64(b)>>p.shift | uint64(b[8])<<(64-p.shift)
		u <<= p.spare
	}
	switch p.kind {
	case kindInt:
		return int64(u) >> p.spare
	case kindF16:
		return int64(widen(uint16(u >> 48)))
	case kindZero:
		return 0
	}
	return int64(u >> p.spare)
}

// widen returns the float32 bits of a float16's.
func widen(h uint16) uint32 {
	sign, exp, frac := uint32(h>>15)<<31, uint32(h>>10&31), uint32(h&0x3ff)
	switch exp {
	case 0: // zero and subnormals: frac steps of 2^-24
		return sign | math.Float32bits(float32(frac)/(1<<24))
	case 31:
		return sign | 0xff<<23 | frac<<13
	}
	return sign | (exp+112)<<23 | frac<<13
}
