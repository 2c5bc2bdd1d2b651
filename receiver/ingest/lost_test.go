package ingest

import (
	"testing"
	"time"

	"telemetry/wire"
)

// TestANewStartIsAskedForALostCatalogueAgain: the car's next card, or the start that
// has written its catalogue anew, has what the last one had lost.
func TestANewStartIsAskedForALostCatalogueAgain(t *testing.T) {
	r := newRig(t, nil)
	h, parts := catalogue(t, 20)
	r.c.Attached(r.now, "car-1", 0, true)
	r.deliver(msg{seq: 1, body: wire.Body{Catalogue: h}})
	for n := 0; n < maxCatalogueNo; {
		r.pass(100 * time.Millisecond)
		for ; n < len(r.cmds) && n < maxCatalogueNo; n++ {
			r.answerWith(r.cmds[n].ID, false)
		}
	}
	asked := len(r.cmds)
	r.deliver(msg{seq: 2, body: wire.Body{Catalogue: h}})
	r.deliver(msg{seq: 1, lane: wire.LaneLive, body: wire.Body{Catalogue: h}})
	r.kafka(nil)
	r.pass(wantRetry)
	r.wantSets(0, "", "1-2")
	if len(r.cmds) != asked {
		t.Fatalf("the start that has lost it is asked again: %d commands, want %d", len(r.cmds), asked)
	}
	r.deliver(msg{epoch: 1, seq: 1, body: wire.Body{Catalogue: h}})
	r.pass(100 * time.Millisecond)
	r.wantSets(1, "1", "")
	if len(r.cmds) != asked+1 {
		t.Fatalf("the new start is not asked: %d commands, want %d", len(r.cmds), asked+1)
	}
	for _, p := range parts {
		r.send(p)
	}
	r.kafka(nil)
	r.kafka(nil)
	r.wantSets(1, "", "1")
}
