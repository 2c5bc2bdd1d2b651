package uplink

import (
	"fmt"
	"testing"

	"telemetry/wire"
)

// TestAnyNumberOfLinks: two links, one, and one that is never there.
func TestAnyNumberOfLinks(t *testing.T) {
	for n := 1; n <= 3; n++ {
		t.Run(fmt.Sprintf("%d links", n), func(t *testing.T) {
			s := newSim(t, uint64(n), threeLinks()[:n])
			end := s.now + 5000*ms
			s.load(wire.LaneCritical, 100, 200*ms, end)
			s.load(wire.LaneLive, 1000, 100*ms, end)
			s.load(wire.LaneFull, 8000, 40*ms, end)
			s.run(end, nil)
			s.drained(10_000 * ms)
			if got := s.e.Snapshot().Totals.ResentBytes; n > 1 && got > 20_000 {
				t.Errorf("%d bytes sent again over links that are well", got)
			}
		})
	}
	t.Run("no link at all", func(t *testing.T) {
		s := newSim(t, 1, threeLinks()[:1])
		s.insts[s.addrs[0]].down = 1 << 60
		end := s.now + 60_000*ms
		s.load(wire.LaneFull, 8000, 100*ms, end)
		s.run(end, nil)
		sn := s.e.Snapshot()
		if len(s.e.flight) != 0 || sn.Totals.Batches != 0 || sn.Held {
			t.Errorf("%d in flight, %d sent, held %v: want all of it left in the spool", len(s.e.flight), sn.Totals.Batches, sn.Held)
		}
		if got := len(s.st.items[wire.LaneFull]); got != 600 {
			t.Errorf("%d batches wait, want 600", got)
		}
		s.insts[s.addrs[0]].down = 0
		s.drained(60_000 * ms)
	})
}

// TestLinkThatAppearsWhileRunning: the third link can't be dialled at first, then
// it carries its share.
func TestLinkThatAppearsWhileRunning(t *testing.T) {
	s := newSim(t, 4, threeLinks())
	late := s.links[2]
	late.silent = s.now + 20_000*ms // dials time out until then
	backlog(s, 6500, 14<<10)
	s.insts[s.addrs[0]].credit = 8 << 20
	s.run(s.now+19_000*ms, nil)
	if late.carried != 0 {
		t.Fatalf("%d bytes over a link that isn't there", late.carried)
	}
	s.run(s.now+12_000*ms, nil) // up to 8 s of back-off
	was := late.carried
	s.run(s.now+4000*ms, nil)
	if got := float64(late.carried-was) / float64(late.rate*4); got < 0.9 {
		t.Errorf("the link that appeared carries %.2f of its capacity, want 0.9", got)
	}
}

// TestNATThatForgets: a carrier's NAT drops the mapping of one connection, so that
// it is dead for ever without a word; dials get through. What was on it goes
// elsewhere at once and the link is back within seconds.
func TestNATThatForgets(t *testing.T) {
	for seed := range uint64(5) {
		s := newSim(t, seed, threeLinks())
		end := s.now + 25_000*ms
		s.at(300*ms, func() {
			s.load(wire.LaneFull, 8000, 10*ms, end)
			s.load(wire.LaneLive, 1000, 100*ms, end)
		})
		s.run(s.now+5000*ms, nil)
		forgotten := s.e.links[0].cur.gen
		s.links[0].conns[forgotten].stuck = 1 << 60
		s.run(s.now+6000*ms, nil)
		c := s.e.links[0].cur
		if c == nil || c.gen == forgotten || !c.trusted() {
			t.Fatalf("seed %d: 6 s later the link is not back: %+v", seed, s.e.Snapshot().Links[0])
		}
		s.run(end, nil)
		s.drained(10_000 * ms)
		for id, at := range s.madeAt {
			if late := s.gotAt[id] - at; late > 700*ms {
				t.Errorf("seed %d: %v took %d ms, want nothing to wait for the dead connection", seed, id, late/ms)
			}
		}
	}
}

// TestRestartStorm: a receiver with the links of many cars ends, refuses for 5 s
// and is there again. No moment sees many dials, no link more than a few, and all
// are back within the longest back-off.
func TestRestartStorm(t *testing.T) {
	const cars, window = 100, 10 * ms
	hit := map[int64]int{}
	perLink := map[string]int{}
	last := int64(0)
	for car := range cars {
		cfg := Config{Car: fmt.Sprintf("car-%d", car), Epoch: wire.Epoch{Counter: 1, Nonce: uint64(car)*7919 + 1}, Seed: uint64(car)}
		for i := range 3 {
			cfg.Links = append(cfg.Links, LinkConfig{Name: fmt.Sprint("modem", i), Addrs: []string{"tcp://a:1"}})
		}
		e := NewEngine(cfg, newSimStore())
		now := int64(1000) * ms
		acts, _ := e.Step(now)
		gens := map[int]uint32{}
		for _, a := range acts {
			if d, ok := a.(Dial); ok {
				gens[d.Link] = d.Gen
				e.LinkUp(now, d.Link, d.Gen, "")
				e.find(d.Link, d.Gen).heardNS = now
			}
		}
		now += 60_000 * ms
		gone := now
		for i := range 3 {
			e.LinkDown(now, i, gens[i], "connection reset")
		}
		up := 0
		for up < 3 {
			acts, wake := e.Step(now)
			for _, a := range acts {
				d, ok := a.(Dial)
				if !ok {
					continue
				}
				hit[now/window]++
				perLink[fmt.Sprint(car, d.Link)]++
				if now-gone < 5000*ms {
					e.LinkDown(now, d.Link, d.Gen, "connection refused")
				} else {
					e.LinkUp(now, d.Link, d.Gen, "")
					up++
					last = max(last, now-gone)
				}
			}
			now = max(now+ms, min(wake, now+100*ms))
		}
	}
	for at, n := range hit {
		if n > 3*cars/4 {
			t.Errorf("%d of %d links dial within %d ms, %d ms after the end", n, 3*cars, window/ms, at*window/ms-61_000)
		}
	}
	for l, n := range perLink {
		if n > 9 {
			t.Errorf("link %s dials %d times in 5 s", l, n)
		}
	}
	if last > 5000*ms+dialMaxNS {
		t.Errorf("the last link is back %d ms after the end, want within the longest back-off", last/ms)
	}
}

// TestInstanceInTroubleIsAvoided: two instances behind one connection; the one
// without Kafka has credit left, yet nothing goes to a link on which only it
// speaks while another one can be reached.
func TestInstanceInTroubleIsAvoided(t *testing.T) {
	s := newSim(t, 5, threeLinks(), "tcp://a:1", "tcp://b:1")
	first := s.e.links[0].addrs[0]
	other := s.e.links[0].addrs[1]
	s.e.links[0].addrs = []string{first} // it can't move
	s.e.links[1].addrs, s.e.links[2].addrs = []string{other}, []string{other}
	warm(s, 20*ms)
	s.drained(2000 * ms)
	s.insts[first].noKafka = s.now + 60_000*ms // stalled, with all of its credit
	s.run(s.now+200*ms, nil)
	before := s.e.Snapshot()
	end := s.now + 5000*ms
	s.load(wire.LaneFull, 4000, 20*ms, end)
	s.load(wire.LaneCritical, 100, 200*ms, end)
	s.run(end, nil)
	after := s.e.Snapshot()
	if after.Links[0].State != "held" || after.Links[0].Suspicions != before.Links[0].Suspicions || after.Held {
		t.Errorf("%+v, held %v: want the link held and the car not", after.Links[0], after.Held)
	}
	if n := after.Links[0].Messages - before.Links[0].Messages; n != 0 {
		t.Errorf("%d messages to an instance in trouble while another one is well", n)
	}
	if p := s.pending(); p > 20 {
		t.Errorf("%d batches wait, want all delivered over the other links", p)
	}
}
