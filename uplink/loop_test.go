package uplink

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// idleUplink is one with n links whose receivers never answer, and which does not run.
func idleUplink(t *testing.T, n int) *Uplink {
	t.Helper()
	var links []Link
	for range n {
		links = append(links, Link{Name: "modem", Addrs: []string{"tcp://a:1"}, Dialer: deaf{}})
	}
	u, err := New(Config{Car: simCar, Epoch: simEpoch}, newSimStore(), links, bubbleClock{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestNoEventIsLostAtTheLimitOfAStep(t *testing.T) {
	u := idleUplink(t, 1)
	done := 0
	var next event
	next = func(u *Uplink, _ int64) { // each brings the next one while the loop takes them
		if done++; done < 3*maxDrain {
			u.events <- next
		}
	}
	u.take(next)
	if done != maxDrain+1 || len(u.events) != 1 {
		t.Fatalf("%d events done, %d wait, want %d and 1", done, len(u.events), maxDrain+1)
	}
	for len(u.events) > 0 {
		u.take(nil)
	}
	if done != 3*maxDrain {
		t.Errorf("%d events done, want %d", done, 3*maxDrain)
	}
}

// wakingClock is read while the store wakes the loop.
type wakingClock struct{ st *simStore }

func (c wakingClock) BootNS() int64 {
	select {
	case c.st.wake <- struct{}{}:
	default:
	}
	return 1
}

// Of two wake-ups at one moment the second one asks for no step of its own, whether
// it comes before the loop has looked for the first one or after.
func TestWakeUpsOfOneMomentAreOneStep(t *testing.T) {
	u := idleUplink(t, 1)
	st := newSimStore()
	u.store, u.clock = st, wakingClock{st}
	u.take(nil)
	if len(st.wake) != 0 {
		t.Error("the loop would step again for what this step knows")
	}
}

func TestConnectionsAreDealtWithInTheOrderOfTheirLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := idleUplink(t, 3)
		keys := []connKey{{0, 9}, {0, 11}, {1, 4}, {2, 1}, {2, 2}}
		for _, i := range []int{3, 0, 4, 2, 1} {
			u.dial(t.Context(), Dial{Link: keys[i].link, Gen: keys[i].gen, Addr: "tcp://a:1"})
		}
		var got []connKey
		for _, r := range u.conns {
			got = append(got, r.key)
		}
		if !slices.Equal(got, keys) {
			t.Errorf("connections %v, want %v", got, keys)
		}
		u.close(keys[2])
		if u.find(keys[2]) != nil || u.find(keys[3]) == nil || len(u.conns) != 4 {
			t.Errorf("after one was closed: %d connections, the closed one is %v", len(u.conns), u.find(keys[2]))
		}
		u.closeAll()
		close(u.done)
		u.wg.Wait()
		if len(u.conns) != 0 {
			t.Errorf("%d connections left", len(u.conns))
		}
	})
}

// What has changed is in the snapshot before anybody hears of it.
func TestAChangeIsToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := idleUplink(t, 2)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- u.Run(ctx) }() // ends with ctx
		began := time.Now()
		<-u.Changed()
		if s := u.Snapshot(); s.Links[0].State != "dialing" || time.Since(began) >= snapshotEvery {
			t.Errorf("%+v after %v, want a link that is dialled, sooner than the next snapshot is due", s.Links, time.Since(began))
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
