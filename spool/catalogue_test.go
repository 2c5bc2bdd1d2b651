package spool_test

import (
	"bytes"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"telemetry/spool"
	"telemetry/wire"
)

// TestCataloguesOutliveWhatDoesNotShow: one start cannot open, or cannot read, the batches
// of an earlier one, whose catalogue it has not itself. A better start shows them, and they
// are worth nothing without their catalogue.
func TestCataloguesOutliveWhatDoesNotShow(t *testing.T) {
	for _, tc := range []struct {
		name string
		hurt func(t *testing.T, r *rig)
	}{
		{"the key is not there", func(t *testing.T, r *rig) { r.cfg.Keys = newPerson(t).box(t) }},
		{"the segment cannot be opened", func(_ *testing.T, r *rig) {
			r.m.SetFault(failOn("full/0000000001/"+spool.SegmentName, "open"))
		}},
		{"the chunk cannot be listed", func(_ *testing.T, r *rig) { r.m.SetFault(failOn("full/0000000001", "read")) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, car, _ := secretly(t)
				r.boot()
				canonical := noise(1, 5000)
				old, err := r.sp.PutCatalogue(canonical)
				if err != nil {
					t.Fatal(err)
				}
				id, err := r.sp.Append(wire.Body{Lane: wire.LaneFull, Samples: 1, Catalogue: old, Payload: text(0)})
				if err != nil {
					t.Fatal(err)
				}
				r.close()
				tc.hurt(t, r)
				r.boot()
				r.m.SetFault(nil)
				if got := data(r.sp, wire.LaneFull); len(got) != 0 {
					t.Fatalf("%v show", got)
				}
				stop := r.run()
				if _, err := r.sp.PutCatalogue(noise(2, 5000)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(3 * time.Minute)
				stop()
				r.close()
				r.cfg.Keys = car.box(t)
				r.boot()
				if _, err := r.sp.Read(id, nil); err != nil {
					t.Fatal(err)
				}
				if got, err := r.sp.Catalogue(old); err != nil || !bytes.Equal(got, canonical) {
					t.Errorf("the catalogue of a batch that waits: %v", err)
				}
				stop = r.run()
				r.mustSettle(id)
				if _, err := r.sp.PutCatalogue(noise(3, 5000)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(3 * time.Minute)
				if _, err := r.sp.Catalogue(old); !errors.Is(err, spool.ErrNoCatalogue) {
					t.Errorf("nothing needs it any more: %v", err)
				}
				stop()
				r.close()
			})
		})
	}
}

// TestCatalogueOnAFullCard: a car whose configuration is new starts although there is no
// room for its catalogue but the reserve.
func TestCatalogueOnAFullCard(t *testing.T) {
	r := newRig(t)
	r.boot()
	r.close()
	r.m.SetLimit(r.m.Used() + 6000)
	r.boot()
	canonical := noise(1, 9000)
	h, err := r.sp.PutCatalogue(canonical)
	if err != nil {
		t.Fatal(err)
	}
	r.m.Cut(nil)
	r.m.SetLimit(0)
	r.boot()
	if got, err := r.sp.Catalogue(h); err != nil || !bytes.Equal(got, canonical) {
		t.Errorf("after a power cut: %v", err)
	}
	r.close()
}
