// Package coverage knows which stretches of event time of a lane are missing: from
// the numbers of the batches that have been seen, and from what was said of those
// that have not. The entry points are [Lane.Seen] and [Lane.Holes].
//
// A hole lies between two batches that were seen, and takes its times from them; it
// closes when its batches are seen, in whatever order. What was there before the
// first batch that was seen is not known, and is no hole.
//
// The package is pure: no clock, lock, goroutine or I/O. Times are ms; those of
// events since 1970, those of arrival by any clock that does not go back. A Lane is
// not safe for concurrent use.
package coverage

import (
	"cmp"
	"slices"
	"sort"
)

// State says what is known of a hole.
type State uint8

// States.
const (
	Open State = iota // its batches are waited for
	Late              // their window has run out; they may still come
	Lost              // they will never come, for a reason
)

// String returns the state's name as it stands in answers.
func (s State) String() string { return [...]string{"open", "late", "lost"}[s] }

// Hole is a stretch of event time without data.
type Hole struct {
	FromMS, ToMS int64
	State        State
	Reason       string // of what is lost
}

// Limits of a lane; beyond, the oldest are forgotten.
const (
	maxRuns    = 256
	maxSettled = 256
	maxSources = 64
)

// MaxBytes is about what a lane takes at most: 24 KB.
const MaxBytes = maxRuns*40 + maxSettled*48 + maxSources*8

// SettleMS is how old a hole is before it is told: links deliver side by side.
const SettleMS = 500

// beginMS is how long after its beginning a lane takes another source's word for
// where what is known begins.
const beginMS = 10_000

// run is a stretch of batches that were all seen.
type run struct {
	first, last  uint64
	fromMS, toMS int64
	holeMS       int64 // when the hole in front of it was noticed
}

// settled is what was said of a stretch of numbers.
type settled struct {
	first, last uint64
	state       State
	reason      string
}

// Lane is one lane of one epoch of a car. The zero value is ready.
type Lane struct {
	runs    []run // by number; neither overlapping nor adjacent
	settled []settled
	at      int    // the run that was seen last
	floor   uint64 // nothing is known of what is below; 0: nothing was seen
	begunMS int64  // when the first batch was seen
	ordered bool   // a source in order has begun
	sources []int32
}

// Begin says that a source which is in order has its first batch here. Sources that
// share a lane need not begin at the same batch: what is known begins where the last
// of them does.
func (l *Lane) Begin(source int32, seq uint64, nowMS int64) {
	if slices.Contains(l.sources, source) || len(l.sources) >= maxSources {
		return
	}
	l.sources = append(l.sources, source)
	if l.begunMS == 0 {
		l.begunMS = nowMS
	}
	if l.ordered && (seq <= l.floor || nowMS-l.begunMS > beginMS) {
		return
	}
	l.floor, l.ordered = seq, true
	for len(l.runs) > 0 && l.runs[0].first < seq {
		if l.runs[0].last >= seq {
			l.runs[0].first = seq
			break
		}
		l.runs = slices.Delete(l.runs, 0, 1)
	}
	l.at = 0
}

// Seen notes an instant of a batch that is there.
func (l *Lane) Seen(seq uint64, eventMS, nowMS int64) {
	if l.at < len(l.runs) {
		if r := &l.runs[l.at]; seq >= r.first && seq <= r.last {
			r.within(seq, eventMS)
			return
		}
	}
	if l.floor == 0 {
		l.floor = max(seq, 1)
		if l.begunMS == 0 {
			l.begunMS = nowMS
		}
	}
	if seq < l.floor {
		return
	}
	// The first run that ends at the batch, or after it.
	i := sort.Search(len(l.runs), func(i int) bool { return l.runs[i].last >= seq })
	if i < len(l.runs) && seq >= l.runs[i].first {
		l.at = i
		l.runs[i].within(seq, eventMS)
		return
	}
	after := i > 0 && l.runs[i-1].last+1 == seq
	before := i < len(l.runs) && seq+1 == l.runs[i].first
	switch {
	case after && before:
		a, b := &l.runs[i-1], l.runs[i]
		a.last, a.toMS = b.last, max(a.toMS, b.toMS)
		l.runs = slices.Delete(l.runs, i, i+1)
		l.at = i - 1
	case after:
		a := &l.runs[i-1]
		a.last, a.toMS = seq, max(a.toMS, eventMS)
		l.at = i - 1
	case before:
		b := &l.runs[i]
		b.first, b.fromMS = seq, min(b.fromMS, eventMS)
		l.at = i
	default:
		l.insert(i, run{first: seq, last: seq, fromMS: eventMS, toMS: eventMS, holeMS: nowMS})
	}
}

// within takes an instant of a batch of the run.
func (r *run) within(seq uint64, eventMS int64) {
	if seq == r.last {
		r.toMS = max(r.toMS, eventMS)
	}
	if seq == r.first {
		r.fromMS = min(r.fromMS, eventMS)
	}
}

// insert adds a run with holes on both sides.
func (l *Lane) insert(i int, r run) {
	if i < len(l.runs) {
		// It divides a hole that was noticed before; or what is in front of the first
		// run becomes one now.
		if b := &l.runs[i]; i > 0 {
			r.holeMS = b.holeMS
		} else {
			b.holeMS = r.holeMS
		}
	}
	l.runs = slices.Insert(l.runs, i, r)
	l.at = i
	if len(l.runs) > maxRuns { // the oldest hole is forgotten
		l.runs[1].first, l.runs[1].fromMS = l.runs[0].first, l.runs[0].fromMS
		l.runs = slices.Delete(l.runs, 0, 1)
		l.at = max(0, l.at-1)
	}
}

// Settle notes what was said of numbers that are missing: the latest word holds.
func (l *Lane) Settle(first, last uint64, state State, reason string) {
	if first > last {
		return
	}
	l.Withdraw(first, last)
	i := sort.Search(len(l.settled), func(i int) bool { return l.settled[i].first > first })
	l.settled = slices.Insert(l.settled, i, settled{first, last, state, reason})
	if len(l.settled) > maxSettled {
		l.settled = slices.Delete(l.settled, 0, 1)
	}
}

// Withdraw takes back what was said of numbers.
func (l *Lane) Withdraw(first, last uint64) {
	for i := 0; i < len(l.settled); {
		s := &l.settled[i]
		switch {
		case s.last < first || s.first > last:
			i++
		case s.first >= first && s.last <= last:
			l.settled = slices.Delete(l.settled, i, i+1)
		case s.first < first && s.last > last:
			rest := settled{last + 1, s.last, s.state, s.reason}
			s.last = first - 1
			l.settled = slices.Insert(l.settled, i+1, rest)
			i += 2
		case s.first < first:
			s.last = first - 1
			i++
		default:
			s.first = last + 1
			i++
		}
	}
}

// Reset forgets what was seen, as when batches have been passed over unseen; what
// was said of numbers holds.
func (l *Lane) Reset() { *l = Lane{settled: l.settled} }

// Holes appends the holes between two instants of event time, oldest first.
func (l *Lane) Holes(dst []Hole, fromMS, toMS, nowMS int64) []Hole {
	for i := 1; i < len(l.runs); i++ {
		a, b := &l.runs[i-1], &l.runs[i]
		if b.fromMS < fromMS || a.toMS > toMS || nowMS-b.holeMS < SettleMS {
			continue
		}
		dst = l.cut(dst, a.last+1, b.first-1, a.toMS, max(b.fromMS, a.toMS+1))
	}
	return dst
}

// cut divides a hole by what was said of its numbers.
func (l *Lane) cut(dst []Hole, first, last uint64, fromMS, toMS int64) []Hole {
	n, width := float64(last-first+1), float64(toMS-fromMS)
	at := func(seq uint64) int64 { return fromMS + int64(width*float64(seq-first)/n) }
	add := func(from, to uint64, state State, reason string) { // to: excluded
		h := Hole{at(from), at(to), state, reason}
		if k := len(dst) - 1; k >= 0 && dst[k].ToMS == h.FromMS && dst[k].State == state && dst[k].Reason == reason {
			dst[k].ToMS = h.ToMS
			return
		}
		dst = append(dst, h)
	}
	next := first
	i, _ := slices.BinarySearchFunc(l.settled, first, func(s settled, seq uint64) int { return cmp.Compare(s.last, seq) })
	for ; i < len(l.settled) && l.settled[i].first <= last; i++ {
		s := &l.settled[i]
		if s.first > next {
			add(next, s.first, Open, "")
		}
		from, to := max(s.first, next), min(s.last, last)
		add(from, to+1, s.state, s.reason)
		next = to + 1
	}
	if next <= last {
		add(next, last+1, Open, "")
	}
	return dst
}

// Car holds one lane of a car, by epoch. The zero value is ready.
type Car struct {
	names []string // of epochs, in the order of their first batch
	lanes []*Lane
}

// maxEpochs is how many epochs of a car are kept: those that are over may still be
// filled.
const maxEpochs = 3

// Known returns the lane of an epoch, nil when it is not kept.
func (c *Car) Known(name string) *Lane {
	for i := len(c.names) - 1; i >= 0; i-- {
		if c.names[i] == name {
			return c.lanes[i]
		}
	}
	return nil
}

// Epoch returns the lane of an epoch, a new one when it is not kept; the one that
// began first makes room.
func (c *Car) Epoch(name string) *Lane {
	if l := c.Known(name); l != nil {
		return l
	}
	if len(c.names) >= maxEpochs {
		c.names, c.lanes = slices.Delete(c.names, 0, 1), slices.Delete(c.lanes, 0, 1)
	}
	l := &Lane{}
	c.names, c.lanes = append(c.names, name), append(c.lanes, l)
	return l
}

// Reset forgets what was seen of all epochs; see [Lane.Reset].
func (c *Car) Reset() {
	for _, l := range c.lanes {
		l.Reset()
	}
}

// Holes appends the holes of all epochs; see [Lane.Holes].
func (c *Car) Holes(dst []Hole, fromMS, toMS, nowMS int64) []Hole {
	for _, l := range c.lanes {
		dst = l.Holes(dst, fromMS, toMS, nowMS)
	}
	return dst
}
