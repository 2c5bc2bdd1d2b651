package uplink

import (
	"testing"
	"time"

	lablink "telemetry/lab/link"
	"telemetry/wire"
)

// TestRunsOfBatchesSpareSlowLinks: batches come in runs, as sources deliver rows. A
// link on which one takes 140 ms gets few of them while wide links have room, and
// is used all the same once there is more than those carry.
func TestRunsOfBatchesSpareSlowLinks(t *testing.T) {
	for _, tt := range []struct {
		name     string
		run      int // batches each 40 ms
		from, to float64
	}{{"a third of the capacity", 3, 0, 0.2}, {"more than the capacity", 12, 0.95, 1}} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSim(t, 1, []*simLink{
				modelLink(lablink.Spec{BitRate: 16e6, Delay: 30 * time.Millisecond}),
				modelLink(lablink.Spec{BitRate: 6e6, Delay: 30 * time.Millisecond}),
				modelLink(lablink.Spec{BitRate: 800e3, Delay: 35 * time.Millisecond}),
			})
			s.insts[s.addrs[0]].credit = 8 << 20
			end := s.now + 20_000*ms
			for at := s.now + 1000*ms; at < end; at += 40 * ms {
				for range tt.run {
					s.at(at-s.now, func() { s.make(wire.LaneFull, 14<<10) })
				}
			}
			s.run(s.now+10_000*ms, nil)
			was := s.links[2].model.Counters(s.now)
			s.run(end, nil)
			c := s.links[2].model.Counters(s.now)
			used := float64(c.OutBytes-was.OutBytes) / float64(c.CapacityBytes-was.CapacityBytes)
			if used < tt.from || used > tt.to {
				t.Errorf("the slow link used to %.3f, want %.2f to %.2f", used, tt.from, tt.to)
			}
		})
	}
}
