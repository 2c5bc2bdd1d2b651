// Package quixdata is the output format `quix`: TimeseriesData and EventData as the
// deserialiser "quix" of Quix Streams reads them, in JSON.
//
// The entry point is [New]. A TimeseriesData record is a stretch of rows of one
// group: its Timestamps, and for each channel and each tag an array that is exactly
// as long, with null where a row has no value. JSON has no NaN and no infinities:
// they are null as well. Car, session, lane, group and number of the batch are tags.
//
// The package never writes a field that the deserialiser refuses or overwrites: a
// channel named Timestamp or Tags gets an underscore behind its name.
package quixdata

import (
	"fmt"
	"math"
	"strconv"

	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/columns"
	"telemetry/receiver/sequence/jsonrow"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// ContentType stands in each record's content-type header.
const ContentType = "application/json"

// Headers without which the deserialiser refuses a record, and their values.
const (
	HeaderModel = "__Q_ModelKey"
	HeaderCodec = "__Q_CodecId"
	ModelRows   = "TimeseriesData"
	ModelEvent  = "EventData"
	CodecJSON   = "JT"
)

var (
	contentType = []byte(ContentType)
	modelRows   = []byte(ModelRows)
	modelEvent  = []byte(ModelEvent)
	codecJSON   = []byte(CodecJSON)
)

// Format implements [sequence.Format]. It is not safe for concurrent use.
type Format struct {
	reader *columns.Reader
	heads  columns.Heads
	size   int // bytes of the last value
}

var _ sequence.Format = (*Format)(nil)

// New returns a format of the channels that take selects; nil takes all.
func New(take func(group, channel string) bool) *Format {
	return &Format{reader: columns.NewReader(take, "Timestamp", "Tags")}
}

// Append implements [sequence.Format].
func (f *Format) Append(out *sequence.Output, b *sequence.Batch) error {
	f.heads.Begin(out, b, contentType)
	of, err := f.reader.Read(b, func(t *columns.Table) error {
		r := f.heads.Record(out, t, 0, 0, 0)
		return f.add(out, r, modelRows, f.table(out.Value(f.size+1024), b, t))
	})
	if err != nil {
		return err
	}
	for i := range b.Events {
		e := &b.Events[i]
		r := f.heads.Record(out, nil, of-len(b.Events)+i+1, of, e.BootNS)
		if err := f.add(out, r, modelEvent, f.event(out.Value(1024), b, e)); err != nil {
			return err
		}
	}
	return nil
}

func (f *Format) add(out *sequence.Output, r topic.Record, model, value []byte) error {
	r.Value = out.Keep(value)
	f.size = len(r.Value)
	if len(r.Value) > sequence.MaxValueBytes {
		return fmt.Errorf("%w: %d bytes (limit %d)", sequence.ErrTooLarge, len(r.Value), sequence.MaxValueBytes)
	}
	r.Headers = append(r.Headers, topic.Header{Key: HeaderModel, Value: model}, topic.Header{Key: HeaderCodec, Value: codecJSON})
	out.Add(r)
	return out.Full()
}

// table writes a TimeseriesData.
func (f *Format) table(v []byte, b *sequence.Batch, t *columns.Table) []byte {
	rows := len(t.UTC)
	v = append(v, `{"Timestamps":[`...)
	for i, ns := range t.UTC {
		if i > 0 {
			v = append(v, ',')
		}
		v = strconv.AppendInt(v, ns, 10)
	}
	v = append(v, `],"NumericValues":{`...)
	for i := range t.Columns {
		c := &t.Columns[i]
		if i > 0 {
			v = append(v, ',')
		}
		v = append(jsonrow.AppendString(v, c.Channel.Field), ":["...)
		v = append(appendColumn(v, c, rows), ']')
	}
	v = append(v, `},"TagValues":{`...)
	for i, tag := range f.tags(b, t.Group.Name) {
		if i > 0 {
			v = append(v, ',')
		}
		v = append(jsonrow.AppendString(v, tag[0]), ":["...)
		at := len(v)
		v = jsonrow.AppendString(v, tag[1])
		end := len(v)
		for range rows - 1 {
			v = append(append(v, ','), v[at:end]...)
		}
		v = append(v, ']')
	}
	return append(v, "}}"...)
}

// tags returns names and values of what is the same in all rows.
func (f *Format) tags(b *sequence.Batch, group string) [][2]string {
	st := b.ID.Stream
	tags := make([][2]string, 0, 5)
	tags = append(tags, [2]string{"car", st.Car}, [2]string{"session", f.heads.Session}, [2]string{"lane", st.Lane.String()})
	if group != "" {
		tags = append(tags, [2]string{"group", group})
	}
	return append(tags, [2]string{"seq", strconv.FormatUint(b.ID.Seq, 10)})
}

// appendColumn writes one value per row, null for none.
func appendColumn(v []byte, c *columns.Column, rows int) []byte {
	k := 0
	for row := range rows {
		if row > 0 {
			v = append(v, ',')
		}
		if c.Rows != nil && (k == len(c.Rows) || c.Rows[k] != uint32(row)) {
			v = append(v, "null"...)
			continue
		}
		switch c.Kind {
		case columns.Int:
			v = strconv.AppendInt(v, c.Ints[k], 10)
		case columns.Uint:
			v = strconv.AppendUint(v, c.Uints[k], 10)
		case columns.Float32:
			v = appendNumber(v, float64(c.Float32[k]))
		default:
			v = appendNumber(v, c.Float64[k])
		}
		k++
	}
	return v
}

func appendNumber(v []byte, x float64) []byte {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return append(v, "null"...)
	}
	return jsonrow.AppendFloat(v, x)
}

// event writes an EventData, whose value must be a string.
func (f *Format) event(v []byte, b *sequence.Batch, e *wire.Event) []byte {
	v = append(v, `{"Timestamp":`...)
	v = strconv.AppendInt(v, b.Stamp(e.BootNS).UTCNS, 10)
	v = jsonrow.AppendString(append(v, `,"Id":`...), e.Name)
	v = jsonrow.AppendString(append(v, `,"Value":`...), e.Detail)
	v = append(v, `,"Tags":{`...)
	for i, tag := range f.tags(b, "") {
		if i > 0 {
			v = append(v, ',')
		}
		v = append(jsonrow.AppendString(v, tag[0]), ':')
		v = jsonrow.AppendString(v, tag[1])
	}
	return append(v, "}}"...)
}
