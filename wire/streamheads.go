package wire

import "math/bits"

// Kinds of a column beside the predictions, in the order of their last use.
const (
	predictConstant = predictCodes + 1
	denseKinds      = predictCodes + 2
)

const (
	// firstRice and firstFlat are taken for the parameters of a column before
	// the first.
	firstRice = 4
	firstFlat = 8
	// coarseBits is by how many bits a base is finer than the parameter of the
	// residuals to it.
	coarseBits = 4
	// coarseMost values are the most whose base is coarse: of more it would
	// matter.
	coarseMost = 64
)

// denseHeads is what the columns before tell of the head of the next one, in
// layouts that have short heads.
type denseHeads struct {
	dense   bool
	pending bool // a column is opened, its way follows
	kinds   [denseKinds]uint8
	params  [2]int // the first ones of the last column with Rice codes, and flat
}

func (h *denseHeads) begin() {
	*h = denseHeads{
		dense:  h.dense,
		kinds:  [denseKinds]uint8{predictConstant, predictDelta, predictZero, predictDelta2, predictBase, predictCodes, predictDelta3},
		params: [2]int{firstRice, firstFlat},
	}
}

// used moves the kind at a rank to the front.
func (h *denseHeads) used(rank int) {
	k := h.kinds[rank]
	for ; rank > 0; rank-- {
		h.kinds[rank] = h.kinds[rank-1]
	}
	h.kinds[0] = k
}

// open begins a column that is not constant, of the form v of n bits.
func (s *streamEncoder) open(v uint64, n uint) {
	if s.heads.dense {
		s.heads.pending = true
		s.w.put(v, n)
		return
	}
	s.w.put(v, n+1)
}

// constant begins a constant column of the form v of n bits.
func (s *streamEncoder) constant(v uint64, n uint) {
	if s.heads.dense {
		s.w.put(v, n)
		s.rank(predictConstant)
		return
	}
	s.w.put(v|1<<n, n+1)
}

// way writes the code of a prediction; predictCodes = a special way.
func (s *streamEncoder) way(predict int) {
	switch {
	case s.heads.pending:
		s.heads.pending = false
		s.rank(predict)
	case predict == predictCodes:
		s.w.put(1<<predictCodes-1, predictCodes)
	default:
		s.w.put(1<<predict-1, uint(predict)+1)
	}
}

// rank writes a kind as how many others were used since.
func (s *streamEncoder) rank(kind int) {
	r := 0
	for int(s.heads.kinds[r%denseKinds]) != kind {
		r++
	}
	if r == denseKinds-1 {
		s.w.put(1<<r-1, uint(r))
	} else {
		s.w.put(1<<r-1, uint(r)+1)
	}
	s.heads.used(r)
}

// rank reads a kind.
func (s *streamDecoder) rank() int {
	r := int(s.ones(denseKinds - 1))
	s.heads.used(r)
	return int(s.heads.kinds[0])
}

// firstParam writes the first parameter of a column: as in the last such one, or
// by how much it differs.
func (s *streamEncoder) firstParam(p int, flat bool) {
	if !s.heads.dense {
		s.param(-1, p)
		return
	}
	last := &s.heads.params[b2u(flat)]
	d := p - *last
	*last = p
	switch {
	case d == 0:
		s.w.put(0, 1)
	case d == 1 || d == -1:
		s.w.put(1|uint64(d+1)<<1, 3)
	case d >= -3 && d <= 3:
		s.w.put(3|uint64(b2u(d > 0))<<3|uint64(b2u(d == 3 || d == -3))<<4, 5)
	default:
		s.w.put(7, 3)
		s.param(-1, p)
	}
}

// nextParam reads a parameter of a column that follows on last; -1 = it is the
// first.
func (s *streamDecoder) nextParam(last int, flat bool) (int, error) {
	if last >= 0 || !s.heads.dense {
		return s.param(last)
	}
	if p := s.given; p != none {
		s.given = none
		return p, nil
	}
	return s.firstParam(flat)
}

func (s *streamDecoder) firstParam(flat bool) (int, error) {
	before := &s.heads.params[b2u(flat)]
	p := *before
	switch s.ones(3) {
	case 0:
	case 1:
		p += 2*int(s.take(1)) - 1
	case 2:
		sign := 2*int(s.take(1)) - 1
		p += sign * (2 + int(s.take(1)))
	default:
		var err error
		if p, err = s.param(-1); err != nil {
			return 0, err
		}
	}
	if p < 0 || p > maxParam {
		return 0, errParam(p)
	}
	*before = p
	return p, nil
}

// base returns a value near the middle of x for residuals to it: a multiple of a
// power of two below their size.
func (h *denseHeads) base(x []int64) int64 {
	m := mean(x)
	if !h.dense || len(x) > coarseMost {
		return m
	}
	sum, n := uint64(0), min(len(x), riceGroup)
	for _, v := range x[:n] {
		sum += min(uint64((v-m)^(v-m)>>63), 1<<58)
	}
	w := width(sum / uint64(n))
	if w < 2 {
		return m
	}
	half := int64(1) << (w - 2)
	return (m + half) &^ (2*half - 1)
}

// saved returns by how many bits a coarse base is shorter than a first value.
func (s *streamEncoder) saved(p *columnPlan) uint {
	if !s.heads.dense || p.n == 0 || p.n > coarseMost {
		return 0
	}
	q := coarseShift(p.params[0])
	base := p.base >> q
	return s.firstBits(p.base) - 1 - min(numberBits(zigzag(base)), numberBits(zigzag(base-s.last>>q)))
}

// coarseShift is how many low bits a base has not whose first group has the
// parameter p.
func coarseShift(p uint8) uint { return uint(max(int(p), coarseBits) - coarseBits) }

// coarse writes way, first parameter and base of a plan.
func (s *streamEncoder) coarse(p *columnPlan) {
	// The base may have fewer zeros than the parameter promises.
	zeros := bits.TrailingZeros64(uint64(p.base))
	p.params[0] = uint8(min(int(p.params[0]), zeros+coarseBits))
	s.way(predictBase)
	s.firstParam(int(p.params[0]), false)
	q := coarseShift(p.params[0])
	s.last >>= q
	s.first(p.base >> q)
	s.last = p.base
}

// coarse reads first parameter and base.
func (s *streamDecoder) coarse(base *int64) error {
	p, err := s.firstParam(false)
	if err != nil {
		return err
	}
	s.given = p
	q := coarseShift(uint8(p))
	s.last >>= q
	*base = s.first() << q
	s.last = *base
	return nil
}
