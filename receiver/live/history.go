package live

import (
	"math"

	"telemetry/receiver/live/strip"
)

// Of a channel that nobody has charted, historyMS of event time are kept in steps of
// StepMS, and of one that has more than one value in a step the newest fineBins steps of
// fineMS, 10.2 s: what its chart begins with.
const (
	StepMS    = 100
	historyMS = 60_000
	bins      = historyMS / StepMS
	fineMS    = 10
	fineBins  = 1024
)

// history is the least and the greatest value of one channel per step. Steps
// without a value have none: a hole in the data is a hole in the line. 14 KB, and
// 16 KB for the fine steps.
type history struct {
	newest   int64 // slot, UTC in steps; 0: empty
	slot     [bins]int64
	min, max [bins]float64
	fine     *fineHistory // nil: there has never been more than one value in a step
}

// fineHistory is the same in steps of fineMS.
type fineHistory struct {
	from   int64 // slot from which on values are taken
	newest int64
	bins   [fineBins]extremes
}

// extremes are a least and a greatest value, NaN twice for none.
type extremes struct{ least, greatest float64 }

// add takes one value; what is older than all steps is left out.
func (h *history) add(tsMS int64, v float64) {
	s := tsMS / StepMS
	if s <= 0 || s <= h.newest-bins || v-v != 0 {
		return
	}
	h.newest = max(h.newest, s)
	if h.fine != nil {
		h.fine.add(tsMS/fineMS, v)
	}
	i := s % bins
	if h.slot[i] != s {
		h.slot[i], h.min[i], h.max[i] = s, v, v
		return
	}
	h.min[i], h.max[i] = min(h.min[i], v), max(h.max[i], v)
	if h.fine == nil {
		from := (h.newest + 1) * (StepMS / fineMS)
		h.fine = &fineHistory{from: from, newest: from - 1}
	}
}

func (f *fineHistory) add(slot int64, v float64) {
	if slot < f.from || slot <= f.newest-fineBins {
		return
	}
	for s := max(f.newest+1, slot-fineBins+1); s <= slot; s++ {
		f.bins[s%fineBins] = extremes{math.NaN(), math.NaN()}
	}
	f.newest = max(f.newest, slot)
	b := &f.bins[slot%fineBins]
	if !(b.least <= v) {
		b.least = v
	}
	if !(b.greatest >= v) {
		b.greatest = v
	}
}

// since returns the slot from which on every value that is older than all that is to
// come is here, of a step of StepMS the first one.
func (f *fineHistory) since() int64 {
	const per = StepMS / fineMS
	return (max(f.from, f.newest-fineBins+1) + per - 1) / per * per
}

// Bin is one step: slot, least and greatest value.
type Bin [3]float64

// since returns the steps from a slot on, oldest first.
func (h *history) since(from int64) []Bin {
	var out []Bin
	for s := max(from, h.newest-bins+1, 1); s <= h.newest; s++ {
		if i := s % bins; h.slot[i] == s {
			out = append(out, Bin{float64(s), h.min[i], h.max[i]})
		}
	}
	return out
}

// fill gives a strip all that is here.
func (h *history) fill(s *strip.Strip) {
	born := (h.newest + 1) * StepMS
	fine := born
	if f := h.fine; f != nil && f.since() <= f.newest {
		fine, born = f.since()*fineMS, (f.newest+1)*fineMS
		for slot := f.since(); slot <= f.newest; slot++ {
			b := f.bins[slot%fineBins]
			s.AddStretch(slot*fineMS, fineMS, b.least, b.greatest)
		}
	}
	for _, b := range h.since(0) {
		s.AddStretch(int64(b[0])*StepMS, StepMS, b[1], b[2])
	}
	s.Known(fine, born)
}
