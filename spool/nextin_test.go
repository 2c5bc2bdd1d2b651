package spool_test

import (
	"syscall"
	"testing"

	"telemetry/spool/spooltest"
	"telemetry/wire"
)

// TestNextInComesToAnEnd: many chunks touch a range of time, none has a batch in
// it, and memory has room for the entries of less than two. Each chunk is read once.
func TestNextInComesToAnEnd(t *testing.T) {
	r := newRig(t)
	r.boot()
	for i := range 60 {
		r.put(wire.LaneFull, uint64(i), 900, int64(i%4)*1000)
	}
	r.sync()
	chunks := len(r.segments(wire.LaneFull))
	if chunks < 5 {
		t.Fatalf("%d chunks, want a few", chunks)
	}
	opens := 0
	r.m.SetFault(func(op spooltest.Op) error {
		if op.Kind == "open" {
			if opens++; opens > 20*chunks { // else it would go on for ever
				return syscall.EIO
			}
		}
		return nil
	})
	if it, ok := r.sp.NextIn(wire.LaneFull, wire.ID{}, 500, 600); ok {
		t.Errorf("found %s, which is not in the range", it.ID)
	}
	if opens > chunks {
		t.Errorf("%d chunks were opened %d times", chunks, opens)
	}
	if it, ok := r.sp.NextIn(wire.LaneFull, wire.ID{}, 2005, 2006); !ok || it.ID.Seq != 3 {
		t.Errorf("found %s %v, want #3", it.ID, ok)
	}
	r.m.SetFault(nil)
	r.close()
}
