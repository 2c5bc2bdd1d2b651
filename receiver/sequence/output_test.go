package sequence_test

import (
	"testing"
	"time"

	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/jsonrow"
	"telemetry/receiver/sequence/sequencetest"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// outputConfig is that of an output of some lanes.
func outputConfig(format sequence.Format, lanes ...wire.Lane) sequence.Config {
	c := sequence.Defaults()
	c.Topics = topic.NewOutput("", "telemetry-sequence", "models", "").Names
	c.Lanes = lanes
	c.NewFormat = func() sequence.Format {
		by := sequence.ByLane{wire.LaneCritical: sequence.Nothing{}, wire.LaneLive: sequence.Nothing{}, wire.LaneFull: sequence.Nothing{}}
		for _, l := range lanes {
			by[l] = format
		}
		return by
	}
	return c
}

// outputLog is a run with an anchor, an event of a session, a hole in each of the
// lanes live and full, and a batch that was pulled forward.
func outputLog(b *bench) {
	car := sequencetest.NewCar("car-1", 1, 0xabc)
	b.apply(car.Open(), car.Anchor(1, 1e9, utc, 1e6), car.Event(1e9, "lap"))
	b.apply(car.Full(2e9, 3), car.Live(2e9))
	car.Full(3e9, 3) // these two never come
	car.Live(3e9)
	b.apply(car.Full(4e9, 3), car.Live(4e9))
	b.write()
	b.tick(2 * time.Minute)
	b.write()
	b.tick(time.Second)
	b.write()
}

func TestOutputHasItsLanesOnly(t *testing.T) {
	cases := map[string]struct {
		lanes []wire.Lane
		want  map[string]int
	}{
		"critical and full": {[]wire.Lane{wire.LaneCritical, wire.LaneFull}, map[string]int{"telemetry.models": 6, "telemetry.models.events": 1, "telemetry.models.gaps": 1}},
		"full":              {[]wire.Lane{wire.LaneFull}, map[string]int{"telemetry.models": 6, "telemetry.models.gaps": 1}},
		"live":              {[]wire.Lane{wire.LaneLive}, map[string]int{"telemetry.models": 2, "telemetry.models.gaps": 1}},
		"critical":          {[]wire.Lane{wire.LaneCritical}, map[string]int{"telemetry.models.events": 1}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, outputConfig(jsonrow.New(), c.lanes...), sequencetest.Catalogue("car-1"))
			outputLog(b)
			got := map[string]int{}
			for _, r := range b.out {
				got[r.Topic]++
			}
			if len(got) != len(c.want) {
				t.Errorf("it writes %v, want %v", got, c.want)
			}
			for topic, n := range c.want {
				if got[topic] != n {
					t.Errorf("%d records in %s, want %d", got[topic], topic, n)
				}
			}
		})
	}
}

// What needs no columns needs no catalogue: an output without the lane full does
// not wait for one that never comes.
func TestOutputWithoutALaneNeedsNoCatalogueOfIt(t *testing.T) {
	b := newBench(t, outputConfig(jsonrow.New(), wire.LaneCritical), nil)
	outputLog(b)
	if len(b.out) != 1 || b.out[0].Topic != "telemetry.models.events" {
		t.Errorf("it writes %v", b.out)
	}
}

// Two outputs with different windows decide differently about the same log, and
// each tells its own gaps.
func TestWindowsAreTheOutputsOwn(t *testing.T) {
	count := func(window time.Duration) (gaps, late int) {
		cfg := outputConfig(jsonrow.New(), wire.LaneFull)
		cfg.Reorder.Windows[wire.LaneFull] = window
		b := newBench(t, cfg, sequencetest.Catalogue("car-1"))
		car := sequencetest.NewCar("car-1", 1, 0xabc)
		b.apply(car.Open(), car.Anchor(1, 1e9, utc, 1e6), car.Full(2e9, 3))
		hole := car.Full(3e9, 3)
		b.apply(car.Full(4e9, 3))
		b.tick(100 * time.Millisecond)
		b.tick(100 * time.Millisecond)
		b.write()
		b.apply(hole)
		b.write()
		for _, r := range b.out {
			switch r.Topic {
			case "telemetry.models.gaps":
				gaps++
			case "telemetry.models.late":
				late++
			}
		}
		return gaps, late
	}
	if gaps, late := count(time.Minute); gaps != 0 || late != 0 {
		t.Errorf("a minute: %d gaps, %d late rows, want none", gaps, late)
	}
	if gaps, late := count(10 * time.Millisecond); gaps == 0 || late != 3 {
		t.Errorf("10 ms: %d gaps, %d late rows, want some and 3", gaps, late)
	}
}
