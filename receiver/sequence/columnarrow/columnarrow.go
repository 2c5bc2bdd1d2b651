// Package columnarrow is the output format `arrow`: each record is a whole Apache
// Arrow IPC stream, schema and one record batch, of a stretch of rows of one group, or
// of one event.
//
// The entry point is [New]. The columns are ts (UTC, ns), boot_ns, and the channels
// that have a value, in physical units; a row without a value is null. NaN and
// infinities are there, bit for bit, and integers are whole. The schema's metadata
// names the batch, the clock and the record's place; a field's metadata has the unit
// and the names of an enumeration.
package columnarrow

import (
	"fmt"
	"math/bits"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/columns"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// ContentType stands in each record's content-type header.
const ContentType = "application/vnd.apache.arrow.stream"

var contentType = []byte(ContentType)

// Names of the columns that are no channels.
const (
	FieldTime   = "ts"
	FieldBoot   = "boot_ns"
	FieldEvent  = "event"
	FieldDetail = "detail"
)

// Format implements [sequence.Format]. It is not safe for concurrent use.
type Format struct {
	reader *columns.Reader
	heads  columns.Heads
	size   int // bytes of the last value
	sink   sink
}

var _ sequence.Format = (*Format)(nil)

// New returns a format of the channels that take selects; nil takes all.
func New(take func(group, channel string) bool) *Format {
	return &Format{reader: columns.NewReader(take, FieldTime, FieldBoot)}
}

// Append implements [sequence.Format].
func (f *Format) Append(out *sequence.Output, b *sequence.Batch) error {
	f.heads.Begin(out, b, contentType)
	of, err := f.reader.Read(b, func(t *columns.Table) error {
		r := f.heads.Record(out, t, 0, 0, 0)
		return f.add(out, r, f.table(b, t))
	})
	if err != nil {
		return err
	}
	for i := range b.Events {
		e := &b.Events[i]
		place := of - len(b.Events) + i + 1
		r := f.heads.Record(out, nil, place, of, e.BootNS)
		if err := f.add(out, r, f.event(b, e, place, of)); err != nil {
			return err
		}
	}
	return nil
}

// sink is a writer to an output's memory.
type sink struct{ b []byte }

// Write implements io.Writer.
func (s *sink) Write(b []byte) (int, error) {
	s.b = append(s.b, b...)
	return len(b), nil
}

// add encodes a record batch, releases it, and adds the record.
func (f *Format) add(out *sequence.Output, r topic.Record, batch arrow.RecordBatch) error {
	defer batch.Release()
	f.sink.b = out.Value(f.size + 1024)
	w := ipc.NewWriter(&f.sink, ipc.WithSchema(batch.Schema()))
	err := w.Write(batch)
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("columnarrow: %w", err)
	}
	r.Value = out.Keep(f.sink.b)
	f.size = len(r.Value)
	if len(r.Value) > sequence.MaxValueBytes {
		return fmt.Errorf("%w: %d bytes (limit %d)", sequence.ErrTooLarge, len(r.Value), sequence.MaxValueBytes)
	}
	out.Add(r)
	return out.Full()
}

// metadata describes the record; every value is text.
func (f *Format) metadata(b *sequence.Batch, group string, place, of int, c columns.Clock) *arrow.Metadata {
	st := b.ID.Stream
	clock := "unsynced"
	if c.Synced {
		clock = "synced"
	}
	keys := []string{"car", "session", "epoch", "nonce", "lane", "seq", "part", "clock"}
	values := []string{
		st.Car, f.heads.Session, strconv.FormatUint(uint64(st.Epoch.Counter), 10), f.heads.Nonce, st.Lane.String(),
		strconv.FormatUint(b.ID.Seq, 10), string(columns.AppendPart(nil, place, of)), clock,
	}
	if group != "" {
		keys, values = append(keys, "group"), append(values, columns.Text(group))
	}
	if c.Synced {
		keys = append(keys, "clock_unc_ns", "segment", "anchor")
		values = append(values, strconv.FormatInt(c.UncNS, 10), strconv.FormatUint(uint64(c.Segment), 10), strconv.FormatUint(uint64(c.Anchor), 10))
	}
	m := arrow.NewMetadata(keys, values)
	return &m
}

// timestamps is the type of [FieldTime].
func timestamps() arrow.DataType {
	return &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "UTC"}
}

// table makes a record batch of a table; it refers to the table's memory.
func (f *Format) table(b *sequence.Batch, t *columns.Table) arrow.RecordBatch {
	n := len(t.UTC)
	fields := make([]arrow.Field, 0, len(t.Columns)+2)
	data := make([]arrow.Array, 0, len(t.Columns)+2)
	fields = append(fields, arrow.Field{Name: FieldTime, Type: timestamps()}, arrow.Field{Name: FieldBoot, Type: arrow.PrimitiveTypes.Int64})
	data = append(data, wrap(fields[0].Type, arrow.Int64Traits.CastToBytes(t.UTC), nil, n, 0),
		wrap(fields[1].Type, arrow.Int64Traits.CastToBytes(t.Boot), nil, n, 0))
	for i := range t.Columns {
		c := &t.Columns[i]
		kind, values := values(c, n)
		fields = append(fields, arrow.Field{Name: columns.Text(c.Channel.Field), Type: kind, Nullable: true, Metadata: describe(c.Channel)})
		data = append(data, wrap(kind, values, validity(c.Rows, n), n, n-c.Len()))
	}
	return batchOf(arrow.NewSchema(fields, f.metadata(b, t.Group.Name, t.Place, t.Of, t.Clock)), data, n)
}

// batchOf makes a record batch and gives up the arrays.
func batchOf(s *arrow.Schema, data []arrow.Array, n int) arrow.RecordBatch {
	batch := array.NewRecordBatch(s, data, int64(n))
	for _, a := range data {
		a.Release()
	}
	return batch
}

// wrap makes an array of memory that stays the caller's.
func wrap(kind arrow.DataType, values, valid []byte, n, nulls int) arrow.Array {
	buffers := []*memory.Buffer{nil, memory.NewBufferBytes(values)}
	if nulls > 0 {
		buffers[0] = memory.NewBufferBytes(valid)
	}
	d := array.NewData(kind, n, buffers, nil, nulls, 0)
	defer d.Release()
	return array.MakeFromData(d)
}

// validity returns a bit per row, least significant first; nil when all are set.
func validity(rows []uint32, n int) []byte {
	if rows == nil {
		return nil
	}
	v := make([]byte, (n+7)/8)
	for _, r := range rows {
		v[r/8] |= bits.RotateLeft8(1, int(r%8))
	}
	return v
}

// values returns a column's type and one value per row, 0 where there is none.
func values(c *columns.Column, n int) (arrow.DataType, []byte) {
	switch c.Kind {
	case columns.Int:
		return arrow.PrimitiveTypes.Int64, arrow.Int64Traits.CastToBytes(spread(c.Ints, c.Rows, n))
	case columns.Uint:
		return arrow.PrimitiveTypes.Uint64, arrow.Uint64Traits.CastToBytes(spread(c.Uints, c.Rows, n))
	case columns.Float32:
		return arrow.PrimitiveTypes.Float32, arrow.Float32Traits.CastToBytes(spread(c.Float32, c.Rows, n))
	default:
		return arrow.PrimitiveTypes.Float64, arrow.Float64Traits.CastToBytes(spread(c.Float64, c.Rows, n))
	}
}

func spread[T any](v []T, rows []uint32, n int) []T {
	if rows == nil {
		return v
	}
	all := make([]T, n)
	for i, r := range rows {
		all[r] = v[i]
	}
	return all
}

// describe returns a channel's unit and the names of its values.
func describe(c *columns.Channel) arrow.Metadata {
	var keys, values []string
	if c.Unit != "" {
		keys, values = append(keys, "unit"), append(values, columns.Text(c.Unit))
	}
	for i := range c.Enum {
		if v, ok := c.Int(wire.TypeInt, c.Enum[i].Raw); ok {
			keys, values = append(keys, "enum."+strconv.FormatInt(v, 10)), append(values, columns.Text(c.Enum[i].Name))
		}
	}
	return arrow.NewMetadata(keys, values)
}

// event makes a record batch of one row.
func (f *Format) event(b *sequence.Batch, e *wire.Event, place, of int) arrow.RecordBatch {
	st := b.Stamp(e.BootNS)
	fields := []arrow.Field{
		{Name: FieldTime, Type: timestamps()},
		{Name: FieldBoot, Type: arrow.PrimitiveTypes.Int64},
		{Name: FieldEvent, Type: arrow.BinaryTypes.String},
		{Name: FieldDetail, Type: arrow.BinaryTypes.String},
	}
	data := []arrow.Array{
		wrap(fields[0].Type, arrow.Int64Traits.CastToBytes([]int64{st.UTCNS}), nil, 1, 0),
		wrap(fields[1].Type, arrow.Int64Traits.CastToBytes([]int64{e.BootNS}), nil, 1, 0),
		wrapText(e.Name), wrapText(e.Detail),
	}
	return batchOf(arrow.NewSchema(fields, f.metadata(b, "", place, of, columns.ClockOf(st))), data, 1)
}

// wrapText makes an array of one string.
func wrapText(s string) arrow.Array {
	s = columns.Text(s)
	offsets := arrow.Int32Traits.CastToBytes([]int32{0, int32(len(s))})
	d := array.NewData(arrow.BinaryTypes.String, 1, []*memory.Buffer{nil, memory.NewBufferBytes(offsets), memory.NewBufferBytes([]byte(s))}, nil, 0, 0)
	defer d.Release()
	return array.MakeFromData(d)
}
