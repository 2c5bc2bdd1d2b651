package live

// Of a channel that nobody has charted, historyMS of event time are kept in steps of
// StepMS: what its chart begins with.
const (
	StepMS    = 100
	historyMS = 60_000
	bins      = historyMS / StepMS
)

// history is the least and the greatest value of one channel per step. Steps
// without a value have none: a hole in the data is a hole in the line.
type history struct {
	newest   int64 // slot, UTC in steps; 0: empty
	slot     [bins]int64
	min, max [bins]float64
}

// add takes one value; what is older than all steps is left out.
func (h *history) add(tsMS int64, v float64) {
	s := tsMS / StepMS
	if s <= 0 || s <= h.newest-bins {
		return
	}
	h.newest = max(h.newest, s)
	i := s % bins
	if h.slot[i] != s {
		h.slot[i], h.min[i], h.max[i] = s, v, v
		return
	}
	h.min[i], h.max[i] = min(h.min[i], v), max(h.max[i], v)
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
