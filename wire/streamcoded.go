package wire

import (
	"math"
	"slices"
)

const (
	// codedLeast residuals are the fewest that are worth a table.
	codedLeast = 96
	// codedLong residuals are always looked at.
	codedLong = 400
	// shortDistinct is how many values a short column may have.
	shortDistinct = 48
)

// tableEncoder writes residuals by a table of bins. It keeps memory between
// columns.
type tableEncoder struct {
	binChooser
	res    []uint64
	spare  []uint64
	bin    []uint8 // of each residual
	out    []uint16
	states [1 << maxTableBits]uint16
	spread [1 << maxTableBits]uint8
	rates  [maxBins]binRate
	first  [tableStates]uint16
}

// binRate says how a bin's symbol moves the state: as many bits go out as
// (state + bits)>>16, and the next state stands at what is left, plus at.
type binRate struct {
	bits uint32
	at   int32
}

// coded writes x, for which p is the plan, with a table of bins if that is
// smaller, and reports whether it did.
func (s *streamEncoder) coded(x []int64, p *columnPlan) bool {
	values, residuals := s.known.table == tableValues, s.known.table == tableResiduals && p.predict != predictPacked
	if s.known.left == 0 || s.known.table == tableNone && s.known.left%2 == 0 {
		values, residuals = worthTable(x, p)
		s.known.table = tableNone
	}
	if !values && !residuals {
		s.found.table = s.known.table
		return false
	}
	s.found.table = tableLost
	limit := p.bits
	if len(x) < codedLong {
		limit -= limit / worthTime
	}
	if s.table == nil {
		s.table = new(tableEncoder)
	}
	t := s.table
	predict, base, plain, fromValues := predictBase, int64(0), true, false
	best := limit
	if residuals {
		rising := t.predicted(p)
		if cost := t.find(best); cost < best {
			if cost += s.headBits(x, p.predict, p.base); cost < best {
				best, predict, base, plain = cost, p.predict, p.base, rising
			}
		}
	}
	if values {
		lo := slices.Min(x)
		t.res, t.spare = differences(t.spare, x, lo), t.res
		cost := t.find(best)
		if cost < best {
			cost += s.headBits(x, predictBase, lo)
		}
		switch {
		case cost < best:
			best, predict, base, plain, fromValues = cost, predictBase, lo, true, true
		case best < limit: // back to the residuals
			t.res, t.spare = t.spare, t.res
			t.find(limit)
		}
	}
	if best >= limit {
		return false
	}
	t.weigh(len(t.res))
	t.encode()
	if t.size()+s.headBits(x, predict, base) >= limit {
		return false
	}
	if s.found.table = tableResiduals; fromValues {
		s.found.table = tableValues
	}
	s.special(specialFlat)
	s.special(furtherCoded)
	s.head(x, predict, base)
	s.writeTable(t, plain)
	return true
}

// predicted fills t.res with the residuals of a plan; without zigzag, and that
// it says, if none is below 0.
func (t *tableEncoder) predicted(p *columnPlan) (rising bool) {
	t.res = slices.Grow(t.res[:0], p.n)
	for i := range p.groups {
		group := p.group(i)
		t.res = append(t.res, group[:min(riceGroup, p.n-i*riceGroup)]...)
	}
	if rising = p.or&1 == 0; rising {
		for i := range t.res {
			t.res[i] >>= 1
		}
	}
	return rising
}

// find finds bins for t.res and returns about what they take; limit or more if
// they are surely not better.
func (t *tableEncoder) find(limit uint) uint {
	short := len(t.res) < codedLong
	if !t.count(t.res, short) {
		if short {
			return max(limit, 1<<31-1)
		}
		t.gather(t.res)
	}
	if t.least(len(t.res))+worthShort/2 >= limit {
		return max(limit, 1<<31-1)
	}
	t.sort()
	return t.join(len(t.res))
}

// differences returns x less base.
func differences(out []uint64, x []int64, base int64) []uint64 {
	out = slices.Grow(out[:0], len(x))[:len(x)]
	for i, v := range x {
		out[i] = uint64(v - base)
	}
	return out
}

const (
	sampled    = 32  // values that worthTable looks at
	worthShort = 180 // bits that a table takes itself
	worthShare = 2   // the rest must be the smaller by this factor
	worthBits  = 4   // that a value takes in a short column
	worthTime  = 8   // part of its bits that a table must save there
)

// worthTable reports whether the values or the residuals of a column may be
// worth a table. In short columns they are equal so often then that they can't
// need the bits of the plan, and it is only one of both.
func worthTable(x []int64, p *columnPlan) (values, residuals bool) {
	if p.bits < worthShort || len(x) < codedLong && p.bits < worthBits*uint(len(x)) {
		return false, false
	}
	n, limit := uint64(len(x)), uint64(p.bits)*centi
	var some [sampled]uint64
	packed := p.predict == predictPacked
	r := uint64(math.MaxUint32)
	if n < codedLong && !packed {
		p.sample(&some)
		r = likeness(&some)
	}
	step := len(x) / sampled
	for i := range some {
		some[i] = uint64(x[i*step])
	}
	v := likeness(&some)
	if n >= codedLong {
		return packed || v*n < limit, !packed
	}
	if min(v, r)*n*worthShare+worthShort*centi >= limit {
		return false, false
	}
	return v < r, v >= r
}

// sample fills some with residuals, four in a row from each of some groups.
func (p *columnPlan) sample(some *[sampled]uint64) {
	const parts = sampled / 4
	last := len(p.groups) - 1
	if p.n%riceGroup != 0 {
		last--
	}
	for i := range parts {
		group, word := i*last/(parts-1), i%(riceGroup/4)
		to := (*[4]uint64)(some[4*i:])
		if p.widths[group] > laneBits {
			*to = [4]uint64(p.wide[group][4*word:])
			continue
		}
		l := p.groups[group][word]
		to[0], to[1], to[2], to[3] = l&0xffff, l>>16&0xffff, l>>32&0xffff, l>>48
	}
}

// likeness returns the bits that a value takes if values are as often equal as
// some of them are, in parts of a bit.
func likeness(some *[sampled]uint64) uint64 {
	var seen [256]uint8
	pairs := uint32(0)
	for _, v := range some {
		n := &seen[v*0x9e3779b97f4a7c15>>56]
		pairs += uint32(*n)
		*n++
	}
	const all = sampled * (sampled - 1) / 2
	return log2(all) - log2(max(1, pairs))
}

// encode walks through the residuals from the last to the first and leaves the
// bits that go out in t.out.
func (t *tableEncoder) encode() {
	size := 1 << t.log
	spread(t.spread[:size], t.bins)
	at := int32(0)
	var next [maxBins]int32
	for i := range t.bins {
		w := uint32(t.bins[i].weight)
		n := uint32(t.log) + 1 - uint32(width(uint64(w)))
		t.rates[i%maxBins] = binRate{n<<16 - w<<n, at - int32(w)}
		next[i%maxBins] = at
		at += int32(w)
	}
	for u, b := range t.spread[:size] {
		t.states[next[b]] = uint16(size + u)
		next[b]++
	}
	t.bin = slices.Grow(t.bin[:0], len(t.res))[:len(t.res)]
	if t.exact {
		var of [1 << distinctLog]uint8
		for i, f := range t.fine {
			of[t.slot(f.low)] = t.of[i]
		}
		for i, v := range t.res {
			t.bin[i] = of[t.slot(v)]
		}
	} else {
		var of [maxTokens]uint8
		for i, f := range t.fine {
			of[token(f.low)] = t.of[i]
		}
		for i, v := range t.res {
			t.bin[i] = of[token(v)]
		}
	}
	t.out = slices.Grow(t.out[:0], len(t.res))[:len(t.res)]
	var state [tableStates]uint32
	last := len(t.bin)
	for i := last - 1; i >= 0; i-- {
		b := t.bin[i]
		r := t.rates[b]
		x := &state[i%tableStates]
		if i >= last-tableStates { // the state that takes no bits
			t.out[i] = 0
			*x = uint32(t.states[int32(t.bins[b].weight)+r.at])
			continue
		}
		n := (*x + r.bits) >> 16
		t.out[i] = uint16(*x&(1<<n-1)) | uint16(n)<<12
		*x = uint32(t.states[int32(*x>>n)+r.at])
	}
	for i := range t.first {
		t.first[i] = uint16(state[i] - uint32(size))
	}
}

// size returns what the residuals take, with the table.
func (t *tableEncoder) size() uint {
	n := uint(2*(predictCodes+specialBits)+1+4) + tableStates*t.log
	end := uint64(0)
	width, weight := -1, -1
	for _, b := range t.bins {
		n++
		if b.low != end {
			n += numberBits(zigzag(int64(b.low - end)))
		}
		end = b.low + 1<<b.width
		n += paramCost(width, int(b.width))
		width = int(b.width)
		w := widthOf(b.weight)
		n += paramCost(weight, w) + uint(w)
		weight = w
	}
	for i, o := range t.out {
		n += uint(o>>12) + uint(t.bins[t.bin[i]].width)
	}
	return n
}

func widthOf(w uint16) int { return int(width(uint64(w))) - 1 }

// writeTable writes the table and the residuals.
func (s *streamEncoder) writeTable(t *tableEncoder, plain bool) {
	s.w.reserve(riceRoom)
	s.w.put(uint64(b2u(plain)), 1)
	s.w.put(uint64(t.log), 4)
	end := uint64(0)
	width, weight := -1, -1
	for _, b := range t.bins {
		s.w.reserve(riceRoom)
		if b.low == end {
			s.w.put(0, 1)
		} else {
			s.w.put(1, 1)
			s.w.number(zigzag(int64(b.low - end)))
		}
		end = b.low + 1<<b.width
		s.param(width, int(b.width))
		width = int(b.width)
		w := widthOf(b.weight)
		s.param(weight, w)
		s.w.put(uint64(b.weight)&(1<<w-1), uint(w))
		weight = w
	}
	for _, f := range t.first {
		s.w.put(uint64(f), t.log)
	}
	for at := 0; at < len(t.res); at += riceGroup {
		s.w.reserve(riceRoom)
		to := min(at+riceGroup, len(t.res))
		for _, o := range t.out[at:to] {
			s.w.put(uint64(o&(1<<12-1)), uint(o>>12))
		}
		for i := at; i < to; i++ {
			b := &t.bins[t.bin[i]]
			s.w.wide(t.res[i]-b.low, uint(b.width))
		}
	}
}
