package inspect_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"strings"
	"testing"

	"telemetry/receiver/inspect"
	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/columnarrow"
	"telemetry/receiver/sequence/columnpb"
	"telemetry/receiver/sequence/columns/columnstest"
	"telemetry/receiver/sequence/jsonrow"
	"telemetry/receiver/sequence/quixdata"
	"telemetry/receiver/sequence/sequencetest"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

var update = flag.Bool("update", false, "write the golden files anew")

// viewer knows the catalogue of sequencetest's car.
func viewer() *inspect.Viewer {
	cat := sequencetest.Catalogue("car-1")
	return &inspect.Viewer{
		Batches: "telemetry.batches", Catalogues: "telemetry.catalogues",
		Catalogue: func(h wire.CatalogueHash) ([]byte, bool, error) { return cat.Append(nil), h == cat.Hash(), nil },
	}
}

func lines(t *testing.T, v *inspect.Viewer, recs []topic.Record) []byte {
	t.Helper()
	var out bytes.Buffer
	for i := range recs {
		b, err := json.Marshal(v.View(&recs[i]))
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
		out.WriteByte('\n')
	}
	return out.Bytes()
}

func written(t *testing.T, f sequence.Format) []topic.Record {
	t.Helper()
	var out sequence.Output
	if err := f.Append(&out, columnstest.Batch()); err != nil {
		t.Fatal(err)
	}
	return out.Records
}

func TestEveryFormatIsShown(t *testing.T) {
	formats := []struct {
		name, kind string
		f          sequence.Format
		has        string // a value of the batch in the format's own way
	}{
		{"json", inspect.KindJSON, jsonrow.New(), `"rpm":1000.25`},
		{"protobuf", inspect.KindProtobuf, columnpb.New(columnpb.Options{SchemaID: func(string) uint32 { return 7 }}), `"schema_id":7`},
		{"protobuf-raw", inspect.KindProtobuf, columnpb.New(columnpb.Options{}), `1000.25`},
		{"arrow", inspect.KindArrow, columnarrow.New(nil), `"rpm":1000.25`},
		{"quix", inspect.KindQuix, quixdata.New(nil), `1000.25`},
	}
	for _, f := range formats {
		t.Run(f.name, func(t *testing.T) {
			recs := written(t, f.f)
			v := viewer()
			for i := range recs {
				if r := v.View(&recs[i]); r.Kind != f.kind || r.Error != "" || r.Value == nil || r.Headers["car"] != "gt3-7" {
					t.Errorf("record %d: %+v", i, r)
				}
			}
			got := lines(t, v, recs)
			if !bytes.Contains(got, []byte(f.has)) {
				t.Errorf("no %s in\n%s", f.has, got)
			}
			columnstest.Golden(t, *update, f.name+".jsonl", got)
		})
	}
}

// batches are what a car sends and others write into the batches topic.
func batches() []topic.Record {
	c := sequencetest.NewCar("car-1", 3, 0xabc)
	recs := []topic.Record{
		c.Open(wire.Predecessor{Epoch: wire.Epoch{Counter: 2, Nonce: 5}}), c.Anchor(1, 1e9, 1_800_000_001_000_000_000, 1e6),
		c.Event(2e9, "pit"), c.Loss(wire.LaneFull, 4, 6, wire.ReasonQuota), c.Full(3e9, 2), c.Live(3e9),
	}
	other := sequencetest.NewCar("car-2", 1, 9)
	recs = append(recs, other.Full(1e9, 1), topic.Record{Key: []byte("@tick")})
	for i := range recs {
		recs[i].Topic, recs[i].Offset, recs[i].TimestampMS = "telemetry.batches", int64(i), 1_800_000_000_000
	}
	return recs
}

func TestBatchesAreShown(t *testing.T) {
	got := lines(t, viewer(), batches())
	columnstest.Golden(t, *update, "batches.jsonl", got)
	for _, want := range []string{`"type":"epoch_open"`, `"type":"anchor"`, `"name":"pit"`, `"ranges":[[4,6]]`, `"rpm":[750,750.25]`, `"raw":true`, `"kind":"tick"`} {
		if !bytes.Contains(got, []byte(want)) {
			t.Errorf("no %s", want)
		}
	}
}

func TestOtherTopicsAreShown(t *testing.T) {
	cat := sequencetest.Catalogue("car-1")
	parts, err := wire.SplitCatalogue(cat.Append(nil), 1<<15)
	if err != nil {
		t.Fatal(err)
	}
	bad := batches()[4]
	recs := []topic.Record{
		{Topic: "telemetry.catalogues", Key: []byte(cat.Hash().String() + "/00000000/0/1"), Value: parts[0].Data},
		{Topic: "telemetry.sequence.state", Key: []byte("car-1"), Value: []byte{1, 'C', 0}},
		{Topic: "telemetry.sequence.state", Key: []byte("@intent"), Value: []byte(`{"number":3}`)},
		{Topic: "telemetry.gaps", Key: []byte("car-1/3"), Value: []byte(`{"first":4}`), Headers: []topic.Header{{Key: "content-type", Value: []byte("application/json")}}},
		{Topic: "telemetry.sessions", Key: []byte("old")},
		{Topic: "telemetry.dlq", Key: []byte("car-1"), Value: bad.Value, Headers: append(bad.Headers, topic.Header{Key: "reason", Value: []byte("undecodable")})},
		{Topic: "telemetry.dlq", Key: []byte("x"), Value: []byte{0, 0, 0, 0, 9, 2, 4}},
		{Topic: "foreign", Value: []byte("hello")},
	}
	got := lines(t, viewer(), recs)
	columnstest.Golden(t, *update, "others.jsonl", got)
	for _, want := range []string{`"rate_hz"`, `"of":"car"`, `"of":"intent"`, `"kind":"tombstone"`, `"reason":"undecodable"`, `Confluent framing, schema 9`, `"kind":"text"`} {
		if !bytes.Contains(got, []byte(want)) {
			t.Errorf("no %s", want)
		}
	}
}

func TestABadRecordIsShownWithItsBytes(t *testing.T) {
	full := batches()[4].Value
	damaged := bytes.Clone(full)
	damaged[len(damaged)-1] ^= 1
	kind := func(content string) []topic.Header {
		return []topic.Header{{Key: "content-type", Value: []byte(content)}}
	}
	cases := []struct {
		name string
		r    topic.Record
		kind string
		err  string
	}{
		{"damaged batch", topic.Record{Topic: "telemetry.batches", Value: damaged}, inspect.KindBatch, ""},
		{"cut batch", topic.Record{Topic: "telemetry.batches", Value: full[:20]}, inspect.KindBatch, ""},
		{"bytes behind a batch", topic.Record{Topic: "telemetry.batches", Value: append(bytes.Clone(full), 0)}, inspect.KindBatch, "1 bytes behind"},
		{"not protobuf", topic.Record{Value: []byte("\xff\xff\xff"), Headers: kind(columnpb.ContentType)}, inspect.KindProtobuf, "is no telemetry.v1.Batch"},
		{"short framing", topic.Record{Value: []byte{0, 1}, Headers: kind(columnpb.ContentType)}, inspect.KindProtobuf, "framing"},
		{"not arrow", topic.Record{Value: []byte("arrow"), Headers: kind(columnarrow.ContentType)}, inspect.KindArrow, "no Arrow stream"},
		{"not JSON", topic.Record{Value: []byte("{"), Headers: kind("application/json")}, inspect.KindJSON, "is not JSON"},
		{"no part", topic.Record{Topic: "telemetry.catalogues", Key: []byte("a/b"), Value: []byte("x")}, inspect.KindCatalogue, "no part of a catalogue"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := viewer().View(&c.r)
			if got.Kind != c.kind || got.Error == "" || !strings.Contains(got.Error, c.err) || got.Value != nil || !bytes.Equal(got.Base64, c.r.Value) || got.What == "" {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// TestDamageEndsNothing flips every byte of records of each format: what comes is
// an answer that can be printed.
func TestDamageEndsNothing(t *testing.T) {
	v := viewer()
	recs := []topic.Record{batches()[4]}
	for _, f := range []sequence.Format{columnarrow.New(nil), columnpb.New(columnpb.Options{}), quixdata.New(nil)} {
		recs = append(recs, written(t, f)[0])
	}
	for i := range recs {
		whole := recs[i].Value
		for at := range 3 * len(whole) {
			r := recs[i]
			r.Value = bytes.Clone(whole)
			r.Value[at%len(whole)] ^= []byte{0x11, 0x80, 0xff}[at/len(whole)]
			got := v.View(&r)
			if _, err := json.Marshal(got); err != nil || (got.Value == nil) == (got.Base64 == nil) {
				t.Fatalf("record %d, byte %d: %v, %+v", i, at, err, got)
			}
		}
	}
}
