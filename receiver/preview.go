package receiver

import (
	"context"
	"sync/atomic"

	"telemetry/receiver/ingest"
	"telemetry/receiver/live"
	"telemetry/receiver/sequence"
	"telemetry/wire"
)

// preview shows batches on the page as they arrive at ingest: a transaction of
// the sequencer later they are in a topic. It works only while somebody looks,
// and never makes ingest wait: what it cannot keep up with is left out.
type preview struct {
	page       *live.Server // set before ingest runs; nil: there is none
	catalogues live.Catalogues
	arrived    chan []byte
	skipped    atomic.Uint64
}

var _ ingest.Tap = (*preview)(nil)

// previewQueue is some tenths of a second of many cars.
const previewQueue = 512

// Received implements [ingest.Tap].
func (p *preview) Received(id wire.ID, s wire.Send, raw []byte) {
	if p.page == nil || s.Pulled || id.Stream.Lane == wire.LaneCritical || !p.page.Watched() {
		return
	}
	select {
	case p.arrived <- raw:
	default:
		p.skipped.Add(1)
	}
}

// run decodes until ctx ends.
func (p *preview) run(ctx context.Context) error {
	var d sequence.Decoder
	var b sequence.Batch
	known := live.NewKnownCatalogues(p.catalogues)
	var arrivals *live.Arrivals
	for {
		var raw []byte
		select {
		case <-ctx.Done():
			return nil
		case raw = <-p.arrived:
		}
		b = sequence.Batch{Blocks: b.Blocks[:0], Events: b.Events[:0]}
		if d.Decode(&b, raw) != nil || len(b.Blocks) == 0 {
			continue // the sequencer says what is wrong with it
		}
		if b.Catalogue = known.Of(ctx, b.Hash); b.Catalogue == nil {
			continue
		}
		if arrivals == nil {
			arrivals = p.page.Arrivals()
		}
		_ = arrivals.Show(&b) // the sequencer says what is wrong with it
	}
}
