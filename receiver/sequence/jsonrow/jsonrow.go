// Package jsonrow is the output format `json`: one flat JSON object per row and
// group, and one per event, made for kcat, Quix, ksqlDB and Flink.
//
// The entry point is [New]. A row says which batch it comes from and its place
// there ("row":"3/150" is the third of the batch's 150 records), its time as UTC
// and as ns since boot, and then its channels in the catalogue's order, in
// physical values. What has no value, and NaN and infinities, are left out.
//
// The package never uses reflection on the row path and never rounds: integers
// are exact, floats are the shortest text that reads back as the same float64.
package jsonrow

import (
	"fmt"
	"slices"
	"strconv"

	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/columns"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// ContentType stands in each record's content-type header.
const ContentType = "application/json"

// MaxRowChannels is how many channels one record carries at most: a wider row is
// several records, each with the row's time and its own place in the batch.
const MaxRowChannels = 4096

// maxCatalogues bounds the prepared catalogues that are kept.
const maxCatalogues = 64

// ErrCatalogue says that a batch doesn't fit the catalogue that it names.
var ErrCatalogue = columns.ErrCatalogue

var contentType = []byte(ContentType)

// Format implements [sequence.Format]. It is not safe for concurrent use.
type Format struct {
	options  Options
	channels *columns.Plans
	plans    map[wire.CatalogueHash][]groupPlan
	kept     int // bytes of the catalogues in plans

	runs    []run
	cursors []int  // next value of each column of the run being written
	prefix  []byte // what is the same in every value of the batch
	rowSize int    // bytes of the last value
	fixed   fixedHeaders
}

var _ sequence.Format = (*Format)(nil)

// Options say how a format differs from the usual one.
type Options struct {
	// Take selects channels; nil takes all. A row without a channel that is taken
	// is left out, but keeps its place.
	Take func(group, channel string) bool
	// TextIntegers writes integers beyond ±(2^53 - 1) as strings, for readers
	// whose only numbers are float64.
	TextIntegers bool
}

// New returns a format with nothing prepared.
func New() *Format { return NewWith(Options{}) }

// NewWith returns a format with options.
func NewWith(o Options) *Format {
	return &Format{
		options: o, channels: columns.NewPlans(o.Take, reserved...),
		plans: make(map[wire.CatalogueHash][]groupPlan),
	}
}

// run is a stretch of blocks of one group with the same ticks: its rows are
// joined.
type run struct {
	plan   *groupPlan
	blocks []wire.Block
	parts  int // records per row
}

// Append implements [sequence.Format].
func (f *Format) Append(out *sequence.Output, b *sequence.Batch) error {
	n, err := f.plan(b)
	if err != nil {
		return err
	}
	n += len(b.Events)
	f.begin(out, b)
	place := 0
	for i := range f.runs {
		if err := f.appendRun(out, b, &f.runs[i], &place, n); err != nil {
			return err
		}
	}
	for i := range b.Events {
		place++
		f.appendEvent(out, b, &b.Events[i], place, n)
		if err := out.Full(); err != nil {
			return err
		}
	}
	return nil
}

// plan finds the runs of the batch and returns how many records they give.
func (f *Format) plan(b *sequence.Batch) (int, error) {
	f.runs = f.runs[:0]
	if len(b.Blocks) == 0 {
		return 0, nil
	}
	if b.Catalogue == nil {
		return 0, fmt.Errorf("%w: columns without a catalogue", ErrCatalogue)
	}
	plans := f.prepare(b)
	n := 0
	for i := 0; i < len(b.Blocks); {
		first := &b.Blocks[i]
		if int(first.Group) >= len(plans) {
			return 0, fmt.Errorf("%w: group %d of %d", ErrCatalogue, first.Group, len(plans))
		}
		p := &plans[first.Group]
		j, width := i, 0
		end := uint32(0) // first column that the run may still take
		for ; j < len(b.Blocks); j++ {
			blk := &b.Blocks[j]
			if j > i && (blk.Group != first.Group || blk.FirstColumn < end || !slices.Equal(blk.Ticks, first.Ticks)) {
				break
			}
			if uint64(blk.FirstColumn)+uint64(len(blk.Columns)) > uint64(len(p.channels)) {
				return 0, fmt.Errorf("%w: columns %d+%d of group %d with %d channels",
					ErrCatalogue, blk.FirstColumn, len(blk.Columns), blk.Group, len(p.channels))
			}
			end = blk.FirstColumn + uint32(len(blk.Columns))
			width += len(blk.Columns)
		}
		parts := max(1, (width+MaxRowChannels-1)/MaxRowChannels)
		f.runs = append(f.runs, run{plan: p, blocks: b.Blocks[i:j], parts: parts})
		n += parts * len(first.Ticks)
		i = j
	}
	return n, nil
}

// appendRun writes the rows of one run.
func (f *Format) appendRun(out *sequence.Output, b *sequence.Batch, r *run, place *int, n int) error {
	if !r.plan.any {
		*place += r.parts * len(r.blocks[0].Ticks)
		return nil
	}
	key := f.fixed.carKey
	if b.ByGroup {
		k := append(out.Value(len(f.fixed.car)+len(r.plan.name)+1), f.fixed.car...)
		k = append(k, '/')
		key = out.Keep(append(k, r.plan.name...))
	}
	width := 0
	for i := range r.blocks {
		width += len(r.blocks[i].Columns)
	}
	f.cursors = slices.Grow(f.cursors[:0], width)[:width]
	clear(f.cursors)
	for row, tick := range r.blocks[0].Ticks {
		st := b.Stamp(tick)
		for part := range r.parts {
			*place++
			v := f.open(out, *place, n, r.plan.quoted)
			v = appendTimes(v, st, tick)
			v = f.appendChannels(v, r, row, part*MaxRowChannels, (part+1)*MaxRowChannels)
			v = out.Keep(append(v, '}'))
			f.rowSize = len(v)
			if len(v) > sequence.MaxValueBytes {
				return fmt.Errorf("%w: row of group %q has %d bytes (limit %d)",
					sequence.ErrTooLarge, r.plan.name, len(v), sequence.MaxValueBytes)
			}
			ms, clamped := b.RecordMS(st.UTCNS)
			if clamped {
				out.Clamped++
			}
			out.Add(topic.Record{
				Topic: b.Rows, Partition: -1, Key: key, Value: v, TimestampMS: ms,
				Headers: f.rowHeaders(out, r.plan, *place, n, tick, st),
			})
			if err := out.Full(); err != nil {
				return err
			}
		}
	}
	return nil
}

// appendChannels writes the columns from..to of one row.
func (f *Format) appendChannels(v []byte, r *run, row, from, to int) []byte {
	word, bit := row/64, uint64(1)<<(row%64)
	col := 0
	for i := range r.blocks {
		blk := &r.blocks[i]
		channels := r.plan.channels[blk.FirstColumn:]
		for c := range blk.Columns {
			k := col
			col++
			if k < from || k >= to {
				continue
			}
			column := &blk.Columns[c]
			if column.Present != nil && column.Present[word]&bit == 0 {
				continue
			}
			raw := column.Values[f.cursors[k]]
			f.cursors[k]++
			v = channels[c].append(v, column.Type, raw)
		}
	}
	return v
}

// appendEvent writes one event.
func (f *Format) appendEvent(out *sequence.Output, b *sequence.Batch, e *wire.Event, place, n int) {
	st := b.Stamp(e.BootNS)
	v := f.open(out, place, n, nil)
	v = appendTimes(v, st, e.BootNS)
	v = append(v, `,"event":`...)
	v = AppendString(v, e.Name)
	v = append(v, `,"detail":`...)
	v = AppendString(v, e.Detail)
	v = out.Keep(append(v, '}'))
	ms, clamped := b.RecordMS(st.UTCNS)
	if clamped {
		out.Clamped++
	}
	out.Add(topic.Record{
		Topic: b.Event, Partition: -1, Key: f.fixed.carKey, Value: v, TimestampMS: ms,
		Headers: f.rowHeaders(out, nil, place, n, e.BootNS, st),
	})
}

// open begins a value: everything in front of the times.
func (f *Format) open(out *sequence.Output, place, n int, group []byte) []byte {
	v := out.Value(f.rowSize + len(f.prefix) + 256)
	v = append(v, f.prefix...)
	v = strconv.AppendInt(v, int64(place), 10)
	v = append(v, '/')
	v = strconv.AppendInt(v, int64(n), 10)
	v = append(v, '"')
	if group != nil {
		v = append(v, `,"group":`...)
		v = append(v, group...)
	}
	return v
}
