package uplink

import (
	"testing"

	"telemetry/wire"
)

func TestThreeLinksDeliverEverything(t *testing.T) {
	s := newSim(t, 1, threeLinks())
	end := s.now + 10_000*ms
	s.at(500*ms, func() { s.load(wire.LaneFull, 8<<10, 10*ms, end) })
	s.at(500*ms, func() { s.load(wire.LaneLive, 1<<10, 20*ms, end) })
	s.at(500*ms, func() { s.load(wire.LaneCritical, 150, 100*ms, end) })
	s.run(end, nil)
	s.drained(5000 * ms)
	sn := s.e.Snapshot()
	t.Logf("%+v", sn.Totals)
	for _, l := range sn.Links {
		t.Logf("%+v", l)
	}
	if sn.Totals.Resent != 0 {
		t.Errorf("resent %d batches over healthy links, want 0", sn.Totals.Resent)
	}
	if got := len(s.e.flight); got != 0 {
		t.Errorf("%d flights left, want 0", got)
	}
}

func TestSaturatedLinksAreFull(t *testing.T) {
	s := newSim(t, 1, threeLinks())
	for range 12000 {
		s.next[wire.LaneFull]++
		id := wire.ID{Stream: wire.Stream{Car: simCar, Epoch: simEpoch, Lane: wire.LaneFull}, Seq: s.next[wire.LaneFull]}
		s.st.add(wire.Item{ID: id, Size: 8 << 10})
	}
	var before int64
	s.run(s.now+5000*ms, nil)
	for _, l := range s.links {
		before += l.carried
	}
	s.run(s.now+10_000*ms, nil)
	var after int64
	for _, l := range s.links {
		after += l.carried
	}
	ratio := float64(after-before) / (10 * 20e6 / 8)
	t.Logf("ratio %.3f totals %+v", ratio, s.e.Snapshot().Totals)
	for i, l := range s.e.Snapshot().Links {
		t.Logf("%d rate %d rtt %d ms inflight %d cap %d suspicions %d", i, l.RateBps, l.RTTNS/ms, l.InFlight, l.CapBytes, l.Suspicions)
	}
	if ratio < 0.95 {
		t.Errorf("carried %.3f of the capacity, want >= 0.95", ratio)
	}
}
