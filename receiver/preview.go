package receiver

import (
	"context"
	"sync/atomic"
	"time"

	"telemetry/receiver/ingest"
	"telemetry/receiver/live"
	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/jsonrow"
	"telemetry/wire"
)

// preview shows batches on the page as they arrive at ingest: a transaction of
// the sequencer later they are in a topic. It works only while somebody looks,
// and never makes ingest wait: what it cannot keep up with is left out.
type preview struct {
	page       *live.Server // set before ingest runs; nil: there is none
	catalogues interface {
		Get(ctx context.Context, h wire.CatalogueHash) (canonical []byte, ok bool, err error)
	}
	arrived chan []byte
	skipped atomic.Uint64
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

// previewUnknown is how long a catalogue that could not be read is left alone.
const previewUnknown = time.Second

// run decodes until ctx ends.
func (p *preview) run(ctx context.Context) error {
	var d sequence.Decoder
	var b sequence.Batch
	var out sequence.Output
	format := jsonrow.New()
	known, unknown := newPreviewMaps()
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
		if b.Catalogue = p.catalogue(ctx, b.Hash, known, unknown); b.Catalogue == nil {
			continue
		}
		b.Events = b.Events[:0]
		out.Reset()
		if format.Append(&out, &b) != nil {
			continue
		}
		for i := range out.Records {
			p.page.Preview(&out.Records[i], b.Hash)
		}
	}
}

// newPreviewMaps returns the catalogues that are known, and when others were not to
// be had.
func newPreviewMaps() (known map[wire.CatalogueHash]*wire.Catalogue, unknown map[wire.CatalogueHash]time.Time) {
	return map[wire.CatalogueHash]*wire.Catalogue{}, map[wire.CatalogueHash]time.Time{}
}

// maxPreviewCatalogues bounds both maps of run.
const maxPreviewCatalogues = 256

// catalogue returns a catalogue, nil when it is not to be had now.
func (p *preview) catalogue(ctx context.Context, h wire.CatalogueHash, known map[wire.CatalogueHash]*wire.Catalogue, unknown map[wire.CatalogueHash]time.Time) *wire.Catalogue {
	if c := known[h]; c != nil {
		return c
	}
	if at, ok := unknown[h]; ok && time.Since(at) < previewUnknown {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, previewUnknown)
	defer cancel()
	b, ok, err := p.catalogues.Get(ctx, h)
	if err == nil && ok {
		var c *wire.Catalogue
		if c, err = wire.ParseCatalogue(b); err == nil {
			if len(known) >= maxPreviewCatalogues {
				clear(known)
			}
			known[h] = c
			delete(unknown, h)
			return c
		}
	}
	if len(unknown) >= maxPreviewCatalogues {
		clear(unknown)
	}
	unknown[h] = time.Now()
	return nil
}
