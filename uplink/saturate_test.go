package uplink

import (
	"slices"
	"testing"

	"telemetry/wire"
)

// TestSaturationMakesNoLongQueue: links that take everything at once are full
// because of us alone; their queues stay short, also for what is fresh.
func TestSaturationMakesNoLongQueue(t *testing.T) {
	for _, size := range []int{4 << 10, 14 << 10} {
		s := newSim(t, 1, threeLinks())
		for _, l := range s.links {
			l.ahead = 1 << 20
		}
		s.insts[s.addrs[0]].credit = 8 << 20
		backlog(s, 40<<20/size, size)
		s.run(s.now+5000*ms, nil)
		var was []int64
		for _, l := range s.links {
			was = append(was, l.carried)
		}
		start := s.now
		end := s.now + 10_000*ms
		s.load(wire.LaneCritical, 120, 100*ms, end)
		s.load(wire.LaneLive, 2000, 100*ms, end)
		var queues []int64
		for s.now < end {
			s.run(s.now+10*ms, nil)
			for _, l := range s.links {
				queues = append(queues, max(0, l.freeAt-s.now)/ms)
			}
		}
		for i, l := range s.links {
			if got := float64(l.carried-was[i]) * 1e9 / float64(l.rate*(s.now-start)); got < 0.98 {
				t.Errorf("batches of %d bytes: link %d carried %.3f of its capacity, want >= 0.98", size, i, got)
			}
		}
		slices.Sort(queues)
		if q := queues[len(queues)*95/100]; q > 150 {
			t.Errorf("batches of %d bytes: queue of %d ms p95, want <= 150", size, q)
		}
		for id, at := range s.madeAt {
			if wait := (s.gotAt[id] - at) / ms; wait > 150 {
				t.Errorf("batches of %d bytes: %v took %d ms, want <= 150", size, id.Stream.Lane, wait)
			}
		}
	}
}
