package wire

import "math"

// Other forms of a column, tried where a value takes more than so many bits:
// counters and angles that wrap; changes that have a common factor; floats that
// are whole multiples of a power of ten.
const (
	worthForm   = 1
	worthFactor = 3
)

// powersOfTen are exact in float64, so that quotients by them are the same on
// every machine.
var powersOfTen = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

// otherForm writes the column in another form if one takes fewer bits than plan,
// that of the plain one, and reports whether it did. If not, it returns the plan,
// worked out once more where another one took its memory.
func (s *streamEncoder) otherForm(c *Column, x []int64, plan *columnPlan, shift uint) (*columnPlan, bool) {
	plain := plan.bits
	switch c.Type {
	case TypeInt, TypeUint:
		if m := modulus(x, plan); m > 0 {
			s.other = unwrapped(s.other, x, m)
			p := s.plan(s.other)
			if predictCodes+specialBits+numberBits(uint64(m))+p.bits < plain {
				s.open(0, 0)
				s.special(specialWrap)
				s.w.number(uint64(m))
				s.write(s.other, p)
				return nil, true
			}
			plan = s.plan(x)
		}
		if plain > worthFactor*uint(len(x)) {
			if g := factor(x); g > 1 {
				if s.byFactor(x, g, plain, 0, 0) {
					return nil, true
				}
				plan = s.plan(x)
			}
		}
		return plan, false
	}
	return s.otherFloats(c, x, plan, shift)
}

// byFactor writes x divided by a common factor g of its changes if that takes
// fewer than limit bits, behind n bits that say of what form x is, and reports
// whether it did. Plans made before are no longer valid.
func (s *streamEncoder) byFactor(x []int64, g int64, limit uint, form uint64, n uint) bool {
	s.divided = divided(s.divided, x, g)
	cost := n + predictCodes + specialBits + numberBits(uint64(g)) + s.firstBits(x[0])
	last := s.last
	s.last = x[0]
	p := s.plan(s.divided)
	s.last = last
	if cost+p.bits >= limit {
		return false
	}
	s.open(form, n)
	s.special(specialFactor)
	s.w.number(uint64(g))
	s.first(x[0])
	s.write(s.divided, p)
	return true
}

// otherFloats is otherForm for floats.
func (s *streamEncoder) otherFloats(c *Column, x []int64, plan *columnPlan, shift uint) (*columnPlan, bool) {
	plain := plan.bits
	n, code := uint(shiftBits32), uint64(decimal32)
	if c.Type == TypeF64 {
		n, code = shiftBits64, decimal64
	}
	var e int
	var ok bool
	if s.other, e, ok = decimals(s.other, c, shift); ok {
		form, m := code|uint64(e)<<n, n+decimalBits
		p := s.plan(s.other)
		cost := p.bits + decimalBits
		if cost > worthFactor*uint(len(x)) {
			if g := factor(s.other); g > 1 {
				if s.byFactor(s.other, g, min(cost, plain), form, m) {
					return nil, true
				}
				p = s.plan(s.other)
			}
		}
		if cost < plain {
			s.open(form, m)
			s.write(s.other, p)
			return nil, true
		}
		plan = s.plan(x)
	}
	if plain <= worthGrid*uint(len(x)) {
		return plan, false
	}
	if s.finder == nil {
		s.finder = new(gridFinder)
	}
	whole := x
	if shift > 0 {
		s.other = orderShifted(s.other, c.Values, c.Type, 0)
		whole = s.other
	}
	if !s.finder.find(c, whole) {
		return plan, false
	}
	if s.grid(s.finder, plain, n) {
		s.finder.used(true)
		return nil, true
	}
	return s.plan(x), false
}

// modulus returns what x, from 0 on, wraps at, when it does: a power of two, or
// the number above the highest; 0 = it does not.
// p is the plan for x as it is.
func modulus(x []int64, p *columnPlan) int64 {
	if p.predict != predictPacked && p.or < uint64(max(x[0], x[len(x)/2], x[len(x)-1])) {
		return 0 // a residual is twice the jump or more
	}
	most, jump := int64(0), int64(0)
	prev := x[0]
	for _, v := range x {
		if v < 0 {
			return 0
		}
		most = max(most, v)
		jump = max(jump, v-prev, prev-v)
		prev = v
	}
	if most > maxModulus || jump <= most/2+1 {
		return 0
	}
	if m := int64(1) << width(uint64(most)); m-most <= m/16 {
		return m
	}
	return most + 1
}

// maxModulus keeps sums of a block's changes far from overflow.
const maxModulus = 1 << 40

// unwrapped returns x as if it had not wrapped at m: each change is the shorter
// way round.
func unwrapped(out, x []int64, m int64) []int64 {
	out = append(out[:0], x[0])
	y := x[0]
	for i, v := range x[1:] {
		d := v - x[i]
		if d > m/2 {
			d -= m
		} else if d < -(m / 2) {
			d += m
		}
		y += d
		out = append(out, y)
	}
	return out
}

// wrap is the inverse of unwrapped for one value.
func wrap(y, m int64) int64 {
	if y %= m; y < 0 {
		y += m
	}
	return y
}

// factor returns the greatest common divisor of all changes in x; less than 2 =
// there is none.
func factor(x []int64) int64 {
	g := uint64(0)
	for i, v := range x[1:] {
		d := v - x[i]
		a := uint64(d)
		if d < 0 {
			a = -a
		}
		for a != 0 {
			if g>>32 == 0 && a>>32 == 0 { // 64-bit division is slow where it is emulated
				g, a = a, uint64(mod32(uint32(g), uint32(a)))
			} else {
				g, a = a, g%a
			}
		}
		if g == 1 {
			return 1
		}
	}
	if g > math.MaxInt64 {
		return 1
	}
	return int64(g)
}

func mod32(a, b uint32) uint32 { return a % b }

// divided returns x less its first value, divided by a factor of its changes.
func divided(out, x []int64, g int64) []int64 {
	out = append(out[:0], 0)
	k := int64(0)
	for i, v := range x[1:] {
		k += (v - x[i]) / g
		out = append(out, k)
	}
	return out
}

// Decimals are tried while they promise to be shorter than the mantissa: whole
// numbers up to these, of floats with fewer low zero bits than decimalShift.
const (
	maxDecimal32 = 1 << 22
	maxDecimal64 = 1 << 50
)

// decimals returns the floats of c times the lowest power of ten that makes all
// of them whole numbers from which division gives back the very same bits.
func decimals(out []int64, c *Column, shift uint) ([]int64, int, bool) {
	single := c.Type == TypeF32
	limit, most := float64(maxDecimal64), len(powersOfTen)-1
	if single {
		limit = maxDecimal32
	}
	value := func(v int64) float64 {
		if single {
			return float64(math.Float32frombits(uint32(v)))
		}
		return math.Float64frombits(uint64(v))
	}
	// A look at the ends: in the finest grid below the limit, and the coarsest.
	e := 0
	for _, v := range [...]int64{c.Values[0], c.Values[len(c.Values)-1], c.Values[len(c.Values)/2]} {
		f := value(v)
		for e <= most && !exactDecimal(f, v, e, limit, single) {
			e++
		}
		if e > most {
			return out, 0, false
		}
	}
	for {
		out = out[:0]
		i := 0
		for ; i < len(c.Values); i++ {
			v := c.Values[i]
			if !exactDecimal(value(v), v, e, limit, single) {
				break
			}
			out = append(out, int64(math.RoundToEven(value(v)*powersOfTen[e])))
		}
		if i == len(c.Values) {
			return out, e, true
		}
		if e++; e > most || math.Abs(value(c.Values[i]))*powersOfTen[e] > limit {
			return out, 0, false
		}
	}
}

// exactDecimal reports that f, whose bits are v, is a whole number of 1/10^e not
// above limit.
func exactDecimal(f float64, v int64, e int, limit float64, single bool) bool {
	scaled := f * powersOfTen[e]
	if !(math.Abs(scaled) <= limit) {
		return false
	}
	back := float64(int64(math.RoundToEven(scaled))) / powersOfTen[e] // a negative zero is lost
	if single {
		return int64(math.Float32bits(float32(back))) == v
	}
	return int64(math.Float64bits(back)) == v
}

// fromDecimal is the value of k in 1/10^e, as bits.
func fromDecimal(k int64, e uint, t ValueType) int64 {
	f := float64(k) / powersOfTen[e]
	if t == TypeF32 {
		return int64(math.Float32bits(float32(f)))
	}
	return int64(math.Float64bits(f))
}
