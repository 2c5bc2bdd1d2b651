// Package filter takes away what is too fast, by low passes with linear phase, whose
// delay is known and already taken off the rows' time.
//
// The entry points are [NewSource], which reduces the rate of a source of one group
// without folding what is faster into what is kept, and [Smooth], which filters some
// channels of any source at their full rate. It is pure arithmetic: no clock, no
// goroutine.
package filter

import (
	"errors"
	"fmt"
	"math"

	"telemetry/sensors"
	"telemetry/wire"
)

// MaxFactor is the most that a rate is divided by.
const MaxFactor = 64

// tapsPerFactor is the filter's length for each unit of the factor, and cutoff its
// middle in parts of the new rate. It is flat, to 1 %, up to 0.3 of the new rate;
// what would fold, from half of the new rate on, is at least 50 dB down.
const (
	tapsPerFactor = 16
	cutoff        = 0.4
)

// Decimator filters rows and keeps one of every Factor. It is a symmetric finite
// impulse response, so every frequency is late by the same time: half of its
// length. A kept row is stamped with the moment that its middle was read, and
// thus has no delay at all. It is owned by one goroutine.
type Decimator struct {
	factor int
	width  int
	taps   []float64
	kinds  []wire.ValueType
	ring   []float64 // the latest len(taps) rows
	ticks  []int64
	n      int64 // rows taken
}

// New returns a decimator for rows of a group.
func New(g wire.Group, factor int) (*Decimator, error) {
	if factor < 2 || factor > MaxFactor {
		return nil, fmt.Errorf("filter: factor %d (want 2 to %d)", factor, MaxFactor)
	}
	d := &Decimator{factor: factor, width: len(g.Channels), taps: lowPass(tapsPerFactor*factor+1, cutoff/float64(factor))}
	for i := range g.Channels {
		if g.Channels[i].Enum != nil {
			return nil, errors.New("filter: a channel of names has no mean")
		}
		d.kinds = append(d.kinds, g.Channels[i].Type)
	}
	d.ring = make([]float64, len(d.taps)*d.width)
	d.ticks = make([]int64, len(d.taps))
	return d, nil
}

// lowPass returns a sinc under a Hamming window that lets pass what is below
// middle, in parts of the rate. Its sum is 1.
func lowPass(n int, middle float64) []float64 {
	taps, sum := make([]float64, n), 0.0
	for i := range taps {
		x := float64(i) - float64(n-1)/2
		v := 2 * middle
		if x != 0 {
			v = math.Sin(2*math.Pi*middle*x) / (math.Pi * x)
		}
		taps[i] = v * (0.54 - 0.46*math.Cos(2*math.Pi*float64(i)/float64(n-1)))
		sum += taps[i]
	}
	for i := range taps {
		taps[i] /= sum
	}
	return taps
}

// Phase says in words what the filter does, for a channel's description.
func (d *Decimator) Phase() string {
	return fmt.Sprintf("linear-phase low pass of %d taps, 1 of %d kept, delay 0: the time is that of the filter's middle", len(d.taps), d.factor)
}

// Add takes a row and reports whether one came out, which it writes to out. The
// first one comes out when the filter is full.
func (d *Decimator) Add(tick int64, row, out []int64) (at int64, ok bool) {
	n := len(d.taps)
	slot := int(d.n % int64(n))
	d.ticks[slot] = tick
	for i, w := range row {
		d.ring[slot*d.width+i] = toFloat(d.kinds[i], w)
	}
	d.n++
	if d.n < int64(n) || (d.n-int64(n))%int64(d.factor) != 0 {
		return 0, false
	}
	for c := range out {
		sum := 0.0
		for k, tap := range d.taps {
			s := slot + 1 + k
			if s >= n {
				s -= n
			}
			sum += tap * d.ring[s*d.width+c]
		}
		out[c] = fromFloat(d.kinds[c], sum)
	}
	return d.ticks[(slot+1+n/2)%n], true
}

// Reset forgets all rows: after a pause the filter must fill again.
func (d *Decimator) Reset() { d.n = 0 }

func toFloat(t wire.ValueType, w int64) float64 {
	switch t {
	case wire.TypeUint:
		return float64(uint64(w))
	case wire.TypeF32:
		return float64(math.Float32frombits(uint32(w)))
	case wire.TypeF64:
		return math.Float64frombits(uint64(w))
	}
	return float64(w)
}

func fromFloat(t wire.ValueType, f float64) int64 {
	switch t {
	case wire.TypeUint:
		return int64(uint64(math.Round(max(0, f))))
	case wire.TypeF32:
		return int64(math.Float32bits(float32(f)))
	case wire.TypeF64:
		return int64(math.Float64bits(f))
	}
	return int64(math.Round(f))
}

// Sink filters the rows of a source with one group before they go on.
type Sink struct {
	sensors.Sink
	Filter *Decimator

	ticks, values, row []int64
	last               int64
	Gap                int64 // ns between two rows that is a pause; 0: none is
}

// Append filters r; what comes out goes on in one run.
func (s *Sink) Append(r sensors.Rows) error {
	width := s.Filter.width
	if s.row == nil {
		s.row = make([]int64, width)
	}
	s.ticks, s.values = s.ticks[:0], s.values[:0]
	for i, tick := range r.Ticks {
		if s.Gap > 0 && s.last != 0 && tick-s.last > s.Gap {
			s.Filter.Reset()
		}
		s.last = tick
		if at, ok := s.Filter.Add(tick, r.Values[i*width:(i+1)*width], s.row); ok {
			s.ticks, s.values = append(s.ticks, at), append(s.values, s.row...)
		}
	}
	if len(s.ticks) == 0 {
		return nil
	}
	return s.Sink.Append(sensors.Rows{Group: r.Group, Ticks: s.ticks, Values: s.values})
}
