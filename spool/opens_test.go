package spool_test

import (
	"errors"
	"testing"

	"telemetry/spool"
	"telemetry/wire"
)

// TestADamagedEpochOpenIsNotWaitedFor: an EpochOpen of an earlier start is damaged
// under the running agent before it could be sent. It becomes a loss record, and
// its chunk is no longer kept for it.
func TestADamagedEpochOpenIsNotWaitedFor(t *testing.T) {
	r := newRig(t)
	r.boot()
	_, first := r.open()
	r.close()
	r.boot()
	for _, name := range r.segments(wire.LaneCritical) {
		err := r.m.Change(name, func(b []byte) []byte {
			for _, at := range offsets(b) {
				if h, err := wire.ParseHeader(b[at:]); err == nil && h.ID() == first {
					b[at+h.Size()-1] ^= 1
				}
			}
			return b
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := r.sp.Stats().UnackedEpochOpens; got != 2 {
		t.Fatalf("%d EpochOpen records wait, want 2", got)
	}
	if _, err := r.sp.Read(first, nil); !errors.Is(err, spool.ErrGone) {
		t.Fatalf("damaged EpochOpen: %v, want gone", err)
	}
	r.sync()
	if losses, _ := r.losses(); !named(losses, first, wire.ReasonCorrupt) {
		t.Errorf("no loss record names %s", first)
	}
	if got := r.sp.Stats().UnackedEpochOpens; got != 1 {
		t.Errorf("%d EpochOpen records wait, want this start's alone", got)
	}
	r.close()
}
