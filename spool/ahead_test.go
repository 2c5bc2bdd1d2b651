package spool_test

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"telemetry/spool"
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
	for stopAt := 1; stopAt < 150; stopAt++ {
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
			var torn *rand.Rand // every other time only what was synced is there
			if stopAt%2 == 0 {
				torn = rand.New(rand.NewPCG(uint64(stopAt), 8))
			}
			r.m.Cut(torn)
			r.m.SetFault(nil)
			r.boot()
			w.verify(r, sprint("cut at ", stopAt), false)
			if torn == nil && r.rep.LostBatches != 0 {
				t.Errorf("cut at %d: a later group was durable before an earlier one: %d are missed", stopAt, r.rep.LostBatches)
			}
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

// turns is a disk on which the first three syncs of logs, once it is armed, wait for
// their turn. They begin in the order of their groups: the third append lets the
// second sync begin first.
type turns struct {
	spool.Disk
	armed    atomic.Bool
	appended atomic.Int64
	begun    atomic.Int64
	second   chan struct{} // closed when the second sync has begun
	turn     [3]chan error // what each of them waits for
}

func (d *turns) OpenLog(dir string, n int) (spool.Log, error) {
	l, err := d.Disk.OpenLog(dir, n)
	return turnLog{l, d}, err
}

type turnLog struct {
	spool.Log
	d *turns
}

func (l turnLog) Append(records [][]byte) error {
	if l.d.armed.Load() && l.d.appended.Add(1) == 3 {
		<-l.d.second
	}
	return l.Log.Append(records)
}

func (l turnLog) Sync() error {
	if l.d.armed.Load() {
		if n := l.d.begun.Add(1) - 1; n < 3 {
			if n == 1 {
				close(l.d.second)
			}
			if err := <-l.d.turn[n]; err != nil {
				return err
			}
		}
	}
	return l.Log.Sync()
}

// TestTwoSyncsAtATime: the sync of a group begins while the one before it is under
// way; it may end first, and may end badly. Nothing shows before its turn, and what
// failed is written again.
func TestTwoSyncsAtATime(t *testing.T) {
	for _, tc := range []struct {
		name          string
		chunk         int64
		first, second error
		poisoned      uint64
	}{
		{"both end well", 64 << 10, nil, nil, 0},
		{"the second fails", 64 << 10, nil, syscall.EIO, 1},
		{"the first fails", 64 << 10, syscall.EIO, nil, 1},
		{"both fail", 64 << 10, syscall.EIO, syscall.EIO, 1},
		{"in two chunks", 4 << 10, nil, nil, 0},
		{"in two chunks, the first fails", 4 << 10, syscall.EIO, nil, 1},
		{"in two chunks, the second fails", 4 << 10, nil, syscall.EIO, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.cfg.ChunkBytes = tc.chunk
				d := &turns{Disk: r.m.Boot(), second: make(chan struct{}), turn: [3]chan error{make(chan error), make(chan error), make(chan error)}}
				r.cfg.Disk = d
				sp, _, err := spool.Open(r.cfg)
				if err != nil {
					t.Fatal(err)
				}
				r.sp = sp
				w := newWitness()
				stop := r.run()
				synctest.Wait() // Run has the disk, not Sync
				r.queue(w, 7)
				r.sync() // in the small chunks the next ones are made now
				d.armed.Store(true)
				r.queue(w, 1)
				time.Sleep(time.Second) // its commit is due
				r.queue(w, 24)          // all of it waits for that commit
				d.turn[0] <- nil
				synctest.Wait()
				together := int64(3) // only in the same chunk
				if tc.chunk == 4<<10 {
					together = 2
				}
				if got := len(data(sp, wire.LaneFull)); d.begun.Load() != together || got != 8 {
					t.Fatalf("%d syncs have begun, %d batches show", d.begun.Load(), got)
				}
				if together == 2 {
					d.turn[1] <- tc.first
					synctest.Wait()
					d.turn[2] <- tc.second
				} else {
					d.turn[2] <- tc.second
					synctest.Wait()
					if got := len(data(sp, wire.LaneFull)); got != 8 {
						t.Errorf("%d batches show before the sync of their group has ended", got)
					}
					d.turn[1] <- tc.first
				}
				r.sync()
				if got := len(data(sp, wire.LaneFull)); got != 32 || sp.Stats().Poisoned != tc.poisoned {
					t.Errorf("%d batches show, %d chunks given up", got, sp.Stats().Poisoned)
				}
				stop()
				r.m.Cut(nil)
				r.boot()
				w.verify(r, tc.name, false)
			})
		})
	}
}
