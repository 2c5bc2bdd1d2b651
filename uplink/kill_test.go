package uplink

import (
	"slices"
	"testing"
	"time"

	lablink "telemetry/lab/link"
	"telemetry/wire"
)

// TestKilledLink: each of three links in turn says nothing for 3 s every 5 s, at
// half the load of what is left; its old connections stay stuck for as long again,
// as TCP's do. The sockets are watched, or only proofs tell.
func TestKilledLink(t *testing.T) {
	for name, watched := range map[string]bool{"watched": true, "proofs alone": false} {
		t.Run(name, func(t *testing.T) { killedLink(t, watched) })
	}
}

func killedLink(t *testing.T, watched bool) {
	var stuck, before, after, live []int64
	var full, again uint64
	for seed := range uint64(5) {
		var links []*simLink
		for range 3 {
			if watched {
				l := modelLink(lablink.Spec{BitRate: 10e6, Delay: 40 * time.Millisecond})
				l.rtoFactor = 80
				links = append(links, l)
				continue
			}
			links = append(links, &simLink{delay: 40 * ms, rate: 10e6 / 8, rtoFactor: 80, ahead: 1 << 20})
		}
		s := newSim(t, seed, links)
		s.run(s.now+1000*ms, nil)
		end := s.now + 42_000*ms
		s.load(wire.LaneFull, 14<<10, 12*ms, end) // 9.6 Mbit/s
		s.load(wire.LaneLive, 2000, 100*ms, end)
		s.load(wire.LaneCritical, 120, 100*ms, end)
		calm := s.now + 10_000*ms
		for i := range 6 {
			s.run(s.now+5000*ms+int64(i*17+int(seed)*11)*ms, nil)
			if i == 0 {
				s.run(calm, nil)
			}
			killed := s.now
			on := map[wire.ID]bool{}
			for id, sends := range s.sends {
				if _, ok := s.gotAt[id]; !ok && sends[0].link == i%3 && id.Stream.Lane != wire.LaneCritical {
					on[id] = true
				}
			}
			s.silence(i%3, 3000*ms)
			s.run(s.now+2500*ms, nil)
			for id := range on {
				at, ok := s.gotAt[id]
				if !ok {
					t.Fatalf("seed %d, kill %d: %v is still missing", seed, i, id)
				}
				stuck = append(stuck, (at-killed)/ms)
			}
		}
		s.run(end, nil)
		s.drained(30_000 * ms)
		for id, at := range s.madeAt {
			if id.Stream.Lane == wire.LaneLive {
				live = append(live, (s.gotAt[id]-at)/ms)
			}
			if id.Stream.Lane != wire.LaneCritical {
				continue
			}
			if at < calm {
				before = append(before, (s.gotAt[id]-at)/ms)
			} else {
				after = append(after, (s.gotAt[id]-at)/ms)
			}
		}
		sn := s.e.Snapshot().Totals
		full, again = full+sn.BatchBytes, again+sn.ResentBytes
	}
	slices.Sort(live)
	slices.Sort(stuck)
	slices.Sort(before)
	slices.Sort(after)
	p99 := func(v []int64) int64 { return v[len(v)*99/100] } // of sorted ones
	t.Logf("stuck p50 %d p99 %d max %d ms of %d; live p99 %d max %d; critical p99 %d before, %d after; re-sent %.4f", stuck[len(stuck)/2], p99(stuck), stuck[len(stuck)-1], len(stuck), p99(live), live[len(live)-1], p99(before), p99(after), float64(again)/float64(full))
	if p99(stuck) > 300 || stuck[len(stuck)-1] > 500 {
		t.Errorf("stuck batches took %d ms p99, %d at most, want <= 300 and 500", p99(stuck), stuck[len(stuck)-1])
	}
	if l := p99(live); l > 250 {
		t.Errorf("previews took %d ms p99, want <= 250", l)
	}
	if rise := p99(after) - p99(before); rise > 20 {
		t.Errorf("critical p99 rises by %d ms, want <= 20", rise)
	}
	if share := float64(again) / float64(full); share > 0.02 {
		t.Errorf("re-sent %.4f of the bytes, want <= 0.02", share)
	}
}
