package sim

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"telemetry/sensors"
	"telemetry/wire"
)

// virtualClock is a boot clock that follows the clock of a synctest bubble.
type virtualClock struct{ begin time.Time }

func (c virtualClock) BootNS() int64 { return 5_000_000_000 + int64(time.Since(c.begin)) }

// checker is a sink that compares all rows with a model of its own.
type checker struct {
	t       *testing.T
	model   *Model
	startNS func() int64
	next    []int64
	appends int
	rows    int
	values  int
	events  []wire.Event
	fail    error
}

func (c *checker) Append(r sensors.Rows) error {
	if c.fail != nil {
		return c.fail
	}
	if err := r.Check(c.model.Groups()); err != nil {
		c.t.Error(err)
	}
	width := len(c.model.Groups()[r.Group].Channels)
	for i, tick := range r.Ticks {
		n := c.next[r.Group]
		if want := c.startNS() + c.model.TickNS(r.Group, n); tick != want {
			c.t.Fatalf("group %d tick %d is at %d ns, want %d", r.Group, n, tick, want)
		}
		for k := range width {
			if got, want := r.Values[i*width+k], c.model.Value(r.Group, k, n); got != want {
				c.t.Fatalf("group %d tick %d channel %d: %d, want %d", r.Group, n, k, got, want)
			}
		}
		c.next[r.Group]++
	}
	c.appends++
	c.rows += len(r.Ticks)
	c.values += len(r.Values)
	return nil
}

func (c *checker) Event(e wire.Event) error {
	c.events = append(c.events, e)
	return c.fail
}

func newChecked(t *testing.T, cfg Config) (*Source, *checker) {
	t.Helper()
	src, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Clock = nil
	m := newModel(t, cfg)
	return src, &checker{t: t, model: m, startNS: src.StartNS, next: make([]int64, len(m.Groups()))}
}

func TestUnpacedLaps(t *testing.T) {
	cfg := Config{Channels: 150, RateMilliHz: 50_000, LapTime: 20 * time.Second, Laps: 2, Seed: 4, Unpaced: true, Clock: virtualClock{time.Now()}}
	src, sink := newChecked(t, cfg)
	if err := src.Run(t.Context(), sink); err != nil {
		t.Fatal(err)
	}
	for g := range sink.next {
		if want := sink.model.TickAt(g, sink.model.LapStartNS(2)); sink.next[g] != want {
			t.Errorf("group %d: %d rows in two laps, want %d", g, sink.next[g], want)
		}
	}
	if len(sink.events) != 2 || sink.events[0].Detail != "lap 1" || sink.events[1].Detail != "lap 2, last 20.000 s" {
		t.Errorf("events %v", sink.events)
	}
	if sink.events[1].BootNS != src.StartNS()+sink.model.LapStartNS(1) {
		t.Errorf("lap 2 is marked at %d", sink.events[1].BootNS)
	}
	if c := src.Counters(); c[0].Value != uint64(sink.rows) || c[1].Value != uint64(sink.values) {
		t.Errorf("counters %v, took %d rows and %d values", c, sink.rows, sink.values)
	}
}

func TestPacedAndRestarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Config{Channels: 90, RateMilliHz: MaxRateMilliHz, Seed: 1, Clock: virtualClock{time.Now()}}
		src, sink := newChecked(t, cfg)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		err := src.Run(ctx, sink)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("ended with %v", err)
		}
		fast := 0
		for g := range sink.next {
			// A tick that is due at the very end is taken or not.
			if want := sink.model.TickAt(g, 2e9); sink.next[g] < want-int64(cfg.RateMilliHz/1000/50) || sink.next[g] > want+1 {
				t.Errorf("group %d: %d rows in 2 s, want about %d", g, sink.next[g], want)
			}
			fast = max(fast, int(sink.next[g]))
		}
		if most := 2 * 110 * len(sink.next); sink.appends > most {
			t.Errorf("%d appends in 2 s for %d groups, want at most %d", sink.appends, len(sink.next), most)
		}

		time.Sleep(3 * time.Second) // as after a failure: the ticks of the pause are left out
		for g := range sink.next {
			sink.next[g] = sink.model.TickAt(g, 5e9)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		rows := sink.rows
		if err := src.Run(ctx, sink); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("ended with %v", err)
		}
		if sink.rows-rows < fast/3 {
			t.Errorf("only %d rows in the second run", sink.rows-rows)
		}
	})
}

func TestSinkThatStops(t *testing.T) {
	stopping := errors.New("stopping")
	src, sink := newChecked(t, Config{Unpaced: true, Clock: virtualClock{time.Now()}})
	sink.fail = stopping
	if err := src.Run(t.Context(), sink); !errors.Is(err, stopping) {
		t.Errorf("got %v", err)
	}
}
