package uplink

import (
	"testing"

	"telemetry/wire"
)

// meteredSim is a sim whose first link has a meter.
func meteredSim(t *testing.T, m Meter) *sim {
	s := newSim(t, 1, threeLinks())
	s.e.links[0].meter.Meter = m
	return s
}

// carried returns the batches that went over link 0, by lane.
func carried(s *sim) map[wire.Lane]int {
	n := map[wire.Lane]int{}
	for id, sends := range s.sends {
		for _, x := range sends {
			if x.link == 0 {
				n[id.Stream.Lane]++
			}
		}
	}
	return n
}

func TestMeterKeepsToItsLanes(t *testing.T) {
	s := meteredSim(t, Meter{Lanes: []wire.Lane{wire.LaneLive}})
	s.run(s.now+500*ms, nil)
	end := s.now + 5000*ms
	s.load(wire.LaneCritical, 100, 100*ms, end)
	s.load(wire.LaneLive, 1000, 100*ms, end)
	s.load(wire.LaneFull, 8000, 20*ms, end)
	s.drained(20_000 * ms)
	n := carried(s)
	if n[wire.LaneCritical]+n[wire.LaneFull] != 0 || n[wire.LaneLive] == 0 {
		t.Errorf("a link for live only carried %v", n)
	}
}

func TestMeterEndsAtItsBudgetButForCritical(t *testing.T) {
	const budget = 500_000
	s := meteredSim(t, Meter{DayBytes: budget})
	s.run(s.now+500*ms, nil)
	end := s.now + 20_000*ms
	s.load(wire.LaneCritical, 100, 200*ms, end)
	s.load(wire.LaneFull, 8000, 10*ms, end) // 6.4 Mbit/s: 16 MB
	s.run(end, nil)
	sn := s.e.Snapshot().Links[0]
	if sn.DayBytes < budget*9/10 || sn.DayBytes > budget+200*200 {
		t.Errorf("%d bytes over a link with a budget of %d", sn.DayBytes, budget)
	}
	before := carried(s)
	s.load(wire.LaneCritical, 100, 200*ms, s.now+2000*ms)
	s.load(wire.LaneFull, 8000, 10*ms, s.now+2000*ms)
	s.drained(60_000 * ms)
	after := carried(s)
	if after[wire.LaneFull] != before[wire.LaneFull] || after[wire.LaneCritical] <= before[wire.LaneCritical] {
		t.Errorf("beyond the budget: %v, then %v: want critical only", before, after)
	}
}

func TestMeterBeginsAnewWithTheDay(t *testing.T) {
	full := func(day int64) metered {
		return metered{Meter: Meter{DayBytes: 1000}, Spent: Spent{Day: day, Bytes: 1000}, startNS: 1}
	}
	tests := []struct {
		name string
		m    metered
		days []int64
		now  int64
		want bool
	}{
		{"the same day", full(20_000), []int64{20_000}, 2, false},
		{"the next day", full(20_000), []int64{20_001}, 2, true},
		{"a clock that is not set", full(20_000), []int64{0}, 2, false},
		{"a clock that is set back", full(20_000), []int64{19_999}, 2, false},
		{"back, and forward again to a day that had its budget", full(20_000), []int64{19_999, 20_000}, 2, false},
		{"back at each of many starts", full(20_000), []int64{19_500, 20_000, 19_500, 20_000}, 2, false},
		{"back, and forward to the day after", full(20_000), []int64{19_500, 20_001}, 2, true},
		{"a clock that was far ahead, and the next day", full(47_000), []int64{20_000, 20_001}, 2, true},
		{"the first day known takes over what was counted", full(0), []int64{20_000}, 2, false},
		{"no clock at all: the same 24 h", full(0), nil, dayNS, false},
		{"no clock at all: the next 24 h", full(0), nil, dayNS + 1, true},
		{"24 h of a day that goes on", full(20_000), []int64{20_000}, dayNS + 1, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, d := range tt.days {
				tt.m.turn(d)
			}
			if got := tt.m.allows(tt.now, wire.LaneFull, 100); got != tt.want {
				t.Errorf("allowed: %v, want %v (%+v)", got, tt.want, tt.m.Spent)
			}
		})
	}
}
