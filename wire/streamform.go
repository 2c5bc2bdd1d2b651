package wire

import (
	"math"
	"math/bits"
	"slices"
)

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
// that of the plain one, and reports whether it did. New grids are not looked for
// in a column that is known.
func (s *streamEncoder) otherForm(c *Column, x []int64, plan *columnPlan, shift uint, known bool) bool {
	if c.Type >= TypeF32 {
		return s.otherFloats(c, x, plan.bits, shift, known)
	}
	if m := modulus(x, plan); m > 0 && s.unwrapped(x, m, plan.bits) {
		return true
	}
	if plan.bits > worthFactor*uint(len(x)) {
		if g := factor(x); g > 1 {
			return s.byFactor(x, g, plan.bits, 0, 0, formFactor)
		}
	}
	return false
}

// unwrapped writes x, which wraps at m, if that takes fewer than limit bits, and
// reports whether it did.
func (s *streamEncoder) unwrapped(x []int64, m int64, limit uint) bool {
	s.other = unwrapped(s.other, x, m)
	p := s.planWithin(s.other, planOther, limit)
	cost := predictCodes + specialBits + numberBits(uint64(m)) + p.bits
	if s.tooMany(cost, limit) {
		return false
	}
	s.found.form = formWrap
	s.found.took(cost, len(x))
	s.open(0, 0)
	s.special(specialWrap)
	s.w.number(uint64(m))
	s.write(s.other, p)
	return true
}

// byFactor writes x divided by a common factor g of its changes if that takes
// fewer than limit bits, behind n bits that say of what form x is, and reports
// whether it did.
func (s *streamEncoder) byFactor(x []int64, g int64, limit uint, code uint64, n uint, form columnForm) bool {
	s.divided = divided(s.divided, x, g)
	cost := n + predictCodes + specialBits + numberBits(uint64(g)) + s.firstBits(x[0])
	last := s.last
	s.last = x[0]
	p := s.planWithin(s.divided, planDivided, limit)
	s.last = last
	if cost += p.bits; s.tooMany(cost, limit) {
		return false
	}
	s.found.form = form
	s.found.took(cost, len(x))
	s.open(code, n)
	s.special(specialFactor)
	s.w.number(uint64(g))
	s.first(x[0])
	s.write(s.divided, p)
	return true
}

// otherFloats is otherForm for floats.
func (s *streamEncoder) otherFloats(c *Column, x []int64, plain, shift uint, known bool) bool {
	if s.decimal(c, plain, shift) {
		return true
	}
	if known || plain <= worthGrid*uint(len(x)) {
		return false
	}
	if s.finder == nil {
		s.finder = new(gridFinder)
	}
	if !s.finder.find(c, s.whole(c, x, shift)) || !s.grid(s.finder, plain, c.Type) {
		return false
	}
	s.finder.used(true)
	return true
}

// whole returns floats as ordered integers with all their bits; x is without
// shift of them.
func (s *streamEncoder) whole(c *Column, x []int64, shift uint) []int64 {
	if shift == 0 {
		return x
	}
	s.other = orderShifted(s.other, c.Values, c.Type, 0)
	return s.other
}

// shiftCodes returns in how many bits the shift of a float type stands, and what
// stands there for whole multiples of a power of ten.
func shiftCodes(t ValueType) (n uint, decimal uint64) {
	if t == TypeF64 {
		return shiftBits64, decimal64
	}
	return shiftBits32, decimal32
}

// decimal writes floats that are whole multiples of a power of ten, divided by a
// factor if they have one, when that takes fewer than limit bits, and reports
// whether it did.
func (s *streamEncoder) decimal(c *Column, limit, shift uint) bool {
	var e int
	var ok bool
	if s.other, e, ok = decimals(s.other, c, shift); !ok {
		return false
	}
	n, code := shiftCodes(c.Type)
	code, n = code|uint64(e)<<n, n+decimalBits
	if s.keep && s.known.form == formDecimalFactor {
		g := factor(s.other)
		return g > 1 && s.byFactor(s.other, g, limit, code, n, formDecimalFactor)
	}
	p := s.planWithin(s.other, planOther, limit)
	cost := p.bits + decimalBits
	if !s.keep && cost > worthFactor*uint(len(s.other)) {
		if g := factor(s.other); g > 1 && s.byFactor(s.other, g, min(cost, limit), code, n, formDecimalFactor) {
			return true
		}
	}
	if s.tooMany(cost, limit) {
		return false
	}
	s.found.form = formDecimal
	s.found.took(cost, len(s.other))
	s.open(code, n)
	s.write(s.other, p)
	return true
}

// modulus returns what x, from 0 on, wraps at, when it does: a power of two, or
// the number above the highest; 0 = it does not.
// p is the plan for x as it is, nil if there is none.
func modulus(x []int64, p *columnPlan) int64 {
	if p != nil && p.predict != predictPacked && p.or < uint64(max(x[0], x[len(x)/2], x[len(x)-1])) {
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
	// One of the smallest changes first: it leaves least to divide.
	g := ^uint64(0)
	for i, v := range x[1:min(len(x), factorFirst+1)] {
		g = min(g, distance(v, x[i])-1)
	}
	g++ // 0 if there was no change
	for i, v := range x[1:] {
		if g == 1 {
			return 1
		}
		a := distance(v, x[i])
		if g == 0 {
			g = a
			continue
		}
		for a = modulo(a, g); a != 0; {
			g, a = a, modulo(g, a)
		}
	}
	if g > math.MaxInt64 {
		return 1
	}
	return int64(g)
}

// factorFirst is how many changes factor looks at for a small one.
const factorFirst = 16

// distance returns how far a is from b.
func distance(a, b int64) uint64 {
	d := a - b
	return uint64((d ^ d>>63) - d>>63)
}

// modulo is a%b; 64-bit division is slow where it is emulated.
func modulo(a, b uint64) uint64 {
	if (a|b)>>32 == 0 {
		return uint64(uint32(a) % uint32(b))
	}
	return a % b
}

// divided returns x less its first value, divided by a factor of its changes.
func divided(out, x []int64, g int64) []int64 {
	out = slices.Grow(out[:0], len(x))[:len(x)]
	// All changes are multiples of g: its inverse modulo 2^64 divides them.
	shift := uint(bits.TrailingZeros64(uint64(g)))
	odd := g >> shift
	inverse := odd // right in the three lowest bits, then in twice as many each time
	for range 5 {
		inverse *= 2 - odd*inverse
	}
	k, prev := int64(0), x[0]
	for i, v := range x[:len(out)] {
		k += (v - prev) >> (shift & 63) * inverse
		out[i] = k
		prev = v
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
