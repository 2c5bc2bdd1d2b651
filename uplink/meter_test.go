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
	if day := s.e.links[0].meter; !day.allows(s.now+dayNS, wire.LaneFull, 1000) {
		t.Error("the next day has no new budget")
	}
}
