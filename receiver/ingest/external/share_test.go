package external_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	broker "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"telemetry/receiver/ingest"
	"telemetry/wire"
)

// rules are a broker's access rules; what is nil allows everything.
type rules struct {
	broker.HookBase
	login func(user string) bool
	acl   func(topic string, write bool) bool
}

func (rules) ID() string { return "rules" }

func (rules) Provides(b byte) bool {
	return b == broker.OnConnectAuthenticate || b == broker.OnACLCheck
}

func (r rules) OnConnectAuthenticate(_ *broker.Client, pk packets.Packet) bool {
	return r.login == nil || r.login(string(pk.Connect.Username))
}

func (r rules) OnACLCheck(_ *broker.Client, topic string, write bool) bool {
	return r.acl == nil || r.acl(topic, write)
}

// startMochi serves on addr, or on a free port for "".
func startMochi(t *testing.T, addr string, r rules) (at string, stop func()) {
	t.Helper()
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	srv := broker.New(&broker.Options{Logger: slog.New(slog.DiscardHandler)})
	if err := srv.AddHook(&r, nil); err != nil {
		t.Fatal(err)
	}
	l := listeners.NewTCP(listeners.Config{ID: "t", Address: addr})
	if err := srv.AddListener(l); err != nil {
		t.Fatal(err)
	}
	if err := srv.Serve(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() { _ = srv.Close() }) // it may not be closed twice
	t.Cleanup(stop)
	return l.Address(), stop
}

// feed adds batches one after the other as the car sends them, so that whatever
// the test does meanwhile happens in the middle.
func feed(t *testing.T, st *store, n int, at map[int]func()) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for i := range n {
		<-tick.C
		if f := at[i]; f != nil {
			f()
		}
		st.add(t, wire.LaneFull, 2000)
		if i%10 == 0 {
			st.add(t, wire.LaneLive, 300)
		}
		if i%50 == 0 {
			st.add(t, wire.LaneCritical, 60)
		}
	}
}

// everything is what two instances behind one broker must do for a car: every
// batch becomes durable at least once, while instances and the broker go away,
// and whoever asks is answered. restart starts the broker again, abruptly.
func everything(t *testing.T, p place, restart func()) {
	k := &kafka{batches: map[wire.ID]int{}}
	a, b := startInstance(t, p, k, "a"), startInstance(t, p, k, "b")
	st := newStore()
	u := startCar(t, p, st)
	state := func() any {
		return []any{u.Snapshot().Totals, u.Snapshot().Links, a.broker.Status(), b.broker.Status()}
	}
	settled := func(what string) {
		t.Helper()
		eventually(t, "everything is durable "+what, func() bool { made, done := st.made(); return made == done }, state)
		tot := u.Snapshot().Totals
		t.Logf("%s: sent %d batches, %d again", what, tot.Batches, tot.Resent)
		if tot.BadEchoes != 0 || tot.BadMessages != 0 {
			t.Errorf("%s: the car heard nonsense: %+v", what, tot)
		}
	}
	feed(t, st, 500, nil)
	settled("with two instances")
	if tot := u.Snapshot().Totals; tot.Resent*10 > tot.Batches {
		t.Errorf("%d of %d batches were sent again although nothing was lost", tot.Resent, tot.Batches)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for name, in := range map[string]*instance{"a": a, "b": b} {
		snap, err := in.service.Snapshot(ctx)
		if err != nil || snap.Counters.Batches < 100 || snap.Counters.Catalogues == 0 {
			t.Errorf("instance %s has too small a share: %+v, %v", name, snap.Counters, err)
		}
		answer, err := in.service.Command(ctx, carName, "pull", map[string]string{"from_ns": "1", "to_ns": "2"}, 10*time.Second)
		if err != nil || !answer.OK {
			t.Errorf("instance %s asks: %+v, %v", name, answer, err)
		}
	}
	feed(t, st, 500, map[int]func(){250: b.kill})
	settled("while one instance is killed")
	feed(t, st, 500, map[int]func(){250: restart})
	settled("while the broker is restarted")
	if s := a.broker.Status(); s.Counters.Connections < 2 || s.Error != "" || !s.Sharing {
		t.Errorf("after the restart: %+v", s)
	}
	made, _ := st.made()
	kept, copies := k.count()
	if kept != made {
		t.Errorf("kafka has %d of %d batches", kept, made)
	}
	t.Logf("%d batches, %d copies in kafka", made, copies)
}

func TestTwoInstancesShareACar(t *testing.T) {
	addr, stop := startMochi(t, "", rules{})
	everything(t, place{addr: addr, scheme: "tcp://"}, func() {
		stop()
		startMochi(t, addr, rules{})
	})
}

// TestRule19StalledInstanceLeavesItsShare: behind one broker a car cannot choose
// its instance, so the one without Kafka steps aside; and when all have, the car
// holds without a suspicion against its links.
func TestRule19StalledInstanceLeavesItsShare(t *testing.T) {
	addr, _ := startMochi(t, "", rules{})
	p := place{addr: addr, scheme: "tcp://"}
	k := &kafka{batches: map[wire.ID]int{}}
	a, b := startInstance(t, p, k, "a"), startInstance(t, p, k, "b")
	st := newStore()
	u := startCar(t, p, st)
	sharing := func(in *instance, want bool) func() bool {
		return func() bool { return in.broker.Status().Sharing == want }
	}
	all := func() bool { made, done := st.made(); return made == done }
	state := func() any {
		return []any{u.Snapshot().Totals, u.Snapshot().Links, a.broker.Status(), b.broker.Status()}
	}
	feed(t, st, 100, nil)
	eventually(t, "all is durable", all, state)

	b.writer.set(true, false)
	feed(t, st, 100, nil)
	eventually(t, "the stalled instance leaves", sharing(b, false), state)
	eventually(t, "the other one takes what it left", all, state)
	heard := batches(t, b)
	feed(t, st, 200, nil)
	eventually(t, "the other one takes everything", all, state)
	if n := batches(t, b) - heard; n != 0 {
		t.Errorf("%d batches went to the stalled instance", n)
	}

	a.writer.set(true, false)
	feed(t, st, 50, nil)
	eventually(t, "the last one leaves, too", sharing(a, false), state)
	eventually(t, "the car holds", func() bool { return u.Snapshot().Held }, state)
	deaths := func() (n uint64) {
		for _, l := range u.Snapshot().Links {
			n += l.Deaths
		}
		return n
	}
	before, since := deaths(), time.Now()
	feed(t, st, 50, nil)
	// Long enough for a link without proof to be given up three times.
	eventually(t, "time has passed", func() bool { return time.Since(since) > 4*time.Second })
	// A busy machine may cost one link; suspicion while held costs all of them.
	if n := deaths() - before; n >= 3 || !u.Snapshot().Held {
		t.Errorf("%d links died while no instance took anything; held: %v", n, u.Snapshot().Held)
	}
	a.writer.set(false, false)
	b.writer.set(false, false)
	eventually(t, "both are back", func() bool { return sharing(a, true)() && sharing(b, true)() }, state)
	eventually(t, "all is durable after the outage", all, state)
	if made, _ := st.made(); made != len(k.batches) {
		t.Errorf("kafka has %d of %d batches", len(k.batches), made)
	}
}

// TestFrozenInstanceLosesNothing: an instance that is frozen, or far behind in
// reading, gets its share of the messages and says nothing of them. The other
// one's echoes prove that they left the car; so the car sends them again. That no
// link is given up for it is tested in package uplink, in virtual time.
func TestFrozenInstanceLosesNothing(t *testing.T) {
	addr, _ := startMochi(t, "", rules{})
	p := place{addr: addr, scheme: "tcp://"}
	k := &kafka{batches: map[wire.ID]int{}}
	a, b := startInstance(t, p, k, "a"), startInstance(t, p, k, "b")
	st := newStore()
	u := startCar(t, p, st)
	all := func() bool { made, done := st.made(); return made == done }
	state := func() any { return []any{u.Snapshot(), a.broker.Status(), b.broker.Status()} }
	feed(t, st, 200, nil)
	eventually(t, "all is durable", all, state)
	thaw := b.relay.freeze()
	t.Cleanup(thaw) // before the instance is stopped
	feed(t, st, 300, nil)
	eventually(t, "all is durable without the frozen instance", all, state)
	if tot := u.Snapshot().Totals; tot.Resent == 0 {
		t.Errorf("nothing went to the frozen instance: %+v", tot)
	} else {
		t.Logf("sent %d batches, %d again", tot.Batches, tot.Resent)
	}
	thaw()
	feed(t, st, 200, nil)
	eventually(t, "all is durable after the thaw", all, state)
	eventually(t, "the frozen one is back", func() bool { return b.broker.Status().Sharing }, state)
}

func batches(t *testing.T, in *instance) uint64 {
	t.Helper()
	s, err := in.service.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s.Counters.Batches
}

var _ ingest.Producer = (*writer)(nil)
