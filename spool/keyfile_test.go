package spool_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"telemetry/spool"
	"telemetry/spool/spooltest"
	"telemetry/wire"
)

// cycle starts and ends the spool n times.
func (r *rig) cycle(n int) {
	r.t.Helper()
	for range n {
		r.boot()
		r.close()
	}
}

// failOn makes the operations of some kinds on names with a part fail.
func failOn(part string, kinds ...string) func(spooltest.Op) error {
	return func(op spooltest.Op) error {
		if strings.Contains(op.Name, part) && slices.Contains(kinds, op.Kind) {
			return errInjected
		}
		return nil
	}
}

// TestKeysOutliveAStartThatSawTooLittle: one start cannot open or list an old chunk.
// Its key stays, and the next good start reads all of it.
func TestKeysOutliveAStartThatSawTooLittle(t *testing.T) {
	for _, tc := range []struct{ name, part, kind string }{
		{"the segment cannot be opened", "full/0000000001/" + spool.SegmentName, "open"},
		{"the chunk cannot be listed", "full/0000000001", "read"},
		{"a salvage cannot be finished", "full/0000000001.salvage", "rename"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, _, _ := secretly(t)
			r.boot()
			ids := r.say(2)
			r.close()
			if segs := r.segments(wire.LaneFull); segs[0] != "spool/full/0000000001/"+spool.SegmentName {
				t.Fatalf("the chunk is %s", segs[0])
			}
			r.cycle(70)
			if tc.kind == "rename" {
				d := r.m.Boot()
				if err := errors.Join(d.Rename("spool/full/0000000001", "spool/full/0000000001.salvage"), d.SyncDir("spool/full")); err != nil {
					t.Fatal(err)
				}
			}
			r.m.SetFault(failOn(tc.part, tc.kind))
			r.boot()
			r.m.SetFault(nil)
			r.close()
			r.boot()
			if r.rep.LockedBatches != 0 {
				t.Fatalf("%d batches are locked", r.rep.LockedBatches)
			}
			if tc.kind == "rename" { // the batches are there under the old name again
				r.mustHear(ids)
			}
		})
	}
}

// TestOwnKeyOutlivesALostCounter: epoch and cursor files are gone, no chunk tells how far
// the counter was, and key files of many starts are there. The key of this start stays,
// and so do those of the next ones.
func TestOwnKeyOutlivesALostCounter(t *testing.T) {
	r, _, _ := secretly(t)
	r.cycle(80)
	top := r.sp.Epoch().Counter
	d := r.m.Boot()
	for _, name := range []string{"epoch.0", "epoch.1", "cursor.0", "cursor.1", "mark", "chunks", "critical", "full"} {
		if err := d.RemoveAll("spool/" + name); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.SyncDir("spool"); err != nil {
		t.Fatal(err)
	}
	var ids []wire.ID
	for range 3 {
		r.boot()
		if e := r.sp.Epoch(); e.Counter <= top {
			t.Errorf("the counter is %d again, key files say %d", e.Counter, top)
		}
		name := fmt.Sprintf("spool/keys/%010d-%016x.0", r.sp.Epoch().Counter, r.sp.Epoch().Nonce)
		if f, err := r.m.Boot().Open(name); err != nil {
			t.Fatalf("the key of this start: %v", err)
		} else if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		ids = r.say(2)
		r.close()
	}
	r.boot()
	r.mustHear(ids)
}

// TestForgedKeyNames: nothing protects the names of key files. One that would take the
// counter to its end counts for nothing.
func TestForgedKeyNames(t *testing.T) {
	r, _, _ := secretly(t)
	r.cycle(1)
	if err := r.m.Boot().Write("spool/keys/4294967295-0000000000000001.0", []byte("x")); err != nil {
		t.Fatal(err)
	}
	r.boot()
	if c := r.sp.Epoch().Counter; c != 2 {
		t.Errorf("counter %d", c)
	}
}

// TestKeyFilesThatDoNotAnswer: the card does not give the key files when it is asked
// first. A short trouble is not noticed; after a long one, whoever asks later is answered.
func TestKeyFilesThatDoNotAnswer(t *testing.T) {
	for _, tc := range []struct {
		name  string
		fails int // how many times a key file is not opened
	}{
		{"for a moment", 2},
		{"while the spool opens", 1 << 30},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, _, _ := secretly(t)
				r.boot()
				ids := r.say(3)
				lap := r.put(wire.LaneCritical, 7, 100, 1) // between control records, which are in the clear
				r.sync()
				r.close()
				n := 0
				r.m.SetFault(func(op spooltest.Op) error {
					if op.Kind == "open" && strings.Contains(op.Name, "/keys/") {
						if n++; n <= tc.fails {
							return errInjected
						}
					}
					return nil
				})
				r.boot()
				r.m.SetFault(nil)
				stop := r.run()
				time.Sleep(time.Minute) // virtual
				synctest.Wait()
				r.mustHear(ids)
				r.mustRead(lap, 7, 100)
				if st := r.sp.Stats(); st.Locked != 0 {
					t.Errorf("%d are locked", st.Locked)
				}
				if losses, _ := r.losses(); len(losses) != 0 {
					t.Errorf("lost: %+v", losses[0])
				}
				r.mustSettle(ids...)
				if base := r.sp.Base(ids[0].Stream); base != 4 {
					t.Errorf("base %d", base)
				}
				stop()
				r.close()
			})
		})
	}
}

// TestLockedLossesHaveTimes: what the quota takes of locked chunks is reported with the
// times of its batches, whether the table or the envelopes told them.
func TestLockedLossesHaveTimes(t *testing.T) {
	r, _, _ := secretly(t)
	r.cfg.QuotaBytes = 6 * r.cfg.ChunkBytes
	r.boot()
	for i := range 20 {
		r.put(wire.LaneFull, uint64(i), 1000, 5000+int64(i)*10)
	}
	r.sync()
	r.m.Cut(nil)
	r.cfg.Keys = nil
	r.boot()
	r.fill(40)
	losses, _ := r.losses()
	n := 0
	for _, l := range losses {
		if l.Reason != wire.ReasonQuota || l.Epoch == r.sp.Epoch() {
			continue
		}
		n++
		first, last := l.Ranges[0].First, l.Ranges[len(l.Ranges)-1].Last
		if want := [2]int64{5000 + int64(first-1)*10, 5009 + int64(last-1)*10}; [2]int64{l.FirstNS, l.LastNS} != want {
			t.Errorf("%v from %d to %d ns, want %v", l.Ranges, l.FirstNS, l.LastNS, want)
		}
	}
	if n == 0 {
		t.Fatal("the quota took none of them")
	}
}

// TestPlainDataWithTheFlagOfControls: where only encrypted batches count, data in the
// clear does not become welcome by the flag of control records.
func TestPlainDataWithTheFlagOfControls(t *testing.T) {
	r := newRig(t)
	r.boot()
	var ids []wire.ID
	for _, b := range []wire.Body{
		{Payload: wire.AppendEvent(nil, &wire.Event{BootNS: 1, Name: "overtake"})},
		{Payload: append(wire.AppendAnchor(nil, &wire.Anchor{BootNS: 1}), wire.AppendEvent(nil, &wire.Event{BootNS: 1, Name: "overtake"})...)},
		{Payload: noise(1, 100)},
		{Payload: wire.AppendAnchor(nil, &wire.Anchor{BootNS: 1})},
	} {
		b.Lane, b.Control = wire.LaneCritical, true
		id, err := r.sp.Append(b)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	r.sync()
	r.close()
	r.cfg.Keys, r.cfg.EncryptedOnly = newPerson(t).box(t), true
	r.boot()
	for i, id := range ids {
		if _, err := r.sp.Read(id, nil); (err == nil) != (i == 3) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// TestBothCursorsFallToVersion1: when nothing encrypted is left, no slot of any state file
// keeps an older program away.
func TestBothCursorsFallToVersion1(t *testing.T) {
	r, _, _ := secretly(t)
	r.boot()
	ids := r.say(3)
	r.mustSettle(ids...)
	r.close()
	r.cycle(1) // by now both slots are there
	r.cfg.Keys = nil
	r.boot() // what was settled is deleted by now
	for _, slot := range []string{"epoch.0", "epoch.1", "cursor.0", "cursor.1"} {
		if err := r.m.Change("spool/"+slot, func(b []byte) []byte {
			if len(b) < 5 || b[4] != 1 {
				t.Errorf("%s begins with %x", slot, b[:min(5, len(b))])
			}
			return b
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestUnreadChunksKeepVersion2: a chunk that this start could not read may be encrypted.
func TestUnreadChunksKeepVersion2(t *testing.T) {
	r, _, _ := secretly(t)
	r.boot()
	r.say(3)
	r.close()
	r.cfg.Keys = nil
	r.m.SetFault(failOn("full/0000000001", "read", "open"))
	r.boot()
	r.m.SetFault(nil)
	if err := r.m.Change("spool/epoch.0", func(b []byte) []byte {
		if b[4] != 2 {
			t.Errorf("version %d", b[4])
		}
		return b
	}); err != nil {
		t.Fatal(err)
	}
}

// TestAPassingKeyLeavesCatalogues: a start without the car's identity uses the catalogue of
// the one before. It has it, and the batches of before do not lose it.
func TestAPassingKeyLeavesCatalogues(t *testing.T) {
	r, car, pit := secretly(t)
	r.boot()
	catalogue := []byte("brake bias is the name of a channel")
	hash, err := r.sp.PutCatalogue(catalogue)
	if err != nil {
		t.Fatal(err)
	}
	r.close()
	r.cfg.Keys, r.cfg.KeysForNow = newPerson(t).box(t, pit.recipient), true
	r.boot()
	if _, err := r.sp.PutCatalogue(catalogue); err != nil {
		t.Fatal(err)
	}
	if got, err := r.sp.Catalogue(hash); err != nil || string(got) != string(catalogue) {
		t.Errorf("without the identity: %q, %v", got, err)
	}
	r.close()
	r.cfg.Keys, r.cfg.KeysForNow = car.box(t), false
	r.boot()
	if got, err := r.sp.Catalogue(hash); err != nil || string(got) != string(catalogue) {
		t.Errorf("with the identity: %q, %v", got, err)
	}
}

// shy is a disk whose directories do not tell sizes, as when an inode cannot be read.
type shy struct{ spool.Disk }

func (d shy) ReadDir(dir string) ([]spool.DirEntry, error) {
	es, err := d.Disk.ReadDir(dir)
	for i := range es {
		es[i].Size = 0
	}
	return es, err
}

// TestAChunkOfUnknownSizeIsNotEmpty: only a chunk whose file is empty is removed.
func TestAChunkOfUnknownSizeIsNotEmpty(t *testing.T) {
	r := newRig(t)
	r.boot()
	ids := r.fill(8)
	r.close()
	r.cfg.Disk = shy{r.m.Boot()}
	sp, rep, err := spool.Open(r.cfg)
	if err != nil || rep.LostBatches != 0 {
		t.Fatalf("%+v, %v", rep, err)
	}
	r.sp = sp
	for i, id := range ids {
		r.mustRead(id, uint64(i), 1000)
	}
}
