package spool_test

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"telemetry/spool"
	"telemetry/spool/spooltest"
	"telemetry/wire"
)

// witness remembers, off the disk, what a car was told to be durable and what the
// cloud took, over all its lives.
type witness struct {
	acked   map[wire.ID]uint64 // Sync returned after it; value is the tag
	size    map[wire.ID]int
	cloud   map[wire.ID]bool // delivered and acked to the spool
	reports map[wire.ID]bool // named by a loss record that was seen durable
}

func newWitness() *witness {
	return &witness{acked: map[wire.ID]uint64{}, size: map[wire.ID]int{}, cloud: map[wire.ID]bool{}, reports: map[wire.ID]bool{}}
}

// note takes the loss records down that are durable now.
func (w *witness) note(r *rig) {
	losses, _ := r.losses()
	for _, l := range losses {
		for _, rg := range l.Ranges {
			for seq := rg.First; seq <= rg.Last; seq++ {
				w.reports[wire.ID{Stream: wire.Stream{Car: r.cfg.Car, Epoch: l.Epoch, Lane: l.Lane, Shard: l.Shard}, Seq: seq}] = true
			}
		}
	}
}

// verify checks promise 1 against a fresh start: each acknowledged batch is there
// as it was written, delivered, or reported; nothing is there that was never
// written; EpochOpen holds what is there; base passes nothing.
func (w *witness) verify(r *rig, what string, reported bool) {
	r.t.Helper()
	w.note(r)
	have := map[wire.ID]bool{}
	open := map[wire.Stream]uint64{}
	for _, lane := range []wire.Lane{wire.LaneCritical, wire.LaneFull} {
		var before wire.ID
		for _, it := range all(r.sp, lane) {
			if have[it.ID] {
				r.t.Fatalf("%s: %s twice", what, it.ID)
			}
			a, b := before.Stream.Epoch, it.ID.Stream.Epoch
			if a.Counter > b.Counter || a == b && before.Seq >= it.ID.Seq {
				r.t.Fatalf("%s: %s behind %s", what, it.ID, before)
			}
			before = it.ID
			have[it.ID] = true
			if low, ok := open[it.ID.Stream]; !ok || it.ID.Seq < low {
				open[it.ID.Stream] = it.ID.Seq
			}
			if tag, ok := w.acked[it.ID]; ok {
				r.mustRead(it.ID, tag, w.size[it.ID])
			}
		}
	}
	for st, low := range open {
		if got := r.sp.Base(st); got > low {
			r.t.Fatalf("%s: base of %s is %d, but #%d is pending", what, st, got, low)
		}
	}
	for id := range w.acked {
		if !have[id] && !w.cloud[id] && !w.reports[id] {
			r.t.Fatalf("%s: %s is lost in silence", what, id)
		}
		if !reported && w.reports[id] {
			r.t.Fatalf("%s: %s reported lost without any damage or quota", what, id)
		}
	}
	o, _ := r.open()
	for id := range have {
		if id.Stream.Epoch == r.sp.Epoch() {
			continue
		}
		if hs, ok := held(o, id.Stream); !ok || !hs.Contains(id.Seq) {
			r.t.Fatalf("%s: %s is pending and EpochOpen holds %v", what, id, hs)
		}
	}
}

// TestPowerCuts lives many lives: append, commit, deliver, settle, die at a random
// operation, with anything unsynced lost, kept or torn.
func TestPowerCuts(t *testing.T) {
	seeds := 300
	if testing.Short() {
		seeds = 30
	}
	for seed := range seeds {
		rnd := rand.New(rand.NewPCG(uint64(seed), 17))
		r := newRig(t)
		quota := seed%3 == 0
		if quota {
			r.cfg.QuotaBytes = 5 * r.cfg.ChunkBytes
		}
		if seed%5 == 1 {
			r.cfg.Keys = newPerson(t).box(t)
		}
		w := newWitness()
		for life := range 6 {
			what := sprint("seed ", seed, " life ", life)
			r.boot()
			w.verify(r, what, quota)
			if rnd.IntN(2) == 0 {
				r.m.SetFault(stopAfter(rnd.IntN(120)))
			}
			live(r, rnd, w)
			r.m.SetFault(nil)
			if rnd.IntN(4) == 0 {
				r.m.Kill()
			} else {
				r.m.Cut(rnd)
			}
		}
		r.boot()
		w.verify(r, sprint("seed ", seed, " end"), quota)
	}
}

// live is one life of the car.
func live(r *rig, rnd *rand.Rand, w *witness) {
	type put struct {
		id  wire.ID
		tag uint64
		n   int
	}
	var waiting []put
	for range rnd.IntN(60) {
		switch rnd.IntN(8) {
		case 0, 1, 2, 3, 4:
			lane, n := wire.LaneFull, 200+rnd.IntN(1500)
			if rnd.IntN(4) == 0 {
				lane, n = wire.LaneCritical, 20+rnd.IntN(200)
			}
			tag := rnd.Uint64()
			id, err := r.sp.Append(wire.Body{Lane: lane, LastNS: 1, Samples: 1, Payload: noise(tag, n)})
			if err == nil {
				waiting = append(waiting, put{id, tag, n})
			}
		case 5:
			if r.sp.Sync(r.t.Context()) == nil {
				for _, p := range waiting {
					w.acked[p.id], w.size[p.id] = p.tag, p.n
				}
				waiting = nil
			}
		case 6: // the cloud takes some, in any order
			for _, lane := range []wire.Lane{wire.LaneCritical, wire.LaneFull} {
				for _, it := range all(r.sp, lane) {
					if rnd.IntN(3) == 0 {
						continue
					}
					if it.Control {
						w.note(r)
					}
					if _, err := r.sp.Read(it.ID, nil); err == nil {
						w.cloud[it.ID] = true
						r.settle(it.ID)
					}
				}
			}
		case 7:
			if rnd.IntN(10) == 0 {
				_ = r.sp.Close()
				return
			}
		}
	}
}

// TestWriteErrors: the n-th operation fails once, then the disk is well again;
// nothing that was appended is lost, and nothing is reported.
func TestWriteErrors(t *testing.T) {
	for _, kind := range []string{"append", "sync", "openlog", "syncdir", "close", "truncate", "remove"} {
		for n := range 12 {
			r := newRig(t)
			r.boot()
			left := n
			r.m.SetFault(func(op spooltest.Op) error {
				if op.Kind == kind {
					if left--; left < 0 && left > -3 { // twice in a row: one is retried at once
						return syscall.EIO
					}
				}
				return nil
			})
			w := newWitness()
			for i := range 60 {
				id := r.put(wire.LaneFull, uint64(i), 700, 0)
				w.acked[id], w.size[id] = uint64(i), 700
				if i%5 == 4 {
					if r.sp.Sync(t.Context()) != nil {
						r.sync() // the disk is well again
					}
				}
			}
			if got := data(r.sp, wire.LaneFull); len(got) != 60 {
				t.Fatalf("%s %d: pending %v", kind, n, got)
			}
			r.m.Cut(nil)
			r.m.SetFault(nil)
			r.boot()
			w.verify(r, sprint(kind, " ", n), false)
		}
	}
}

// TestDegradedKeepsTheNewest: while the disk takes nothing Append does not block,
// the oldest batches in memory go with a loss record, and the spool recovers.
func TestDegradedKeepsTheNewest(t *testing.T) {
	r := newRig(t)
	r.cfg.QueueBytes = 16 << 10
	r.boot()
	broken := true
	r.m.SetFault(func(op spooltest.Op) error {
		if broken && (op.Kind == "append" || op.Kind == "openlog") {
			return syscall.EROFS
		}
		return nil
	})
	r.put(wire.LaneFull, 0, 700, 0)
	if err := r.sp.Sync(t.Context()); !errors.Is(err, syscall.EROFS) {
		t.Fatalf("sync on a broken disk: %v", err)
	}
	if st := r.sp.Stats(); !st.Degraded || st.LastError == "" {
		t.Errorf("stats %+v", st)
	}
	for i := range 100 {
		r.put(wire.LaneFull, uint64(i), 700, int64(i))
	}
	st := r.stream(wire.LaneFull)
	if got := r.sp.Base(st); got != 1 {
		t.Errorf("base %d, want 1", got)
	}
	broken = false
	if err := r.sp.Sync(t.Context()); err != nil && !errors.Is(err, spool.ErrNotDurable) {
		t.Fatal(err)
	}
	r.sync()
	have := data(r.sp, wire.LaneFull)
	losses, _ := r.losses()
	for seq := uint64(1); seq <= 101; seq++ {
		lost := named(losses, wire.ID{Stream: st, Seq: seq}, wire.ReasonDisk)
		there := false
		for _, s := range have {
			there = there || s == seq
		}
		if lost == there {
			t.Fatalf("#%d there %v, lost %v", seq, there, lost)
		}
	}
	if have[len(have)-1] != 101 || len(have) < 10 {
		t.Errorf("kept %v, want the newest", have)
	}
	if s := r.sp.Stats(); s.Degraded || s.LostDisk != uint64(101-len(have)) {
		t.Errorf("stats %+v", s)
	}
	if got := r.sp.Base(st); got != 1 {
		t.Errorf("base %d before the loss record is acked, want 1", got)
	}
	r.close()
	r.boot()
	if r.rep.LostBatches != 0 {
		t.Errorf("report %+v", r.rep)
	}
}

// TestFullDisk: the card is smaller than the quota. What is durable stays, the critical
// lane goes on for as long as the reserve lasts, the newest of the full lane wait in
// memory, the oldest of them go with reason disk, and once the cloud has taken
// something all goes on by itself.
func TestFullDisk(t *testing.T) {
	for seed := range 20 {
		rnd := rand.New(rand.NewPCG(uint64(seed), 3))
		r := newRig(t)
		r.cfg.QueueBytes = 16 << 10
		var logged logLines
		r.cfg.Log = slog.New(slog.NewTextHandler(&logged, nil))
		r.m.SetLimit(100 << 10)
		r.boot()
		w := newWitness()
		put := func(i int) {
			n := 300 + rnd.IntN(900)
			id := r.put(wire.LaneFull, uint64(i), n, 0)
			w.acked[id], w.size[id] = uint64(i), n
		}
		i := 0
		for full := false; !full; {
			for range 4 {
				put(i)
				i++
			}
			err := r.sp.Sync(t.Context())
			if full = err != nil; full && !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
		}
		durable := data(r.sp, wire.LaneFull)
		for range 100 {
			put(i)
			i++
			if i%10 == 0 {
				r.put(wire.LaneCritical, uint64(i), 60, 0)
				if err := r.sp.Sync(t.Context()); err != nil && !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, spool.ErrNotDurable) {
					t.Fatalf("seed %d: sync on a full disk: %v", seed, err) // a small batch may still fit
				}
			}
		}
		if got := data(r.sp, wire.LaneCritical); len(got) != 10 {
			t.Errorf("seed %d: critical batches %v", seed, got)
		}
		if st := r.sp.Stats(); st.LostQuota != 0 || st.LostDisk == 0 || !st.Degraded || !st.DiskFull || st.DroppedChunks != 0 {
			t.Fatalf("seed %d: %+v", seed, st)
		}
		if got := data(r.sp, wire.LaneFull); len(got) < len(durable) || !slices.Equal(got[:len(durable)], durable) {
			t.Fatalf("seed %d: %v were durable, %v are left", seed, durable, got)
		}
		if n := strings.Count(logged.String(), "\n"); n > 12 || !strings.Contains(logged.String(), "reason=disk disk_full=true lane=full") {
			t.Errorf("seed %d: %d lines: %s", seed, n, logged.String())
		}
		for _, seq := range durable[:len(durable)/2] {
			id := wire.ID{Stream: r.stream(wire.LaneFull), Seq: seq}
			r.mustSettle(id)
			w.cloud[id] = true
		}
		if err := r.sp.Sync(t.Context()); err != nil && !errors.Is(err, spool.ErrNotDurable) {
			t.Fatalf("seed %d: room again, and %v", seed, err)
		}
		r.sync()
		if st := r.sp.Stats(); st.Degraded || st.DiskFull || st.LostQuota != 0 {
			t.Errorf("seed %d: %+v", seed, st)
		}
		if got := data(r.sp, wire.LaneFull); got[len(got)-1] != uint64(i) {
			t.Errorf("seed %d: the newest is not there: %v", seed, got)
		}
		losses, _ := r.losses()
		for _, l := range losses {
			if l.Reason != wire.ReasonDisk {
				t.Errorf("seed %d: %+v", seed, l)
			}
		}
		r.m.Cut(rnd)
		r.boot()
		w.verify(r, sprint("seed ", seed), true)
		for id := range w.reports {
			if slices.Contains(durable, id.Seq) && id.Stream.Lane == wire.LaneFull {
				t.Errorf("seed %d: %s was durable and is reported", seed, id)
			}
		}
	}
}

// logLines takes a log.
type logLines struct {
	mu sync.Mutex
	strings.Builder
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Builder.Write(p)
}

// TestDiskStates: the status says what the disk does with what it is given, and takes it
// back when the disk works again.
func TestDiskStates(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want spool.DiskState
	}{
		{syscall.ENOSPC, spool.DiskFull},
		{syscall.EDQUOT, spool.DiskFull},
		{syscall.EROFS, spool.DiskReadOnly},
		{syscall.EIO, spool.DiskFailing},
	} {
		t.Run(tc.want.String()+" "+tc.err.Error(), func(t *testing.T) {
			r := newRig(t)
			r.boot()
			if st := r.sp.Stats(); st.Disk != spool.DiskOK || st.Degraded {
				t.Errorf("at first %v", st.Disk)
			}
			r.m.SetFault(func(op spooltest.Op) error {
				if op.Kind == "append" || op.Kind == "openlog" {
					return tc.err
				}
				return nil
			})
			id := r.put(wire.LaneFull, 1, 100, 0)
			if err := r.sp.Sync(t.Context()); !errors.Is(err, tc.err) {
				t.Errorf("sync: %v", err)
			}
			if st := r.sp.Stats(); st.Disk != tc.want || !st.Degraded || st.DiskFull != (tc.want == spool.DiskFull) {
				t.Errorf("disk %v, degraded %v, full %v", st.Disk, st.Degraded, st.DiskFull)
			}
			r.m.SetFault(nil)
			r.sync()
			r.mustRead(id, 1, 100)
			if st := r.sp.Stats(); st.Disk != spool.DiskOK || st.Degraded || st.DiskFull || st.LastError == "" {
				t.Errorf("afterwards disk %v, degraded %v, last error %q", st.Disk, st.Degraded, st.LastError)
			}
		})
	}
}
