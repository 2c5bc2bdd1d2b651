package uplink

import (
	"testing"

	"telemetry/wire"
)

func backlog(s *sim, n, size int) {
	for range n {
		s.next[wire.LaneFull]++
		id := wire.ID{Stream: wire.Stream{Car: simCar, Epoch: simEpoch, Lane: wire.LaneFull}, Seq: s.next[wire.LaneFull]}
		s.st.add(wire.Item{ID: id, Size: size, FirstNS: 1, LastNS: 2})
	}
}

// TestFreshOvertakesBacklog: with all links full of backlog, critical and live
// arrive within the queue that we allow ourselves.
func TestFreshOvertakesBacklog(t *testing.T) {
	s := newSim(t, 1, threeLinks())
	backlog(s, 6000, 8<<10)
	s.run(s.now+3000*ms, nil)
	end := s.now + 5000*ms
	s.load(wire.LaneCritical, 120, 250*ms, end)
	s.load(wire.LaneLive, 2000, 100*ms, end)
	s.run(end+500*ms, nil)
	var worst [4]int64
	for id, at := range s.madeAt {
		l := id.Stream.Lane
		worst[l] = max(worst[l], s.gotAt[id]-at)
	}
	if w := worst[wire.LaneCritical]; w > 150*ms {
		t.Errorf("critical took up to %d ms behind a backlog, want <= 150", w/ms)
	}
	if w := worst[wire.LaneLive]; w > 250*ms {
		t.Errorf("live took up to %d ms behind a backlog, want <= 250", w/ms)
	}
	for i, l := range s.e.Snapshot().Links {
		if q := l.RTTNS - 2*s.links[i].delay; q > 150*ms {
			t.Errorf("link %d: we make a queue of %d ms, want <= 150", i, q/ms)
		}
	}
}

// TestBacklogDrainsUnderLive: previews that would fill every link leave the full
// lane its share.
func TestBacklogDrainsUnderLive(t *testing.T) {
	s := newSim(t, 1, []*simLink{{delay: 20 * ms, rate: 1e6 / 8}})
	s.run(s.now+300*ms, nil)
	end := s.now + 20_000*ms
	s.load(wire.LaneLive, 4000, 20*ms, end) // 1.6 Mbit/s into 1
	backlog(s, 1000, 8<<10)
	s.run(end, nil)
	n := 0
	for id := range s.kafka {
		if id.Stream.Lane == wire.LaneFull {
			n++
		}
	}
	if got := float64(n*8<<10) / (20 * 1e6 / 8); got < 0.03 || got > 0.10 {
		t.Errorf("full got %.3f of the link under too many previews, want about 0.05", got)
	}
}

// TestFullGoesOldestFirst: what comes back goes before what is new.
func TestFullGoesOldestFirst(t *testing.T) {
	s := newSim(t, 1, []*simLink{{delay: 20 * ms, rate: 1e6 / 8}})
	old := wire.Epoch{Counter: 2, Nonce: 77}
	for seq := uint64(5); seq <= 8; seq++ {
		s.st.add(wire.Item{ID: wire.ID{Stream: wire.Stream{Car: simCar, Epoch: old, Lane: wire.LaneFull}, Seq: seq}, Size: 1000})
	}
	backlog(s, 4, 1000)
	s.run(s.now+1000*ms, nil)
	var last int64
	for _, id := range []wire.ID{
		{Stream: wire.Stream{Car: simCar, Epoch: old, Lane: wire.LaneFull}, Seq: 5},
		{Stream: wire.Stream{Car: simCar, Epoch: old, Lane: wire.LaneFull}, Seq: 8},
		{Stream: wire.Stream{Car: simCar, Epoch: simEpoch, Lane: wire.LaneFull}, Seq: 1},
		{Stream: wire.Stream{Car: simCar, Epoch: simEpoch, Lane: wire.LaneFull}, Seq: 4},
	} {
		if len(s.sends[id]) != 1 || s.sends[id][0].hdr.SentNS <= last {
			t.Fatalf("%v: sends %+v, want one after %d", id, s.sends[id], last)
		}
		last = s.sends[id][0].hdr.SentNS
	}
	s.drained(1000 * ms)
}

// TestCriticalGoesToSuspectLinksToo and over a link that comes up later.
func TestCriticalGoesToSuspectLinksToo(t *testing.T) {
	s := newSim(t, 1, threeLinks())
	warm(s, 5*ms)
	s.load(wire.LaneFull, 4<<10, 5*ms, s.now+1500*ms)
	s.run(s.now+50*ms, nil)
	s.silence(0, 2500*ms)
	s.run(s.now+700*ms, nil)
	if got := s.e.Snapshot().Links[0].State; got != "suspect" {
		t.Fatalf("link 0 is %s, want suspect", got)
	}
	id := s.make(wire.LaneCritical, 100)
	on := map[int]bool{}
	for _, x := range s.sends[id] {
		on[x.link] = true
	}
	if !on[0] || len(on) != 3 {
		t.Errorf("critical batch went to links %v, want all, the suspect one too", on)
	}
	s.run(s.now+200*ms, nil)
	if s.gotAt[id] == 0 {
		t.Error("critical batch waited for the suspect link")
	}
	s.drained(10_000 * ms)
}

// TestRefusedBecomesALossRecord, and a control batch never does.
func TestRefusedBecomesALossRecord(t *testing.T) {
	s := newSim(t, 1, threeLinks())
	in := s.insts["tcp://a:1"]
	st := wire.Stream{Car: simCar, Epoch: simEpoch, Lane: wire.LaneFull}
	bad := wire.ID{Stream: st, Seq: 2}
	in.refuse[bad] = true
	s.run(s.now+500*ms, nil)
	for range 3 {
		s.make(wire.LaneFull, 500)
	}
	control := wire.ID{Stream: wire.Stream{Car: simCar, Epoch: simEpoch, Lane: wire.LaneCritical}, Seq: 1}
	in.refuse[control] = true
	s.next[wire.LaneCritical]++
	s.st.add(wire.Item{ID: control, Size: 100, Control: true})
	s.step()
	s.run(s.now+3000*ms, nil)
	if !s.st.refused[bad] || s.st.refused[control] {
		t.Errorf("refused: %v, want only %v", s.st.refused, bad)
	}
	if got := len(s.sends[control]); got != 3 {
		t.Errorf("refused control batch was sent %d times within 3 s, want once a link", got)
	}
	delete(in.refuse, control)
	s.drained(15_000 * ms)
}

// TestCopyThatABrokerLostIsSentAgain: the link proves it, no instance speaks of it.
func TestCopyThatABrokerLostIsSentAgain(t *testing.T) {
	for _, l := range wire.Lanes {
		t.Run(l.String(), func(t *testing.T) {
			s := newSim(t, 1, threeLinks())
			warm(s, 20*ms)
			s.drained(1000 * ms)
			id := s.make(l, 150)
			s.lose[id] = len(s.sends[id])
			s.drained(2200 * ms)
			if got := s.e.Snapshot().Totals.Durable; got == 0 {
				t.Error("nothing is durable")
			}
		})
	}
}

// TestUnreadableItemIsTriedAgainAndBlocksNothing.
func TestUnreadableItemIsTriedAgainAndBlocksNothing(t *testing.T) {
	for _, l := range wire.Lanes {
		t.Run(l.String(), func(t *testing.T) {
			s := newSim(t, 1, threeLinks())
			s.run(s.now+500*ms, nil)
			bad := wire.ID{Stream: wire.Stream{Car: simCar, Epoch: simEpoch, Lane: l}, Seq: 1}
			s.st.bad[bad] = 3
			s.make(l, 100)
			good := s.make(l, 100)
			s.run(s.now+300*ms, nil)
			if !s.kafka[good] || s.kafka[bad] {
				t.Errorf("after 300 ms: good %v, bad %v", s.kafka[good], s.kafka[bad])
			}
			s.drained(6000 * ms)
		})
	}
}

// TestSupersededPreviewIsForgotten: an item that the store dropped while it was
// on its way, or before it was sent, leaves no flight.
func TestSupersededPreviewIsForgotten(t *testing.T) {
	s := newSim(t, 1, threeLinks())
	s.run(s.now+500*ms, nil)
	for li := range s.links {
		s.silence(li, 4000*ms)
	}
	for range 5 {
		s.make(wire.LaneLive, 1000)
	}
	s.run(s.now+2000*ms, nil)
	s.st.items[wire.LaneLive] = nil
	s.run(s.now+20_000*ms, nil)
	if got := len(s.e.flight); got != 0 {
		t.Errorf("%d flights are left of dropped previews", got)
	}
}

// TestFlightsAreBounded: an instance that keeps everything on loan fills the
// table to its limit and not beyond.
func TestFlightsAreBounded(t *testing.T) {
	s := newSim(t, 1, []*simLink{{delay: 5 * ms, rate: 1e9}})
	in := s.insts["tcp://a:1"]
	in.noKafka, in.credit = s.now+60_000*ms, 1<<40
	for i := range 18_000 {
		s.next[wire.LaneFull]++
		s.st.items[wire.LaneFull] = append(s.st.items[wire.LaneFull], wire.Item{ID: wire.ID{Stream: wire.Stream{Car: simCar, Epoch: simEpoch, Lane: wire.LaneFull}, Seq: uint64(i + 1)}, Size: 60})
	}
	s.run(s.now+3000*ms, nil)
	if got := s.e.lanes[wire.LaneFull].list.len; got != maxFullFlights {
		t.Errorf("%d flights, want the limit %d", got, maxFullFlights)
	}
}
