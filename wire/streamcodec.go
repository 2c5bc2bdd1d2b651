package wire

import (
	"fmt"
	"math/bits"
	"slices"
)

// Layouts of one stream of bits for all columns: layoutStream has runs of heads
// before it; layoutUniform + t has none, all columns are of value type t and
// every row is present.
const (
	layoutStream  = 1
	layoutUniform = 1
	layoutLast    = layoutUniform + byte(TypeF64)
	// layoutDense is added to these where heads of columns are shorter.
	layoutDense = 8
)

// Predictions of a column in the stream, as the prefix codes that name them.
const (
	predictDelta  = 0 // '0': the value before
	predictDelta2 = 1 // '10': and its change
	predictZero   = 2 // '110': nothing
	predictDelta3 = 3 // '1110': and the change of its change
	predictBase   = 4 // '11110': one value for the whole column
	predictCodes  = 5 // '11111': one of the special ways below, in specialBits
)

// Special ways to write a column, behind five ones.
const (
	specialBits   = 2
	specialPacked = 0 // values less the least, all of one width
	specialFactor = 1 // a common factor of all changes, then the column divided by it
	specialFlat   = 2 // a way as any other, but all residuals of a group have one width
	specialWrap   = 3 // a modulus, then the column as if it had never wrapped
)

// Further ways: five ones where flat has its way, and specialBits.
const (
	furtherGrid  = 1 // floats: a step and an offset, then the column as multiples
	furtherCoded = 3 // a way as any other, but residuals are coded by a table of bins
)

// Floats: so many low bits are 0 in all values. The highest number says that
// the values are whole multiples of a power of ten instead.
const (
	shiftBits32 = 5
	shiftBits64 = 6
	decimal32   = 1<<shiftBits32 - 1
	decimal64   = 1<<shiftBits64 - 1
	decimalBits = 4
)

const (
	riceGroup  = 16 // residuals that share one parameter
	riceEscape = 12 // zeros that announce a residual of any size
	// A parameter p is the Rice parameter plus 1; 0 says that all are zero.
	maxParam      = 64
	paramBits     = 5  // of a column's first one; all ones: 7 more bits
	paramFirstMax = 31 // stands for those that follow
	paramStep     = 12 // ones that announce a parameter of any size, in 7 bits
)

// riceRoom is an upper bound of the bytes of one group and its parameter.
const riceRoom = (paramStep+7+riceGroup*(riceEscape+1+64+7+64))/8 + 1

// streamEncoder writes columns into one stream of bits. It keeps memory between
// blocks.
type streamEncoder struct {
	w       bitWriter
	heads   denseHeads
	last    int64   // the first number written before
	words   []int64 // floats as ordered integers
	other   []int64 // the column in another form
	divided []int64 // by a factor
	plans   [planPlaces][2]columnPlan
	memory  []columnMemory // of the block's columns
	known   columnMemory   // of the column at hand; left 0 = nothing
	found   columnMemory   // for the next block
	keep    bool           // the form of the last block is kept
	table   *tableEncoder  // of long columns
	finder  *gridFinder    // of floats
}

// begin starts a block after b, in its memory.
func (s *streamEncoder) begin(b []byte) {
	s.w.begin(b)
	s.last = 0
	s.memory = nil
	s.heads.begin()
}

// column writes column number i of the block.
func (s *streamEncoder) column(i int, c *Column) error {
	x := c.Values
	if len(x) == 0 {
		return nil
	}
	s.w.reserve(riceRoom)
	same := constant(x)
	shift, shiftBits := uint(0), uint(0)
	if c.Type == TypeF32 || c.Type == TypeF64 {
		var err error
		if shift, shiftBits, err = commonZeros(x, c.Type); err != nil {
			return err
		}
		s.words = orderShifted(s.words, x, c.Type, shift)
		x = s.words
	}
	if same {
		s.constant(uint64(shift), shiftBits)
		s.first(x[0])
		return nil
	}
	s.recall(i, c)
	s.choose(c, x, shift, shiftBits)
	s.remember(i, len(x))
	return nil
}

// choose writes a column that is not constant: as in the block before, or in the
// form that takes fewest bits.
func (s *streamEncoder) choose(c *Column, x []int64, shift, shiftBits uint) {
	if s.known.left > 0 && s.known.form != formPlain {
		if s.again(c, x, shift) {
			return
		}
		s.known.left = 0
	}
	p := s.plan(x, planPlain)
	if s.known.left > 0 && p.bits > s.known.limit(len(x)) {
		s.known.left = 0
		p = s.planAnew(x, planPlain, p.predict)
	}
	if p.bits > worthForm*uint(len(x)) {
		known := s.known
		s.known.left = 0 // it does not speak of other forms
		if s.otherForm(c, x, p, shift, known.left > 0) {
			return
		}
		s.known = known
	}
	s.found.took(p.bits, len(x))
	s.open(uint64(shift), shiftBits)
	s.write(x, p)
}

func constant(x []int64) bool {
	first := x[0]
	for ; len(x) >= 8; x = x[8:] {
		v := (*[8]int64)(x)
		if (v[0]^first)|(v[1]^first)|(v[2]^first)|(v[3]^first)|(v[4]^first)|(v[5]^first)|(v[6]^first)|(v[7]^first) != 0 {
			return false
		}
	}
	for _, v := range x {
		if v != first {
			return false
		}
	}
	return true
}

// commonZeros returns how many low bits are 0 in all values, and in how many
// bits that stands.
func commonZeros(x []int64, t ValueType) (shift, n uint, err error) {
	or := uint64(0)
	for _, v := range x {
		or |= uint64(v)
	}
	if t == TypeF64 {
		return uint(min(bits.TrailingZeros64(or), decimal64-1)), shiftBits64, nil
	}
	if or > 1<<32-1 {
		return 0, 0, fmt.Errorf("float32 with more than 32 bits: %w", errRange)
	}
	return uint(min(bits.TrailingZeros64(or), decimal32-1)), shiftBits32, nil
}

// orderShifted returns floats as ordered integers without their low bits.
func orderShifted(words, x []int64, t ValueType, shift uint) []int64 {
	words = slices.Grow(words[:0], len(x))[:len(x)]
	if t == TypeF64 {
		for i, v := range x {
			words[i] = orderF64(v) >> (shift & 63)
		}
		return words
	}
	for i, v := range x {
		words[i] = orderF32(v) >> (shift & 63)
	}
	return words
}

// first writes a column's first number: as it is, or less the one before.
func (s *streamEncoder) first(v int64) {
	if rel := zigzag(v - s.last); numberBits(rel) < numberBits(zigzag(v)) {
		s.w.put(1, 1)
		s.w.number(rel)
	} else {
		s.w.put(0, 1)
		s.w.number(zigzag(v))
	}
	s.last = v
}

// firstBits returns what first takes.
func (s *streamEncoder) firstBits(v int64) uint {
	return 1 + min(numberBits(zigzag(v)), numberBits(zigzag(v-s.last)))
}

// write writes x, of at least two values, as planned.
func (s *streamEncoder) write(x []int64, p *columnPlan) {
	s.found.way = uint8(p.predict)
	if len(x) >= codedLeast && s.coded(x, p) {
		return
	}
	if p.predict == predictPacked {
		s.special(specialPacked)
		s.packed(x, p)
		return
	}
	params := p.params
	if p.flat {
		params = p.widths
		s.special(specialFlat)
	}
	if s.heads.pending && p.predict == predictBase && !p.flat && p.n <= coarseMost {
		s.coarse(p)
	} else {
		s.head(x, p.predict, p.base)
		if len(params) > 0 {
			s.firstParam(int(params[0]), p.flat)
		}
	}
	s.w.groups(p)
}

// head writes a way and the numbers that stand before its residuals.
func (s *streamEncoder) head(x []int64, predict int, base int64) {
	s.way(predict)
	switch predict {
	case predictBase:
		s.first(base)
	case predictDelta:
		s.first(x[0])
	case predictDelta2:
		s.first(x[0])
		s.w.number(zigzag(x[1] - x[0]))
	case predictDelta3:
		s.first(x[0])
		d := x[1] - x[0]
		s.w.number(zigzag(d))
		s.w.number(zigzag(x[2] - x[1] - d))
	}
}

// headBits returns what head takes.
func (s *streamEncoder) headBits(x []int64, predict int, base int64) uint {
	n := uint(predict) + 1
	switch predict {
	case predictBase:
		n += s.firstBits(base)
	case predictDelta, predictDelta2, predictDelta3:
		n += s.firstBits(x[0])
	}
	if predict == predictDelta2 || predict == predictDelta3 {
		d := x[1] - x[0]
		n += numberBits(zigzag(d))
		if predict == predictDelta3 {
			n += numberBits(zigzag(x[2] - x[1] - d))
		}
	}
	return n
}

// packed writes values less the least of them, all of one width.
func (s *streamEncoder) packed(x []int64, p *columnPlan) {
	s.first(p.base)
	w := p.width
	s.w.put(uint64(w-1), 6)
	for len(x) > 0 {
		n := min(len(x), riceGroup)
		s.w.reserve(8 * riceGroup)
		for _, v := range x[:n] {
			s.w.wide(uint64(v-p.base), w)
		}
		x = x[n:]
	}
}

// param writes a group's parameter, which follows on last; -1 = it is the first.
func (s *streamEncoder) param(last, p int) {
	if last >= 0 {
		s.w.put(stepCode(last, p))
	} else if p < paramFirstMax {
		s.w.put(uint64(p), paramBits)
	} else {
		s.w.put(paramFirstMax|uint64(p)<<paramBits, paramBits+7)
	}
}

// stepCode returns a parameter that follows on another as bits, and their number.
func stepCode(last, p int) (code uint64, n uint) {
	z := uint(zigzag(int64(p - last)))
	if z < paramStep {
		return 1<<z - 1, z + 1
	}
	return 1<<paramStep - 1 | uint64(p)<<paramStep, paramStep + 7
}

// stepBits is what param takes for a parameter that follows on another.
func stepBits(last, p int) uint {
	z := uint(zigzag(int64(p - last)))
	if z < paramStep {
		return z + 1
	}
	return paramStep + 7
}

// special announces a special way to write the column.
func (s *streamEncoder) special(code uint64) {
	s.way(predictCodes)
	s.w.put(code, specialBits)
}
