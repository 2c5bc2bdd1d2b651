// Package strip keeps what charts of one channel show: the least and the greatest
// value per bin of event time, at several widths of bins, so that no peak is lost
// whatever the scale. The entry points are [Strip.Add] and [Strip.Read].
//
// A value may come in any order and any number of times: a bin is what all of its
// values gave, so late data fills old bins and a value that comes again changes
// nothing. Each bin remembers when it changed, so that a reader gets what is new
// and nothing else.
//
// The package is pure: no clock, lock, goroutine or I/O. A Strip is not safe for
// concurrent use. Its memory grows with what is added, up to [MaxBytes].
package strip

import "math"

// unitsMS are the widths of bins, in ms of event time; each divides the next.
var unitsMS = [...]int64{1, 10, 100, 1000, 10_000}

// Bins of one page, and pages of one level. A level has 8,192 bins but the last,
// which has half of that: 8.2 s at 1 ms, 82 s, 13.7 min, 2.3 h, 11.4 h.
const (
	pageShift = 8
	pageBins  = 1 << pageShift
	pages     = 32
	lastPages = 16
)

// MaxPoints is how many steps one reading may have: five times that many bins are
// kept at each level.
const MaxPoints = 1600

// MaxSpanMS is the longest stretch of event time that a strip can show.
const MaxSpanMS = 10 * 3600 * 1000

// MaxBytes is the memory of one strip with every page in use: 774 KB.
const MaxBytes = ((len(unitsMS)-1)*pages + lastPages) * pageBytes

const pageBytes = 5376 // of the heap, a page is a little less

func ringPages(l int) int {
	if l == len(unitsMS)-1 {
		return lastPages
	}
	return pages
}

// page is a stretch of bins.
type page struct {
	index    int64  // slot of the first bin / pageBins
	gen      uint32 // when a bin changed last
	binGen   [pageBins]uint32
	min, max [pageBins]float64 // NaN: no value
}

// Strip is one channel's chart. The zero value is empty and ready.
type Strip struct {
	levels [len(unitsMS)][]*page // rings by index
	gen    uint32                // of the changes that are made now
	dirty  bool                  // something has changed at gen
	used   int                   // pages
	known  [coarse]int64         // UTC ms; before it, a level may lack what the next one has; 0: nowhere
}

// Bytes returns the memory in use.
func (s *Strip) Bytes() int { return s.used * pageBytes }

// Add takes one value at an instant, ms since 1970. Values that are no number, and
// those older than what a level keeps, are left out.
func (s *Strip) Add(ms int64, v float64) {
	if ms <= 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return
	}
	for l := range unitsMS {
		if !s.widen(l, ms/unitsMS[l], v, v) {
			return // what a bin has, those of wider levels around it have, too
		}
	}
}

// AddStretch takes the extremes of a stretch of 10 or of 100 ms that is known no better,
// NaN twice for none.
func (s *Strip) AddStretch(ms, widthMS int64, least, greatest float64) {
	if ms <= 0 || math.IsNaN(least) || math.IsNaN(greatest) {
		return
	}
	for l := range unitsMS {
		if unitsMS[l] >= widthMS && !s.widen(l, ms/unitsMS[l], least, greatest) {
			return // as in Add
		}
	}
}

// Known says from when on values are known better than by stretches of 100 ms, and from
// when on to the ms; both at the begin of a stretch. Before, readings in finer steps show
// a stretch once, in its middle.
func (s *Strip) Known(fineMS, bornMS int64) { s.known = [coarse]int64{bornMS, fineMS} }

// coarse is the level of the widest stretches of [Strip.AddStretch].
const coarse = 2

// widen makes a bin hold two values; it reports whether that changed it, or
// whether the bin is not kept any more.
func (s *Strip) widen(l int, slot int64, least, greatest float64) bool {
	p := s.page(l, slot)
	if p == nil {
		return true
	}
	i := slot & (pageBins - 1)
	if p.min[i] <= least && p.max[i] >= greatest {
		return false
	}
	if !(p.min[i] <= least) {
		p.min[i] = least
	}
	if !(p.max[i] >= greatest) {
		p.max[i] = greatest
	}
	p.binGen[i], p.gen, s.dirty = s.gen, s.gen, true
	return true
}

// page returns the page of a slot, nil when the ring has a later one in its place.
func (s *Strip) page(l int, slot int64) *page {
	ring := s.levels[l]
	if ring == nil {
		ring = make([]*page, ringPages(l))
		s.levels[l] = ring
	}
	index := slot >> pageShift
	at := &ring[index&int64(len(ring)-1)]
	p := *at
	switch {
	case p == nil:
		p = &page{}
		*at = p
		s.used++
	case p.index == index:
		return p
	case p.index > index:
		return nil
	}
	p.index, p.gen = index, s.gen
	for i := range p.min {
		p.min[i], p.max[i] = math.NaN(), math.NaN()
	}
	clear(p.binGen[:])
	return p
}

// Mark is a moment in a strip's changes.
type Mark uint32

// Mark ends a stretch of changes: what changes from now on is after the mark.
func (s *Strip) Mark() Mark {
	if s.dirty {
		s.gen++
		s.dirty = false
	}
	return Mark(s.gen - 1)
}

// after reports whether a change is after a mark. Numbers wrap around; a change
// that is ages old may seem new, which sends a bin once more.
func after(gen uint32, m Mark) bool { return int32(gen-uint32(m)) > 0 }
