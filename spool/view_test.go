package spool_test

import (
	"errors"
	"testing"

	"telemetry/spool"
	"telemetry/spool/spooltest"
	"telemetry/wire"
)

// TestViewOfASpoolInUse: a view sees what is durable, and changes nothing.
func TestViewOfASpoolInUse(t *testing.T) {
	r := newRig(t)
	r.boot()
	ids := r.fill(24)
	r.mustSettle(ids[:3]...)
	r.put(wire.LaneFull, 99, 1000, 0)
	r.sync() // and a cursor
	r.m.SetFault(func(op spooltest.Op) error {
		if op.Kind != "read" && op.Kind != "readat" && op.Kind != "open" {
			t.Errorf("a view does %s of %s", op.Kind, op.Name)
		}
		return nil
	})
	v, err := spool.OpenView("spool", r.m.Boot())
	if err != nil || v.Car != "car-7" || v.Epoch != r.sp.Epoch() || v.CursorLost {
		t.Fatalf("%+v, %v", v, err)
	}
	var got []uint64
	err = v.Each(wire.LaneFull, func(b wire.Batch) error {
		got = append(got, b.Header.Seq)
		if want := b.Header.Seq <= 3; v.Settled(b.Header.ID()) != want {
			t.Errorf("#%d settled %v", b.Header.Seq, !want)
		}
		return nil
	})
	if err != nil || len(got) != 25 || got[24] != 25 {
		t.Errorf("%v, %v", got, err)
	}
	cs, err := v.Chunks(wire.LaneFull)
	if err != nil || len(cs) < 3 || !cs[len(cs)-1].Last || cs[0].Last {
		t.Fatalf("%v, %v", cs, err)
	}
	for _, c := range cs {
		if rep, err := v.Report(c, true); err != nil || !rep.Whole() || len(rep.Headers) == 0 {
			t.Errorf("%s: %+v, %v", c.Name(), rep, err)
		}
	}
	if _, err := spool.Repair(r.offline()); !errors.Is(err, spool.ErrLocked) {
		t.Errorf("repair of a spool in use: %v", err)
	}
}

// offline is the configuration for what is done to a spool that no agent uses.
func (r *rig) offline() spool.Config {
	cfg := r.cfg
	r.m.SetFault(nil)
	cfg.Disk = r.m.Boot()
	return cfg
}

// TestRepairLeavesTheReportToTheNextStart: repair opens no epoch and forgets no loss.
func TestRepairLeavesTheReportToTheNextStart(t *testing.T) {
	r := newRig(t)
	r.boot()
	ids := r.fill(24)
	epoch := r.sp.Epoch()
	r.m.Kill()
	segs := r.segments(wire.LaneFull)
	_ = r.m.Change(segs[0], func(b []byte) []byte { b[offsets(b)[2]+40] ^= 1; return b })
	_ = r.m.Change(segs[len(segs)-1], func(b []byte) []byte { return b[:len(b)-5] })
	v, err := spool.OpenView("spool", r.m.Boot())
	if err != nil {
		t.Fatal(err)
	}
	cs, err := v.Chunks(wire.LaneFull)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range cs {
		rep, err := v.Report(c, true)
		if want := i != 0 && i != len(cs)-1; err != nil || rep.Whole() != want {
			t.Errorf("chunk %d: %+v, %v", i, rep, err)
		}
	}
	for round := range 2 {
		rep, err := spool.Repair(r.offline())
		if err != nil || rep.Batches == 0 || rep.LostBatches != 1 && rep.LostBatches != 2 {
			t.Fatalf("round %d: %+v, %v", round, rep, err)
		}
	}
	r.boot()
	if r.sp.Epoch().Counter != epoch.Counter+1 {
		t.Errorf("epoch %s after %s: repair opened one", r.sp.Epoch(), epoch)
	}
	for range 2 { // what only reading finds is reported then
		for _, it := range all(r.sp, wire.LaneFull) {
			_, _ = r.sp.Read(it.ID, nil)
		}
		r.sync()
	}
	losses, _ := r.losses()
	for _, id := range []wire.ID{ids[2], ids[23]} {
		if !named(losses, id, wire.ReasonCorrupt) {
			t.Errorf("%s has no name: %v", id, losses)
		}
	}
}

// TestPruneTakesOnlyWhatIsSettled.
func TestPruneTakesOnlyWhatIsSettled(t *testing.T) {
	r := newRig(t)
	r.boot()
	ids := r.fill(24)
	r.mustSettle(ids[:13]...)
	r.put(wire.LaneFull, 99, 100, 0)
	r.sync()
	r.m.Kill() // before any chunk was deleted
	before := len(r.segments(wire.LaneFull))
	rep, err := spool.Prune(r.offline(), true)
	if err != nil || rep.Chunks == 0 || rep.Bytes == 0 {
		t.Fatalf("%+v, %v", rep, err)
	}
	if got := len(r.segments(wire.LaneFull)); got != before-rep.Chunks {
		t.Errorf("%d chunks of %d, %+v", got, before, rep)
	}
	r.boot()
	if got := data(r.sp, wire.LaneFull); len(got) != 12 || got[0] != 14 {
		t.Errorf("pending %v", got)
	}
}
