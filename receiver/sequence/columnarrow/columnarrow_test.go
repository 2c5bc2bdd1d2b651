package columnarrow_test

import (
	"bytes"
	"errors"
	"flag"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/columnarrow"
	"telemetry/receiver/sequence/columns"
	"telemetry/receiver/sequence/columns/columnstest"
	"telemetry/receiver/topic"
)

var update = flag.Bool("update", false, "write the golden files anew")

func write(t testing.TB, take func(group, channel string) bool, b *sequence.Batch) []topic.Record {
	t.Helper()
	return columnstest.Append(t, columnarrow.New(take), b)
}

// read opens a record's stream, which must hold one record batch.
func read(t testing.TB, value []byte, fn func(s *arrow.Schema, r arrow.RecordBatch)) {
	t.Helper()
	rd, err := ipc.NewReader(bytes.NewReader(value))
	if err != nil {
		t.Fatal(err)
	}
	defer rd.Release()
	if !rd.Next() {
		t.Fatalf("no record batch: %v", rd.Err())
	}
	fn(rd.Schema(), rd.RecordBatch())
	if rd.Next() || rd.Err() != nil {
		t.Fatalf("more behind the record batch: %v", rd.Err())
	}
}

func meta(m arrow.Metadata, key string) string {
	v, _ := m.GetValue(key)
	return v
}

// series collects a record batch's values.
func series(t testing.TB, s *arrow.Schema, r arrow.RecordBatch, into columnstest.Series) {
	t.Helper()
	if got := s.Field(0).Type.String(); got != "timestamp[ns, tz=UTC]" || s.Field(0).Name != "ts" || s.Field(1).Name != "boot_ns" {
		t.Fatalf("schema %v", s)
	}
	utc, boot := r.Column(0).(*array.Timestamp), r.Column(1).(*array.Int64)
	for i := 2; i < int(r.NumCols()); i++ {
		name := meta(s.Metadata(), "group") + "." + s.Field(i).Name
		for row := range int(r.NumRows()) {
			a := r.Column(i)
			if a.IsNull(row) {
				continue
			}
			v, ok := columnstest.Cell(a, row)
			if !ok {
				t.Fatalf("%s is a %T", name, a)
			}
			into[name] = append(into[name], columnstest.Point{Boot: boot.Value(row), UTC: int64(utc.Value(row)), Value: v})
		}
	}
}

func TestEveryValueIsThere(t *testing.T) {
	b := columnstest.Batch()
	got := columnstest.Series{}
	var parts, events []string
	recs := write(t, nil, b)
	for i := range recs {
		parts = append(parts, columnstest.Part(t, &recs[i]))
		read(t, recs[i].Value, func(s *arrow.Schema, r arrow.RecordBatch) {
			m := s.Metadata()
			if meta(m, "car") != "gt3-7" || meta(m, "session") != "12-0000000000000abc" || meta(m, "seq") != "99" || meta(m, "part") != parts[i] || meta(m, "clock") != "synced" {
				t.Errorf("record %d says %v", i, m)
			}
			if recs[i].Topic == b.Event {
				events = append(events, r.Column(2).(*array.String).Value(0)+"="+r.Column(3).(*array.String).Value(0))
				return
			}
			series(t, s, r, got)
		})
	}
	want := columnstest.Truth(b, nil)
	want["Box.ts_"] = want["Box.ts"] // ts is the time
	delete(want, "Box.ts")
	if d := columnstest.Diff(got, want, columnstest.Same); d != "" {
		t.Error(d)
	}
	if d := columnstest.Places(parts); d != "" || len(parts) != 4 {
		t.Error(d, parts)
	}
	if want := []string{`mark=pit \ box`, "\ufffd="}; !slices.Equal(events, want) {
		t.Errorf("events %q, want %q", events, want)
	}
}

func TestFieldsAreDescribed(t *testing.T) {
	recs := write(t, nil, columnstest.Batch())
	read(t, recs[0].Value, func(s *arrow.Schema, _ arrow.RecordBatch) {
		if rpm := s.Field(2); rpm.Name != "rpm" || meta(rpm.Metadata, "unit") != "1/min" {
			t.Errorf("field %v", rpm)
		}
		if gear := s.Field(3); meta(gear.Metadata, "enum.-1") != "reverse" || meta(gear.Metadata, "enum.2") != "second" || !gear.Nullable {
			t.Errorf("field %v", gear)
		}
	})
}

func TestGolden(t *testing.T) {
	recs := write(t, nil, columnstest.Batch())
	for i, name := range []string{"engine.arrows", "box.arrows", "event.arrows"} {
		columnstest.Golden(t, *update, name, recs[i].Value)
	}
}

func TestRandomBatchesRoundTrip(t *testing.T) {
	for seed := range uint64(60) {
		b := columnstest.Random(rand.New(rand.NewPCG(seed, 2)))
		for name, take := range map[string]func(string, string) bool{"all": nil, "half": columnstest.Half} {
			got := columnstest.Series{}
			recs := write(t, take, b)
			var parts []string
			for i := range recs {
				parts = append(parts, columnstest.Part(t, &recs[i]))
				if recs[i].Topic == b.Event {
					continue
				}
				read(t, recs[i].Value, func(s *arrow.Schema, r arrow.RecordBatch) { series(t, s, r, got) })
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

func TestFaults(t *testing.T) {
	b := columnstest.Batch()
	b.Catalogue.Groups[0].Channels[0].Name = string(make([]byte, sequence.MaxValueBytes))
	if err := columnarrow.New(nil).Append(new(sequence.Output), b); !errors.Is(err, sequence.ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	b = columnstest.Batch()
	b.Blocks[0].Group = 7
	if err := columnarrow.New(nil).Append(new(sequence.Output), b); !errors.Is(err, columns.ErrCatalogue) {
		t.Errorf("unknown group: %v", err)
	}
}

func BenchmarkAppend(b *testing.B) { columnstest.Bench(b, columnarrow.New(nil), 500, 15) }
