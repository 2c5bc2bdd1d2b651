package uplink

import (
	"testing"

	"telemetry/wire"
)

// wary is a store that, like the spool, lets no ack settle a number that it has
// not given out yet.
type wary struct {
	*simStore
	read map[wire.ID]bool
}

func (w *wary) Read(id wire.ID, dst []byte) ([]byte, error) {
	w.read[id] = true
	return w.simStore.Read(id, dst)
}

func (w *wary) Settle(st wire.Stream, durable wire.Ranges) {
	for id := range w.read {
		if id.Stream == st && durable.Contains(id.Seq) {
			w.simStore.Settle(st, wire.Ranges{{First: id.Seq, Last: id.Seq}})
		}
	}
}

// TestABatchThatACloneHasSentIsSettled: a copy of the card has sent a batch of this
// epoch; the acks name it before this car sends it, and go on naming it.
func TestABatchThatACloneHasSentIsSettled(t *testing.T) {
	s := newSim(t, 7, threeLinks())
	w := &wary{simStore: s.st, read: map[wire.ID]bool{}}
	s.e.store = w
	s.at(300*ms, func() { s.make(wire.LaneFull, 1000) })
	s.run(s.now+600*ms, nil)
	s.drained(2000 * ms)
	st := wire.Stream{Car: simCar, Epoch: simEpoch, Lane: wire.LaneFull}
	clones := wire.ID{Stream: st, Seq: s.next[wire.LaneFull] + 1}
	in := s.insts["tcp://a:1"]
	in.dur[clones], s.kafka[clones] = true, true
	in.ranges[st] = in.ranges[st].Add(clones.Seq, clones.Seq)
	s.run(s.now+500*ms, nil)
	if id := s.make(wire.LaneFull, 1000); id != clones {
		t.Fatalf("made %v, want %v", id, clones)
	}
	s.drained(2000 * ms)
}
