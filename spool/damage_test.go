package spool_test

import (
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"telemetry/spool"
	"telemetry/wire"
)

// image is a disk with one epoch's batches, to be damaged again and again.
type image struct {
	t    *testing.T
	ids  []wire.ID
	tags map[wire.ID]uint64
	segs map[string][]byte
}

const imageBytes = 700

func newImage(t *testing.T, batches int) *image {
	t.Helper()
	r := newRig(t)
	r.boot()
	im := &image{t: t, tags: map[wire.ID]uint64{}, segs: map[string][]byte{}}
	for i := range batches {
		id := r.put(wire.LaneFull, uint64(i), imageBytes, int64(i)*10)
		im.ids = append(im.ids, id)
		im.tags[id] = uint64(i)
		if i%3 == 2 {
			r.sync()
		}
	}
	r.sync()
	r.m.Cut(nil)
	for _, seg := range r.segments(wire.LaneFull) {
		_ = r.m.Change(seg, func(b []byte) []byte { im.segs[seg] = slices.Clone(b); return b })
	}
	return im
}

// boot builds the image anew with one segment changed and opens it.
func (im *image) boot(seg string, f func([]byte) []byte) *rig {
	im.t.Helper()
	r := newRig(im.t)
	r.boot()
	for i := range im.ids {
		r.put(wire.LaneFull, uint64(i), imageBytes, int64(i)*10)
		if i%3 == 2 {
			r.sync()
		}
	}
	r.sync()
	r.m.Cut(nil)
	if err := r.m.Change(seg, f); err != nil {
		im.t.Fatal(err)
	}
	r.boot()
	return r
}

func (im *image) names() []string {
	var out []string
	for seg := range im.segs {
		out = append(out, seg)
	}
	slices.Sort(out)
	return out
}

// check compares what is there with what was acknowledged: each batch reads back
// as it was written, or a durable loss record names it, never both or neither.
// It returns how many are lost.
func (im *image) check(r *rig, what string) (lost []uint64) {
	im.t.Helper()
	have := map[wire.ID]bool{}
	for _, it := range all(r.sp, wire.LaneFull) {
		tag, known := im.tags[it.ID]
		if !known {
			im.t.Fatalf("%s: phantom %s", what, it.ID)
		}
		b, err := r.sp.Read(it.ID, nil)
		if err != nil {
			continue
		}
		batch, _, _ := wire.Parse(b)
		if string(batch.Payload) != string(noise(tag, imageBytes)) {
			im.t.Fatalf("%s: %s reads back wrong", what, it.ID)
		}
		have[it.ID] = true
	}
	r.sync() // what Read found damaged is reported by now
	losses, _ := r.losses()
	for _, id := range im.ids {
		said := named(losses, id, wire.ReasonCorrupt)
		if have[id] == said {
			im.t.Fatalf("%s: %s there %v, reported %v", what, id, have[id], said)
		}
		if said {
			lost = append(lost, id.Seq)
		}
	}
	return lost
}

// TestTornTailAtEveryByte cuts the last chunk at each byte of its last record: the
// others stay, the spool opens, and the cut one is reported, because the cursor
// knew it.
func TestTornTailAtEveryByte(t *testing.T) {
	im := newImage(t, 12)
	seg := im.names()[len(im.names())-1]
	b := im.segs[seg]
	offs := offsets(b)
	lastAt := offs[len(offs)-1] - 2 // the length prefix has two bytes
	step := 1
	if testing.Short() {
		step = 37
	}
	for cut := lastAt; cut < len(b); cut += step {
		r := im.boot(seg, func(b []byte) []byte { return b[:cut] })
		have := data(r.sp, wire.LaneFull)
		if len(have) != 11 || have[10] != 11 {
			t.Fatalf("cut at %d: %v", cut, have)
		}
		if want := cut > lastAt; (r.rep.TornTails == 1) != want || r.rep.CutBytes != int64(cut-lastAt) {
			t.Fatalf("cut at %d: report %+v", cut, r.rep)
		}
	}
}

// TestZeroTail: zeros behind the last record are cut, whatever their number, and
// are no batches.
func TestZeroTail(t *testing.T) {
	im := newImage(t, 12)
	seg := im.names()[len(im.names())-1]
	for _, n := range []int{1, 2, 511, 4096, 1 << 20, 20 << 20} {
		r := im.boot(seg, func(b []byte) []byte { return append(b, make([]byte, n)...) })
		if lost := im.check(r, "zeros"); len(lost) != 0 || r.rep.CutBytes != int64(n) {
			t.Errorf("%d zeros: lost %v, report %+v", n, lost, r.rep)
		}
	}
}

// TestFlippedByteLosesOneRecord flips single bytes everywhere in every chunk.
func TestFlippedByteLosesOneRecord(t *testing.T) {
	im := newImage(t, 24)
	step := 41
	if testing.Short() {
		step = 397
	}
	for _, seg := range im.names() {
		b := im.segs[seg]
		for at := 0; at < len(b); at += step {
			r := im.boot(seg, func(b []byte) []byte { b[at] ^= 0x55; return b })
			if lost := im.check(r, sprint(seg, "@", at)); len(lost) > 1 {
				t.Fatalf("%s byte %d: lost %v", seg, at, lost)
			}
		}
	}
}

// TestRandomDamage does to one chunk what power cuts and rotten cards do.
func TestRandomDamage(t *testing.T) {
	im := newImage(t, 24)
	segs := im.names()
	rounds := 400
	if testing.Short() {
		rounds = 40
	}
	for seed := range rounds {
		rnd := rand.New(rand.NewPCG(uint64(seed), 5))
		seg := segs[rnd.IntN(len(segs)-1)] // the end of the last one is another test
		kind := rnd.IntN(6)
		r := im.boot(seg, func(b []byte) []byte {
			at, n := rnd.IntN(len(b)), 1+rnd.IntN(600)
			switch kind {
			case 0: // cut
				return b[:at]
			case 1: // flip
				b[at] ^= byte(1 + rnd.IntN(255))
			case 2: // zeroed range
				clear(b[at:min(len(b), at+n)])
			case 3: // garbage in place
				copy(b[at:], noise(uint64(seed), n))
			case 4: // bytes gone
				return append(b[:at], b[min(len(b), at+n):]...)
			case 5: // bytes come in
				return slices.Insert(b, at, noise(uint64(seed), n)...)
			}
			return b
		})
		im.check(r, sprint("seed ", seed, " kind ", kind, " ", seg))
		// A second start sees a clean spool that says the same.
		losses, _ := r.losses()
		r.m.Cut(nil)
		r.boot()
		if r.rep.LostBatches != 0 {
			t.Fatalf("seed %d kind %d: lost again: %+v", seed, kind, r.rep)
		}
		again, _ := r.losses()
		for _, l := range losses {
			for _, rg := range l.Ranges {
				id := wire.ID{Stream: im.ids[0].Stream, Seq: rg.First}
				if !named(again, id, l.Reason) {
					t.Fatalf("seed %d: loss of %s forgotten", seed, id)
				}
			}
		}
	}
}

// TestVanishedChunkIsReported: the cursor knows how far the stream was durable.
func TestVanishedChunkIsReported(t *testing.T) {
	im := newImage(t, 24)
	for i, seg := range im.names() {
		r := im.boot(seg, func([]byte) []byte { return nil })
		if lost := im.check(r, seg); len(lost) == 0 {
			t.Errorf("chunk %d emptied, nothing reported", i)
		}
	}
}

// TestForeignNamesAreQuarantined: what is not ours is kept for people.
func TestForeignNamesAreQuarantined(t *testing.T) {
	r := newRig(t)
	r.boot()
	ids := r.fill(8)
	r.m.Cut(nil)
	d := r.m.Boot()
	for _, name := range []string{"spool/full/notes.txt", "spool/full/0000000001/00000000000000000042", "spool/full/0000000001/00000000000000000001.START"} {
		if err := d.Write(name, []byte("what is this")); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.MkdirAll("spool/full/backup"); err != nil {
		t.Fatal(err)
	}
	r.boot()
	if r.rep.Quarantined != 4 {
		t.Errorf("quarantined %d, want 4", r.rep.Quarantined)
	}
	if got := data(r.sp, wire.LaneFull); len(got) != len(ids) {
		t.Errorf("pending %v", got)
	}
	es, err := r.m.Boot().ReadDir(filepath.Join("spool", "quarantine"))
	if err != nil || len(es) != 4 {
		t.Errorf("quarantine holds %v, %v", es, err)
	}
}

// TestSalvageSurvivesEveryCrash cuts the power at each operation of a start that
// salvages a chunk.
func TestSalvageSurvivesEveryCrash(t *testing.T) {
	im := newImage(t, 24)
	seg := im.names()[0]
	for stopAt := 1; stopAt < 90; stopAt++ {
		r := newRig(t)
		r.boot()
		for i := range im.ids {
			r.put(wire.LaneFull, uint64(i), imageBytes, int64(i)*10)
			if i%3 == 2 {
				r.sync()
			}
		}
		r.sync()
		r.m.Cut(nil)
		_ = r.m.Change(seg, func(b []byte) []byte { b[offsets(b)[2]+2] ^= 1; return b })
		r.m.SetFault(stopAfter(stopAt))
		r.cfg.Disk = r.m.Boot()
		if sp, _, err := spool.Open(r.cfg); err == nil {
			r.sp = sp
		}
		r.m.Cut(rand.New(rand.NewPCG(uint64(stopAt), 1)))
		r.m.SetFault(nil)
		r.boot()
		if lost := im.check(r, sprint("stopped at ", stopAt)); len(lost) != 1 || lost[0] != 3 {
			t.Fatalf("stopped at %d: lost %v", stopAt, lost)
		}
	}
}

func TestCursorLostMeansSentAgain(t *testing.T) {
	for _, tc := range []struct {
		name string
		f    func([]byte) []byte
	}{
		{"emptied", func([]byte) []byte { return nil }},
		{"flipped", flipFirst},
		{"cut", func(b []byte) []byte { return b[:len(b)/2] }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t)
			r.boot()
			ids := r.fill(24)
			r.mustSettle(ids[:10]...)
			r.close()
			for _, slot := range []string{"spool/cursor.0", "spool/cursor.1"} {
				_ = r.m.Change(slot, tc.f)
			}
			r.boot()
			if !r.rep.CursorLost || r.rep.LostBatches != 0 {
				t.Errorf("report %+v", r.rep)
			}
			got := data(r.sp, wire.LaneFull)
			want := map[uint64]bool{}
			for _, id := range ids[10:] {
				want[id.Seq] = true
			}
			for _, seq := range got {
				delete(want, seq)
			}
			if len(want) != 0 {
				t.Errorf("lost %v", want)
			}
		})
	}
}

// TestCursorOneSlotDamaged: the slot before it serves; at most one interval of acks
// is asked for again.
func TestCursorOneSlotDamaged(t *testing.T) {
	r := newRig(t)
	r.boot()
	ids := r.fill(24)
	r.mustSettle(ids[:10]...)
	r.close()
	_ = r.m.Change("spool/cursor.0", flipFirst)
	r.boot()
	if r.rep.CursorLost || r.rep.LostBatches != 0 {
		t.Errorf("report %+v", r.rep)
	}
	got := data(r.sp, wire.LaneFull)
	if len(got) < 14 || got[len(got)-1] != 24 {
		t.Errorf("pending %v", got)
	}
}
