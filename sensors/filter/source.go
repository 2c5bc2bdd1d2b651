package filter

import (
	"context"

	"telemetry/sensors"
	"telemetry/wire"
)

// Source is a source of one group whose rows are filtered. What the source can
// tell beyond its rows, the wrapped one tells.
type Source struct {
	from   sensors.Source
	factor int
	group  wire.Group
}

var (
	_ sensors.Source = (*Source)(nil)
	_ sensors.Health = (*Source)(nil)
	_ sensors.Timed  = (*Source)(nil)
)

// NewSource wraps a source with one group of rows without absent values, at a
// fixed rate.
func NewSource(from sensors.Source, factor int) (*Source, error) {
	g := from.Groups()[0]
	d, err := New(g, factor)
	if err != nil {
		return nil, err
	}
	g.Channels = append([]wire.Channel(nil), g.Channels...)
	for i := range g.Channels {
		if t := &g.Channels[i].Description; *t == "" {
			*t = d.Phase()
		} else {
			*t += "; " + d.Phase()
		}
	}
	g.RateMilliHz /= uint64(factor)
	return &Source{from: from, factor: factor, group: g}, nil
}

// Groups returns the group at its new rate.
func (s *Source) Groups() []wire.Group { return []wire.Group{s.group} }

// Run runs the wrapped source with a filter that is empty at first. A pause of
// more than ten rows empties it too.
func (s *Source) Run(ctx context.Context, out sensors.Sink) error {
	g := s.from.Groups()[0]
	d, err := New(g, s.factor)
	if err != nil {
		return err
	}
	return s.from.Run(ctx, &Sink{Sink: out, Filter: d, Gap: 10 * 1_000_000_000_000 / int64(max(1, g.RateMilliHz))})
}

// Counters returns the wrapped source's.
func (s *Source) Counters() []sensors.Counter {
	if h, ok := s.from.(sensors.Health); ok {
		return h.Counters()
	}
	return nil
}

// Lateness returns the wrapped source's.
func (s *Source) Lateness() sensors.Lateness {
	if t, ok := s.from.(sensors.Timed); ok {
		return t.Lateness()
	}
	return sensors.Lateness{}
}
