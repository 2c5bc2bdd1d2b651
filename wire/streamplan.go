package wire

// predictPacked is no prediction but a special way: see specialPacked.
const predictPacked = predictCodes

// columnPlan is one way to write a column.
type columnPlan struct {
	predict int
	base    int64
	width   uint   // of packed values
	bits    uint   // of what follows the constant flag
	n       int    // residuals
	or      uint64 // of all residuals
	groups  [][riceGroup]uint64
	params  []uint8 // of each group
	widths  []uint8 // of each group's residuals, should they be flat
	flat    bool    // residuals of one width in each group, no Rice codes
}

// headValues is how many values stand before the residuals, by prediction.
var headValues = [predictCodes]int{predictDelta: 1, predictDelta2: 2, predictDelta3: 3}

// plan chooses how x, of at least two values that are not all equal, is written.
// The prediction that promises most is worked out, and another one where it is
// close. The result is valid until the next call.
func (s *streamEncoder) plan(x []int64) *columnPlan {
	g := guess(x)
	best, other := &s.plans[0], &s.plans[1]
	s.work(best, x, g.best)
	if g.second != none {
		s.work(other, x, g.second)
		if other.bits < best.bits {
			best, other = other, best
		}
	}
	if g.even || best.bits > wideBits*uint(len(x)) {
		s.even(other, x)
		if other.bits < best.bits {
			best = other
		}
	}
	return best
}

const none = -1

// wideBits is what a value costs from which on one width is always looked at.
const wideBits = 32

// guessed is what the sums of residuals promise.
type guessed struct {
	best, second int  // predictions; none = only one is worth working out
	even         bool // one width for all may be as good
}

const (
	// guessGroups is how many groups of a column are looked at, at the least.
	guessGroups = 2
	// closeBits and closeShare say when a second prediction is worked out too:
	// by so many bits, or this part of the cost, behind the first.
	closeBits  = 2
	closeShare = 64
	// hugeBits is the length of a sum of sizes from which other sums may wrap;
	// sizes are shifted right by hugeShift then.
	hugeBits  = 54
	hugeShift = 12
)

// guess looks at residuals of order 0 to 3, in columns of many values at those
// of some groups.
func guess(x []int64) guessed {
	if len(x) <= 3 {
		return guessed{best: predictDelta, second: predictZero, even: true}
	}
	var costs [predictCodes]uint
	var s1, s2, or uint64
	step := max(1, (len(x)-3)/(guessGroups*riceGroup)) * riceGroup
	n := uint(0)
	for at := 3; at < len(x); at += step {
		var s [5]uint64
		m := min(riceGroup, len(x)-at)
		if m == riceGroup {
			s = orders16((*[riceGroup + 3]int64)(x[at-3:]))
		} else {
			s = orders(x[at-3:at+m], 0)
		}
		if s[1] >= 1<<hugeBits { // the others may have wrapped
			s = orders(x[at-3:at+m], hugeShift)
			for i := range costs {
				costs[i] += hugeShift * uint(m)
			}
		}
		or |= s[4]
		costs[predictZero] += riceEstimate(s[0], uint(m))
		costs[predictDelta] += riceEstimate(s[1], uint(m))
		costs[predictDelta2] += riceEstimate(s[2], uint(m))
		costs[predictDelta3] += riceEstimate(s[3], uint(m))
		s1 += s[1]
		s2 += s[2]
		n += uint(m)
	}
	var g guessed
	costs[predictBase] = 1 << 24
	if s2/8 >= s1/5 { // of noise, it is the root of 3
		guessNoise(&g, &costs, x, step)
	}
	total := uint(len(x) - 3)
	if n < total {
		for i := range costs {
			costs[i] = uint(uint64(costs[i]) * uint64(total) / uint64(n))
		}
	}
	// What stands before: the first residuals of low orders, or numbers.
	d := x[1] - x[0]
	first, second := numberBits(zigzag(d)), numberBits(zigzag(x[2]-x[1]-d))
	value := numberBits(zigzag(x[0]))
	costs[predictZero] += 2 + 3*(costs[predictZero]/total)
	costs[predictDelta] += value + 2*(costs[predictDelta]/total)
	costs[predictDelta2] += 1 + value + first + costs[predictDelta2]/total
	costs[predictDelta3] += 3 + value + first + second
	costs[predictBase] += 4 + value + 3*(costs[predictBase]/total)
	g.best, g.second = leastTwo(&costs)
	g.even = g.even || uint(len(x))*width(or) <= costs[g.best]
	return g
}

// leastTwo returns the least cost, and the second one where it is close.
func leastTwo(costs *[predictCodes]uint) (best, second int) {
	best = 0
	for i, c := range costs {
		if c < costs[best] {
			best = i
		}
	}
	second = none
	limit := costs[best] + closeBits + costs[best]/closeShare
	for i, c := range costs {
		if i != best && c <= limit {
			second, limit = i, c
		}
	}
	return best, second
}

// guessNoise is guess for values less their mean, and for one width for all of
// them.
func guessNoise(g *guessed, costs *[predictCodes]uint, x []int64, step int) {
	m := mean(x[:min(len(x), 4*riceGroup)])
	lo, hi := m, m
	n, base := uint(0), uint(0)
	for at := 3; at < len(x); at += step {
		group := x[at:min(at+riceGroup, len(x))]
		sum := uint64(0)
		for _, v := range group {
			sum += uint64((v - m) ^ (v-m)>>63)
			lo, hi = min(lo, v), max(hi, v)
		}
		base += riceEstimate(sum, uint(len(group)))
		n += uint(len(group))
	}
	costs[predictBase] = base
	g.even = n*width(uint64(hi)-uint64(lo)) <= base+base/16
}

// orders16 returns the sums of the sizes of residuals of order 0 to 3 of the
// last 16 values, and the sizes of order 0 or-ed.
func orders16(x *[riceGroup + 3]int64) [5]uint64 {
	prev := x[2]
	d1 := prev - x[1]
	d2 := d1 - (x[1] - x[0])
	var s0, s1, s2, s3, or uint64
	for i := range riceGroup {
		v := x[i+3]
		e1 := v - prev
		e2 := e1 - d1
		e3 := e2 - d2
		prev, d1, d2 = v, e1, e2
		e0 := uint64(v ^ v>>63)
		or |= e0
		s0 += e0
		s1 += uint64(e1 ^ e1>>63)
		s2 += uint64(e2 ^ e2>>63)
		s3 += uint64(e3 ^ e3>>63)
	}
	if or >= 1<<58 {
		s0 = 1 << 58 // it may have wrapped
	}
	return [5]uint64{s0, s1, s2, s3, or}
}

// orders is orders16 for any number of values behind the first three, and of
// sizes shifted right by so much.
func orders(x []int64, shift uint) [5]uint64 {
	prev := x[2]
	d1 := prev - x[1]
	d2 := d1 - (x[1] - x[0])
	var s0, s1, s2, s3, or uint64
	shift &= 63
	for _, v := range x[3:] {
		e1 := v - prev
		e2 := e1 - d1
		e3 := e2 - d2
		prev, d1, d2 = v, e1, e2
		e0 := uint64(v ^ v>>63)
		or |= e0
		s0 += e0 >> shift
		s1 += uint64(e1^e1>>63) >> shift
		s2 += uint64(e2^e2>>63) >> shift
		s3 += uint64(e3^e3>>63) >> shift
	}
	if or>>shift >= 1<<58 {
		s0 = 1 << 58
	}
	return [5]uint64{s0, s1, s2, s3, or}
}

// reciprocals are 64/n, rounded: dividing by them costs less.
var reciprocals = [32]uint64{
	0, 64, 32, 21, 16, 13, 11, 9, 8, 7, 6, 6, 5, 5, 5, 4, 4,
}

// meanWidth returns about the width of sum/n, n up to a group.
func meanWidth(sum uint64, n uint) uint {
	if sum >= 1<<57 {
		return width(sum / uint64(n))
	}
	return width(sum * reciprocals[n&31] >> 6)
}

// riceEstimate returns about what a group of n residuals takes whose sizes
// without sign sum up to sum.
func riceEstimate(sum uint64, n uint) uint {
	if sum == 0 {
		return 1
	}
	sum = 2*min(sum, 1<<58) + uint64(n/2)
	k := max(meanWidth(sum, n), 1) - 1
	return n*(k+1) + uint(sum>>k) + 2
}

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
		p.groups = make([][riceGroup]uint64, count)
		p.params, p.widths = make([]uint8, count), make([]uint8, count)
	}
	p.groups, p.params, p.widths = p.groups[:count], p.params[:count], p.widths[:count]
	p.base, p.or = 0, 0
	switch predict {
	case predictBase:
		p.base = mean(x)
		p.bits += s.firstBits(p.base)
	case predictDelta:
		p.bits += s.firstBits(x[0])
	case predictDelta2:
		p.bits += s.firstBits(x[0]) + numberBits(zigzag(x[1]-x[0]))
	case predictDelta3:
		d := x[1] - x[0]
		p.bits += s.firstBits(x[0]) + numberBits(zigzag(d)) + numberBits(zigzag(x[2]-x[1]-d))
	}
	last, lastWidth := -1, -1
	rice, flat := uint(0), uint(predictCodes+specialBits)
	for i := range p.groups {
		res := &p.groups[i]
		in := x[i*riceGroup:]
		n := min(len(in)-head, riceGroup)
		var or, sum uint64
		if n == riceGroup {
			or, sum = p.residuals(res, in)
		} else {
			var buf [riceGroup + 3]int64
			copy(buf[:], in)
			p.residuals(res, buf[:])
			clear(res[n:])
			for _, v := range res {
				or |= v
				sum += v
			}
		}
		param, cost := chooseGroup(res, uint(n), or, sum, last)
		rice += cost
		p.params[i] = uint8(param)
		last = param
		p.or |= or
		w := int(width(or))
		flat += uint(n*w) + paramCost(lastWidth, w)
		p.widths[i] = uint8(w)
		lastWidth = w
	}
	p.flat = flat < rice
	p.bits += min(flat, rice)
}

// residuals fills res from x, which begins with the values that the first
// prediction needs; it returns all residuals or-ed, and their sum modulo 2^64.
func (p *columnPlan) residuals(res *[riceGroup]uint64, x []int64) (or, sum uint64) {
	switch p.predict {
	case predictDelta:
		in := (*[riceGroup + 1]int64)(x)
		prev := in[0]
		for i := 0; i < riceGroup; i += 4 {
			v, r := (*[4]int64)(in[i+1:]), (*[4]uint64)(res[i:])
			a, b, c, d := zigzag(v[0]-prev), zigzag(v[1]-v[0]), zigzag(v[2]-v[1]), zigzag(v[3]-v[2])
			prev = v[3]
			r[0], r[1], r[2], r[3] = a, b, c, d
			or |= a | b | c | d
			sum += a + b + c + d
		}
	case predictDelta2:
		in := (*[riceGroup + 2]int64)(x)
		prev, last := in[1], in[1]-in[0]
		for i := 0; i < riceGroup; i += 4 {
			v, r := (*[4]int64)(in[i+2:]), (*[4]uint64)(res[i:])
			d0, d1, d2, d3 := v[0]-prev, v[1]-v[0], v[2]-v[1], v[3]-v[2]
			a, b, c, d := zigzag(d0-last), zigzag(d1-d0), zigzag(d2-d1), zigzag(d3-d2)
			prev, last = v[3], d3
			r[0], r[1], r[2], r[3] = a, b, c, d
			or |= a | b | c | d
			sum += a + b + c + d
		}
	case predictDelta3:
		in := (*[riceGroup + 3]int64)(x)
		d1 := in[2] - in[1]
		d2 := d1 - (in[1] - in[0])
		for i := range res {
			e1 := in[i+3] - in[i+2]
			e2 := e1 - d1
			r := zigzag(e2 - d2)
			d1, d2 = e1, e2
			res[i] = r
			or |= r
			sum += r
		}
	default:
		in := (*[riceGroup]int64)(x)
		base := p.base
		for i := range res {
			r := zigzag(in[i] - base)
			res[i] = r
			or |= r
			sum += r
		}
	}
	return or, sum
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

// mean returns a value near the middle of x; any would do.
func mean(x []int64) int64 {
	sum, or := int64(0), uint64(0)
	for _, v := range x {
		sum += v
		or |= uint64(v ^ v>>63)
	}
	n := int64(len(x))
	if or < 1<<46 { // at most 2^16 values
		if sum < 0 {
			return (sum - n/2) / n
		}
		return (sum + n/2) / n
	}
	sum = 0
	for _, v := range x {
		sum += v / n
	}
	return sum
}

// highMost is what a high part that just escapes is taken to cost.
const highMost = 21

// chooseGroup returns the best parameter for n residuals, 0 from there on, and
// what the group takes. or and sum are theirs.
func chooseGroup(res *[riceGroup]uint64, n uint, or, sum uint64, last int) (param int, cost uint) {
	if or == 0 {
		return 0, paramCost(last, 0)
	}
	// A Laplacian's best parameter is a half below the logarithm of the mean;
	// with large values in the tail it is lower still.
	var lo uint
	if or < 1<<58 {
		lo = (max(meanWidth(sum, n), 2) - 2) & 63
	} else {
		lo = width(or) - 4 // the sum may have wrapped
	}
	var a, b uint
	switch {
	case or>>lo >= highMost || or >= 1<<58:
		a, b = highParts(res, or, lo), highParts(res, or, lo+1)
	case lo > 1:
		// No tail: the low bits are even, a half each on average.
		a = uint((2*sum + uint64(n) - uint64(n)<<lo) >> (lo + 1))
		b = uint((2*sum + uint64(n) - uint64(n)<<(lo+1)) >> (lo + 2))
	default:
		var odd uint
		for i := 0; i < riceGroup; i += 4 {
			v := (*[4]uint64)(res[i:])
			q0, q1, q2, q3 := uint(v[0]>>lo), uint(v[1]>>lo), uint(v[2]>>lo), uint(v[3]>>lo)
			a += q0 + q1 + q2 + q3
			odd += q0&1 + q1&1 + q2&1 + q3&1
		}
		b = (a - odd) / 2
	}
	p := int(lo) + 1
	a += n*(lo+1) + paramCost(last, p)
	b += n*(lo+2) + paramCost(last, p+1)
	if b < a {
		return p + 1, b
	}
	if lo > 1 && or>>lo < highMost && or < 1<<58 {
		return p, a
	}
	for lo > 0 {
		lo--
		b = highParts(res, or, lo) + n*(lo+1) + paramCost(last, p-1)
		if b > a {
			break
		}
		a = b
		p--
	}
	return p, a
}

// highParts is what the high parts of a group take beside their ones.
func highParts(res *[riceGroup]uint64, or uint64, k uint) (n uint) {
	k &= 63
	if or>>k >= 1<<8 {
		for _, v := range res {
			n += highBits(v >> k)
		}
		return n
	}
	for i := 0; i < riceGroup; i += 4 {
		v := (*[4]uint64)(res[i:])
		n += uint(min(v[0]>>k, highMost) + min(v[1]>>k, highMost) + min(v[2]>>k, highMost) + min(v[3]>>k, highMost))
	}
	return n
}

// highBits is what any high part takes beside its one.
func highBits(q uint64) uint {
	if q < riceEscape {
		return uint(q)
	}
	return riceEscape + numberBits(q-riceEscape)
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
