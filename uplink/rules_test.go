package uplink

import (
	"testing"

	"telemetry/wire"
)

// warm brings three links up and lets them carry traffic, so that rates and round
// trips are known.
func warm(s *sim, full int64) {
	end := s.now + 2000*ms
	s.at(300*ms, func() { s.load(wire.LaneFull, 4<<10, full, end) })
	s.run(end, nil)
}

// TestRule2BaseIsNeverAboveItsBatch: base <= the sequence that it travels with,
// whatever the store says (the simulated ingest checks every header).
func TestRule2BaseIsNeverAboveItsBatch(t *testing.T) {
	s := newSim(t, 2, threeLinks())
	st := wire.Stream{Car: simCar, Epoch: simEpoch, Lane: wire.LaneFull}
	s.st.base[st] = 1 << 50
	s.at(300*ms, func() { s.make(wire.LaneFull, 1000); s.make(wire.LaneFull, 1000) })
	s.run(s.now+400*ms, nil)
	s.drained(2000 * ms)
	for id, sends := range s.sends {
		if got := sends[0].hdr.Base; got != id.Seq {
			t.Errorf("batch %d left with base %d, want %d", id.Seq, got, id.Seq)
		}
	}
	s.st.base[st] = 2
	id := s.make(wire.LaneFull, 1000)
	s.drained(2000 * ms)
	if got := s.sends[id][0].hdr.Base; got != 2 {
		t.Errorf("base %d, want the store's 2", got)
	}
}

// TestRule6BaseRecordLeavesOnEveryLink: a base record is a critical batch
// like any other and leaves on every link.
func TestRule6BaseRecordLeavesOnEveryLink(t *testing.T) {
	s := newSim(t, 3, threeLinks())
	warm(s, 20*ms)
	id := s.make(wire.LaneCritical, 60)
	on := map[int]bool{}
	for _, x := range s.sends[id] {
		on[x.link] = true
	}
	if len(on) != 3 {
		t.Errorf("critical batch left at once on links %v, want all three", on)
	}
	s.drained(2000 * ms)
}

// TestRule16PulledRangeOvertakes: a pulled batch goes before the backlog with
// Pulled set; the rest keeps its turn and its flag.
func TestRule16PulledRangeOvertakes(t *testing.T) {
	s := newSim(t, 4, threeLinks())
	for i := range 2000 {
		s.next[wire.LaneFull]++
		id := wire.ID{Stream: wire.Stream{Car: simCar, Epoch: simEpoch, Lane: wire.LaneFull}, Seq: s.next[wire.LaneFull]}
		s.st.add(wire.Item{ID: id, Size: 8 << 10, FirstNS: int64(i) * ms, LastNS: int64(i)*ms + ms - 1})
	}
	s.run(s.now+500*ms, nil)
	cmd := &wire.Command{ID: 9, NotAfterNS: s.now + 1000*ms, Verb: "pull", Args: map[string]string{"from_ns": "1900000000", "to_ns": "1909999999"}}
	s.e.Message(s.now, 0, s.e.links[0].cur.gen, wire.AppendCommand(nil, cmd))
	s.step()
	s.run(s.now+400*ms, nil)
	for seq := uint64(1901); seq <= 1910; seq++ {
		id := wire.ID{Stream: wire.Stream{Car: simCar, Epoch: simEpoch, Lane: wire.LaneFull}, Seq: seq}
		if len(s.sends[id]) == 0 || !s.sends[id][0].hdr.Pulled || !s.pulledK[id] {
			t.Errorf("batch %d: sends %+v, in the pulled log %v; want it pulled forward", seq, s.sends[id], s.pulledK[id])
		}
	}
	s.drained(20_000 * ms)
	if got := len(s.pulledK); got != 10 {
		t.Errorf("%d batches pulled, want 10", got)
	}
	if a := answers(t, s); len(a) != 1 || !a[0].OK || a[0].ID != 9 {
		t.Errorf("answers %+v, want one OK for command 9", a)
	}
}

// TestRule17AbsenceFromAnAckMeansNothing: acks that name only a part of what is
// durable, at random, neither lose nor repeat anything.
func TestRule17AbsenceFromAnAckMeansNothing(t *testing.T) {
	s := newSim(t, 5, threeLinks())
	s.insts["tcp://a:1"].forget = true
	end := s.now + 5000*ms
	s.at(300*ms, func() { s.load(wire.LaneFull, 4<<10, 10*ms, end) })
	s.run(end, nil)
	s.drained(5000 * ms)
	if got := s.e.Snapshot().Totals.Resent; got != 0 {
		t.Errorf("%d batches sent again although nothing was lost", got)
	}
}

// TestRule17StaleAckMovesNothingBack: an ack with a lower counter changes neither
// credit nor state nor what is settled.
func TestRule17StaleAckMovesNothingBack(t *testing.T) {
	s := newSim(t, 6, threeLinks())
	warm(s, 20*ms)
	in := s.insts["tcp://a:1"]
	old := &wire.Ack{Instance: in.name, Nonce: in.nonce, Counter: 1, State: wire.InstanceStalled}
	s.e.Message(s.now, 1, s.e.links[1].cur.gen, wire.AppendAck(nil, old))
	if v := s.e.Snapshot().Instances[0]; v.State != wire.InstanceOK || v.Credit == 0 {
		t.Errorf("instance after a stale ack: %+v, want OK with credit", v)
	}
	earlier := &wire.Ack{Instance: in.name, Nonce: in.nonce, Counter: in.counter + 99, State: wire.InstanceOK}
	s.restart(in)
	s.run(s.now+1000*ms, nil)
	s.e.Message(s.now, 1, s.e.links[1].cur.gen, wire.AppendAck(nil, earlier))
	n := 0
	for _, v := range s.e.Snapshot().Instances {
		if v.Nonce == in.nonce && !v.Silent && v.Credit > 0 {
			n++
		}
	}
	if n != 1 {
		t.Errorf("after a late ack of its earlier start the instance isn't heard any more: %+v", s.e.Snapshot().Instances)
	}
}

// TestRule18ReceivedIsALoan: a batch that an instance has in memory isn't sent
// again while it says so, and is when its nonce changes.
func TestRule18ReceivedIsALoan(t *testing.T) {
	tests := []struct {
		name  string
		do    func(s *sim, in *simInst)
		after int64 // ns until it is sent again
		want  int   // sends in all
	}{
		{"stalled for long: still lent", func(s *sim, in *simInst) { in.noKafka = s.now + 40_000*ms }, 38_000 * ms, 1},
		{"restart: nonce changes", func(s *sim, in *simInst) {
			in.noKafka = s.now + 5000*ms
			s.at(1000*ms, func() { in.noKafka = 0; s.restart(in) })
		}, 1600 * ms, 2},
		{"silent for 2 s", func(s *sim, in *simInst) {
			in.noKafka = s.now + 20_000*ms
			s.at(1000*ms, func() { in.frozen = s.now + 10_000*ms })
		}, 3100 * ms, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSim(t, 7, threeLinks())
			warm(s, 20*ms)
			s.drained(2000 * ms)
			in := s.insts["tcp://a:1"]
			tt.do(s, in)
			id := s.make(wire.LaneFull, 1000)
			s.run(s.now+tt.after, nil)
			if got := len(s.sends[id]); got != tt.want {
				t.Errorf("sent %d times, want %d: %+v", got, tt.want, s.sends[id])
			}
			s.drained(60_000 * ms)
		})
	}
}

// TestRule18LoanEndsAfter30s: an instance that keeps a batch for 30 s without
// being in trouble loses it, unless it goes on listing it and nobody else is
// there: it would only drop the copy.
func TestRule18LoanEndsAfter30s(t *testing.T) {
	tests := []struct {
		name  string
		other bool // another instance is heard
		lists bool // it goes on listing the batch
		want  int  // sends after 32 s
	}{
		{"listed, nobody else", false, true, 1},
		{"listed, another instance", true, true, 2},
		{"not listed any more", false, false, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSim(t, 8, threeLinks())
			warm(s, 20*ms)
			s.drained(2000 * ms)
			in := s.insts["tcp://a:1"]
			in.keep = map[wire.ID]bool{}
			id := s.make(wire.LaneFull, 1000)
			in.keep[id] = true
			s.run(s.now+29_000*ms, nil)
			if got := len(s.sends[id]); got != 1 {
				t.Fatalf("sent %d times within 29 s, want once", got)
			}
			if !tt.lists {
				delete(in.rcv, id)
			}
			if tt.other {
				other := &wire.Ack{Instance: "other", Nonce: 5, State: wire.InstanceOK, Credit: 1 << 20}
				for i := range 60 {
					s.at(int64(i)*50*ms, func() {
						other.Counter++
						s.e.Message(s.now, 2, s.e.links[2].cur.gen, wire.AppendAck(nil, other))
						s.step()
					})
				}
			}
			s.run(s.now+1500*ms, nil)
			s.run(s.now+1500*ms, nil)
			if got := len(s.sends[id]); got != tt.want {
				t.Errorf("sent %d times after 32 s, want %d", got, tt.want)
			}
		})
	}
}

// TestRule19OneInstanceWithoutKafkaMustNotStopTheCar: all links prefer one
// instance; its Kafka goes; one link moves, finds another, all follow, and what
// was lent to the first is delivered by the other.
func TestRule19OneInstanceWithoutKafkaMustNotStopTheCar(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		s := newSim(t, seed, threeLinks(), "tcp://a:1", "tcp://b:1", "tcp://c:1")
		end := s.now + 20_000*ms
		s.at(300*ms, func() { s.load(wire.LaneFull, 4<<10, 20*ms, end) })
		s.run(s.now+2000*ms, nil)
		first := s.insts[s.e.links[0].cur.addr]
		for _, l := range s.e.links {
			if s.insts[l.cur.addr] != first {
				t.Fatalf("seed %d: links prefer different instances", seed)
			}
		}
		first.noKafka = s.now + 1000_000*ms
		first.credit = 64 << 10
		s.run(s.now+8000*ms, nil)
		if p := s.pending(); p > 20 {
			t.Fatalf("seed %d: %d batches wait 8 s after one instance lost Kafka: %+v", seed, p, s.e.Snapshot())
		}
		for i, l := range s.e.links {
			if s.insts[l.cur.addr] == first {
				t.Errorf("seed %d: link %d is still at the stalled instance", seed, i)
			}
		}
		s.run(end, nil)
		s.drained(5000 * ms)
	}
}

// TestRule19LoansAtAStalledInstanceAreSentAgain: one link reaches the stalled
// instance only, so that it goes on being heard; what it holds goes elsewhere.
func TestRule19LoansAtAStalledInstanceAreSentAgain(t *testing.T) {
	s := newSim(t, 3, threeLinks(), "tcp://a:1", "tcp://b:1")
	first := s.e.links[0].addrs[0]
	s.e.links[0].addrs = s.e.links[0].addrs[:1]
	warm(s, 20*ms)
	s.drained(2000 * ms)
	s.insts[first].noKafka = s.now + 60_000*ms
	id := s.make(wire.LaneFull, 1000)
	s.run(s.now+8000*ms, nil)
	if !s.st.settled[id] || len(s.sends[id]) != 2 {
		t.Errorf("settled: %v, sent %d times, want once to each instance: %+v", s.st.settled[id], len(s.sends[id]), s.e.Snapshot())
	}
}

// TestRule19HoldOnlyWhileEveryReachableInstanceIsStalled: at zero credit nothing
// is sent, nothing is suspected, and everything goes on when credit comes back or
// the word of it is 2 s old.
func TestRule19HoldOnlyWhileEveryReachableInstanceIsStalled(t *testing.T) {
	s := newSim(t, 9, threeLinks())
	warm(s, 20*ms)
	s.drained(2000 * ms)
	in := s.insts["tcp://a:1"]
	in.credit, in.noKafka = 0, s.now+10_000*ms
	s.run(s.now+200*ms, nil)
	before := s.e.Snapshot()
	ids := []wire.ID{s.make(wire.LaneFull, 4000), s.make(wire.LaneCritical, 100), s.make(wire.LaneLive, 500)}
	s.run(s.now+9000*ms, nil)
	after := s.e.Snapshot()
	if !after.Held {
		t.Error("the snapshot doesn't say that the car holds")
	}
	for _, id := range ids {
		if n := len(s.sends[id]); n != 0 {
			t.Errorf("%v was sent %d times into a receiver without credit", id, n)
		}
	}
	for i := range after.Links {
		if after.Links[i].Suspicions != before.Links[i].Suspicions || after.Links[i].State != "held" {
			t.Errorf("link %d during the hold: %+v", i, after.Links[i])
		}
	}
	in.credit, in.noKafka = 1<<20, 0
	s.drained(2000 * ms)
	if got := s.e.Snapshot().Totals.Resent; got != before.Totals.Resent {
		t.Errorf("%d batches sent again because of a stalled receiver", got-before.Totals.Resent)
	}
}

// TestRule19CreditExpiresWithSilence: the word "no credit" doesn't outlive its
// instance.
func TestRule19CreditExpiresWithSilence(t *testing.T) {
	s := newSim(t, 10, threeLinks())
	warm(s, 20*ms)
	s.drained(2000 * ms)
	in := s.insts["tcp://a:1"]
	in.credit = 0
	s.run(s.now+200*ms, nil)
	in.frozen = s.now + 4000*ms
	id := s.make(wire.LaneFull, 4000)
	s.run(s.now+1500*ms, nil)
	if n := len(s.sends[id]); n != 0 {
		t.Errorf("sent %d times while the hold was fresh", n)
	}
	s.run(s.now+1000*ms, nil)
	if n := len(s.sends[id]); n == 0 {
		t.Error("not sent 2 s after the last word of the instance")
	}
	in.credit = 1 << 20
	s.drained(30_000 * ms)
}

func answers(t *testing.T, s *sim) []*wire.Answer {
	t.Helper()
	var out []*wire.Answer
	for _, o := range s.other {
		if o.Topic != topicAnswer(simCar) {
			continue
		}
		a, err := wire.ParseAnswer(o.Payload)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, a)
	}
	return out
}
