package filter

import (
	"context"
	"errors"
	"fmt"
	"math"

	"telemetry/sensors"
	"telemetry/wire"
)

// Cut is a low pass on one channel of a source.
type Cut struct {
	Group, Column int
	Hz            float64 // half as high there
}

// A low pass is a sinc under a Hamming window, so long that it is flat, to 1 %, up to
// half of its frequency and 50 dB down from one and a half times that.
const (
	halfPerPeriod = 1.65 // half of its length for each row in a period of its frequency
	maxHalf       = 4096 // rows
	gapRows       = 10   // a pause of more begins anew
)

var (
	errNoRate = errors.New("the rate of its rows is not fixed")
	errNames  = errors.New("its values are names, which have no mean")
)

// Check reports why c cannot be on a channel of groups, or nil.
func (c Cut) Check(groups []wire.Group) error {
	g := &groups[c.Group]
	ch, rate := &g.Channels[c.Column], float64(g.RateMilliHz)/1000
	switch {
	case rate == 0:
		return fmt.Errorf("filter: channel %s: %w", ch.Name, errNoRate)
	case ch.Enum != nil:
		return fmt.Errorf("filter: channel %s: %w", ch.Name, errNames)
	case !(c.Hz > 0 && c.Hz <= rate/3) || halfPerPeriod*rate/c.Hz > maxHalf:
		return fmt.Errorf("filter: channel %s: a low pass of %g Hz (want %.3g Hz to %.3g Hz at %g rows a second)", ch.Name, c.Hz, halfPerPeriod*rate/maxHalf, rate/3, rate)
	}
	return nil
}

// Smooth wraps a source so that some of its channels pass a low pass at their full
// rate. The filter is symmetric and a row keeps its time, so that no frequency is
// late; all rows of the group come half of the filter's length later. At the begin,
// at the end and beside a pause the filter is shorter, and no row is lost. What the
// source can tell beyond its rows, the wrapped one tells.
func Smooth(from sensors.Source, cuts []Cut) (sensors.Source, error) {
	s := &smooth{from: from, groups: append([]wire.Group(nil), from.Groups()...), cuts: map[int][]kernel{}}
	for _, c := range cuts {
		g := &s.groups[c.Group]
		if s.cuts[c.Group] == nil {
			g.Channels = append([]wire.Channel(nil), g.Channels...)
		}
		if err := c.Check(s.groups); err != nil {
			return nil, err
		}
		ch, rate := &g.Channels[c.Column], float64(g.RateMilliHz)/1000
		half := int(math.Ceil(halfPerPeriod * rate / c.Hz))
		s.cuts[c.Group] = append(s.cuts[c.Group], kernel{column: c.Column, kind: ch.Type, taps: lowPass(2*half+1, c.Hz/rate)[half:]})
		text := fmt.Sprintf("linear-phase low pass of %g Hz over %.3g ms, delay 0: the time is that of the filter's middle", c.Hz, float64(2*half)*1000/rate)
		if ch.Description != "" {
			text = ch.Description + "; " + text
		}
		ch.Description = text
	}
	if t, ok := from.(sensors.Timed); ok {
		return timedSmooth{s, t}, nil
	}
	return s, nil
}

// kernel is the filter of one channel: its middle and one side.
type kernel struct {
	column int
	kind   wire.ValueType
	taps   []float64
}

// smooth is a source whose rows are filtered.
type smooth struct {
	from   sensors.Source
	groups []wire.Group
	cuts   map[int][]kernel // by group
}

// timedSmooth is that of a polled source.
type timedSmooth struct {
	*smooth
	sensors.Timed
}

var (
	_ sensors.Source = (*smooth)(nil)
	_ sensors.Health = (*smooth)(nil)
	_ sensors.Timed  = timedSmooth{}
)

// Groups returns those of the wrapped source, with what is filtered in their
// descriptions.
func (s *smooth) Groups() []wire.Group { return s.groups }

// Counters returns the wrapped source's.
func (s *smooth) Counters() []sensors.Counter {
	if h, ok := s.from.(sensors.Health); ok {
		return h.Counters()
	}
	return nil
}

// Run runs the wrapped source, and hands on what is left in the filters at its end.
func (s *smooth) Run(ctx context.Context, out sensors.Sink) error {
	f := &smoothSink{Sink: out, lines: map[int]*line{}}
	for g, kernels := range s.cuts {
		f.lines[g] = newLine(g, len(s.groups[g].Channels), s.groups[g].RateMilliHz, kernels)
	}
	err := s.from.Run(ctx, f)
	for g := range s.groups {
		if l := f.lines[g]; l != nil {
			err = errors.Join(err, l.emit(out, true))
		}
	}
	return err
}

// smoothSink filters rows on their way.
type smoothSink struct {
	sensors.Sink
	lines map[int]*line // by group
}

var _ sensors.AnchorSink = (*smoothSink)(nil)

// Append filters the rows of groups that have a filter.
func (s *smoothSink) Append(r sensors.Rows) error {
	l := s.lines[r.Group]
	if l == nil || l.late(r.Ticks[0]) {
		return s.Sink.Append(r) // late rows have no neighbours any more
	}
	return l.add(s.Sink, r)
}

// Anchor hands a time anchor on, if the sink takes them.
func (s *smoothSink) Anchor(a wire.Anchor) error {
	if to, ok := s.Sink.(sensors.AnchorSink); ok {
		return to.Anchor(a)
	}
	return nil
}

// line is the delay line of one group. It is owned by one goroutine.
type line struct {
	group, width int
	half         int   // of the longest filter
	gap          int64 // ns
	kernels      []kernel

	ticks  []int64
	values []int64     // rows of width
	has    []bool      // likewise
	floats [][]float64 // by kernel; NaN: absent
	next   int         // row that goes out next

	outTicks, outValues []int64
	present             []uint64
}

func newLine(group, width int, rateMilliHz uint64, kernels []kernel) *line {
	l := &line{group: group, width: width, kernels: kernels, floats: make([][]float64, len(kernels))}
	l.gap = gapRows * 1_000_000_000_000 / int64(rateMilliHz)
	for _, k := range kernels {
		l.half = max(l.half, len(k.taps)-1)
	}
	return l
}

// late reports a row that is older than the latest.
func (l *line) late(tick int64) bool { return len(l.ticks) > 0 && tick < l.ticks[len(l.ticks)-1] }

// add takes rows and hands on those whose filter is full.
func (l *line) add(out sensors.Sink, r sensors.Rows) error {
	for i, tick := range r.Ticks {
		if n := len(l.ticks); n > 0 && tick-l.ticks[n-1] > l.gap {
			if err := l.emit(out, true); err != nil {
				return err
			}
		}
		at := i * l.width
		l.ticks = append(l.ticks, tick)
		l.values = append(l.values, r.Values[at:at+l.width]...)
		for c := range l.width {
			l.has = append(l.has, sensors.Bit(r.Present, at+c))
		}
		for n, k := range l.kernels {
			v := math.NaN()
			if sensors.Bit(r.Present, at+k.column) {
				v = toFloat(k.kind, r.Values[at+k.column])
			}
			l.floats[n] = append(l.floats[n], v)
		}
	}
	return l.emit(out, false)
}

// emit hands on the rows whose filter is full, or all of them, after which the line
// is empty.
func (l *line) emit(out sensors.Sink, all bool) error {
	end := len(l.ticks) - l.half
	if all {
		end = len(l.ticks)
	}
	l.outTicks, l.outValues, l.present = l.outTicks[:0], l.outValues[:0], l.present[:0]
	sparse := false
	for ; l.next < end; l.next++ {
		at := len(l.outValues)
		l.outTicks = append(l.outTicks, l.ticks[l.next])
		l.outValues = append(l.outValues, l.values[l.next*l.width:(l.next+1)*l.width]...)
		for len(l.present)*64 < len(l.outValues) {
			l.present = append(l.present, 0)
		}
		for c, has := range l.has[l.next*l.width : (l.next+1)*l.width] {
			if has {
				l.present[(at+c)>>6] |= 1 << ((at + c) & 63)
			} else {
				sparse = true
			}
		}
		for n := range l.kernels {
			k := &l.kernels[n]
			if v := k.at(l.floats[n], l.next); !math.IsNaN(v) {
				l.outValues[at+k.column] = fromFloat(k.kind, v)
			}
		}
	}
	l.forget(all)
	if len(l.outTicks) == 0 {
		return nil
	}
	r := sensors.Rows{Group: l.group, Ticks: l.outTicks, Values: l.outValues}
	if sparse {
		r.Present = l.present
	}
	return out.Append(r)
}

// forget drops rows that no filter needs any more, many at a time.
func (l *line) forget(all bool) {
	drop := l.next - l.half
	switch {
	case all:
		drop = len(l.ticks)
	case drop < 2*l.half+256:
		return
	}
	l.ticks = l.ticks[:copy(l.ticks, l.ticks[drop:])]
	l.values = l.values[:copy(l.values, l.values[drop*l.width:])]
	l.has = l.has[:copy(l.has, l.has[drop*l.width:])]
	for n := range l.floats {
		l.floats[n] = l.floats[n][:copy(l.floats[n], l.floats[n][drop:])]
	}
	l.next -= drop
}

// at returns the filtered value of row m, of as many rows as there are on both sides
// of it; NaN if it has none.
func (k *kernel) at(v []float64, m int) float64 {
	half := min(len(k.taps)-1, m, len(v)-1-m)
	sum, weight := k.taps[0]*v[m], k.taps[0]
	for i := 1; i <= half; i++ {
		// NaN is unequal to itself: where one side is absent, neither is taken, so
		// that the phase stays what it is.
		if pair := v[m-i] + v[m+i]; pair == pair {
			sum += k.taps[i] * pair
			weight += 2 * k.taps[i]
		}
	}
	return sum / weight
}
