package columnpb_test

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/columnpb"
	"telemetry/receiver/sequence/columnpb/telemetrypb"
	"telemetry/receiver/sequence/columns"
	"telemetry/receiver/sequence/columns/columnstest"
	"telemetry/receiver/topic"
)

var update = flag.Bool("update", false, "write the golden files anew")

func write(t testing.TB, o columnpb.Options, b *sequence.Batch) []topic.Record {
	t.Helper()
	return columnstest.Append(t, columnpb.New(o), b)
}

// read collects what a record's message says.
func read(t testing.TB, value []byte, into columnstest.Series) *telemetrypb.Batch {
	t.Helper()
	var m telemetrypb.Batch
	if err := proto.Unmarshal(value, &m); err != nil {
		t.Fatal(err)
	}
	at := func(ts *telemetrypb.Times, row int) int64 {
		if len(ts.Offsets) > 0 {
			return ts.Start + ts.Offsets[row]
		}
		return ts.Start + int64(row)*ts.Interval
	}
	for _, c := range m.Columns {
		var vs []any
		for _, v := range c.Ints {
			vs = append(vs, v)
		}
		for _, v := range c.Uints {
			vs = append(vs, v)
		}
		for _, v := range c.Floats {
			vs = append(vs, v)
		}
		for _, v := range c.Doubles {
			vs = append(vs, v)
		}
		if len(c.Rows) == 0 && len(vs) != int(m.Rows) || len(c.Rows) > 0 && len(c.Rows) != len(vs) {
			t.Fatalf("column %s has %d values and %d places in %d rows", c.Name, len(vs), len(c.Rows), m.Rows)
		}
		for i, v := range vs {
			row := i
			if len(c.Rows) > 0 {
				row = int(c.Rows[i])
			}
			name := m.Group + "." + c.Name
			into[name] = append(into[name], columnstest.Point{Boot: at(m.Boot, row), UTC: at(m.Utc, row), Value: v})
		}
	}
	return &m
}

func TestEveryValueIsThere(t *testing.T) {
	b := columnstest.Batch()
	got := columnstest.Series{}
	recs := write(t, columnpb.Options{}, b)
	var events []string
	var parts []string
	for i := range recs {
		r := &recs[i]
		m := read(t, r.Value, got)
		parts = append(parts, columnstest.Part(t, r))
		for _, e := range m.Events {
			events = append(events, e.Name+"="+e.Detail)
			if r.Topic != b.Event || string(r.Key) != "gt3-7" {
				t.Errorf("event in %s under %s", r.Topic, r.Key)
			}
		}
		if m.Part != columnstest.Part(t, r) || m.Car != "gt3-7" || m.Session != "12-0000000000000abc" || m.Seq != 99 || m.Lane != "full" || !m.Clock.Synced {
			t.Errorf("record %d says %v", i, m)
		}
		if id, ok := topic.OutputIdentity(r); !ok || id.ID != b.ID || id.Place != m.Part {
			t.Errorf("record %d has identity %v", i, id)
		}
		if want := sequence.FloorMS(m.Utc.Start); r.TimestampMS != want {
			t.Errorf("record %d has time %d, want that of its first row, %d", i, r.TimestampMS, want)
		}
	}
	if d := columnstest.Diff(got, columnstest.Truth(b, nil), columnstest.Same); d != "" {
		t.Error(d)
	}
	if d := columnstest.Places(parts); d != "" || len(parts) != 4 {
		t.Error(d, parts)
	}
	if want := []string{`mark=pit \ box`, "\ufffd="}; !slices.Equal(events, want) {
		t.Errorf("events %q, want %q", events, want)
	}
}

func TestEnumerationNamesWhatOccurs(t *testing.T) {
	recs := write(t, columnpb.Options{}, columnstest.Batch())
	m := read(t, recs[0].Value, columnstest.Series{})
	gear := m.Columns[1]
	if gear.Name != "gear" || len(gear.Names) != 2 || gear.Names[0].Name != "reverse" || gear.Names[0].Value != -1 || gear.Names[1].Name != "first" {
		t.Errorf("gear is %v", gear)
	}
	if !slices.Equal(gear.Rows, []uint32{1, 2}) || m.Columns[0].Unit != "1/min" {
		t.Errorf("columns %v", m.Columns)
	}
}

func TestGolden(t *testing.T) {
	recs := write(t, columnpb.Options{SchemaID: func(string) uint32 { return 0x01020304 }}, columnstest.Batch())
	for i, name := range []string{"engine.bin", "box.bin", "event.bin"} {
		columnstest.Golden(t, *update, name, recs[i].Value)
	}
}

func TestFraming(t *testing.T) {
	asked := map[string]bool{}
	recs := write(t, columnpb.Options{SchemaID: func(topic string) uint32 { asked[topic] = true; return 258 }}, columnstest.Batch())
	raw := write(t, columnpb.Options{}, columnstest.Batch())
	for i := range recs {
		v := recs[i].Value
		if v[0] != 0 || binary.BigEndian.Uint32(v[1:]) != 258 || v[5] != 0 {
			t.Errorf("record %d begins with % x", i, v[:6])
		}
		if !slices.Equal(v[6:], raw[i].Value) {
			t.Errorf("record %d differs behind its framing", i)
		}
	}
	if len(asked) != 2 || !asked["t.rows"] || !asked["t.rows.events"] {
		t.Errorf("ids were asked for %v", asked)
	}
}

func TestRandomBatchesRoundTrip(t *testing.T) {
	for seed := range uint64(60) {
		b := columnstest.Random(rand.New(rand.NewPCG(seed, 1)))
		for name, take := range map[string]func(string, string) bool{"all": nil, "half": columnstest.Half} {
			got := columnstest.Series{}
			recs := write(t, columnpb.Options{Take: take}, b)
			var parts []string
			for i := range recs {
				read(t, recs[i].Value, got)
				parts = append(parts, columnstest.Part(t, &recs[i]))
			}
			if d := columnstest.Diff(got, columnstest.Truth(b, take), columnstest.Same); d != "" {
				t.Fatalf("seed %d, %s: %s", seed, name, d)
			}
			if d := columnstest.Places(parts); d != "" {
				t.Fatalf("seed %d, %s: %s", seed, name, d)
			}
		}
	}
}

func TestAnotherSelectionKeepsThePlaces(t *testing.T) {
	b := columnstest.Batch()
	recs := write(t, columnpb.Options{Take: func(group, _ string) bool { return group == "Box" }}, b)
	if len(recs) != 3 || columnstest.Part(t, &recs[0]) != "2/4" || columnstest.Part(t, &recs[1]) != "3/4" {
		t.Errorf("%d records, the first at %s", len(recs), columnstest.Part(t, &recs[0]))
	}
}

func TestTwiceIsTheSame(t *testing.T) {
	f := columnpb.New(columnpb.Options{})
	var one, two sequence.Output
	b := columnstest.Batch()
	other := columnstest.Random(rand.New(rand.NewPCG(1, 2)))
	for _, err := range []error{f.Append(&one, b), f.Append(new(sequence.Output), other), f.Append(&two, b)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range one.Records {
		if !slices.Equal(one.Records[i].Value, two.Records[i].Value) {
			t.Errorf("record %d differs when it is written again", i)
		}
	}
}

func TestFaults(t *testing.T) {
	cases := map[string]struct {
		spoil func(b *sequence.Batch)
		want  error
	}{
		"unknown group":    {func(b *sequence.Batch) { b.Blocks[0].Group = 9 }, columns.ErrCatalogue},
		"too many columns": {func(b *sequence.Batch) { b.Blocks[1].FirstColumn = 4 }, columns.ErrCatalogue},
		"no catalogue":     {func(b *sequence.Batch) { b.Catalogue = nil }, columns.ErrCatalogue},
		"too large": {func(b *sequence.Batch) {
			g := &b.Catalogue.Groups[0]
			g.Channels[0].Name = string(make([]byte, sequence.MaxValueBytes))
		}, sequence.ErrTooLarge},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			b := columnstest.Batch()
			c.spoil(b)
			if err := columnpb.New(columnpb.Options{}).Append(new(sequence.Output), b); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestIntegersThatDoNotFitBecomeFloats(t *testing.T) {
	b := columnstest.Batch()
	b.Events = nil
	b.Catalogue.Groups[1].Channels[0].Scale = 1000
	recs := write(t, columnpb.Options{}, b)
	m := read(t, recs[1].Value, columnstest.Series{})
	if c := m.Columns[0]; len(c.Ints) != 0 || len(c.Doubles) != 3 || c.Doubles[2] != float64(1<<53+1)*1000 {
		t.Errorf("column %v", c)
	}
}

func FuzzSchemaReads(f *testing.F) {
	for _, r := range write(f, columnpb.Options{}, columnstest.Batch()) {
		f.Add(r.Value)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m, again telemetrypb.Batch
		if proto.Unmarshal(b, &m) != nil {
			return
		}
		v, err := proto.Marshal(&m)
		if err != nil || proto.Unmarshal(v, &again) != nil || protojson.Format(&m) != protojson.Format(&again) {
			t.Errorf("%v comes back as %v, %v", &m, &again, err)
		}
	})
}

func BenchmarkAppend(b *testing.B) { columnstest.Bench(b, columnpb.New(columnpb.Options{}), 500, 15) }

// The schema that a registry gets is the one that the code was generated from.
func TestSchemaIsThatOfTheCode(t *testing.T) {
	file := telemetrypb.File_batch_proto
	if file.Messages().Get(0).Name() != "Batch" {
		t.Errorf("the first message is %s: Confluent's framing names it by its place", file.Messages().Get(0).Name())
	}
	fields := 0
	for i := range file.Messages().Len() {
		m := file.Messages().Get(i)
		_, body, ok := strings.Cut(telemetrypb.Schema, fmt.Sprintf("\nmessage %s {\n", m.Name()))
		body, _, _ = strings.Cut(body, "\n}")
		if !ok {
			t.Errorf("message %s is not in the schema as it is in the code", m.Name())
		}
		for k := range m.Fields().Len() {
			f := m.Fields().Get(k)
			fields++
			if want := fmt.Sprintf(" %s = %d;", f.Name(), f.Number()); !strings.Contains(body, want) {
				t.Errorf("message %s: %q is not in the schema", m.Name(), want)
			}
		}
	}
	if n := strings.Count(telemetrypb.Schema, " = "); n != fields+1+3 { // syntax and three options
		t.Errorf("the schema has %d fields, the code %d", n-4, fields)
	}
}
