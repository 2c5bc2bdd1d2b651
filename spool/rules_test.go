package spool_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"telemetry/spool"
	"telemetry/spool/spooltest"
	"telemetry/wire"
)

// fill puts n noisy batches of the full lane, syncing as it goes.
func (r *rig) fill(n int) (ids []wire.ID) {
	r.t.Helper()
	for i := range n {
		ids = append(ids, r.put(wire.LaneFull, uint64(i), 1000, int64(i)*100))
		if i%4 == 3 {
			r.sync()
		}
	}
	r.sync()
	return ids
}

// contains reports whether a loss of a reason names a batch.
func named(losses []*wire.Loss, id wire.ID, why wire.Reason) bool {
	for _, l := range losses {
		if l.Epoch == id.Stream.Epoch && l.Lane == id.Stream.Lane && l.Reason == why && l.Ranges.Contains(id.Seq) {
			return true
		}
	}
	return false
}

// TestRule01LossRecordFirst: at every moment of a drop by the quota, a power cut
// leaves each batch either readable or named by a durable loss record.
func TestRule01LossRecordFirst(t *testing.T) {
	dropped := 0
	for stopAt := 1; stopAt < 60; stopAt++ {
		r := newRig(t)
		r.cfg.QuotaBytes = 5 * r.cfg.ChunkBytes
		r.boot()
		ids := r.fill(28) // fills the quota almost
		n := 0
		r.m.SetFault(func(op spooltest.Op) error { // the power goes at the n-th operation from here
			if n++; n >= stopAt {
				return errInjected
			}
			return nil
		})
		for i := range 16 {
			_, _ = r.sp.Append(wire.Body{Lane: wire.LaneFull, Samples: 1, Payload: noise(uint64(100+i), 1000)})
		}
		_ = r.sp.Sync(t.Context()) // fails where the fault strikes
		r.m.Cut(nil)
		r.m.SetFault(nil)
		r.boot()
		losses, _ := r.losses()
		have := map[wire.ID]bool{}
		for _, it := range all(r.sp, wire.LaneFull) {
			have[it.ID] = true
		}
		for _, id := range ids {
			if !have[id] && !named(losses, id, wire.ReasonQuota) {
				t.Fatalf("stopped at operation %d: %s is neither there nor reported", stopAt, id)
			}
			if !have[id] {
				dropped++
			}
		}
	}
	if dropped == 0 {
		t.Fatal("the quota never dropped anything")
	}
}

// TestRule01NeverReportedTwice: a chunk that survived its loss record is sent, and
// when the quota takes it after all, the record is not repeated.
func TestRule01NeverReportedTwice(t *testing.T) {
	r := newRig(t)
	r.cfg.QuotaBytes = 5 * r.cfg.ChunkBytes
	r.boot()
	r.fill(28)
	r.m.SetFault(func(op spooltest.Op) error {
		if op.Kind == "rename" { // the loss record is durable, the unlink fails
			return errInjected
		}
		return nil
	})
	for i := range 16 {
		r.put(wire.LaneFull, uint64(100+i), 1000, 0)
	}
	_ = r.sp.Sync(t.Context())
	r.m.Cut(nil)
	r.m.SetFault(nil)
	r.boot()
	losses, _ := r.losses()
	if len(losses) == 0 {
		t.Fatal("no loss record")
	}
	for range 2 {
		for i := range 40 {
			r.put(wire.LaneFull, uint64(200+i), 1000, 0)
			r.sync()
		}
	}
	seen := map[wire.ID]int{}
	losses, _ = r.losses()
	for _, l := range losses {
		for _, rg := range l.Ranges {
			for seq := rg.First; seq <= rg.Last; seq++ {
				id := wire.ID{Stream: wire.Stream{Car: r.cfg.Car, Epoch: l.Epoch, Lane: l.Lane}, Seq: seq}
				if seen[id]++; seen[id] > 1 {
					t.Fatalf("%s reported twice", id)
				}
			}
		}
	}
}

func TestRule02BaseWaitsForLossRecord(t *testing.T) {
	r := newRig(t)
	r.cfg.QuotaBytes = 5 * r.cfg.ChunkBytes
	r.boot()
	ids := r.fill(60)
	st := ids[0].Stream
	losses, at := r.losses()
	if len(losses) == 0 || !named(losses, ids[0], wire.ReasonQuota) {
		t.Fatalf("no loss record for %s: %v", ids[0], losses)
	}
	if got := r.sp.Base(st); got != 1 {
		t.Errorf("base %d before the loss record is acked, want 1", got)
	}
	for _, it := range all(r.sp, wire.LaneFull) {
		if named(losses, it.ID, wire.ReasonQuota) {
			t.Errorf("%s is dropped and still offered", it.ID)
		}
	}
	r.m.Cut(nil) // a restart holds them open too
	r.boot()
	o, _ := r.open()
	if hs, ok := held(o, st); !ok || !hs.Contains(1) {
		t.Errorf("EpochOpen holds %v of %s, want the dropped ones in it", hs, st)
	}
	if got := r.sp.Base(st); got != 1 {
		t.Errorf("base %d after the restart, want 1", got)
	}
	r.settle(at...)
	low := all(r.sp, wire.LaneFull)[0].ID.Seq
	if got := r.sp.Base(st); got != low || low == 1 {
		t.Errorf("base %d after the ack, want %d", got, low)
	}
	if losses, _ := r.losses(); len(losses) != 0 {
		t.Errorf("acked loss records are still there: %v", losses)
	}
}

func TestRule02BaseOfWhatIsNotDurableYet(t *testing.T) {
	r := newRig(t)
	r.boot()
	st := r.stream(wire.LaneFull)
	if got := r.sp.Base(st); got != 1 {
		t.Errorf("base of an empty stream %d, want 1", got)
	}
	r.put(wire.LaneFull, 1, 100, 0)
	if got := r.sp.Base(st); got != 1 {
		t.Errorf("base %d with #1 queued, want 1", got)
	}
	r.sync()
	it := all(r.sp, wire.LaneFull)
	r.mustRead(it[0].ID, 1, 100)
	r.settle(it[0].ID)
	if got := r.sp.Base(st); got != 2 {
		t.Errorf("base %d, want the next number 2", got)
	}
	live := r.put(wire.LaneLive, 2, 100, 0)
	if got := r.sp.Base(live.Stream); got != 1 {
		t.Errorf("base of live %d, want 1", got)
	}
}

func TestRule05ControlIsNeverDropped(t *testing.T) {
	r := newRig(t)
	r.cfg.QuotaBytes = 5 * r.cfg.ChunkBytes
	r.boot()
	full := r.fill(60)
	first, ids := r.losses()
	if len(first) == 0 {
		t.Fatal("no loss record")
	}
	_, open := r.open()
	for i := range 800 { // critical alone fills the quota several times
		r.put(wire.LaneCritical, uint64(i), 150, 0)
		if i%20 == 19 {
			r.sync()
		}
	}
	losses, _ := r.losses()
	if !named(losses, full[0], wire.ReasonQuota) {
		t.Errorf("the loss of %s was forgotten", full[0])
	}
	if _, again := r.open(); again != open {
		t.Errorf("EpochOpen %s became %s", open, again)
	}
	folded := 0
	for _, id := range ids {
		if named(losses, id, wire.ReasonQuota) {
			folded++
		}
	}
	if folded == 0 {
		t.Error("no unacked loss record was ever dropped: the test shows nothing")
	}
	r.sp.Refuse(open, wire.ReasonRefused)
	r.sync()
	if losses, _ := r.losses(); named(losses, open, wire.ReasonRefused) {
		t.Error("a refused EpochOpen was given up")
	}
	if got := r.sp.Stats().RefusedControl; got != 1 {
		t.Errorf("refused control %d, want 1", got)
	}
}

func TestRule06IdleStreamsTellTheirBase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.boot()
		stop := r.run()
		for i := range uint64(3) {
			r.put(wire.LaneLive, i, 100, 0)
		}
		time.Sleep(2500 * time.Millisecond) // superseded after 2 s, idle for less than 1 s since
		if cs, _ := r.controls(); len(cs) != 1 {
			t.Fatalf("control records %d, want only EpochOpen", len(cs))
		}
		time.Sleep(1500 * time.Millisecond)
		var bases []*wire.Base
		count := func() {
			bases = nil
			cs, _ := r.controls()
			for _, c := range cs {
				if c.Base != nil {
					bases = append(bases, c.Base)
				}
			}
		}
		if count(); len(bases) != 1 || bases[0].Base != 4 || bases[0].Lane != wire.LaneLive || bases[0].Epoch != r.sp.Epoch() {
			t.Fatalf("base records %+v, want one that says 4", bases)
		}
		time.Sleep(time.Minute)
		if count(); len(bases) != 1 {
			t.Errorf("%d base records after a minute of nothing, want 1", len(bases))
		}
		r.put(wire.LaneLive, 9, 100, 0)
		time.Sleep(10 * time.Second)
		if count(); len(bases) != 2 || bases[1].Base != 5 {
			t.Errorf("base records %+v, want a second one that says 5", bases)
		}
		stop()
		r.close()
	})
}

func TestRule07LossBeforeEpochOpen(t *testing.T) {
	r := newRig(t)
	r.boot()
	ids := r.fill(24)
	r.m.Cut(nil)
	seg := r.segments(wire.LaneFull)[0]
	if err := r.m.Change(seg, func(b []byte) []byte { b[offsets(b)[2]+200] ^= 1; return b }); err != nil {
		t.Fatal(err)
	}
	if err := r.m.Change(seg, func(b []byte) []byte { b[offsets(b)[3]+3] ^= 1; return b }); err != nil {
		t.Fatal(err)
	}
	r.boot()
	cs, at := r.controls()
	lost, open := -1, -1
	for i, c := range cs {
		if c.Loss != nil && c.Loss.Reason == wire.ReasonCorrupt && at[i].Stream.Epoch == r.sp.Epoch() && lost < 0 {
			lost = i
		}
		if c.EpochOpen != nil && c.EpochOpen.Epoch == r.sp.Epoch() {
			open = i
		}
	}
	if lost < 0 || open < 0 || at[lost].Seq >= at[open].Seq {
		t.Fatalf("loss at %d, EpochOpen at %d of %v", lost, open, at)
	}
	losses, _ := r.losses()
	if !named(losses, ids[3], wire.ReasonCorrupt) || named(losses, ids[4], wire.ReasonCorrupt) {
		t.Errorf("losses %+v", losses)
	}
}

// TestRule08EpochOpenFirst: whatever operation of Open the power cut strikes, no
// batch of an epoch ever shows before its EpochOpen is durable.
func TestRule08EpochOpenFirst(t *testing.T) {
	r := newRig(t)
	r.boot()
	o, id := r.open()
	if o.Epoch != r.sp.Epoch() || len(o.Predecessors) != 0 {
		t.Fatalf("EpochOpen %+v", o)
	}
	if it, ok := r.sp.Next(wire.LaneCritical, wire.ID{}); !ok || it.ID != id || !it.Control {
		t.Errorf("first batch of the epoch is %+v", it)
	}
	live := r.put(wire.LaneLive, 1, 100, 0)
	if live.Stream.Epoch != o.Epoch {
		t.Errorf("live batch %s", live)
	}
	for stopAt := 1; stopAt < 80; stopAt++ {
		r.m.Cut(nil)
		n := 0
		r.m.SetFault(func(spooltest.Op) error {
			if n++; n >= stopAt {
				return errInjected
			}
			return nil
		})
		r.cfg.Disk = r.m.Boot()
		sp, _, err := spool.Open(r.cfg)
		if err != nil {
			continue
		}
		r.sp = sp
		r.m.SetFault(nil)
		_, _ = r.open() // fails the test when it is not there
		r.m.Cut(nil)
		after := r.sp.Epoch()
		r.boot()
		opens := 0
		cs, _ := r.controls()
		for _, c := range cs {
			if c.EpochOpen != nil && c.EpochOpen.Epoch == after {
				opens++
			}
		}
		if opens != 1 {
			t.Fatalf("stopped at %d: epoch %s was open without a durable EpochOpen", stopAt, after)
		}
	}
}

func TestRule09Lineage(t *testing.T) {
	r := newRig(t)
	var epochs []wire.Epoch
	for range 4 {
		r.boot()
		epochs = append(epochs, r.sp.Epoch())
		r.put(wire.LaneFull, 1, 100, 0)
		r.sync()
		r.m.Cut(nil)
	}
	for i := 1; i < len(epochs); i++ {
		if epochs[i].Counter != epochs[i-1].Counter+1 || epochs[i].Nonce == epochs[i-1].Nonce {
			t.Fatalf("epochs %v", epochs)
		}
	}
	r.boot()
	o, openID := r.open()
	var got []wire.Epoch
	for _, p := range o.Predecessors {
		got = append(got, p.Epoch)
		if len(p.Held) == 0 {
			t.Errorf("nothing held of %s", p.Epoch)
		}
	}
	if sprint(got) != sprint(epochs) {
		t.Fatalf("predecessors %v, want %v, oldest first", got, epochs)
	}
	// Everything old is delivered: the next EpochOpen still names them, now with
	// nothing held, and the one after an ack of that no longer.
	for _, lane := range []wire.Lane{wire.LaneCritical, wire.LaneFull} {
		for _, it := range all(r.sp, lane) {
			if it.ID != openID {
				r.settle(it.ID)
			}
		}
	}
	r.close()
	r.boot()
	if o, openID = r.open(); len(o.Predecessors) != 5 {
		t.Fatalf("predecessors %+v, want 5", o.Predecessors)
	}
	r.mustSettle(openID)
	last := r.sp.Epoch()
	r.close()
	r.boot()
	o, _ = r.open()
	got = nil
	for _, p := range o.Predecessors {
		got = append(got, p.Epoch)
	}
	if len(got) != 2 || got[1] != last { // the fifth epoch still holds its own EpochOpen
		t.Errorf("predecessors %v, want the ones that are not closed, with %s", got, last)
	}
}

// mustSettle reads a batch and acks it.
func (r *rig) mustSettle(ids ...wire.ID) {
	r.t.Helper()
	for _, id := range ids {
		if _, err := r.sp.Read(id, nil); err != nil {
			r.t.Fatalf("read %s: %v", id, err)
		}
	}
	r.settle(ids...)
}

func TestRule09LongLineageIsSplit(t *testing.T) {
	if testing.Short() {
		t.Skip("300 starts")
	}
	r := newRig(t)
	const starts = 300
	for range starts {
		r.boot()
		r.m.Cut(nil)
	}
	r.boot()
	seen := map[wire.Epoch]bool{}
	cs, _ := r.controls()
	parts := 0
	for _, c := range cs {
		if c.EpochOpen != nil && c.EpochOpen.Epoch == r.sp.Epoch() {
			parts++
			for _, p := range c.EpochOpen.Predecessors {
				seen[p.Epoch] = true
			}
		}
	}
	if len(seen) != starts || parts < 2 {
		t.Errorf("%d predecessors in %d records, want %d", len(seen), parts, starts)
	}
}

func TestEpochNeverGoesBack(t *testing.T) {
	for _, tc := range []struct {
		name   string
		damage func(r *rig)
		lost   bool
	}{
		{"nothing", func(r *rig) {}, false},
		{"one slot flipped", func(r *rig) { _ = r.m.Change("spool/epoch.0", flipFirst) }, false},
		{"other slot emptied", func(r *rig) { _ = r.m.Change("spool/epoch.1", func([]byte) []byte { return nil }) }, false},
		{"both slots flipped", func(r *rig) {
			_ = r.m.Change("spool/epoch.0", flipFirst)
			_ = r.m.Change("spool/epoch.1", flipFirst)
		}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t)
			for range 3 {
				r.boot()
				r.put(wire.LaneFull, 1, 100, 0)
				r.sync()
				r.m.Cut(nil)
			}
			last := r.sp.Epoch()
			tc.damage(r)
			r.boot()
			if got := r.sp.Epoch(); got.Counter <= last.Counter || got.Nonce == last.Nonce {
				t.Errorf("epoch %s after %s", got, last)
			}
			if r.rep.EpochLost != tc.lost {
				t.Errorf("EpochLost %v, want %v", r.rep.EpochLost, tc.lost)
			}
			if o, _ := r.open(); len(o.Predecessors) != 3 {
				t.Errorf("predecessors %+v, want 3", o.Predecessors)
			}
		})
	}
}

func flipFirst(b []byte) []byte {
	b[0] ^= 0x40
	return b
}

func TestOtherCarIsRefused(t *testing.T) {
	r := newRig(t)
	r.boot()
	r.close()
	r.cfg.Car = "car-8"
	r.cfg.Disk = r.m.Boot()
	if _, _, err := spool.Open(r.cfg); err == nil || !strings.Contains(err.Error(), `"car-7"`) {
		t.Errorf("got %v, want an error that names car-7", err)
	}
}

// TestRule07AckedStaysAcked: what an earlier start was told to be durable is not
// sent again, and a deleted chunk does not come back when the power goes.
func TestRule07AckedStaysAcked(t *testing.T) {
	r := newRig(t)
	r.boot()
	ids := r.fill(16)
	r.mustSettle(ids[:9]...) // the first chunk whole, the next one in part
	before := len(r.segments(wire.LaneFull))
	r.close()
	r.m.Cut(nil)
	if got := len(r.segments(wire.LaneFull)); got >= before {
		t.Errorf("%d chunks after the power cut, %d before the first was deleted", got, before)
	}
	r.boot()
	if items := all(r.sp, wire.LaneFull); len(items) != len(ids)-9 || items[0].ID != ids[9] {
		t.Errorf("%d batches are sent again, want %d from %s on", len(items), len(ids)-9, ids[9])
	}
}

// TestRule05ControlOutlivesAFailingDisk: while nothing can be written, a loss record
// that waits in memory is not what makes room.
func TestRule05ControlOutlivesAFailingDisk(t *testing.T) {
	r := newRig(t)
	r.cfg.QueueBytes = 8 << 10
	r.boot()
	ids := r.fill(4)
	r.m.SetFault(func(spooltest.Op) error { return errInjected })
	r.sp.Refuse(ids[0], wire.ReasonRefused)
	_ = r.sp.Sync(t.Context())
	for i := range 100 {
		r.put(wire.LaneCritical, uint64(i), 300, 0)
	}
	r.m.SetFault(nil)
	_ = r.sp.Sync(t.Context()) // says that some were dropped
	if losses, _ := r.losses(); !named(losses, ids[0], wire.ReasonRefused) || r.sp.Stats().LostDisk == 0 {
		t.Errorf("lost on the disk: %d, losses %+v", r.sp.Stats().LostDisk, losses)
	}
}

// TestRule07UnlinkGoesOnAfterAnError: a chunk whose unlink failed half-way is
// deleted at the next try, and those behind it too.
func TestRule07UnlinkGoesOnAfterAnError(t *testing.T) {
	for _, kind := range []string{"syncdir", "remove"} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.boot()
			r.mustSettle(r.fill(40)...)
			failed := false
			r.m.SetFault(func(op spooltest.Op) error {
				if op.Kind != kind || failed {
					return nil
				}
				failed = true
				return errInjected
			})
			stop := r.run()
			time.Sleep(40 * time.Second) // the open chunk is sealed after 30 s
			stop()
			if n := len(r.segments(wire.LaneFull)); n != 0 || !failed {
				t.Errorf("%s failed once (%v): %d chunks are never deleted", kind, failed, n)
			}
			r.close()
		})
	}
}
