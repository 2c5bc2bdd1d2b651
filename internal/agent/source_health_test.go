package agent

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"telemetry/internal/config"
	"telemetry/sensors"
	"telemetry/wire"
)

// counting is a polled source that counts.
type counting struct{ timed }

func (counting) Counters() []sensors.Counter {
	return []sensors.Counter{{Name: "reads", Help: "rows read", Value: 7}, {Name: "missed", Value: 2}}
}

// healthRows keeps the rows of each group.
type healthRows struct {
	mu     sync.Mutex
	groups map[int][][]int64 // guarded by mu while rows come
}

func (r *healthRows) Append(x sensors.Rows) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.groups[x.Group] = append(r.groups[x.Group], slices.Clone(x.Values))
	return nil
}

// rows returns how many have come of a group.
func (r *healthRows) rows(group int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.groups[group])
}

func TestEverySourceTellsHowItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newSourceHealth(newClock(), []namedSource{
			{name: "gps", source: counting{}}, {name: config.OwnSource, source: broken{}}, {name: "bus", source: broken{}},
		})
		h.tell = func() []sensors.Status {
			return []sensors.Status{
				{Name: "gps", State: sensors.StateRunning, Rows: 40, Restarts: 1, Failures: 3, Counters: counting{}.Counters()},
				{Name: "agent"},
				{Name: "bus", State: sensors.StateWaiting},
			}
		}
		gs := h.Groups()
		if len(gs) != 2 || gs[0].Name != "source.gps" || len(gs[0].Channels) != 8 || len(gs[1].Channels) != 4 || gs[0].Channels[4].Name != "source.gps.reads" {
			t.Fatalf("%+v", gs)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		out := &healthRows{groups: map[int][][]int64{}}
		if err := h.Run(ctx, sinkOf{out}); err != nil {
			t.Fatal(err)
		}
		if n := len(out.groups[0]); n != 3 || len(out.groups[1]) != 3 {
			t.Errorf("%d rows in 2.5 s, want 3", n)
		}
		if got, want := out.groups[0][0], []int64{1, 40, 3, 1, 7, 2, 40, 2000}; !slices.Equal(got, want) {
			t.Errorf("gps %v, want %v", got, want)
		}
		if got, want := out.groups[1][0], []int64{2, 0, 0, 0}; !slices.Equal(got, want) {
			t.Errorf("bus %v, want %v", got, want)
		}
	})
}

// sinkOf makes a sink of what takes rows.
type sinkOf struct{ *healthRows }

func (sinkOf) Event(wire.Event) error { return nil }
