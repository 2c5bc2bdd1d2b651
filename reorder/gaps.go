package reorder

import (
	"sort"

	"telemetry/wire"
)

// gap is a run of numbers that are missing for one reason. In a merged one some
// were missing and some delivered, and nobody knows any more which.
type gap struct {
	first, last uint64
	reason      wire.Reason
	merged      bool
}

// gaps is a set of numbers with reasons: sorted and disjoint; neighbours with the
// same reason are joined.
type gaps []gap

// find returns the index of the first gap whose last >= seq.
func (g gaps) find(seq uint64) int {
	if n := len(g); n == 0 || g[n-1].last < seq {
		return n
	}
	return sort.Search(len(g), func(i int) bool { return g[i].last >= seq })
}

// get returns the gap that holds seq.
func (g gaps) get(seq uint64) (gap, bool) {
	if i := g.find(seq); i < len(g) && g[i].first <= seq {
		return g[i], true
	}
	return gap{}, false
}

// add puts first..last, none of which is in the set, into it.
func (g gaps) add(first, last uint64, why wire.Reason) gaps {
	i := g.find(first)
	left := i > 0 && g[i-1].last+1 == first && g[i-1].reason == why && !g[i-1].merged
	right := i < len(g) && last+1 == g[i].first && g[i].reason == why && !g[i].merged
	switch {
	case left && right:
		g[i-1].last = g[i].last
		return append(g[:i], g[i+1:]...)
	case left:
		g[i-1].last = last
	case right:
		g[i].first = first
	default:
		g = append(g, gap{})
		copy(g[i+1:], g[i:])
		g[i] = gap{first: first, last: last, reason: why}
	}
	return g
}

// remove takes first..last, all of which is in one gap, out of the set.
func (g gaps) remove(first, last uint64) gaps {
	i := g.find(first)
	old := g[i]
	switch {
	case old.first == first && old.last == last:
		return append(g[:i], g[i+1:]...)
	case old.first == first:
		g[i].first = last + 1
	case old.last == last:
		g[i].last = first - 1
	default:
		g = append(g, gap{})
		copy(g[i+1:], g[i:])
		g[i].last = first - 1
		g[i+1].first = last + 1
	}
	return g
}

// mergeLowest joins the two lowest gaps into a merged one when both end at or
// below floor, and reports whether it could.
func (g gaps) mergeLowest(floor uint64) (gaps, bool) {
	if len(g) < 2 || g[1].last > floor {
		return g, false
	}
	if g[0].reason != g[1].reason {
		g[0].reason = wire.ReasonGap
	}
	g[0].last, g[0].merged = g[1].last, true
	return append(g[:1], g[2:]...), true
}
