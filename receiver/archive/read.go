package archive

import (
	"context"
	"fmt"

	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/columns"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// maxCatalogues bounds the catalogues that a reading keeps parsed.
const maxCatalogues = 64

// Decoder opens the batches of a reading for formats and tables. It is not safe for
// concurrent use.
type Decoder struct {
	src     Source
	decoder sequence.Decoder
	known   map[wire.CatalogueHash]*wire.Catalogue
	kept    int // bytes of known
}

// NewDecoder returns a decoder with the catalogues of a source.
func NewDecoder(src Source) *Decoder {
	return &Decoder{src: src, known: map[wire.CatalogueHash]*wire.Catalogue{}}
}

// Decode fills out as the sequencer does; it reuses its memory. Topics and ages stay
// the caller's.
func (d *Decoder) Decode(ctx context.Context, out *sequence.Batch, b *Batch) error {
	*out = sequence.Batch{Blocks: out.Blocks[:0], Events: out.Events[:0]}
	if err := d.decoder.Decode(out, b.Record.Value); err != nil {
		return err
	}
	out.AppendMS, out.Clock = b.AppendMS, b.Clock
	if info, err := topic.ParseBatchHeaders(b.Record.Headers); err == nil {
		out.Link = info.Send.Link
	}
	if out.Hash == (wire.CatalogueHash{}) {
		return nil
	}
	var err error
	out.Catalogue, err = d.catalogue(ctx, out.Hash)
	return err
}

func (d *Decoder) catalogue(ctx context.Context, h wire.CatalogueHash) (*wire.Catalogue, error) {
	if c, ok := d.known[h]; ok {
		if c == nil {
			return nil, fmt.Errorf("no catalogue %s", h)
		}
		return c, nil
	}
	canonical, ok, err := d.src.Catalogue(ctx, h)
	if err != nil {
		return nil, &brokenSource{err}
	}
	if len(d.known) >= maxCatalogues {
		clear(d.known)
		d.kept = 0
	}
	if !ok {
		d.known[h] = nil
		return nil, fmt.Errorf("no catalogue %s", h)
	}
	c, err := wire.ParseCatalogue(canonical)
	if err != nil {
		return nil, fmt.Errorf("catalogue %s: %w", h, err)
	}
	n := c.Size()
	if d.kept+n > wire.MaxKeptBytes {
		clear(d.known)
		d.kept = 0
	}
	d.known[h] = c
	d.kept += n
	return c, nil
}

// brokenSource is an error of the source, not of a batch: it ends a reading.
type brokenSource struct{ error }

// Unwrap returns the source's error.
func (e *brokenSource) Unwrap() error { return e.error }

// rowReader turns batches into rows.
type rowReader struct {
	q        *Query
	fn       func(*Rows) error
	from, to int64
	decoder  *Decoder
	reader   *columns.Reader
	batch0   sequence.Batch
	rows     Rows
	cutTable columns.Table
	ctx      context.Context

	samples, events, unreadable uint64
	reasons                     []string
}

func newRowReader(ctx context.Context, a *Archive, q *Query, fn func(*Rows) error) *rowReader {
	r := newReading(a, q, ByTime, nil)
	return &rowReader{ctx: ctx, q: q, fn: fn, from: r.from, to: r.to, decoder: NewDecoder(a.src), reader: columns.NewReader(q.Take)}
}

// batch gives the rows and events of one batch.
func (r *rowReader) batch(b *Batch) error {
	if err := r.decoder.Decode(r.ctx, &r.batch0, b); err != nil {
		return r.bad(b, err)
	}
	r.rows = Rows{ID: r.batch0.ID, Car: b.Header.Stream.Car, AtNS: b.AtNS}
	var failed error
	_, err := r.reader.Read(&r.batch0, func(t *columns.Table) error {
		t = r.cut(t)
		if t == nil {
			return nil
		}
		for i := range t.Columns {
			r.samples += uint64(t.Columns[i].Len())
		}
		r.rows.Table, r.rows.Event = t, nil
		failed = r.fn(&r.rows)
		return failed
	})
	if failed != nil {
		return failed
	}
	if err != nil {
		return r.bad(b, err)
	}
	for i := range r.batch0.Events {
		e := &r.batch0.Events[i]
		st := r.batch0.Stamp(e.BootNS)
		if st.UTCNS < r.from || st.UTCNS >= r.to {
			continue
		}
		r.events++
		r.rows.Table, r.rows.Event = nil, &Event{BootNS: e.BootNS, UTCNS: st.UTCNS, Synced: st.Synced, Name: e.Name, Detail: e.Detail}
		if err := r.fn(&r.rows); err != nil {
			return err
		}
	}
	return nil
}

// bad notes a batch that cannot be decoded; an error of the source is returned.
func (r *rowReader) bad(b *Batch, err error) error {
	if IsBroken(err) {
		return err
	}
	r.unreadable++
	if len(r.reasons) < MaxReasons {
		r.reasons = append(r.reasons, fmt.Sprintf("%s: %v", b.Header.ID(), err))
	}
	return nil
}

func (r *rowReader) addTo(rep *Report) {
	rep.Samples, rep.Events = r.samples, r.events
	rep.Unreadable += r.unreadable
	for _, why := range r.reasons {
		if len(rep.Reasons) < MaxReasons {
			rep.Reasons = append(rep.Reasons, why)
		}
	}
}

// cut returns a table with the rows that lie in the window, nil when none does.
func (r *rowReader) cut(t *columns.Table) *columns.Table {
	var keep []uint32 // rows
	for i, at := range t.UTC {
		if at >= r.from && at < r.to {
			keep = append(keep, uint32(i))
		}
	}
	if len(keep) == len(t.UTC) {
		return t
	}
	if len(keep) == 0 {
		return nil
	}
	out := &r.cutTable
	*out = columns.Table{
		Group: t.Group, Place: t.Place, Of: t.Of, Clock: t.Clock,
		Boot: out.Boot[:0], UTC: out.UTC[:0], Columns: out.Columns[:0],
	}
	place := make([]int, len(t.UTC)) // new number of a row; 0: none
	for i, row := range keep {
		out.Boot, out.UTC = append(out.Boot, t.Boot[row]), append(out.UTC, t.UTC[row])
		place[row] = i + 1
	}
	for i := range t.Columns {
		if c := cutColumn(&t.Columns[i], place, len(keep)); c.Len() > 0 {
			out.Columns = append(out.Columns, c)
		}
	}
	if len(out.Columns) == 0 {
		return nil
	}
	return out
}

// cutColumn returns the values of a column whose rows have a place.
func cutColumn(c *columns.Column, place []int, rows int) columns.Column {
	out := columns.Column{Channel: c.Channel, Kind: c.Kind}
	var at []uint32
	for k := range c.Len() {
		row := k
		if c.Rows != nil {
			row = int(c.Rows[k])
		}
		if place[row] == 0 {
			continue
		}
		at = append(at, uint32(place[row]-1))
		switch c.Kind {
		case columns.Int:
			out.Ints = append(out.Ints, c.Ints[k])
		case columns.Uint:
			out.Uints = append(out.Uints, c.Uints[k])
		case columns.Float32:
			out.Float32 = append(out.Float32, c.Float32[k])
		default:
			out.Float64 = append(out.Float64, c.Float64[k])
		}
	}
	if len(at) < rows {
		out.Rows = at
	}
	return out
}
