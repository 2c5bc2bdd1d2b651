package agent

import (
	"context"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"telemetry/board"
	"telemetry/spool"
	"telemetry/uplink"
	"telemetry/wire"
)

// A change of a link's state does not wait for the next second, and many of them are
// one row each changeGap, beside that of every second.
func TestAChangeOfALinkIsToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		changed := make(chan struct{}, 1)
		h := newHealth(newClock(), board.Open(board.Profile{Name: "generic"}, fstest.MapFS{}), []string{"a"}, &Taken{})
		h.uplink = func() uplink.Snapshot { return uplink.Snapshot{} }
		h.spool = func() spool.Stats { return spool.Stats{} }
		h.changed = changed
		if g := h.Groups(); len(g) != 2 || g[1].Lane != wire.LaneCritical || len(g[1].Channels) != 2 {
			t.Fatalf("groups %+v", g)
		}
		ctx, cancel := context.WithCancel(t.Context())
		out, done := &healthRows{groups: map[int][][]int64{}}, make(chan error, 1)
		go func() { done <- h.Run(ctx, sinkOf{out}) }() // ends with ctx
		rows := func(own, states int) {
			t.Helper()
			synctest.Wait()
			if gotOwn, gotStates := out.rows(0), out.rows(1); gotOwn != own || gotStates != states {
				t.Errorf("%d rows, %d of states, want %d and %d", gotOwn, gotStates, own, states)
			}
		}
		rows(1, 1)
		time.Sleep(500 * time.Millisecond)
		changed <- struct{}{}
		rows(1, 2)
		for range 10 { // within one changeGap
			changed <- struct{}{}
			synctest.Wait()
		}
		rows(1, 2)
		time.Sleep(changeGap)
		rows(1, 3)
		time.Sleep(500 * time.Millisecond)
		rows(2, 3)
		time.Sleep(statesEvery)
		rows(12, 4)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// Without links there is nothing to tell of them.
func TestHealthWithoutLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHealth(newClock(), board.Open(board.Profile{Name: "generic"}, fstest.MapFS{}), nil, &Taken{})
		h.uplink = func() uplink.Snapshot { return uplink.Snapshot{} }
		h.spool = func() spool.Stats { return spool.Stats{} }
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second+time.Millisecond)
		defer cancel()
		out := &healthRows{groups: map[int][][]int64{}}
		if err := h.Run(ctx, sinkOf{out}); err != nil || len(h.Groups()) != 1 || len(out.groups[0]) != 31 || len(out.groups) != 1 {
			t.Errorf("%v, %d groups, rows of %d groups, %d of the own one", err, len(h.Groups()), len(out.groups), len(out.groups[0]))
		}
	})
}
