package spool_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"telemetry/spool"
	"telemetry/spool/spooltest"
	"telemetry/wire"
)

// TestColdChunksSurviveABadMoment: a chunk whose envelopes cannot be read is asked
// again, and nothing of it is given up before half a minute has passed.
func TestColdChunksSurviveABadMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.boot()
		ids := r.fill(40)
		first := r.segments(wire.LaneFull)[0]
		r.m.SetFault(func(op spooltest.Op) error {
			if op.Name == first && (op.Kind == "open" || op.Kind == "readat") {
				return errInjected
			}
			return nil
		})
		for range 10 {
			if it, ok := r.sp.Next(wire.LaneFull, wire.ID{}); ok {
				t.Fatalf("the first chunk cannot be read, and Next gives %s", it.ID)
			}
			if _, err := r.sp.Read(ids[0], nil); err == nil || errors.Is(err, spool.ErrGone) {
				t.Fatalf("read: %v", err)
			}
			time.Sleep(time.Second)
		}
		if st := r.sp.Stats(); st.LostCorrupt != 0 || st.ReadErrors == 0 {
			t.Fatalf("after ten seconds: %d lost, %d read errors", st.LostCorrupt, st.ReadErrors)
		}
		r.m.SetFault(nil)
		if got := data(r.sp, wire.LaneFull); len(got) != len(ids) {
			t.Errorf("pending %v", got)
		}
		r.mustRead(ids[0], 0, 1000)
		r.close()
	})
}

// TestRotInAColdChunkIsReported: what is damaged after the start is found when it is
// wanted, alone.
func TestRotInAColdChunkIsReported(t *testing.T) {
	for _, tc := range []struct {
		name string
		f    func([]byte) []byte
		lost int // -1: all of the chunk
	}{
		{"envelope flipped", func(b []byte) []byte { b[offsets(b)[1]+8] ^= 1; return b }, 1},
		{"cut", func(b []byte) []byte { return b[:offsets(b)[2]] }, -1},
		{"emptied", func([]byte) []byte { return nil }, -1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t)
			r.boot()
			ids := r.fill(40)
			if err := r.m.Change(r.segments(wire.LaneFull)[0], tc.f); err != nil {
				t.Fatal(err)
			}
			have := map[wire.ID]bool{}
			for _, it := range all(r.sp, wire.LaneFull) {
				if _, err := r.sp.Read(it.ID, nil); err == nil {
					have[it.ID] = true
				}
			}
			r.sync()
			losses, _ := r.losses()
			lost := 0
			for i, id := range ids {
				said := named(losses, id, wire.ReasonCorrupt)
				if said == have[id] {
					t.Errorf("#%d: there %v, reported %v", i+1, have[id], said)
				}
				if said {
					lost++
				}
			}
			if lost == 0 || tc.lost > 0 && lost != tc.lost || lost > 12 {
				t.Errorf("%d lost, want %d", lost, tc.lost)
			}
			if st := r.sp.Stats().Lanes[wire.LaneFull]; st.Pending != len(ids)-lost || st.PendingBytes < 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}

// TestColdBytesAddUp: what Stats says does not depend on what was read.
func TestColdBytesAddUp(t *testing.T) {
	r := newRig(t)
	r.boot()
	sizes, ids := map[wire.ID]int64{}, []wire.ID{}
	for i := range 60 {
		ids = append(ids, r.put(wire.LaneFull, uint64(i), 100+i*20, int64(i)))
	}
	r.sync()
	total := int64(0)
	for _, it := range all(r.sp, wire.LaneFull) {
		sizes[it.ID] = int64(it.Size)
		total += int64(it.Size)
	}
	for i, id := range ids {
		if i%3 == 1 {
			r.mustSettle(id)
			total -= sizes[id]
		}
	}
	_ = all(r.sp, wire.LaneFull)
	if got := r.sp.Stats().Lanes[wire.LaneFull]; got.PendingBytes != total || got.Pending != 40 {
		t.Errorf("%d batches of %d bytes, want 40 of %d", got.Pending, got.PendingBytes, total)
	}
}
