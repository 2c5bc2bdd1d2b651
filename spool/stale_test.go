package spool_test

import (
	"testing"

	"telemetry/wire"
)

// TestNoLossBeforeTheFirstHeldIsSilent: the first chunk is gone, and of the cursor one
// slot is torn, or nothing is left. Every number that cannot be sent any more has a
// name; what was delivered and deleted has none as long as one slot is whole.
func TestNoLossBeforeTheFirstHeldIsSilent(t *testing.T) {
	slots := []string{"spool/cursor.0", "spool/cursor.1"}
	for _, tc := range []struct {
		name    string
		settled int      // batches that the cloud has, of 24
		lose    bool     // the oldest chunk that is left
		damage  []string // slots
		certain uint64   // lost for sure
		doubt   uint64   // lost or delivered
	}{
		{"whole cursor", 0, true, nil, 8, 0},
		{"one slot", 0, true, slots[:1], 8, 0},
		{"the other slot", 0, true, slots[1:], 8, 0},
		{"both slots", 0, true, slots, 0, 8},
		{"both slots, behind what was delivered", 10, true, slots, 0, 16},
		{"one slot, behind what was delivered", 10, true, slots[:1], 6, 0},
		{"the other slot, behind what was delivered", 10, true, slots[1:], 6, 0},
		{"one slot, nothing lost", 10, false, slots[:1], 0, 0},
		{"the other slot, nothing lost", 10, false, slots[1:], 0, 0},
		{"both slots, nothing lost", 10, false, slots, 0, 8},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t)
			r.boot()
			ids := r.fill(24)
			r.mustSettle(ids[:tc.settled]...)
			r.close()
			segments := r.segments(wire.LaneFull)
			if tc.lose {
				if err := r.m.Change(segments[0], func([]byte) []byte { return nil }); err != nil {
					t.Fatal(err)
				}
			}
			for _, name := range tc.damage {
				if err := r.m.Change(name, flipFirst); err != nil {
					t.Fatal(err)
				}
			}
			r.boot()
			if r.rep.LostBatches != tc.certain || r.rep.DoubtfulBatches != tc.doubt {
				t.Errorf("%d lost and %d in doubt, want %d and %d", r.rep.LostBatches, r.rep.DoubtfulBatches, tc.certain, tc.doubt)
			}
			losses, _ := r.losses()
			there := map[uint64]bool{}
			for _, seq := range data(r.sp, wire.LaneFull) {
				there[seq] = true
			}
			for i, id := range ids {
				said := named(losses, id, wire.ReasonCorrupt)
				if i >= tc.settled && !there[id.Seq] && !said {
					t.Errorf("%s is lost in silence", id)
				}
				if there[id.Seq] && said || i < tc.settled && said && len(tc.damage) < 2 {
					t.Errorf("%s is reported: there %v, delivered %v", id, there[id.Seq], i < tc.settled)
				}
			}
		})
	}
}
