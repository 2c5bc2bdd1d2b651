package wire

import (
	"math"
	"slices"
)

// Limits of the search for a grid.
const (
	gridSample   = 32 // values that it is looked for in
	gridFewest   = 6  // of them at least
	gridSteps    = 6  // a step is at least so many units of the last place
	gridRounds   = 12 // remainders taken for a step before giving up
	gridCuts     = 24 // of the search for step and offset
	gridStrange  = 8  // at most one value in so many lies elsewhere
	gridKnown    = 8  // grids that are kept
	gridTested   = 4  // values by which a kept one is refused at once
	gridPatience = 2  // searches without use by which the pause grows
	gridPause    = 31
	gridLargest  = 1 << 40
)

// gridPoint is one value: its number on the grid, and from where to where a sum
// may lie that is rounded to it.
type gridPoint struct{ k, lo, hi float64 }

// gridFinder finds a grid that floats lie on. It keeps memory between columns.
type gridFinder struct {
	step, offset float64
	sample       []float64
	gaps         []float64
	points       []gridPoint
	k            []int64
	off          []uint64        // zigzag: what a value lies above its point, in steps of its type
	exact        bool            // every value lies on its point
	known        [gridKnown]grid // found in columns before
	next         int             // of them that is forgotten
	lost, wait   int             // searches in a row without use, and columns that are not searched then
}

type grid struct{ step, offset float64 }

// lastPlace is the distance of floats of the size of f.
func lastPlace(f float64, t ValueType) float64 {
	if t == TypeF32 {
		const digits = 23
		g := float32(f)
		if e := math.Float32bits(g) >> digits & 0xff; e > digits {
			return float64(math.Float32frombits((e - digits) << digits))
		}
		return math.SmallestNonzeroFloat32
	}
	f = math.Abs(f)
	return math.Nextafter(f, math.Inf(1)) - f
}

// find looks for a grid that c's values lie on, x as ordered integers with all
// their bits: one of a column before, or a new one.
func (g *gridFinder) find(c *Column, x []int64) bool {
	for i := range g.known {
		if g.known[i].step != 0 && g.same(c, g.known[i]) {
			if g.exact = factor(g.k) == 1; g.exact {
				return true
			} // else one of wider steps takes fewer bits
		}
	}
	if g.wait > 0 {
		g.wait--
		return false
	}
	g.used(false) // until it turns out
	first, unit, ok := g.estimate(c)
	if !ok || !g.place(c, first, unit) || !g.fit() || constant(g.k) {
		return false
	}
	if g.leave(c, x); g.exact {
		g.known[g.next] = grid{g.step, g.offset}
		g.next = (g.next + 1) % gridKnown
	}
	return true
}

// leave fills g.off with what x lies above its points.
func (g *gridFinder) leave(c *Column, x []int64) {
	g.off = g.off[:0]
	g.exact = true
	for i, v := range x {
		z := zigzag(v - ordered(onGrid(g.k[i], g.step, g.offset), c.Type))
		g.off = append(g.off, z)
		g.exact = g.exact && z == 0
	}
}

// apply is find for a grid that is known: nearly all values must lie on it.
func (g *gridFinder) apply(c *Column, x []int64, on grid) bool {
	strange := g.number(c.Values, c.Type, on)
	if g.exact = strange == 0; !g.exact {
		if strange > len(x)/gridStrange {
			return false
		}
		g.leave(c, x)
	}
	return true
}

// used says whether a search was of use: it is done less and less while it is not.
func (g *gridFinder) used(ok bool) {
	if g.lost++; ok {
		g.lost = 0
	}
	g.wait = min(g.lost/gridPatience, gridPause)
}

// same fills g.k and reports true if all values lie on a grid.
func (g *gridFinder) same(c *Column, on grid) bool {
	n := len(c.Values) / gridTested
	for i := range gridTested {
		if g.number(c.Values[i*n:i*n+1], c.Type, on) > 0 {
			return false
		}
	}
	return g.number(c.Values, c.Type, on) == 0
}

// number fills g.k with the numbers of values on a grid and returns how many of
// them do not lie there.
func (g *gridFinder) number(x []int64, t ValueType, on grid) (strange int) {
	g.step, g.offset = on.step, on.offset
	g.k = slices.Grow(g.k[:0], len(x))[:len(x)]
	// A sum with whole is rounded to a whole number.
	const whole = 3 << 51
	inverse, last := 1/on.step, int64(0)
	for i, v := range x {
		f := value(v, t)
		at := float64(float64(f-on.offset)*inverse) + whole
		if !(math.Abs(at-whole) < gridLargest) {
			strange++
			g.k[i] = last
			continue
		}
		k := int64(at) - whole
		if back := onGrid(k, on.step, on.offset); t == TypeF32 {
			strange += int(b2u(int64(math.Float32bits(float32(back))) != v))
		} else {
			strange += int(b2u(int64(math.Float64bits(back)) != v))
		}
		g.k[i], last = k, k
	}
	return strange
}

// estimate finds about the step in some values, and one of them.
func (g *gridFinder) estimate(c *Column) (first, unit float64, ok bool) {
	g.sample, g.gaps = g.sample[:0], g.gaps[:0]
	every := max(1, len(c.Values)/gridSample)
	most := 0.0
	for i := 0; i < len(c.Values); i += every {
		f := value(c.Values[i], c.Type)
		if math.IsNaN(f) || math.IsInf(f, 0) {
			continue
		}
		g.sample = append(g.sample, f)
		most = max(most, math.Abs(f))
	}
	if len(g.sample) < gridFewest {
		return 0, 0, false
	}
	slices.Sort(g.sample)
	unit = lastPlace(most, c.Type)
	prev := g.sample[0]
	for _, f := range g.sample[1:] {
		if f > prev {
			g.gaps = append(g.gaps, f-prev)
			prev = f
		}
	}
	if len(g.gaps) == 0 || unit == 0 || math.IsInf(prev-g.sample[0], 0) {
		return 0, 0, false
	}
	slices.Sort(g.gaps)
	if !g.common(unit) {
		return 0, 0, false
	}
	// The widest span gives the best step.
	k := 0.0
	for _, d := range g.gaps {
		k += math.RoundToEven(d / g.step)
	}
	g.step = (prev - g.sample[0]) / k
	return g.sample[0], unit, true
}

// common finds the greatest step that all gaps are multiples of, but for
// rounding.
func (g *gridFinder) common(unit float64) bool {
	step, blur := g.gaps[0], unit
	for range gridRounds {
		if step < gridSteps*unit {
			return false
		}
		rest := 0.0
		for _, d := range g.gaps {
			q := math.RoundToEven(d / step)
			r := math.Abs(d - float64(q*step))
			if may := unit + float64(q*blur); r > 2*may && r > step/64 {
				rest, blur = r, may
				break
			} else if 8*may > step {
				return false // anything would be a multiple
			}
			if q > 0 && unit/q < blur {
				step, blur = d/q, unit/q
			}
		}
		if rest == 0 {
			g.step = step
			return true
		}
		step = rest
	}
	return false
}

// place gives every value its number, and those near a point their bounds.
func (g *gridFinder) place(c *Column, first, unit float64) bool {
	n := len(c.Values)
	g.k, g.points = slices.Grow(g.k[:0], n), slices.Grow(g.points[:0], n)
	last, strange := int64(0), 0
	for _, v := range c.Values {
		f := value(v, c.Type)
		at := (f - first) / g.step
		if !(math.Abs(at) < gridLargest) {
			g.k = append(g.k, last)
			strange++
			continue
		}
		k := math.RoundToEven(at)
		last = int64(k)
		g.k = append(g.k, last)
		if math.Abs(at-k)*g.step > 2*unit && math.Abs(at-k) > 1.0/8 {
			strange++
			continue
		}
		half := lastPlace(f, c.Type) / 2
		g.points = append(g.points, gridPoint{k, f - half, f + half})
	}
	g.offset = first
	return strange <= n/gridStrange && len(g.points) >= gridFewest
}

// fit finds step and offset within all bounds, or nearly.
func (g *gridFinder) fit() bool {
	if g.multiples() {
		return true
	}
	// The room for an offset is a concave function of the step: cut it by
	// tangents from both sides of its highest point.
	k := g.points[0].k
	for _, p := range g.points {
		k = max(k, math.Abs(p.k))
	}
	wide := g.points[0].hi - g.points[0].lo
	for _, p := range g.points {
		wide = max(wide, p.hi-p.lo)
	}
	if k == 0 {
		return false
	}
	best, room := g.cut(g.step-4*wide/k, g.step+4*wide/k)
	if math.IsInf(room, -1) {
		_, _, o := g.room(best)
		g.step, g.offset = best, o[0]/2+o[1]/2
		return true
	}
	// A number of few bits, while there is room.
	_, n := math.Frexp(g.step * k / max(room, math.SmallestNonzeroFloat64))
	for n := uint(min(max(n-2, 4), mantBits)); n < mantBits; n += 3 {
		s := rounded(best, n)
		if r, _, _ := g.room(s); r > 0 && r >= room/2 {
			best = s
			break
		}
	}
	r, _, o := g.room(best)
	g.step, g.offset = best, o[0]/2+o[1]/2
	if r > 0 {
		if f, ok := shortest(o[0]+r/16, o[1]-r/16); ok {
			g.offset = f
		}
	}
	return true
}

// cut returns the step from a to b that leaves most room, and that.
func (g *gridFinder) cut(a, b float64) (best, room float64) {
	best, room = g.step, math.Inf(-1)
	ra, sa, _ := g.room(a)
	rb, sb, _ := g.room(b)
	for range gridCuts {
		if sa <= 0 || sb >= 0 || !(b > a) {
			break
		}
		s := (rb - ra + float64(sa*a) - float64(sb*b)) / (sa - sb)
		if !(s > a && s < b) {
			break
		}
		r, slope, _ := g.room(s)
		if r > room {
			best, room = s, r
		}
		switch {
		case slope > 0:
			a, ra, sa = s, r, slope
		case slope < 0:
			b, rb, sb = s, r, slope
		default:
			return best, room
		}
	}
	return best, room
}

// room returns how much room all bounds leave for an offset with a step, less
// than 0 = none; how that changes with the step; and the bounds.
func (g *gridFinder) room(step float64) (r, slope float64, bounds [2]float64) {
	lo, hi := math.Inf(-1), math.Inf(1)
	var kLo, kHi float64
	for i := range g.points {
		p := &g.points[i]
		d := float64(p.k * step)
		if v := p.lo - d; v > lo {
			lo, kLo = v, p.k
		}
		if v := p.hi - d; v < hi {
			hi, kHi = v, p.k
		}
	}
	return hi - lo, kLo - kHi, [2]float64{lo, hi}
}

// multiples tries an offset of 0.
func (g *gridFinder) multiples() bool {
	shift := math.RoundToEven(g.offset / g.step)
	if !(math.Abs(shift) < gridLargest) {
		return false
	}
	lo, hi := 0.0, math.Inf(1)
	for _, p := range g.points {
		switch k := p.k + shift; {
		case k > 0:
			lo, hi = max(lo, p.lo/k), min(hi, p.hi/k)
		case k < 0:
			lo, hi = max(lo, p.hi/k), min(hi, p.lo/k)
		case p.lo > 0 || p.hi < 0:
			return false
		}
	}
	if !(lo < hi) || math.IsInf(hi, 0) {
		return false
	}
	step, ok := shortest(lo+(hi-lo)/16, hi-(hi-lo)/16)
	if !ok {
		return false
	}
	g.step, g.offset = step, 0
	for i := range g.k {
		g.k[i] += int64(shift)
	}
	return true
}

// rounded returns f with n bits of mantissa.
func rounded(f float64, n uint) float64 {
	half := uint64(1) << (mantBits - n - 1)
	return math.Float64frombits((math.Float64bits(f) + half) &^ (2*half - 1))
}

// shortest returns a number of few bits from a to b, both of one sign.
func shortest(a, b float64) (float64, bool) {
	if !(a <= b) || math.Signbit(a) != math.Signbit(b) {
		return 0, false
	}
	for n := uint(0); n < mantBits; n++ {
		if f := rounded(a/2+b/2, n); f >= a && f <= b {
			return f, true
		}
	}
	return a, true
}
