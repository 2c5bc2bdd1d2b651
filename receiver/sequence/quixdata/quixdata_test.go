package quixdata_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/columns"
	"telemetry/receiver/sequence/columns/columnstest"
	"telemetry/receiver/sequence/quixdata"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

var update = flag.Bool("update", false, "write the golden files anew")

func write(t testing.TB, take func(group, channel string) bool, b *sequence.Batch) []topic.Record {
	t.Helper()
	return columnstest.Append(t, quixdata.New(take), b)
}

// timeseries is what the deserialiser reads.
type timeseries struct {
	Timestamps    []int64
	NumericValues map[string][]*json.Number
	StringValues  map[string][]*string
	TagValues     map[string][]string
}

// read checks a record as the deserialiser does, and collects its values.
func read(t testing.TB, r *topic.Record, into columnstest.Series) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(r.Value))
	d.DisallowUnknownFields()
	var ts timeseries
	if err := d.Decode(&ts); err != nil {
		t.Fatalf("%v in %s", err, r.Value)
	}
	n := len(ts.Timestamps)
	for tag, vs := range ts.TagValues {
		if len(vs) != n {
			t.Fatalf("tag %s has %d values, want %d", tag, len(vs), n)
		}
	}
	for name, vs := range ts.NumericValues {
		if len(vs) != n || name == "Timestamp" || name == "Tags" {
			t.Fatalf("%s has %d values, want %d", name, len(vs), n)
		}
		for i, v := range vs {
			if v != nil {
				key := ts.TagValues["group"][0] + "." + name
				into[key] = append(into[key], columnstest.Point{UTC: ts.Timestamps[i], Value: v.String()})
			}
		}
	}
}

// same compares the text of a number with a value.
func same(got, want any) bool {
	s := got.(string)
	switch w := want.(type) {
	case int64:
		return s == strconv.FormatInt(w, 10)
	case uint64:
		return s == strconv.FormatUint(w, 10)
	case float32:
		x, err := strconv.ParseFloat(s, 64)
		return err == nil && x == float64(w)
	default:
		x, err := strconv.ParseFloat(s, 64)
		return err == nil && x == want.(float64)
	}
}

// truth is what JSON can say of a batch.
func truth(b *sequence.Batch, take func(group, channel string) bool) columnstest.Series {
	s := columnstest.Truth(b, take).Drop()
	for _, ps := range s {
		for i := range ps {
			ps[i].Boot = 0 // the format does not have it
		}
	}
	return s
}

func TestEveryValueIsThere(t *testing.T) {
	b := columnstest.Batch()
	got := columnstest.Series{}
	var parts []string
	recs := write(t, nil, b)
	for i := range recs {
		r := &recs[i]
		parts = append(parts, columnstest.Part(t, r))
		model, _ := r.Get("__Q_ModelKey")
		if codec, _ := r.Get("__Q_CodecId"); codec != "JT" {
			t.Errorf("record %d has codec %q", i, codec)
		}
		if model == "TimeseriesData" {
			read(t, r, got)
		} else if model != "EventData" || r.Topic != b.Event {
			t.Errorf("record %d of %s is a %q", i, r.Topic, model)
		}
	}
	want := truth(b, nil)
	for _, name := range []string{"Engine.Tags", "Box.Timestamp"} {
		if ps, ok := want[name]; ok {
			want[name+"_"] = ps
			delete(want, name)
		}
	}
	if d := columnstest.Diff(got, want, same); d != "" {
		t.Error(d)
	}
	if d := columnstest.Places(parts); d != "" || len(parts) != 4 {
		t.Error(d, parts)
	}
}

func TestRecordsAreAsTheyShouldBe(t *testing.T) {
	recs := write(t, nil, columnstest.Batch())
	for i, name := range []string{"engine.json", "box.json", "event.json"} {
		columnstest.Golden(t, *update, name, recs[i].Value)
	}
	var e struct {
		Timestamp int64
		ID        string `json:"Id"`
		Value     string
		Tags      map[string]string
	}
	if err := json.Unmarshal(recs[2].Value, &e); err != nil {
		t.Fatal(err)
	}
	if e.ID != "mark" || e.Value != `pit \ box` || e.Timestamp != columnstest.UTC+1e9+700 || e.Tags["seq"] != "99" || e.Tags["car"] != "gt3-7" {
		t.Errorf("event %+v", e)
	}
	if string(recs[0].Key) != "gt3-7/Engine" {
		t.Errorf("key %s", recs[0].Key)
	}
}

func TestRandomBatchesRoundTrip(t *testing.T) {
	for seed := range uint64(40) {
		b := columnstest.Random(rand.New(rand.NewPCG(seed, 3)))
		for name, take := range map[string]func(string, string) bool{"all": nil, "half": columnstest.Half} {
			got := columnstest.Series{}
			recs := write(t, take, b)
			var parts []string
			for i := range recs {
				parts = append(parts, columnstest.Part(t, &recs[i]))
				if recs[i].Topic != b.Event {
					read(t, &recs[i], got)
				}
			}
			if d := columnstest.Diff(got, truth(b, take), same); d != "" {
				t.Fatalf("seed %d, %s: %s", seed, name, d)
			}
			if d := columnstest.Places(parts); d != "" {
				t.Fatalf("seed %d, %s: %s", seed, name, d)
			}
		}
	}
}

func TestHeadersAreText(t *testing.T) {
	for _, r := range write(t, nil, columnstest.Batch()) {
		for _, h := range r.Headers {
			if slices.ContainsFunc(h.Value, func(c byte) bool { return c < ' ' || c > '~' }) {
				t.Errorf("header %s is % x", h.Key, h.Value)
			}
		}
	}
}

func TestFaults(t *testing.T) {
	b := columnstest.Batch()
	b.Catalogue.Groups[0].Channels[0].Name = string(make([]byte, sequence.MaxValueBytes))
	if err := quixdata.New(nil).Append(new(sequence.Output), b); !errors.Is(err, sequence.ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	b = columnstest.Batch()
	b.Blocks[0].Group = 7
	if err := quixdata.New(nil).Append(new(sequence.Output), b); !errors.Is(err, columns.ErrCatalogue) {
		t.Errorf("unknown group: %v", err)
	}
}

// A fast channel that does not change has many rows in a batch: each repeats the tags.
func TestManyRowsOfFewColumns(t *testing.T) {
	b := columnstest.Batch()
	const rows = 20_000
	b.Blocks = []wire.Block{{Ticks: make([]int64, rows), Columns: []wire.Column{{Type: wire.TypeInt, Values: make([]int64, rows)}}}}
	n := 0
	for _, r := range write(t, nil, b) {
		var v struct{ Timestamps []int64 }
		if err := json.Unmarshal(r.Value, &v); err != nil {
			t.Fatal(err)
		}
		n += len(v.Timestamps)
	}
	if n != rows {
		t.Errorf("%d rows, want %d", n, rows)
	}
}

func FuzzEventsAreJSON(f *testing.F) {
	f.Add("mark", "pit \\ box", "Engine")
	f.Fuzz(func(t *testing.T, name, detail, group string) {
		b := columnstest.Batch()
		b.Catalogue.Groups[0].Name = group
		b.Events[0].Name, b.Events[0].Detail = name, detail
		for _, r := range write(t, nil, b) {
			if !json.Valid(r.Value) {
				t.Errorf("not JSON: %q", r.Value)
			}
		}
	})
}

func BenchmarkAppend(b *testing.B) { columnstest.Bench(b, quixdata.New(nil), 500, 15) }
