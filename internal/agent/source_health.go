package agent

import (
	"context"
	"time"

	"telemetry/internal/config"
	"telemetry/sensors"
	"telemetry/wire"
)

// sourcesName is the name of the source that tells of the others.
const sourcesName = config.OwnSource + ".sources"

// sourceHealth is the source of what every other source counts, once a second, in
// the data like any other: a group for each.
type sourceHealth struct {
	clock  clocks
	tell   func() []sensors.Status // set before Run; in the order of sources
	groups []wire.Group
	of     []watched
}

// watched is one source and what it counts.
type watched struct {
	index    int // in the supervisor's list
	counters int
	timed    sensors.Timed // nil: not polled
}

// stateNames are the states of a source by their number in the data: only
// appended to.
var stateNames = [...]sensors.State{sensors.StateIdle, sensors.StateRunning, sensors.StateWaiting, sensors.StateDone, sensors.StateStopped}

// fixedColumns stand before a source's counters.
const fixedColumns = 4

func newSourceHealth(c clocks, list []namedSource) *sourceHealth {
	h := &sourceHealth{clock: c}
	for i, s := range list {
		if s.name == config.OwnSource {
			continue
		}
		w := watched{index: i}
		g := wire.Group{Name: "source." + s.name, Lane: wire.LaneFull, RateMilliHz: 1000}
		add := func(name, unit, text string) {
			g.Channels = append(g.Channels, wire.Channel{Name: "source." + s.name + "." + name, Unit: unit, Description: text, Type: wire.TypeUint, Scale: 1})
		}
		add("state", "", "state of the source")
		for n, name := range stateNames {
			g.Channels[0].Enum = append(g.Channels[0].Enum, wire.EnumValue{Raw: int64(n), Name: string(name)})
		}
		add("rows", "", "rows taken")
		add("failures", "", "runs that ended in an error")
		add("restarts", "", "runs after the first")
		if c, ok := s.source.(sensors.Health); ok {
			for _, counter := range c.Counters() {
				add(counter.Name, "", counter.Help)
				w.counters++
			}
		}
		if t, ok := s.source.(sensors.Timed); ok {
			w.timed = t
			add("jitter_p99", "us", "99 of 100 reads were not later")
			add("jitter_max", "us", "the latest read")
		}
		h.groups, h.of = append(h.groups, g), append(h.of, w)
	}
	return h
}

// Groups lists one group a source.
func (h *sourceHealth) Groups() []wire.Group { return h.groups }

// Run delivers a row of each group a second until ctx ends.
func (h *sourceHealth) Run(ctx context.Context, out sensors.Sink) error {
	t := time.NewTicker(healthEvery)
	defer t.Stop()
	for {
		all := h.tell()
		now := h.clock.BootNS()
		for i, w := range h.of {
			if w.index >= len(all) {
				continue
			}
			if err := out.Append(sensors.Rows{Group: i, Ticks: []int64{now}, Values: h.row(i, w, &all[w.index])}); err != nil {
				return err
			}
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// row returns what a source counts now, in the order of its group's channels.
func (h *sourceHealth) row(group int, w watched, st *sensors.Status) []int64 {
	v := make([]int64, len(h.groups[group].Channels))
	for n, name := range stateNames {
		if name == st.State {
			v[0] = int64(n)
		}
	}
	v[1], v[2], v[3] = int64(st.Rows), int64(st.Failures), int64(st.Restarts)
	for k := range min(w.counters, len(st.Counters)) {
		v[fixedColumns+k] = int64(st.Counters[k].Value)
	}
	if w.timed != nil {
		l := w.timed.Lateness()
		v[fixedColumns+w.counters] = l.Quantile(0.99) / 1000
		v[fixedColumns+w.counters+1] = l.MaxNS / 1000
	}
	return v
}
