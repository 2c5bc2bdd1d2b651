package wire

import (
	"fmt"
	"math"
)

// Floats that are k·step + offset, rounded: physical values of raw integers. Step
// and offset need not be those that made them, any that give the same bits do.
const (
	worthGrid = 8  // bits of a value from which on a grid is looked for
	expBits   = 11 // of a number of a grid, as it stands in float64
	mantBits  = 52
	mantCount = 6 // bits of the length of its mantissa
)

// value is v, the bits of a float, as a number.
func value(v int64, t ValueType) float64 {
	if t == TypeF32 {
		return float64(math.Float32frombits(uint32(v)))
	}
	return math.Float64frombits(uint64(v))
}

// ordered is f, as a value of type t, as an ordered integer.
func ordered(f float64, t ValueType) int64 {
	if t == TypeF32 {
		return orderF32(int64(math.Float32bits(float32(f))))
	}
	return orderF64(int64(math.Float64bits(f)))
}

// onGrid is the value of a grid's point. It is the same on every machine: the
// conversion keeps product and sum apart.
func onGrid(k int64, step, offset float64) float64 {
	return float64(float64(k)*step) + offset
}

// gridBits is what a number of a grid takes: sign, exponent, and mantissa
// without the zeros at its end.
func gridBits(f float64) uint {
	return 1 + expBits + mantCount + mantLen(f)
}

func mantLen(f float64) uint {
	m := math.Float64bits(f) & (1<<mantBits - 1)
	if m == 0 {
		return 0
	}
	n := uint(mantBits)
	for m&1 == 0 {
		m >>= 1
		n--
	}
	return n
}

// float writes a number as gridBits counts it.
func (s *streamEncoder) float(f float64) {
	b := math.Float64bits(f)
	n := mantLen(f)
	s.w.put(b>>mantBits, 1+expBits)
	s.w.put(uint64(n), mantCount)
	s.w.put(b&(1<<mantBits-1)>>(mantBits-n), n)
}

// grid writes a column of floats on a grid if that takes fewer than limit bits,
// and reports whether it did.
func (s *streamEncoder) grid(g *gridFinder, limit uint, t ValueType) bool {
	p := s.planWithin(g.k, planOther, limit)
	cost := 2*(predictCodes+specialBits) + gridBits(g.step) + 2 + p.bits
	if g.offset != 0 {
		cost += gridBits(g.offset)
	}
	if s.tooMany(cost, limit) {
		return false
	}
	if !g.exact {
		if cost += s.offGrid(g.off, false); s.tooMany(cost, limit) {
			return false
		}
	}
	s.found.form, s.found.on = formGrid, grid{g.step, g.offset}
	s.found.took(cost, len(g.k))
	s.w.reserve(riceRoom)
	shiftBits, _ := shiftCodes(t)
	s.open(0, shiftBits)
	s.special(specialFlat)
	s.special(furtherGrid)
	s.float(g.step)
	s.w.put(uint64(b2u(g.offset != 0)), 1)
	if g.offset != 0 {
		s.float(g.offset)
	}
	s.write(g.k, p)
	s.w.reserve(riceRoom)
	s.w.put(uint64(b2u(!g.exact)), 1)
	if !g.exact {
		s.offGrid(g.off, true)
	}
	return true
}

// offGrid writes what values lie off their points, or only counts the bits.
func (s *streamEncoder) offGrid(off []uint64, write bool) (n uint) {
	last := -1
	for len(off) > 0 {
		m := min(len(off), riceGroup)
		var res [riceGroup]uint64
		copy(res[:], off[:m])
		off = off[m:]
		or := uint64(0)
		for _, v := range res {
			or |= v
		}
		p, cost := chooseGroup(&res, uint(m), or, last)
		n += cost
		if write {
			s.w.reserve(riceRoom)
			s.param(last, p)
			if p > 0 {
				s.w.group(&res, m, uint(p-1))
			}
		}
		last = p
	}
	return n
}

// float reads a number of a grid.
func (s *streamDecoder) float() (float64, error) {
	b := s.take(1+expBits) << mantBits
	n := uint(s.take(mantCount))
	if n > mantBits {
		return 0, fmt.Errorf("mantissa of %d bits: %w", n, errRange)
	}
	b |= s.take(n) << (mantBits - n)
	f := math.Float64frombits(b)
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return 0, fmt.Errorf("number %v of a grid: %w", f, errRange)
	}
	return f, nil
}

// fromGrid turns points of a grid into the bits of their values.
func fromGrid(x []int64, t ValueType, step, offset float64) {
	if t == TypeF32 {
		for i, k := range x {
			x[i] = int64(math.Float32bits(float32(onGrid(k, step, offset))))
		}
		return
	}
	for i, k := range x {
		x[i] = int64(math.Float64bits(onGrid(k, step, offset)))
	}
}

// grid reads floats on a grid: as they are, and says so in s.floats, or as ordered
// integers.
func (s *streamDecoder) grid(x []int64) error {
	t := s.kind
	step, err := s.float()
	if err != nil {
		return err
	}
	offset := 0.0
	if s.take(1) == 1 {
		if offset, err = s.float(); err != nil {
			return err
		}
	}
	if err := s.values(x, inner); err != nil {
		return err
	}
	s.work += 2*len(x) + riceGroup
	if s.take(1) == 0 {
		s.kind = 0
		s.floats = true
		fromGrid(x, t, step, offset)
		return nil
	}
	for i, k := range x {
		x[i] = ordered(onGrid(k, step, offset), t)
	}
	param := -1
	for len(x) > 0 {
		n := min(riceGroup, len(x))
		if param, err = s.param(param); err != nil {
			return err
		}
		if param > 0 {
			if err = s.group(n, uint(param-1)); err != nil {
				return err
			}
			for i := range x[:n] {
				x[i] += unzigzag(s.res[i%riceGroup])
			}
		}
		x = x[n:]
	}
	return nil
}
