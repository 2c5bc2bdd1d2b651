package spool_test

import (
	"testing"

	"telemetry/spool"
	"telemetry/spool/spooltest"
	"telemetry/wire"
)

// TestACardWithABadMoment: at a start the card refuses one thing once, and gives it when it
// is asked again. Nothing of the chunk counts as lost, and it stays where it is.
func TestACardWithABadMoment(t *testing.T) {
	for _, kind := range []string{"read", "open", "readat"} {
		t.Run(kind, func(t *testing.T) {
			r := newRig(t)
			r.boot()
			ids := r.fill(3)
			r.close()
			refused := 0
			r.m.SetFault(func(op spooltest.Op) error {
				name := "spool/full/0000000001"
				if kind != "read" {
					name += "/" + spool.SegmentName
				}
				if op.Kind != kind || op.Name != name || refused > 0 {
					return nil
				}
				refused++
				return errInjected
			})
			r.boot()
			r.m.SetFault(nil)
			if refused != 1 {
				t.Fatalf("%d refused", refused)
			}
			if r.rep.LostBatches+r.rep.DoubtfulBatches != 0 || r.rep.Salvaged+r.rep.Quarantined != 0 {
				t.Errorf("report %+v", r.rep)
			}
			if got := data(r.sp, wire.LaneFull); len(got) != len(ids) {
				t.Errorf("%v show", got)
			}
			if losses, _ := r.losses(); len(losses) != 0 {
				t.Errorf("lost: %+v", losses[0])
			}
		})
	}
}
