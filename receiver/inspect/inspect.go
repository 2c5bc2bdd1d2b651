// Package inspect shows records of the receiver's topics to people: every format
// that it writes, as JSON, one object a record.
//
// The entry point is [Viewer.View]. A record that cannot be decoded is shown with
// what is wrong with it and its bytes; it is never skipped. The package reads no
// topic: whoever has records hands them in, and catalogues by their hash.
package inspect

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/columnarrow"
	"telemetry/receiver/sequence/columnpb"
	"telemetry/receiver/sequence/columnpb/telemetrypb"
	"telemetry/receiver/sequence/columns"
	"telemetry/receiver/sequence/quixdata"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// Kinds of records.
const (
	KindBatch     = "batch"     // sealed by a car
	KindTick      = "tick"      // the sequencer's clock, or a word of the operator, in telemetry.batches
	KindJSON      = "json"      // rows, events, gaps, time map, sessions
	KindQuix      = "quix"      // TimeseriesData or EventData
	KindProtobuf  = "protobuf"  // telemetry.v1.Batch, framed or not
	KindArrow     = "arrow"     // an IPC stream
	KindCatalogue = "catalogue" // a part of one
	KindState     = "state"     // of a sequencer, summarised
	KindTombstone = "tombstone" // takes a key out of a compacted topic
	KindText      = "text"
	KindUnknown   = "unknown"
)

// Record is one record as it is shown. Of value and base64 at most one is there.
type Record struct {
	Topic     string            `json:"topic"`
	Partition int32             `json:"partition"`
	Offset    int64             `json:"offset"`
	TimeMS    int64             `json:"time_ms"`
	Key       string            `json:"key,omitempty"`
	Kind      string            `json:"kind"`
	Reason    string            `json:"reason,omitempty"` // of a dead letter
	SchemaID  *uint32           `json:"schema_id,omitempty"`
	Headers   map[string]string `json:"headers,omitempty"`
	Value     json.RawMessage   `json:"value,omitempty"`
	Base64    []byte            `json:"base64,omitempty"` // the bytes of what has no value
	What      string            `json:"what,omitempty"`   // the bytes look like
	Error     string            `json:"error,omitempty"`  // why there is no value, or not all of it
}

// Viewer shows records. It is not safe for concurrent use.
type Viewer struct {
	// Batches is the topic whose records are sealed batches without saying so.
	Batches string
	// Catalogues is the topic of parts of catalogues.
	Catalogues string
	// Catalogue returns a catalogue's canonical bytes; nil: none is known, columns
	// are shown by number and raw.
	Catalogue func(h wire.CatalogueHash) (canonical []byte, ok bool, err error)

	reader  *columns.Reader
	decoder sequence.Decoder
	opener  wire.Opener
	parsed  map[wire.CatalogueHash]*wire.Catalogue
}

// Car returns the car of a record by its headers or its key.
func Car(r *topic.Record) string {
	if car, ok := r.Get(topic.HeaderCar); ok {
		return car
	}
	car, _, _ := strings.Cut(string(r.Key), "/")
	return car
}

// View shows a record. The result shares no memory with it.
func (v *Viewer) View(r *topic.Record) Record {
	out := Record{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, TimeMS: r.TimestampMS, Key: text(r.Key)}
	for _, h := range r.Headers {
		if out.Headers == nil {
			out.Headers = map[string]string{}
		}
		out.Headers[h.Key] = text(h.Value)
	}
	out.Reason = out.Headers[topic.HeaderReason]
	value, err := v.decode(&out, r)
	if err == nil && value != nil {
		out.Value, err = json.Marshal(value)
	}
	if err != nil {
		out.Error = err.Error()
	}
	if out.Value == nil && out.Kind != KindTombstone && out.Kind != KindTick {
		out.Base64, out.What = bytes.Clone(r.Value), look(r.Value)
	}
	return out
}

// text returns bytes as UTF-8, with what is none replaced.
func text(b []byte) string { return strings.ToValidUTF8(string(b), "\ufffd") }

// decode finds out what a record is and returns what is shown as its value.
func (v *Viewer) decode(out *Record, r *topic.Record) (any, error) {
	content, _ := r.Get(topic.HeaderContentType)
	_, quix := r.Get(quixdata.HeaderModel)
	switch {
	case len(r.Value) == 0 && r.Topic == v.Batches:
		out.Kind = KindTick
		return nil, nil
	case len(r.Value) == 0:
		out.Kind = KindTombstone
		return nil, nil
	case r.Topic == v.Catalogues:
		out.Kind = KindCatalogue
		return v.catalogue(r)
	case strings.HasSuffix(r.Topic, stateSuffix):
		out.Kind = KindState
		return state(r), nil
	case r.Topic == v.Batches || content == topic.ContentTypeBatch:
		out.Kind = KindBatch
		return v.batch(r.Value)
	case content == columnarrow.ContentType:
		out.Kind = KindArrow
		return arrowRows(r.Value)
	case content == columnpb.ContentType:
		out.Kind = KindProtobuf
		return protobuf(out, r.Value)
	case quix:
		out.Kind = KindQuix
		return jsonValue(r.Value)
	case content == "application/json":
		out.Kind = KindJSON
		return jsonValue(r.Value)
	}
	return v.guess(out, r.Value)
}

// stateSuffix ends the names of state topics.
const stateSuffix = ".state"

// guess decodes what has no content type: dead letters as they came, and what
// others have written.
func (v *Viewer) guess(out *Record, b []byte) (any, error) {
	if json.Valid(b) {
		out.Kind = KindJSON
		return json.RawMessage(bytes.Clone(b)), nil
	}
	if _, err := wire.ParseHeader(b); err == nil {
		out.Kind = KindBatch
		return v.batch(b)
	}
	if bytes.HasPrefix(b, arrowMagic) {
		out.Kind = KindArrow
		return arrowRows(b)
	}
	if printable(b) {
		out.Kind = KindText
		return string(b), nil
	}
	out.Kind = KindUnknown
	return nil, nil
}

func jsonValue(b []byte) (any, error) {
	if !json.Valid(b) {
		return nil, errors.New("is not JSON, though its headers say so")
	}
	return json.RawMessage(bytes.Clone(b)), nil
}

// protobuf decodes telemetry.v1.Batch. No message begins with a zero, so that one
// is Confluent's framing.
func protobuf(out *Record, b []byte) (any, error) {
	if b[0] == 0 {
		if len(b) < 6 || b[5] != 0 {
			return nil, errors.New("framing is not that of a schema's first message")
		}
		id := binary.BigEndian.Uint32(b[1:])
		out.SchemaID, b = &id, b[6:]
	}
	var m telemetrypb.Batch
	if err := proto.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("is no telemetry.v1.Batch: %w", err)
	}
	j, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(&m)
	return json.RawMessage(j), err
}

// state summarises a state record; what a sequencer keeps there is its own.
func state(r *topic.Record) any {
	s := map[string]any{"bytes": len(r.Value)}
	switch key := string(r.Key); {
	case key == sequence.PartitionKey:
		s["of"] = "partition"
		if at, ok := sequence.CommittedOffset([]topic.Record{*r}); ok {
			s["committed"] = at
		}
	case strings.HasPrefix(key, "@"):
		s["of"] = strings.TrimPrefix(key, "@")
		if json.Valid(r.Value) {
			s["value"] = json.RawMessage(bytes.Clone(r.Value))
		}
	default:
		s["of"] = "car"
	}
	return s
}

// magics are what content of others begins with.
var magics = []struct {
	prefix, what string
}{
	{"\x1f\x8b", "gzip"}, {"\x28\xb5\x2f\xfd", "zstd"}, {"\x04\x22\x4d\x18", "LZ4 frame"}, {"Obj\x01", "Avro file"}, {"PAR1", "Parquet"},
}

// look says what bytes look like that are not decoded.
func look(b []byte) string {
	for _, m := range magics {
		if bytes.HasPrefix(b, []byte(m.prefix)) {
			return m.what
		}
	}
	if len(b) > 5 && b[0] == 0 {
		return fmt.Sprintf("Confluent framing, schema %d", binary.BigEndian.Uint32(b[1:]))
	}
	if printable(b) {
		return "text"
	}
	return fmt.Sprintf("binary, %d bytes", len(b))
}

func printable(b []byte) bool {
	if !utf8.Valid(b) {
		return false
	}
	for _, c := range b {
		if c < ' ' && c != '\n' && c != '\t' && c != '\r' {
			return false
		}
	}
	return true
}
