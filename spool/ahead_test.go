package spool_test

import (
	"context"
	"math/rand/v2"
	"syscall"
	"testing"
	"testing/synctest"

	"telemetry/spool/spooltest"
	"telemetry/wire"
)

// queue queues n batches of the full lane before Run starts, so that every commit has
// the next group at hand, in this chunk or in the next.
func (r *rig) queue(w *witness, n int) {
	r.t.Helper()
	for i := range n {
		id := r.put(wire.LaneFull, uint64(i), 700, 0)
		w.acked[id], w.size[id] = uint64(i), 700
	}
}

// TestErrorsBesideTheSync: the n-th operation fails, and the one behind it, while the
// next group is appended beside a sync. Nothing is lost, doubled or out of order.
func TestErrorsBesideTheSync(t *testing.T) {
	for _, kind := range []string{"append", "sync", "openlog", "syncdir", "close", "truncate"} {
		poisoned := uint64(0)
		for n := range 22 {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.boot()
				w := newWitness()
				r.queue(w, 120)
				left := n
				r.m.SetFault(func(op spooltest.Op) error {
					if op.Kind == kind {
						if left--; left < 0 && left > -3 {
							return syscall.EIO
						}
					}
					return nil
				})
				stop := r.runToDeath() // the last cursor may be what fails
				synctest.Wait()        // Run has the disk, not Sync
				if err := r.sp.Sync(t.Context()); err != nil {
					t.Errorf("%s %d: sync: %v", kind, n, err)
				}
				if got := data(r.sp, wire.LaneFull); len(got) != 120 {
					t.Errorf("%s %d: pending %v", kind, n, got)
				}
				poisoned += r.sp.Stats().Poisoned
				stop()
				r.m.Cut(nil)
				r.m.SetFault(nil)
				r.boot()
				w.verify(r, sprint(kind, " ", n), false)
			})
		}
		if (kind == "append" || kind == "sync") && poisoned < 20 {
			t.Errorf("%s: %d chunks were given up", kind, poisoned)
		}
	}
}

// TestPowerCutBesideTheSync: power goes at every operation of such a run. What was
// visible is there; what was not may be, or is named.
func TestPowerCutBesideTheSync(t *testing.T) {
	for stopAt := 1; stopAt < 90; stopAt++ {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.boot()
			w := newWitness()
			r.queue(w, 120)
			r.m.SetFault(stopAfter(stopAt))
			stop := r.runToDeath()
			synctest.Wait()
			seen := map[uint64]bool{}
			for _, seq := range data(r.sp, wire.LaneFull) {
				seen[seq] = true
			}
			stop()
			for id := range w.acked { // only what was visible was promised
				if !seen[id.Seq] {
					delete(w.acked, id)
				}
			}
			r.m.Cut(rand.New(rand.NewPCG(uint64(stopAt), 8)))
			r.m.SetFault(nil)
			r.boot()
			w.verify(r, sprint("cut at ", stopAt), false)
		})
	}
}

// runToDeath is run for a disk that ends the life: what Run says of it is no fault.
func (r *rig) runToDeath() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	sp := r.sp
	go func() { done <- sp.Run(ctx) }() // ends with stop
	return func() {
		cancel()
		<-done
	}
}
