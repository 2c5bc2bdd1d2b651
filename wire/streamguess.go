package wire

// guessed is what the sums of residuals promise.
type guessed struct {
	best, second int // predictions; none = only one is worth working out
}

const (
	// never is a cost above all others.
	never = 1 << 28
	// wideBits is the most that a base is taken to save.
	wideBits = 32
	// A column of guessAll values is looked at as a whole, a longer one at one
	// group in guessEvery values, at least two.
	guessAll   = 2*riceGroup + 3
	guessEvery = 256
	// closeBits and closeShare say when a second prediction is worked out too:
	// by so many bits, or this part of the cost, behind the first.
	closeBits  = 2
	closeShare = 64
	// hugeSize is what counts as one size if it is larger, so that sums fit.
	hugeSize    = 1 << 54
	closeSmooth = 8 // for columns with small changes of changes
)

// guesser looks at some groups of a column.
type guesser struct {
	x     []int64
	at    int // first value of the group at hand, at least 3
	step  int
	dense int // times as many groups
	costs [predictCodes]uint
}

// next returns the values of a group and the three before it, nil behind the last.
func (g *guesser) next() []int64 {
	if g.at >= len(g.x) {
		return nil
	}
	in := g.x[g.at-3 : min(g.at+riceGroup, len(g.x))]
	g.at += g.step
	return in
}

// begin sets the first group.
func (g *guesser) begin() {
	g.at, g.step = 3, riceGroup
	if n := len(g.x); n > guessAll {
		g.step = max(riceGroup, (n-3)/(max(2, n/guessEvery)*g.dense))
		g.at += (g.step - riceGroup) / 2
	}
}

// guess looks at residuals of order 1 and 2, and others if these say so.
func guess(x []int64, coarse bool) guessed {
	if len(x) <= 3 {
		return guessed{best: predictDelta, second: predictZero}
	}
	g := guesser{x: x, dense: 1}
	n, s1, s2 := g.changes()
	if s1 == 0 {
		return guessed{best: predictDelta, second: none}
	}
	g.costs[predictZero], g.costs[predictDelta3], g.costs[predictBase] = never, never, never
	if s2 <= s1 && s1 < hugeSize {
		g.third()
	} else if s1 >= hugeSize || !wanders(x, s1/uint64(n)) {
		g.dense = 2
		g.costs[predictDelta], g.costs[predictDelta2] = 0, 0
		n, _, _ = g.changes()
		g.noise()
	}
	total := uint(len(x) - 3)
	if n < total {
		for i := range g.costs {
			g.costs[i] = uint(min(uint64(g.costs[i])*uint64(total)/uint64(n), never))
		}
	}
	// What stands before: the first residuals of low orders, or numbers.
	d := x[1] - x[0]
	first, second := numberBits(zigzag(d)), numberBits(zigzag(x[2]-x[1]-d))
	value := numberBits(zigzag(x[0]))
	c := &g.costs
	c[predictZero] += 2 + 3*(c[predictZero]/total)
	c[predictDelta] += value + 2*(c[predictDelta]/total)
	c[predictDelta2] += 1 + value + first + c[predictDelta2]/total
	c[predictDelta3] += 3 + value + first + second
	each := c[predictBase] / total
	c[predictBase] += 4 + value + 3*each
	if coarse && each > coarseBits && c[predictBase] < never {
		c[predictBase] -= min(each-coarseBits, value-5, wideBits)
	}
	share := uint(closeShare)
	if s2 <= s1 {
		share = closeSmooth
	}
	out := leastTwo(c, share)
	if coarse && out.best == predictBase && out.second == none {
		c[predictBase] = never // what it saves is not sure
		out.second = leastTwo(c, share).best
	}
	return out
}

// wanders reports that values far from each other differ by much more than those
// side by side, which do so by step on average: no noise around one value.
func wanders(x []int64, step uint64) bool {
	q := len(x) / 8
	d0, d1, d2, d3 := x[0]-x[4*q], x[q]-x[5*q], x[2*q]-x[6*q], x[3*q]-x[7*q]
	far := uint64(d0^d0>>63)/4 + uint64(d1^d1>>63)/4 + uint64(d2^d2>>63)/4 + uint64(d3^d3>>63)/4
	return far/4 > step+1
}

// changes adds up the cost of residuals of order 1 and 2, and returns their number
// and the sums of their sizes.
func (g *guesser) changes() (n uint, s1, s2 uint64) {
	g.begin()
	for in := g.next(); in != nil; in = g.next() {
		var a, b, or uint64
		m := uint(len(in) - 3)
		if m == riceGroup {
			a, b, or = changes16((*[riceGroup + 2]int64)(in[1:]))
		} else {
			prev := in[2]
			d := prev - in[1]
			for _, v := range in[3:] {
				e := v - prev
				a += size(e)
				b += size(e - d)
				or |= size(e)
				prev, d = v, e
			}
		}
		if or >= hugeSize { // sums may have wrapped
			a, b = hugeSize, hugeSize
		}
		g.costs[predictDelta] += riceEstimate(a, m)
		g.costs[predictDelta2] += riceEstimate(b, m)
		s1 += a
		s2 += b
		n += m
	}
	return n, s1, s2
}

// size is about v without its sign.
func size(v int64) uint64 { return uint64(v ^ v>>63) }

// changes16 returns the sums of the sizes of residuals of order 1 and 2, and those
// of order 1 or-ed.
func changes16(x *[riceGroup + 2]int64) (s1, s2, or uint64) {
	prev, last := x[1], x[1]-x[0]
	for i := 2; i < len(x); i += 4 {
		v := (*[4]int64)(x[i:])
		d0, d1, d2, d3 := v[0]-prev, v[1]-v[0], v[2]-v[1], v[3]-v[2]
		a, b, c, d := size(d0), size(d1), size(d2), size(d3)
		or |= a | b | c | d
		s1 += a + b + c + d
		s2 += size(d0-last) + size(d1-d0) + size(d2-d1) + size(d3-d2)
		prev, last = v[3], d3
	}
	return s1, s2, or
}

// third adds up the cost of residuals of order 3.
func (g *guesser) third() {
	g.begin()
	g.costs[predictDelta3] = 0
	for in := g.next(); in != nil; in = g.next() {
		s3 := uint64(0)
		for i, v := range in[3:] {
			s3 += size(v - in[i] - 3*(in[i+2]-in[i+1]))
		}
		g.costs[predictDelta3] += riceEstimate(s3, uint(len(in)-3))
	}
}

// noise adds up the cost of values, and of values less their mean.
func (g *guesser) noise() {
	m := mean(g.x[:min(len(g.x), 4*riceGroup)])
	g.begin()
	g.costs[predictZero], g.costs[predictBase] = 0, 0
	for in := g.next(); in != nil; in = g.next() {
		var zero, base uint64
		for _, v := range in[3:] {
			zero += min(size(v), hugeSize)
			base += min(size(v-m), hugeSize)
		}
		n := uint(len(in) - 3)
		g.costs[predictZero] += riceEstimate(zero, n)
		g.costs[predictBase] += riceEstimate(base, n)
	}
}

// leastTwo returns the least cost, and the second one where it is close.
func leastTwo(costs *[predictCodes]uint, share uint) guessed {
	best, second := predictZero, none
	least, next := costs[predictZero], uint(1)<<31
	for _, i := range [...]int{predictDelta, predictDelta2, predictDelta3, predictBase} {
		switch c := costs[i]; {
		case c < least:
			second, next = best, least
			best, least = i, c
		case c < next:
			second, next = i, c
		}
	}
	if next > least+closeBits+least/share {
		second = none
	}
	return guessed{best, second}
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
