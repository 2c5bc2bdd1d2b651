package wire

// predictPacked is no prediction but a special way: see specialPacked.
const predictPacked = predictCodes

// planPlace says of which form of a column a plan is.
type planPlace int

const (
	planPlain   planPlace = iota // as it is
	planOther                    // in another form
	planDivided                  // by a factor
	planPlaces
)

// columnPlan is one way to write a column.
type columnPlan struct {
	predict int
	base    int64
	width   uint                // of packed values
	bits    uint                // of what follows the constant flag
	n       int                 // residuals
	or      uint64              // of all residuals
	groups  []lanes             // those with widths up to laneBits
	wide    [][riceGroup]uint64 // the others; empty if there was none
	params  []uint8             // of each group
	widths  []uint8             // of each group's residuals
	flat    bool                // residuals of one width in each group, no Rice codes
}

// headValues is how many values stand before the residuals, by prediction.
var headValues = [predictCodes]int{predictDelta: 1, predictDelta2: 2, predictDelta3: 3}

// plan chooses how x, of at least two values that are not all equal, is written.
// The prediction that promises most is worked out, and another one where it is
// close. Of a column that is known it is the one that was best before. The result
// is valid until the next call for the same place.
func (s *streamEncoder) plan(x []int64, place planPlace) *columnPlan {
	best := &s.plans[place][0]
	if s.known.left == 0 {
		return s.planAnew(x, place, none)
	}
	if s.known.way == predictPacked {
		s.even(best, x)
	} else {
		s.work(best, x, int(s.known.way))
	}
	return best
}

// planWithin is plan for a form other than the plain one. A column that is known
// and takes limit bits or more is looked at anew.
func (s *streamEncoder) planWithin(x []int64, place planPlace, limit uint) *columnPlan {
	p := s.plan(x, place)
	if s.known.left > 0 && p.bits >= limit {
		s.known.left = 0
		p = s.planAnew(x, place, p.predict)
	}
	return p
}

// planAnew is plan for a column of which nothing is known. The first plan of this
// place is worked out for the prediction done, if that is not none.
func (s *streamEncoder) planAnew(x []int64, place planPlace, done int) *columnPlan {
	best, other := &s.plans[place][0], &s.plans[place][1]
	g := guess(x, s.heads.dense && len(x) <= coarseMost)
	if g.best != done {
		s.work(best, x, g.best)
	}
	if g.second != none {
		s.work(other, x, g.second)
		if other.bits < best.bits {
			best, other = other, best
		}
	}
	if mayBeEven(x, best) {
		s.even(other, x)
		if other.bits < best.bits {
			best = other
		}
	}
	return best
}

// mayBeEven reports whether values of one width may take fewer bits than p: the
// width is at least that of the span of some, and that of the largest change.
func mayBeEven(x []int64, p *columnPlan) bool {
	lo, hi := x[0], x[0]
	step := len(x)/evenSamples + 1
	for i := step - 1; i < len(x); i += step {
		lo, hi = min(lo, x[i]), max(hi, x[i])
	}
	return uint(len(x))*max(1, width(uint64(hi)-uint64(lo))) < p.bits
}

// evenSamples is how many values mayBeEven looks at.
const evenSamples = 12

const none = -1

// work fills p for one prediction.
func (s *streamEncoder) work(p *columnPlan, x []int64, predict int) {
	p.predict = predict
	p.bits = uint(predict) + 1
	head := headValues[predict]
	if predict != predictBase && len(x) < head {
		p.bits = ^uint(0)
		return
	}
	p.n = len(x) - head
	count := (p.n + riceGroup - 1) / riceGroup
	if cap(p.groups) < count {
		p.groups = make([]lanes, count)
		p.params, p.widths = make([]uint8, count), make([]uint8, count)
	}
	p.groups, p.params, p.widths = p.groups[:count], p.params[:count], p.widths[:count]
	p.base, p.or = 0, 0
	switch predict {
	case predictBase:
		p.base = s.heads.base(x)
		p.bits += s.firstBits(p.base)
	case predictDelta:
		p.bits += s.firstBits(x[0])
	case predictDelta2:
		p.bits += s.firstBits(x[0]) + numberBits(zigzag(x[1]-x[0]))
	case predictDelta3:
		d := x[1] - x[0]
		p.bits += s.firstBits(x[0]) + numberBits(zigzag(d)) + numberBits(zigzag(x[2]-x[1]-d))
	}
	p.code(x)
	if predict == predictBase && !p.flat {
		p.bits -= s.saved(p)
	}
}

// code finds the parameters of all groups, and adds what these take.
func (p *columnPlan) code(x []int64) {
	head := headValues[p.predict]
	last := -1
	rice, flat := uint(0), uint(0)
	var buf [riceGroup + 3]int64
	for i := range p.groups {
		in := x[i*riceGroup:]
		n := min(len(in)-head, riceGroup)
		if n < riceGroup {
			p.pad(&buf, in)
			in = buf[:]
		}
		var or, sum uint64
		l := &p.groups[i]
		switch {
		case i > 0 && p.widths[i-1] > laneBits:
			or = noLanes // as the group before
		case p.predict == predictDelta:
			or, sum = l.fromDeltas((*[riceGroup + 1]int64)(in))
		case p.predict == predictDelta2:
			or, sum = l.fromChanges((*[riceGroup + 2]int64)(in))
		case p.predict == predictDelta3:
			or, sum = l.fromThird((*[riceGroup + 3]int64)(in))
		default:
			or, sum = l.fromOffsets((*[riceGroup]int64)(in), p.base)
		}
		var cost uint
		if or>>laneBits == 0 {
			last, cost = l.choose(uint(n), or, sum, last, 0)
		} else {
			or, last, cost = p.widen(i, in, uint(n), last)
		}
		rice += cost
		p.params[i] = uint8(last)
		p.or |= or
		w := width(or)
		flat += uint(n) * w
		p.widths[i] = uint8(w)
	}
	if p.flat = flat+uint(len(p.groups)) < rice; p.flat {
		flat += predictCodes + specialBits
		last := -1
		for _, w := range p.widths {
			flat += paramCost(last, int(w))
			last = int(w)
		}
		p.flat = flat < rice
	}
	if p.flat {
		rice = flat
	}
	p.bits += rice
}

// noLanes stands for residuals that do not fit lanes.
const noLanes = 1 << laneBits

// widen fills p.wide[i] from x, where residuals may not fit lanes, or lanes if
// they do. It returns all of them or-ed, the parameter and what the group takes.
func (p *columnPlan) widen(i int, x []int64, n uint, last int) (or uint64, param int, cost uint) {
	if cap(p.wide) < len(p.groups) {
		p.wide = make([][riceGroup]uint64, len(p.groups))
	}
	p.wide = p.wide[:len(p.groups)]
	res := &p.wide[i]
	or = p.residuals(res, x)
	if or>>laneBits == 0 {
		sum := p.groups[i].packShifted(res, 0)
		param, cost = p.groups[i].choose(n, or, sum, last, 0)
	} else {
		param, cost = chooseGroup(res, n, or, last)
	}
	return or, param, cost
}

// chooseGroup returns the best parameter for n residuals of any size, 0 from there
// on, and what the group takes; or is theirs.
func chooseGroup(res *[riceGroup]uint64, n uint, or uint64, last int) (param int, cost uint) {
	shift := max(width(or), laneBits) - laneBits
	var l lanes
	sum := l.packShifted(res, shift)
	param, cost = l.choose(n, or>>shift, sum, last, shift)
	if shift > 0 && (param <= int(shift)+1 || l.few()) {
		if p, c := chooseBelow(res, n, shift, last); c < cost || param <= int(shift)+1 {
			return p, c
		}
	}
	return param, cost
}

// pad fills buf with x and continues it without residuals.
func (p *columnPlan) pad(buf *[riceGroup + 3]int64, x []int64) {
	n := copy(buf[:], x)
	v, d1, d2 := p.base, int64(0), int64(0)
	if p.predict != predictZero && p.predict != predictBase {
		v = buf[n-1]
	}
	if p.predict == predictDelta2 || p.predict == predictDelta3 {
		d1 = v - buf[n-2]
	}
	if p.predict == predictDelta3 {
		d2 = d1 - (buf[n-2] - buf[n-3])
	}
	for i := n; i < len(buf); i++ {
		d1 += d2
		v += d1
		buf[i] = v
	}
}

// residuals fills res from x, which begins with the values that the first
// prediction needs, and returns all of them or-ed.
func (p *columnPlan) residuals(res *[riceGroup]uint64, x []int64) (or uint64) {
	switch p.predict {
	case predictDelta:
		in := (*[riceGroup + 1]int64)(x)
		for i := range res {
			res[i] = zigzag(in[i+1] - in[i])
			or |= res[i]
		}
	case predictDelta2:
		in := (*[riceGroup + 2]int64)(x)
		for i := range res {
			res[i] = zigzag(in[i+2] - 2*in[i+1] + in[i])
			or |= res[i]
		}
	case predictDelta3:
		in := (*[riceGroup + 3]int64)(x)
		for i := range res {
			res[i] = zigzag(in[i+3] - in[i] - 3*(in[i+2]-in[i+1]))
			or |= res[i]
		}
	default:
		in := (*[riceGroup]int64)(x)
		for i, v := range in {
			res[i] = zigzag(v - p.base)
			or |= res[i]
		}
	}
	return or
}

// group returns the residuals of group i; what is behind the last one is 0.
func (p *columnPlan) group(i int) (res [riceGroup]uint64) {
	if p.widths[i] > laneBits {
		return p.wide[i]
	}
	p.groups[i].unpack(&res)
	return res
}

// even fills p for values of one width, less the least.
func (s *streamEncoder) even(p *columnPlan, x []int64) {
	lo, hi := x[0], x[0]
	for _, v := range x {
		lo, hi = min(lo, v), max(hi, v)
	}
	p.predict = predictPacked
	p.base = lo
	p.width = max(1, width(uint64(hi)-uint64(lo)))
	if p.width == 64 {
		p.base = 0
	}
	p.bits = predictCodes + specialBits + s.firstBits(p.base) + 6 + uint(len(x))*p.width
}

// highMost is what a high part that just escapes is taken to cost.
const highMost = 21

// chooseBelow returns the best parameter for n residuals, most of which are below
// 1<<k and others far above it, and what the group takes.
func chooseBelow(res *[riceGroup]uint64, n, k uint, last int) (param int, cost uint) {
	or := uint64(0)
	for _, v := range res {
		if v>>(k&63) == 0 {
			or |= v
		}
	}
	k = min(k, width(or))
	param = int(k) + 1
	cost = highParts(res, k) + n*(k+1) + paramCost(last, param)
	for k > 0 {
		k--
		c := highParts(res, k) + n*(k+1) + paramCost(last, int(k)+1)
		if c >= cost {
			break
		}
		param, cost = int(k)+1, c
	}
	return param, cost
}

// highParts is what the high parts of a group take beside their ones.
func highParts(res *[riceGroup]uint64, k uint) (n uint) {
	for _, v := range res {
		q := v >> (k & 63)
		if q >= riceEscape {
			q = riceEscape + uint64(numberBits(q-riceEscape))
		}
		n += uint(q)
	}
	return n
}

// paramCost is what a group's parameter takes after last; -1 = it is the first.
func paramCost(last, p int) uint {
	switch {
	case last >= 0:
		return stepBits(last, p)
	case p < paramFirstMax:
		return paramBits
	}
	return paramBits + 7
}
