package spool_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"telemetry/spool"
	"telemetry/spool/spooltest"
	"telemetry/wire"
)

// leave writes batches of the full lane to a chunk as a process does that dies before
// it syncs them, and returns their identities.
func (r *rig) leave(chunk int, first uint64, n int) (ids []wire.ID) {
	r.t.Helper()
	var sealer wire.Sealer
	var records [][]byte
	for i := range n {
		id := wire.ID{Stream: r.stream(wire.LaneFull), Seq: first + uint64(i)}
		b, err := sealer.Seal(nil, id, wire.Body{Lane: wire.LaneFull, FirstNS: 1, LastNS: 2, Samples: 1, Payload: noise(id.Seq, 1000)})
		if err != nil {
			r.t.Fatal(err)
		}
		records, ids = append(records, b), append(ids, id)
	}
	log := r.empty(chunk)
	if err := log.Append(records); err != nil {
		r.t.Fatal(err)
	}
	return ids
}

// empty makes a chunk whose name is durable, as the spool does ahead of time.
func (r *rig) empty(chunk int) spool.Log {
	r.t.Helper()
	d := r.m.Boot()
	dir := filepath.Join("spool", "full", fmt.Sprintf("%010d", chunk))
	log, err := d.OpenLog(dir, 1<<20)
	for _, name := range []string{dir, filepath.Dir(dir)} {
		if err == nil {
			err = d.SyncDir(name)
		}
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return log
}

// TestTornBatchBeforeEmptyChunks: a power cut left the envelope of a batch that was
// never durable and zeros for its payload, and the spool had made more empty chunks
// behind it than a start used to read whole. It must not show.
func TestTornBatchBeforeEmptyChunks(t *testing.T) {
	for empty := range 9 {
		r := newRig(t)
		r.boot()
		ids := r.fill(3)
		segment := r.segments(wire.LaneFull)[0]
		r.m.Kill()
		torn := r.leave(50, 4, 1)
		var record []byte
		if err := r.m.Change("spool/full/0000000050/"+spool.SegmentName, func(b []byte) []byte { record = b; return b }); err != nil {
			t.Fatal(err)
		}
		if err := r.m.Boot().RemoveAll("spool/full/0000000050"); err != nil {
			t.Fatal(err)
		}
		for i := range empty {
			r.empty(60 + i)
		}
		clear(record[len(record)-900:])
		if err := r.m.Change(segment, func(b []byte) []byte { return append(b, record...) }); err != nil {
			t.Fatal(err)
		}
		r.boot()
		if got := data(r.sp, wire.LaneFull); len(got) != len(ids) {
			t.Errorf("%d empty chunks: %v shows, %v was durable and %v never was", empty, got, ids, torn)
		}
		for i, id := range ids {
			r.mustRead(id, uint64(i), 1000)
		}
	}
}

// TestUnsyncedBatchesAreSyncedBeforeTheyShow: the process was killed between write and
// sync, the next start shows the batches, and then the power goes.
func TestUnsyncedBatchesAreSyncedBeforeTheyShow(t *testing.T) {
	r := newRig(t)
	r.boot()
	ids := r.fill(3)
	r.m.Kill()
	ids = append(ids, r.leave(50, 4, 2)...)
	for range 3 {
		r.boot()
		if got := data(r.sp, wire.LaneFull); len(got) != len(ids) {
			t.Fatalf("%v show, want %v", got, ids)
		}
		if losses, _ := r.losses(); len(losses) != 0 {
			t.Errorf("lost: %+v", losses[0])
		}
		r.mustRead(ids[4], 5, 1000)
		r.m.Cut(nil)
	}
}

// TestWhatNeverReachedTheDiskDoesNotShow: a sync failed, so memory holds what the disk
// never will; the process was killed. What memory holds is not to be trusted.
func TestWhatNeverReachedTheDiskDoesNotShow(t *testing.T) {
	r := newRig(t)
	r.boot()
	ids := r.fill(3)
	r.m.SetFault(func(op spooltest.Op) error {
		if op.Kind == "sync" || op.Kind == "truncate" || op.Kind == "remove" {
			return errInjected
		}
		return nil
	})
	r.put(wire.LaneFull, 4, 1000, 1)
	if err := r.sp.Sync(t.Context()); err == nil {
		t.Fatal("synced")
	}
	r.m.SetFault(nil)
	r.m.Kill()
	r.boot()
	if got := data(r.sp, wire.LaneFull); len(got) != len(ids) {
		t.Errorf("%v show, only %v reached the disk", got, ids)
	}
	r.m.Cut(nil)
	r.boot()
	for i, id := range ids {
		r.mustRead(id, uint64(i), 1000)
	}
}

// TestUnsyncedBatchesMoveWhenTheSyncFails: a start that cannot sync them where they
// stand writes them elsewhere before it shows them.
func TestUnsyncedBatchesMoveWhenTheSyncFails(t *testing.T) {
	r := newRig(t)
	r.boot()
	r.fill(3)
	r.m.Kill()
	left := r.leave(50, 4, 2)
	r.m.SetFault(func(op spooltest.Op) error {
		if op.Kind == "syncfile" {
			return errInjected
		}
		return nil
	})
	r.boot()
	r.m.SetFault(nil)
	r.m.Cut(nil)
	r.boot()
	for _, id := range left {
		r.mustRead(id, id.Seq, 1000)
	}
}

// TestTheNewerCopyIsKept: a chunk that was given up could not be cut, and its batches
// were written again. What stands in the old one need not be on the disk.
func TestTheNewerCopyIsKept(t *testing.T) {
	r := newRig(t)
	r.boot()
	r.fill(3)
	r.m.Kill()
	old := r.leave(50, 4, 2)
	r.leave(51, 4, 2)
	r.boot()
	if err := r.m.Change("spool/full/0000000050/"+spool.SegmentName, func(b []byte) []byte { clear(b); return b }); err != nil {
		t.Fatal(err)
	}
	for _, id := range old {
		r.mustRead(id, id.Seq, 1000)
	}
}

// TestWhatCannotBeSyncedDoesNotShow: neither the sync nor the salvage of what a killed
// process left works. It does not show, the cursor does not know it, and after a power cut
// that took it nothing is missed; a start on a better card shows it.
func TestWhatCannotBeSyncedDoesNotShow(t *testing.T) {
	for _, tc := range []struct {
		name  string
		fault func(op spooltest.Op) bool
		cut   bool
	}{
		{"nothing can be written, then the power goes", func(op spooltest.Op) bool { return op.Kind == "write" && strings.Contains(op.Name, ".salvage/") }, true},
		{"nothing can be written, then a better start", func(op spooltest.Op) bool { return op.Kind == "write" && strings.Contains(op.Name, ".salvage/") }, false},
		{"the quarantine cannot be synced", func(op spooltest.Op) bool {
			return op.Kind == "syncdir" && strings.HasSuffix(op.Name, "quarantine")
		}, false},
		{"the salvage does not get its name", func(op spooltest.Op) bool {
			return op.Kind == "rename" && strings.HasSuffix(op.Name, ".salvage")
		}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t)
			r.boot()
			ids := r.fill(3)
			st := ids[0].Stream
			r.m.Kill()
			left := r.leave(50, 4, 2)
			r.m.SetFault(func(op spooltest.Op) error {
				if op.Kind == "syncfile" || tc.fault(op) {
					return errInjected
				}
				return nil
			})
			r.boot()
			if got := data(r.sp, wire.LaneFull); len(got) != 3 {
				t.Fatalf("%v show, %d of them were durable", got, len(ids))
			}
			if r.rep.HeldBack != 2 || r.sp.Stats().Locked != 2 || r.rep.LostBatches != 0 {
				t.Errorf("report %+v", r.rep)
			}
			if o, _ := r.open(); sprint(heldOf(o, st)) != "[{1 5}]" {
				t.Errorf("held %v", heldOf(o, st))
			}
			fresh := r.put(wire.LaneFull, 9, 100, 1)
			r.sync()
			r.m.SetFault(nil)
			want := 6
			if tc.cut {
				r.m.Cut(nil)
				want = 4
			} else {
				r.close()
			}
			r.boot()
			if got := data(r.sp, wire.LaneFull); len(got) != want || r.rep.LostBatches != 0 {
				t.Errorf("%v show, %d lost", got, r.rep.LostBatches)
			}
			for i, id := range ids {
				r.mustRead(id, uint64(i), 1000)
			}
			r.mustRead(fresh, 9, 100)
			if !tc.cut {
				for _, id := range left {
					r.mustRead(id, id.Seq, 1000)
				}
			}
			if losses, _ := r.losses(); len(losses) != 0 {
				t.Errorf("lost: %+v", losses[0])
			}
		})
	}
}

// TestSalvageOnAFullCard: the card is full, and the reserve makes room for a salvage.
func TestSalvageOnAFullCard(t *testing.T) {
	r := newRig(t)
	r.boot()
	r.fill(3)
	r.m.Kill()
	left := r.leave(50, 4, 2)
	r.m.SetLimit(r.m.Used())
	r.m.SetFault(func(op spooltest.Op) error {
		if op.Kind == "syncfile" {
			return errInjected
		}
		return nil
	})
	r.boot()
	r.m.SetFault(nil)
	r.m.SetLimit(0)
	if r.rep.Salvaged != 1 || r.rep.HeldBack != 0 {
		t.Errorf("report %+v", r.rep)
	}
	for _, id := range left {
		r.mustRead(id, id.Seq, 1000)
	}
}
