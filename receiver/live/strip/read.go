package strip

import "math"

// Steps are a run of steps of a chart: First is the number of the first one, event
// time in steps, and Values has the least and the greatest value of each, NaN twice
// for a step without any.
type Steps struct {
	First  int64
	Values []float64
}

// Step returns the narrowest step, in ms, with which a span has at most points
// steps: 1, 2 or 5 times a power of ten.
func Step(spanMS int64, points int) int64 {
	for unit := int64(1); ; unit *= 10 {
		for _, k := range [...]int64{1, 2, 5} {
			if step := k * unit; spanMS <= step*int64(max(points, 1)) {
				return step
			}
		}
	}
}

// level returns the widest bins that make up steps.
func level(stepMS int64) int {
	l := 0
	for l+1 < len(unitsMS) && stepMS%unitsMS[l+1] == 0 {
		l++
	}
	return l
}

// KeptMS returns how much event time can be read in steps of a width.
func KeptMS(stepMS int64) int64 {
	l := level(stepMS)
	return int64(ringPages(l)) * pageBins * unitsMS[l]
}

// joinSteps is how many steps with nothing to tell may stand within a run: to begin
// another run costs more.
const joinSteps = 2

// Read appends the runs of steps, from number from up to but without to, that hold
// something; with since, those that have changed after it. Values of the runs use the
// memory of values. Both are returned, grown.
func (s *Strip) Read(dst []Steps, values []float64, stepMS, from, to int64, since *Mark) ([]Steps, []float64) {
	l := level(stepMS)
	per := stepMS / unitsMS[l]
	start, first := len(values), int64(0) // of the run that is open
	end := func() {
		if len(values) > start {
			dst = append(dst, Steps{First: first, Values: values[start:len(values):len(values)]})
		}
		start = len(values)
	}
	for k := max(from, 0); k < to; {
		if next := s.skip(l, k*per, since); next >= (k+1)*per && (since != nil || s.stretch(l, k*stepMS) == l) {
			k = next / per
			continue
		}
		least, greatest, changed := s.step(l, k, stepMS, since)
		if !changed {
			k++
			continue
		}
		next := first + int64(len(values)-start)/2
		if len(values) == start || k-next > joinSteps {
			end()
			first = k
		} else {
			for ; next < k; next++ {
				a, b, _ := s.step(l, next, stepMS, nil)
				values = append(values, a, b)
			}
		}
		values = append(values, least, greatest)
		k++
	}
	end()
	return dst, values
}

// step returns the extremes within one step, NaN twice without any, and whether
// there are any, or with since, whether they have changed after it.
func (s *Strip) step(l int, k, stepMS int64, since *Mark) (least, greatest float64, changed bool) {
	per := stepMS / unitsMS[l]
	least, greatest, changed = s.bins(l, k*per, (k+1)*per, since)
	wide := s.stretch(l, k*stepMS)
	if wide == l {
		return least, greatest, changed
	}
	// What is known of a stretch only as a whole is told once, in its middle.
	slot := k * stepMS / unitsMS[wide]
	if middle := slot*unitsMS[wide] + unitsMS[wide]/2; k != middle/stepMS {
		return least, greatest, changed
	}
	a, b, known := s.bins(wide, slot, slot+1, nil)
	switch {
	case !known:
		return least, greatest, changed
	case math.IsNaN(least):
		return a, b, since == nil
	}
	return min(least, a), max(greatest, b), changed
}

// stretch returns the level that knows what a finer one lacks at an instant; the finer
// one when it lacks nothing.
func (s *Strip) stretch(l int, ms int64) int {
	for l < coarse && ms < s.known[l] {
		l++
	}
	return l
}

// skip returns the first slot of the next page when a slot's own page has nothing to
// tell, else the slot.
func (s *Strip) skip(l int, slot int64, since *Mark) int64 {
	p, index := s.at(l, slot)
	if p == nil || since != nil && !after(p.gen, *since) {
		return (index + 1) << pageShift
	}
	return slot
}

// at returns the page that holds a slot, nil when there is none.
func (s *Strip) at(l int, slot int64) (p *page, index int64) {
	index = slot >> pageShift
	if ring := s.levels[l]; ring != nil {
		if p = ring[index&int64(len(ring)-1)]; p != nil && p.index == index {
			return p, index
		}
	}
	return nil, index
}

// bins merges bins, and reports whether there is anything in them or, with since,
// whether one has changed.
func (s *Strip) bins(l int, from, to int64, since *Mark) (least, greatest float64, changed bool) {
	least, greatest = math.NaN(), math.NaN()
	for slot := from; slot < to; {
		p, index := s.at(l, slot)
		end := min(to, (index+1)<<pageShift)
		if p == nil {
			slot = end
			continue
		}
		for ; slot < end; slot++ {
			i := slot & (pageBins - 1)
			if math.IsNaN(p.min[i]) {
				continue
			}
			if !(least <= p.min[i]) {
				least = p.min[i]
			}
			if !(greatest >= p.max[i]) {
				greatest = p.max[i]
			}
			changed = changed || since == nil || after(p.binGen[i], *since)
		}
	}
	return least, greatest, changed
}

// OldestMS returns where the oldest bin of 100 ms or more begins; 0 while the strip is
// empty.
func (s *Strip) OldestMS() int64 {
	for l := len(unitsMS) - 1; l >= coarse; l-- {
		oldest := int64(0)
		for _, p := range s.levels[l] {
			if p == nil || oldest > 0 && p.index<<pageShift*unitsMS[l] >= oldest {
				continue
			}
			for i := range p.min {
				if !math.IsNaN(p.min[i]) {
					oldest = (p.index<<pageShift + int64(i)) * unitsMS[l]
					break
				}
			}
		}
		if oldest > 0 {
			return oldest
		}
	}
	return 0
}
