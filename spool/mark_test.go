package spool_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"telemetry/spool"
	"telemetry/wire"
)

// TestTailBehindTheCursorHasAName: the process is killed before any cursor tells of
// its last batches, and the end of the newest chunk rots. Each is reported.
func TestTailBehindTheCursorHasAName(t *testing.T) {
	for _, tc := range []struct {
		name string
		f    func([]byte) []byte
		lost int
	}{
		{"one record cut", func(b []byte) []byte { return b[:len(b)-1] }, 1},
		{"all cut", func([]byte) []byte { return nil }, 5},
		{"half zeroed", func(b []byte) []byte { clear(b[len(b)/2:]); return b }, 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t)
			r.cfg.ChunkBytes, r.cfg.QuotaBytes = 64<<10, 1<<20
			r.boot()
			old := map[string][]byte{}
			for _, name := range []string{"spool/cursor.0", "spool/cursor.1"} {
				_ = r.m.Change(name, func(b []byte) []byte { old[name] = slices.Clone(b); return b }) // one may be missing
			}
			ids := r.fill(5) // one chunk
			r.m.Kill()
			for _, name := range []string{"spool/cursor.0", "spool/cursor.1"} {
				if b, ok := old[name]; ok {
					_ = r.m.Change(name, func([]byte) []byte { return b })
				} else if err := r.m.Boot().RemoveAll(name); err != nil {
					t.Fatal(err)
				}
			}
			seg := r.segments(wire.LaneFull)[0]
			if err := r.m.Change(seg, tc.f); err != nil {
				t.Fatal(err)
			}
			r.boot()
			losses, _ := r.losses()
			got := 0
			for _, id := range ids {
				if named(losses, id, wire.ReasonCorrupt) {
					got++
				}
			}
			if left := len(data(r.sp, wire.LaneFull)); got != tc.lost || left != len(ids)-tc.lost {
				t.Errorf("%d named, %d left of %d", got, left, len(ids))
			}
		})
	}
}

// TestMarkIsOnlyAHint: a mark that is lost, rotten or old takes nothing away and
// adds nothing.
func TestMarkIsOnlyAHint(t *testing.T) {
	for _, tc := range []struct {
		name string
		f    func([]byte) []byte
	}{
		{"emptied", func([]byte) []byte { return nil }},
		{"zeroed", func(b []byte) []byte { clear(b); return b }},
		{"flipped", func(b []byte) []byte { b[30] ^= 4; b[94] ^= 4; return b }},
		{"cut", func(b []byte) []byte { return b[:70] }},
		{"too long", func(b []byte) []byte { return append(b, b...) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t)
			r.boot()
			ids := r.fill(12)
			r.m.Kill()
			if err := r.m.Change("spool/mark", tc.f); err != nil {
				t.Fatal(err)
			}
			r.boot()
			if got := data(r.sp, wire.LaneFull); len(got) != len(ids) || r.rep.LostBatches != 0 {
				t.Errorf("pending %v, %d lost", got, r.rep.LostBatches)
			}
		})
	}
}

// TestDamagedTailSurvivesEveryCrash cuts the power at each operation of the start
// that finds a rotten tail: the loss is named whatever happens.
func TestDamagedTailSurvivesEveryCrash(t *testing.T) {
	for stopAt := range 60 {
		r := newRig(t)
		r.boot()
		ids := r.fill(12)
		r.close()
		segs := r.segments(wire.LaneFull)
		_ = r.m.Change(slices.Max(segs), func(b []byte) []byte { return b[:len(b)-1] })
		r.m.SetFault(stopAfter(stopAt))
		r.cfg.Disk = r.m.Boot()
		if sp, _, err := spool.Open(r.cfg); err == nil {
			r.sp = sp
		}
		r.m.Cut(rand.New(rand.NewPCG(uint64(stopAt), 1)))
		r.m.SetFault(nil)
		r.boot()
		losses, _ := r.losses()
		if !named(losses, ids[11], wire.ReasonCorrupt) {
			t.Fatalf("stopped at %d: the damaged batch has no name", stopAt)
		}
	}
}
