package uplink

import (
	"slices"
	"testing"
	"time"

	"telemetry/wire"
)

// faulty runs one seed of everything at once and returns the simulation.
func faulty(t testing.TB, seed uint64) *sim {
	links := threeLinks()
	s := newSim(t, seed, links, "tcp://a:1", "tcp://b:1")
	for _, l := range links {
		l.rtoFactor = s.rng.Int64N(100)
	}
	end := s.now + 40_000*ms
	s.at(300*ms, func() { s.load(wire.LaneFull, 4<<10, 15*ms, end) })
	s.at(300*ms, func() { s.load(wire.LaneLive, 1<<10, 50*ms, end) })
	s.at(300*ms, func() { s.load(wire.LaneCritical, 120, 200*ms, end) })
	var fault func()
	fault = func() {
		if s.now >= end {
			return
		}
		li := s.rng.IntN(len(links))
		in := s.insts[s.addrs[s.rng.IntN(len(s.addrs))]]
		switch s.rng.IntN(8) {
		case 0, 1, 2:
			s.silence(li, (100+s.rng.Int64N(4000))*ms)
		case 3:
			s.silence(li, (3000+s.rng.Int64N(17_000))*ms)
		case 4:
			in.down = s.now + s.rng.Int64N(5000)*ms
			s.restart(in)
		case 5:
			in.noKafka = s.now + s.rng.Int64N(8000)*ms
		case 6:
			in.frozen = s.now + s.rng.Int64N(4000)*ms
		case 7:
			for _, g := range sortedGens(links[li]) {
				if c := links[li].conns[g]; !c.closed {
					s.breakConn(li, c, "interface gone")
				}
			}
		}
		s.at((200+s.rng.Int64N(2500))*ms, fault)
	}
	s.at(2000*ms, fault)
	s.at(10_000*ms, func() { // a slow credit and reads that fail
		s.insts[s.addrs[0]].credit = 48 << 10
		for _, it := range s.st.items[wire.LaneFull] {
			s.st.bad[it.ID] = 1
		}
	})
	s.run(end, nil)
	return s
}

func TestSimEveryBatchEndsDurable(t *testing.T) {
	seeds := uint64(10)
	if testing.Short() {
		seeds = 4
	}
	for seed := uint64(1); seed <= seeds; seed++ {
		s := faulty(t, seed)
		s.drained(120_000 * ms)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
		tot := s.e.Snapshot().Totals
		if got := len(s.st.settled); got != len(s.madeAt) {
			t.Fatalf("seed %d: %d of %d batches settled", seed, got, len(s.madeAt))
		}
		// Outages up to 20 s on every link, restarts and stalls: re-sending is
		// what saves the data, but it stays below the data itself.
		if tot.ResentBytes > tot.BatchBytes/2 {
			t.Errorf("seed %d: %d bytes sent again of %d", seed, tot.ResentBytes, tot.BatchBytes)
		}
		if len(s.e.flight) != 0 || s.maxFl > maxFullFlights {
			t.Errorf("seed %d: %d flights left, at most %d", seed, len(s.e.flight), s.maxFl)
		}
		for _, l := range []wire.Lane{wire.LaneLive, wire.LaneFull} {
			if n := len(s.e.lanes[l].back); n > maxFullFlights {
				t.Errorf("seed %d: %d batches of %v wait to be sent again", seed, n, l)
			}
		}
		if tot.BadEchoes != 0 || tot.BadMessages != 0 {
			t.Errorf("seed %d: %+v", seed, tot)
		}
	}
}

func TestSimSameSeedSameActions(t *testing.T) {
	for seed := uint64(100); seed < 102; seed++ {
		if a, b := faulty(t, seed).digest, faulty(t, seed).digest; a != b {
			t.Errorf("seed %d: two runs did different things", seed)
		}
	}
}

// stuck silences one of three warm links under half of the remaining load for
// 3 s and returns how long the batches on it took from the silence to arrival.
func stuck(t testing.TB, seed uint64, kill int) (late []int64, s *sim) {
	s = newSim(t, seed, []*simLink{
		{delay: 40 * ms, rate: 10e6 / 8}, {delay: 40 * ms, rate: 10e6 / 8}, {delay: 40 * ms, rate: 10e6 / 8},
	})
	end := s.now + 12_000*ms
	s.at(400*ms, func() { s.load(wire.LaneFull, 4<<10, 3200_000, end) }) // 10 Mbit/s
	s.at(400*ms, func() { s.load(wire.LaneCritical, 120, 100*ms, end) })
	s.run(s.now+5000*ms+s.rng.Int64N(100*ms), nil)
	at := s.now
	onIt := map[wire.ID]bool{}
	for id, sends := range s.sends {
		if _, got := s.gotAt[id]; !got && sends[0].link == kill && id.Stream.Lane == wire.LaneFull {
			onIt[id] = true
		}
	}
	s.silence(kill, 3000*ms)
	s.run(end, nil)
	s.drained(5000 * ms)
	for id := range onIt {
		late = append(late, s.gotAt[id]-at)
	}
	slices.Sort(late)
	return late, s
}

func TestSilencedLinkStuckBatchesGoElsewhere(t *testing.T) {
	for seed := uint64(1); seed <= 4; seed++ {
		for kill := range 3 {
			late, s := stuck(t, seed, kill)
			if len(late) == 0 {
				continue
			}
			if worst := late[len(late)-1]; worst > 500*ms {
				t.Errorf("seed %d link %d: %d batches were stuck up to %d ms, want <= 500", seed, kill, len(late), worst/ms)
			}
			tot := s.e.Snapshot().Totals
			if tot.ResentBytes*50 > tot.BatchBytes {
				t.Errorf("seed %d link %d: %d bytes sent again of %d, want <= 2 %%", seed, kill, tot.ResentBytes, tot.BatchBytes)
			}
		}
	}
}

// TestSilencedLinkIsNotFedAndComesBack: suspect, dead, redialled beside, old one
// kept, and taken back by a proof.
func TestSilencedLinkIsNotFedAndComesBack(t *testing.T) {
	s := newSim(t, 1, threeLinks())
	warm(s, 5*ms)
	end := s.now + 20_000*ms
	s.load(wire.LaneFull, 4<<10, 5*ms, end)
	s.run(s.now+50*ms, nil)
	s.silence(0, 6000*ms)
	start := s.now
	var suspectAt, deadAt, oldClosed int64
	dials := len(s.dials)
	s.run(s.now+6000*ms, func() bool {
		for _, c := range s.e.Changes() {
			switch {
			case c.Link == 0 && c.State == "suspect" && suspectAt == 0:
				suspectAt = c.AtNS - start
			case c.Link == 0 && c.State == "dead" && deadAt == 0:
				deadAt = c.AtNS - start
			case c.Link == 0 && c.Gen == firstGen && (c.State == "closed" || c.State == "down"):
				oldClosed = c.AtNS - start
			}
		}
		return false
	})
	if suspectAt < 75*ms || suspectAt > 400*ms {
		t.Errorf("suspect after %d ms, want 75 to 400", suspectAt/ms)
	}
	if deadAt < 2800*ms || deadAt > 4000*ms {
		t.Errorf("dead after %d ms, want about 3000", deadAt/ms)
	}
	if oldClosed != 0 {
		t.Errorf("the old connection was closed after %d ms, before the new one proved itself", oldClosed/ms)
	}
	if len(s.dials) == dials || s.dials[dials].Link != 0 {
		t.Errorf("no dial beside the dead connection: %+v", s.dials)
	}
	for id, sends := range s.sends {
		for _, x := range sends {
			if x.link == 0 && x.at > start+suspectAt && x.at < start+6000*ms && id.Stream.Lane != wire.LaneCritical {
				t.Fatalf("%v was given to a suspect link", id)
			}
		}
	}
	s.run(s.now+2000*ms, nil)
	carried := s.links[0].carried
	s.run(s.now+1000*ms, nil)
	if got := s.e.Snapshot().Links[0]; got.State != "up" || got.Beside {
		t.Errorf("link 0, 3 s after its return: %+v", got)
	}
	if s.links[0].carried == carried {
		t.Error("the healed link carries nothing")
	}
	s.run(end, nil)
	s.drained(5000 * ms)
}

// TestTheNextSilenceIsNoticedAsSoon: how long a link was silent is no round trip of it.
func TestTheNextSilenceIsNoticedAsSoon(t *testing.T) {
	for _, long := range []int64{2000 * ms, 3200 * ms, 5000 * ms} { // the longer ones bring a dial beside the old one
		t.Run(time.Duration(long).String(), func(t *testing.T) {
			s := newSim(t, 1, threeLinks())
			warm(s, 5*ms)
			end := s.now + 60_000*ms
			s.load(wire.LaneFull, 4<<10, 5*ms, end)
			s.run(s.now+50*ms, nil)
			for n := range 4 {
				s.silence(0, long)
				start, suspect, up := s.now, int64(0), false
				s.run(s.now+long+6000*ms, func() bool {
					for _, c := range s.e.Changes() {
						if c.Link == 0 && c.State == "suspect" && suspect == 0 {
							suspect = c.AtNS - start
						}
					}
					up = s.now > start+long && s.e.Snapshot().Links[0].State == "up"
					return up
				})
				if suspect == 0 || suspect > 400*ms || !up {
					t.Errorf("silence %d: suspect after %d ms, up again: %t; want at most 400, true", n+1, suspect/ms, up)
				}
				s.run(s.now+200*ms, nil)
			}
			s.run(end, nil)
			s.drained(5000 * ms)
		})
	}
}

// TestDeadConnectionIsGivenUpAfter15s: old connections that stay stuck for ever
// end, also when the new one only just came up.
func TestDeadConnectionIsGivenUpAfter15s(t *testing.T) {
	s := newSim(t, 1, threeLinks())
	end := s.now + 40_000*ms
	s.at(300*ms, func() { s.load(wire.LaneFull, 4<<10, 20*ms, end) })
	s.run(s.now+2000*ms, nil)
	s.silence(0, 30_000*ms)
	s.run(s.now+25_000*ms, nil)
	if l := s.e.links[0]; l.cur != nil && l.cur.gen == firstGen {
		t.Errorf("the dead connection is still there after 25 s: %+v", l.cur)
	}
	s.run(end, nil)
	s.drained(5000 * ms)
	if got := s.e.Snapshot().Links[0].State; got != "up" && got != "dialing" {
		t.Errorf("link 0 is %s at the end", got)
	}
}

// TestIdleSilentLinkIsProbed: a link over which nothing is heard any more gets a
// copy of something, and is redialled when that brings nothing.
func TestIdleSilentLinkIsProbed(t *testing.T) {
	s := newSim(t, 1, threeLinks())
	warm(s, 20*ms)
	s.drained(2000 * ms)
	s.run(s.now+1000*ms, nil)
	s.silence(2, 10_000*ms)
	dials := len(s.dials)
	end := s.now + 5000*ms
	s.at(1000*ms, func() { s.load(wire.LaneFull, 2000, 200*ms, end) })
	s.run(end, nil)
	if len(s.dials) == dials {
		t.Errorf("no dial beside a link that was silent for 5 s: %+v", s.e.Snapshot().Links[2])
	}
	if got := s.e.Snapshot().Totals.Probes; got == 0 {
		t.Error("the quiet link got no probe")
	}
	for id, sends := range s.sends {
		if sends[0].link == 2 && sends[0].at > end-4000*ms && id.Stream.Lane == wire.LaneFull {
			t.Errorf("%v depends on a link that nothing is heard of", id)
		}
	}
	s.drained(15_000 * ms)
}

// TestNoStormWhenTheReceiverRestarts: three links, 20 s without any receiver.
func TestNoStormWhenTheReceiverRestarts(t *testing.T) {
	s := newSim(t, 1, threeLinks())
	warm(s, 20*ms)
	in := s.insts["tcp://a:1"]
	in.down = s.now + 20_000*ms
	s.restart(in)
	dials := len(s.dials)
	s.run(s.now+20_000*ms, nil)
	if n := len(s.dials) - dials; n > 40 {
		t.Errorf("%d dials in 20 s over three links, want a backed-off few", n)
	}
	seen := map[int64]int{}
	for _, at := range s.dialAt[dials:] {
		seen[at]++
	}
	for at, n := range seen {
		if n > 1 {
			t.Errorf("%d dials at the same moment %d ms", n, at/ms)
		}
	}
	s.make(wire.LaneFull, 1000)
	s.drained(15_000 * ms)
}

// TestDialGoesToTheNextAddress: the preferred receiver is gone.
func TestDialGoesToTheNextAddress(t *testing.T) {
	s := newSim(t, 1, threeLinks(), "tcp://a:1", "tcp://b:1", "tcp://c:1")
	order := rendezvous(simCar, s.addrs)
	s.insts[order[0]].down = 1 << 60
	s.make(wire.LaneFull, 1000)
	s.drained(5000 * ms)
	for _, l := range s.e.Snapshot().Links {
		if l.Addr != order[1] {
			t.Errorf("link %s is at %s, want %s", l.Name, l.Addr, order[1])
		}
	}
}
