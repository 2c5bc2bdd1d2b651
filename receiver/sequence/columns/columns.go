// Package columns turns a decoded batch into tables of typed columns in physical
// values, the common ground of the columnar output formats, and holds what all
// formats must agree on: which channels are taken, what they are called, and how a
// raw value becomes a physical one.
//
// The entry point is [Reader.Read]. A table is a stretch of rows of one group; its
// place in the batch ("2/5") counts what the batch has, whatever is taken of it, so
// that another selection does not change what a record is called.
//
// The package never rounds an integer whose scale and offset are integers.
package columns

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/timemap"
	"telemetry/wire"
)

// ErrCatalogue says that a batch doesn't fit the catalogue that it names.
var ErrCatalogue = errors.New("columns: batch does not fit its catalogue")

// Limits of one table, so that a record of it is far below
// [sequence.MaxValueBytes] in any format.
const (
	MaxCells   = 16_384
	MaxColumns = 1024
	MaxRows    = 2048 // what a format repeats in each row counts as well
)

// Table is a stretch of rows of one group, or of a range of its channels. It is
// valid during one call of what [Reader.Read] calls.
type Table struct {
	Group     *Group
	Place, Of int     // 1 to Of, among all records of the batch
	Boot      []int64 // ns since boot, one per row
	UTC       []int64 // ns since 1970, one per row; the log's time while unsynced
	Clock     Clock
	Columns   []Column // those that are taken and have a value, in the catalogue's order
}

// Clock says what the times of a table rest on.
type Clock struct {
	Synced  bool
	Anchor  uint32 // all three of the first row; zero while unsynced
	Segment uint32
	UncNS   int64
}

// ClockOf returns what an instant's time rests on.
func ClockOf(st timemap.Stamp) Clock {
	return Clock{Synced: st.Synced, Anchor: st.Anchor, Segment: st.Segment, UncNS: st.UncNS}
}

// Kind says which slice of a column holds its values.
type Kind uint8

// Kinds.
const (
	Int Kind = iota
	Uint
	Float32
	Float64
)

// Column holds the values of one channel.
type Column struct {
	Channel *Channel
	Kind    Kind
	Ints    []int64
	Uints   []uint64
	Float32 []float32
	Float64 []float64
	// Rows says to which row each value belongs; nil when every row has one.
	Rows []uint32
}

// Len returns the number of values.
func (c *Column) Len() int {
	return len(c.Ints) + len(c.Uints) + len(c.Float32) + len(c.Float64)
}

// Reader makes tables of batches. It is not safe for concurrent use.
type Reader struct {
	plans   *Plans
	runs    []run
	cursors []int // next value of each column of the run being read
	table   Table
}

// NewReader returns a reader of the channels that take selects; nil takes all. A
// channel with a reserved name gets underscores behind it.
func NewReader(take func(group, channel string) bool, reserved ...string) *Reader {
	return &Reader{plans: NewPlans(take, reserved...)}
}

// run is a stretch of blocks of one group with the same ticks: their columns are
// joined.
type run struct {
	group  *Group
	blocks []wire.Block
	ticks  []int64
	width  int // columns
	rows   int // of one table
}

// Read calls fn for each table of a batch that has something taken in it, in the
// batch's order, and returns how many places the batch has: tables, then events.
func (r *Reader) Read(b *sequence.Batch, fn func(t *Table) error) (of int, err error) {
	of, err = r.plan(b)
	if err != nil {
		return 0, err
	}
	of += len(b.Events)
	place := 0
	for i := range r.runs {
		if err := r.read(b, &r.runs[i], &place, of, fn); err != nil {
			return 0, err
		}
	}
	return of, nil
}

// plan finds the runs of the batch and returns how many tables they give.
func (r *Reader) plan(b *sequence.Batch) (n int, err error) {
	r.runs = r.runs[:0]
	if len(b.Blocks) == 0 {
		return 0, nil
	}
	if b.Catalogue == nil {
		return 0, fmt.Errorf("%w: columns without a catalogue", ErrCatalogue)
	}
	groups := r.plans.Of(b.Hash, b.Catalogue)
	for i := 0; i < len(b.Blocks); {
		first := &b.Blocks[i]
		if int(first.Group) >= len(groups) {
			return 0, fmt.Errorf("%w: group %d of %d", ErrCatalogue, first.Group, len(groups))
		}
		one := run{group: &groups[first.Group], ticks: first.Ticks}
		j, end := i, uint32(0) // end: first column that the run may still take
		for ; j < len(b.Blocks); j++ {
			blk := &b.Blocks[j]
			if j > i && (blk.Group != first.Group || blk.FirstColumn < end || !slices.Equal(blk.Ticks, first.Ticks)) {
				break
			}
			if uint64(blk.FirstColumn)+uint64(len(blk.Columns)) > uint64(len(one.group.Channels)) {
				return 0, fmt.Errorf("%w: columns %d+%d of group %d with %d channels",
					ErrCatalogue, blk.FirstColumn, len(blk.Columns), blk.Group, len(one.group.Channels))
			}
			end = blk.FirstColumn + uint32(len(blk.Columns))
			one.width += len(blk.Columns)
		}
		one.blocks = b.Blocks[i:j]
		one.rows = min(MaxRows, max(1, MaxCells/max(1, min(one.width, MaxColumns))))
		r.runs = append(r.runs, one)
		n += pieces(one.width, MaxColumns) * pieces(len(one.ticks), one.rows)
		i = j
	}
	return n, nil
}

// pieces returns how many stretches of at most size n things give, at least one.
func pieces(n, size int) int { return max(1, (n+size-1)/size) }

// read makes the tables of one run.
func (r *Reader) read(b *sequence.Batch, one *run, place *int, of int, fn func(t *Table) error) error {
	r.cursors = slices.Grow(r.cursors[:0], one.width)[:one.width]
	clear(r.cursors)
	t := &r.table
	for from := 0; from == 0 || from < len(one.ticks); from += one.rows {
		to := min(from+one.rows, len(one.ticks))
		r.times(b, one.group, one.ticks[from:to])
		for first := 0; first == 0 || first < one.width; first += MaxColumns {
			*place++
			t.Place, t.Of = *place, of
			r.columns(one, from, to, first, first+MaxColumns)
			if len(t.Columns) == 0 || to == from {
				continue
			}
			if err := fn(t); err != nil {
				return err
			}
		}
	}
	return nil
}

// times fills in what the columns of a stretch of rows share.
func (r *Reader) times(b *sequence.Batch, g *Group, ticks []int64) {
	t := &r.table
	t.Group, t.Boot, t.UTC, t.Clock = g, ticks, t.UTC[:0], Clock{}
	for i, tick := range ticks {
		st := b.Stamp(tick)
		if i == 0 {
			t.Clock = ClockOf(st)
		}
		t.UTC = append(t.UTC, st.UTCNS)
	}
}

// columns reads the rows from..to of the columns first..last of a run.
func (r *Reader) columns(one *run, from, to, first, last int) {
	r.table.Columns = r.table.Columns[:0]
	k := 0
	for i := range one.blocks {
		blk := &one.blocks[i]
		for c := range blk.Columns {
			if at := k; at >= first && at < last {
				r.column(&one.group.Channels[int(blk.FirstColumn)+c], &blk.Columns[c], &r.cursors[at], from, to)
			}
			k++
		}
	}
}

// column reads the rows from..to of one column, whose next value is at cursor.
func (r *Reader) column(ch *Channel, in *wire.Column, cursor *int, from, to int) {
	n := to - from
	if in.Present != nil {
		n = 0
		for row := from; row < to; row++ {
			n += int(in.Present[row/64] >> (row % 64) & 1)
		}
	}
	raw := in.Values[*cursor : *cursor+n]
	*cursor += n
	if !ch.Taken || n == 0 {
		return
	}
	cols := r.table.Columns
	if len(cols) < cap(cols) {
		cols = cols[:len(cols)+1] // with the memory of an earlier column
	} else {
		cols = append(cols, Column{})
	}
	r.table.Columns = cols
	out := &cols[len(cols)-1]
	out.Channel, out.Rows = ch, nil
	if n < to-from {
		out.Rows = rows(nil, in.Present, from, to)
	}
	out.fill(in.Type, raw)
}

// rows lists the rows that have a value, counted from the first.
func rows(dst []uint32, present []uint64, from, to int) []uint32 {
	for row := from; row < to; row++ {
		if present[row/64]>>(row%64)&1 != 0 {
			dst = append(dst, uint32(row-from))
		}
	}
	return dst
}

// fill converts raw values. Integers stay integers when all of them do.
func (c *Column) fill(t wire.ValueType, raw []int64) {
	c.Ints, c.Uints, c.Float32, c.Float64 = c.Ints[:0], c.Uints[:0], c.Float32[:0], c.Float64[:0]
	switch {
	case t == wire.TypeUint && c.Channel.Plain():
		c.Kind = Uint
		for _, v := range raw {
			c.Uints = append(c.Uints, uint64(v))
		}
		return
	case t == wire.TypeF32 && c.Channel.Plain():
		c.Kind = Float32
		for _, v := range raw {
			c.Float32 = append(c.Float32, math.Float32frombits(uint32(v)))
		}
		return
	case (t == wire.TypeInt || t == wire.TypeUint) && c.Channel.Exact():
		c.Kind = Int
		for _, v := range raw {
			n, ok := c.Channel.Int(t, v)
			if !ok {
				c.Ints = c.Ints[:0]
				break
			}
			c.Ints = append(c.Ints, n)
		}
		if len(c.Ints) == len(raw) {
			return
		}
	}
	c.Kind = Float64
	for _, v := range raw {
		c.Float64 = append(c.Float64, c.Channel.Float(t, v))
	}
}

// EnumValue returns the physical value of an enumeration's entry if the column
// holds integers and it occurs there.
func (c *Column) EnumValue(e *wire.EnumValue) (v int64, occurs bool) {
	switch c.Kind {
	case Int:
		v, ok := c.Channel.Int(wire.TypeInt, e.Raw)
		return v, ok && slices.Contains(c.Ints, v)
	case Uint:
		return e.Raw, e.Raw >= 0 && slices.Contains(c.Uints, uint64(e.Raw))
	}
	return 0, false
}

// Text returns s with what is not UTF-8 replaced: clients that decode it would
// refuse the whole record otherwise.
func Text(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\ufffd")
}
