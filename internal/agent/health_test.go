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
)

// A change of a link's state does not wait for the next second, and many of them are
// one row each changeGap.
func TestAChangeOfALinkIsARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		changed := make(chan struct{}, 1)
		h := newHealth(newClock(), board.Open(board.Profile{Name: "generic"}, fstest.MapFS{}), []string{"a"}, &Taken{})
		h.uplink = func() uplink.Snapshot { return uplink.Snapshot{} }
		h.spool = func() spool.Stats { return spool.Stats{} }
		h.changed = changed
		ctx, cancel := context.WithCancel(t.Context())
		out, done := &healthRows{groups: map[int][][]int64{}}, make(chan error, 1)
		go func() { done <- h.Run(ctx, sinkOf{out}) }() // ends with ctx
		rows := func(want int) {
			t.Helper()
			synctest.Wait()
			if n := len(out.groups[0]); n != want {
				t.Errorf("%d rows, want %d", n, want)
			}
		}
		rows(1)
		time.Sleep(500 * time.Millisecond)
		changed <- struct{}{}
		rows(2)
		for range 10 { // within one changeGap
			changed <- struct{}{}
			synctest.Wait()
		}
		rows(2)
		time.Sleep(changeGap)
		rows(3)
		time.Sleep(500 * time.Millisecond)
		rows(4) // that of the second
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
