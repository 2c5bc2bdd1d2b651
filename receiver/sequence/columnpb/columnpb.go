// Package columnpb is the output formats `protobuf` and `protobuf-raw`: one
// message telemetry.v1.Batch a record, which holds a stretch of rows of one group as
// columns of physical values, or one event.
//
// The entry point is [New]. With Confluent's framing, five bytes that name a schema
// of a registry and one that says "its first message" precede the message. NaN and
// infinities are there, bit for bit, and integers are whole.
//
// The package never talks to a registry: it asks for the id of a topic's schema, and
// whoever runs it sees to it that there is one.
package columnpb

import (
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/proto"

	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/columnpb/telemetrypb"
	"telemetry/receiver/sequence/columns"
	"telemetry/receiver/topic"
)

// ContentType stands in each record's content-type header.
const ContentType = "application/x-protobuf;msg=telemetry.v1.Batch"

var contentType = []byte(ContentType)

// Options say what is written.
type Options struct {
	// Take selects channels; nil takes all.
	Take func(group, channel string) bool
	// SchemaID returns the registry's id of the schema of a topic's values; nil
	// writes messages without framing.
	SchemaID func(topic string) uint32
}

// Format implements [sequence.Format]. It is not safe for concurrent use.
type Format struct {
	options Options
	reader  *columns.Reader
	heads   columns.Heads
	pool    pool
}

var _ sequence.Format = (*Format)(nil)

// New returns a format with nothing prepared.
func New(o Options) *Format {
	return &Format{options: o, reader: columns.NewReader(o.Take), pool: newPool()}
}

// Append implements [sequence.Format].
func (f *Format) Append(out *sequence.Output, b *sequence.Batch) error {
	f.heads.Begin(out, b, contentType)
	m := f.pool.begin(b, &f.heads)
	of, err := f.reader.Read(b, func(t *columns.Table) error {
		f.pool.table(t)
		return f.add(out, m, f.heads.Record(out, t, 0, 0, 0))
	})
	if err != nil {
		return err
	}
	for i := range b.Events {
		e := &b.Events[i]
		place := of - len(b.Events) + i + 1
		f.pool.event(b.Stamp(e.BootNS), e, place, of)
		if err := f.add(out, m, f.heads.Record(out, nil, place, of, e.BootNS)); err != nil {
			return err
		}
	}
	return nil
}

// frameBytes is the length of Confluent's framing of a schema's first message.
const frameBytes = 6

// add encodes the message and adds the record.
func (f *Format) add(out *sequence.Output, m *telemetrypb.Batch, r topic.Record) error {
	opts := proto.MarshalOptions{Deterministic: true}
	size := opts.Size(m)
	v := out.Value(size + frameBytes)
	if f.options.SchemaID != nil {
		v = AppendFrame(v, f.options.SchemaID(r.Topic))
	}
	v, err := opts.MarshalAppend(v, m)
	if err != nil {
		return fmt.Errorf("columnpb: %w", err)
	}
	r.Value = out.Keep(v)
	if len(r.Value) > sequence.MaxValueBytes {
		return fmt.Errorf("%w: %d bytes of group %q (limit %d)", sequence.ErrTooLarge, len(r.Value), m.Group, sequence.MaxValueBytes)
	}
	out.Add(r)
	return out.Full()
}

// AppendFrame appends Confluent's framing of the first message of a schema: a zero,
// the schema's id, and the path to the message, of which the first one's is one zero.
func AppendFrame(dst []byte, id uint32) []byte {
	dst = append(dst, 0)
	dst = binary.BigEndian.AppendUint32(dst, id)
	return append(dst, 0)
}
