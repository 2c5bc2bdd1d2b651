package sequence

import (
	"fmt"

	"telemetry/wire"
)

// Decoder opens sealed batches. The zero value is ready; it is not safe for
// concurrent use.
type Decoder struct {
	opener wire.Opener
	grown  int // cells by which the memory of blocks has grown since it was given up
}

// maxGrown bounds the cells, 8 bytes each, for which a decoder keeps memory between
// batches. A block uses the memory of the one in its place before, so that a car whose
// largest block wanders would make all of them large.
const maxGrown = 4 * wire.MaxBatchCells

// Decode fills b from a sealed batch: ID, times, Blocks and Events. It reuses
// b's memory and never looks at the catalogue, which is the caller's part.
func (d *Decoder) Decode(b *Batch, value []byte) error {
	sealed, err := parseSealed(value)
	if err != nil {
		return err
	}
	b.ID, b.Sealed, b.Hash = sealed.Header.ID(), value, sealed.Header.Catalogue
	return d.sections(b, sealed, true)
}

// sections reads a batch's payload. Without columns it only walks over blocks.
func (d *Decoder) sections(b *Batch, sealed wire.Batch, columns bool) error {
	h := &sealed.Header
	b.FirstNS, b.LastNS, b.Samples = h.FirstNS, h.LastNS, h.Samples
	if b.Blocks, b.Events = b.Blocks[:0], b.Events[:0]; d.grown > maxGrown {
		b.Blocks, d.grown = nil, 0
	}
	payload, err := d.opener.Payload(sealed)
	if err != nil {
		return err
	}
	cells := 0
	for len(payload) > 0 {
		s, n, err := wire.NextSection(payload)
		if err != nil {
			return err
		}
		payload = payload[n:]
		if s.Type >= wire.SectionEpochOpen && s.Type <= wire.SectionAnchor && !h.Control {
			return fmt.Errorf("control section of type %d in a batch that is not marked so", s.Type)
		}
		if s.Type == wire.SectionBlock && !columns {
			continue
		}
		if err := d.section(b, s); err != nil {
			return err
		}
		if k := len(b.Blocks); s.Type == wire.SectionBlock {
			if cells += len(b.Blocks[k-1].Ticks) * len(b.Blocks[k-1].Columns); cells > wire.MaxBatchCells {
				return fmt.Errorf("more than %d cells", wire.MaxBatchCells)
			}
		}
	}
	return nil
}

// section takes one section of a payload. Control records have been read before;
// unknown sections are skipped.
func (d *Decoder) section(b *Batch, s wire.Section) error {
	switch {
	case s.Type == wire.SectionBlock:
		return d.block(b, s.Body)
	case s.Type == wire.SectionEvent:
		ctl, err := wire.ParseControl(s)
		if err != nil {
			return err
		}
		b.Events = append(b.Events, *ctl.Event)
	case s.Type >= wire.SectionMustUnderstand:
		return fmt.Errorf("%w: section of type %d", wire.ErrMustUnderstand, s.Type)
	}
	return nil
}

func (d *Decoder) block(b *Batch, body []byte) error {
	n := len(b.Blocks)
	if n < cap(b.Blocks) {
		b.Blocks = b.Blocks[:n+1] // with the memory of an earlier block
	} else {
		b.Blocks = append(b.Blocks, wire.Block{})
	}
	to := &b.Blocks[n]
	had := kept(to)
	err := wire.ParseBlock(body, to)
	d.grown += max(0, kept(to)-had)
	return err
}

// kept returns the memory of a block's slices, in cells.
func kept(b *wire.Block) int {
	n := cap(b.Ticks) + cellsPerColumn*cap(b.Columns)
	if cap(b.Columns) > 0 {
		n += cap(b.Columns[:1][0].Values) // those of all columns
	}
	return n
}

// cellsPerColumn is the size of a [wire.Column] without its values.
const cellsPerColumn = 8
