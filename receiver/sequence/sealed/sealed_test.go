package sealed_test

import (
	"bytes"
	"slices"
	"strconv"
	"testing"

	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/jsonrow"
	"telemetry/receiver/sequence/sealed"
	"telemetry/receiver/sequence/sequencetest"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

const (
	ms  = int64(1e6)
	utc = int64(1_800_000_000_000_000_000)
)

// feed gives records to a new partition of the format and returns what it writes.
func feed(t *testing.T, f sequence.Format, recs ...topic.Record) []topic.Record {
	t.Helper()
	cfg := sequence.Defaults()
	cfg.Topics = topic.NewNames("")
	cfg.NewFormat = func() sequence.Format { return f }
	p, err := sequence.NewPartition(cfg, 0, sequence.Loaded{Partitions: 1})
	if err != nil {
		t.Fatal(err)
	}
	for i := range recs {
		recs[i].Offset, recs[i].TimestampMS = int64(i), utc/ms
		p.Apply(&recs[i])
	}
	if n := p.Drain(1 << 24); len(n.Catalogues) > 0 {
		p.Learn(n.Catalogues[0], sequencetest.Catalogue("car-1"))
		p.Drain(1 << 24)
	}
	return slices.Clone(p.Commit().Out)
}

func get(t *testing.T, r *topic.Record, key string) string {
	t.Helper()
	v, ok := r.Get(key)
	if !ok {
		t.Errorf("no header %s in %s", key, r.Topic)
	}
	return v
}

// Out of order, doubled and with control records between them: each batch comes
// once, in order, with its own bytes, without anybody having its catalogue.
func TestBatchesComeAsTheyWereSealed(t *testing.T) {
	car := sequencetest.NewCar("car-1", 1, 7)
	open, anchor := car.Open(), car.Anchor(3, 0, utc, ms)
	a, b, c := car.Full(1000*ms, 5), car.Full(2000*ms, 5), car.Full(3000*ms, 5)
	out := feed(t, sealed.New(), open, anchor, a, c, b, a)
	want := []topic.Record{open, anchor, a, b, c}
	var full []topic.Record
	for _, r := range out {
		if r.Topic == "telemetry.samples" {
			full = append(full, r)
		}
	}
	if len(full) != len(want) {
		t.Fatalf("%d records, want %d", len(full), len(want))
	}
	for i := range want {
		if !bytes.Equal(full[i].Value, want[i].Value) || string(full[i].Key) != "car-1" {
			t.Errorf("record %d is not batch %d as it was sealed", i, i)
		}
		id, ok := topic.OutputIdentity(&full[i])
		wantInfo, err := topic.ParseBatchHeaders(want[i].Headers)
		if err != nil || !ok || id.ID != wantInfo.ID || id.Place != sealed.Place {
			t.Errorf("record %d says it is %v, want %v", i, id, wantInfo.ID)
		}
	}
	r := &full[3]
	for key, v := range map[string]string{
		"clock": "synced", "anchor": "3", "samples": "10", "content-type": sealed.ContentType, "catalogue": car.Hash.String(),
		"first_ns": strconv.FormatInt(2000*ms, 10), "first_utc_ns": strconv.FormatInt(utc+2000*ms, 10),
		"last_utc_ns": strconv.FormatInt(utc+2004*ms, 10),
	} {
		if got := get(t, r, key); got != v {
			t.Errorf("header %s is %s, want %s", key, got, v)
		}
	}
	if r.TimestampMS != utc/ms+2000 {
		t.Errorf("timestamp is %d, want that of the first sample", r.TimestampMS)
	}
}

func TestUnsyncedIsMarked(t *testing.T) {
	car := sequencetest.NewCar("car-1", 1, 7)
	cfg := []topic.Record{car.Open(), car.Event(10*ms, "pit")}
	out := feed(t, sealed.New(), cfg...)
	if len(out) == 0 {
		t.Fatal("nothing came out")
	}
	for i := range out {
		if out[i].Topic != "telemetry.samples" {
			continue
		}
		if get(t, &out[i], "clock") != "unsynced" {
			t.Error("a batch without an anchor is not marked unsynced")
		}
		if _, ok := out[i].Get("anchor"); ok {
			t.Error("a batch without an anchor names one")
		}
	}
}

func TestEventsAreRowsAsWell(t *testing.T) {
	car := sequencetest.NewCar("car-1", 1, 7)
	out := feed(t, sealed.New(), car.Open(), car.Anchor(1, 0, utc, ms), car.Event(10*ms, "pit"))
	n := 0
	for i := range out {
		if out[i].Topic == "telemetry.events" {
			n++
			if !bytes.Contains(out[i].Value, []byte(`"event":"pit"`)) {
				t.Errorf("event is %s", out[i].Value)
			}
		}
	}
	if n != 1 {
		t.Errorf("%d events, want 1", n)
	}
}

// A payload whose sections cannot be told apart is a dead letter with a gap, in
// this format as in the others.
func TestBrokenPayloadIsADeadLetter(t *testing.T) {
	car := sequencetest.NewCar("car-1", 1, 7)
	bad := car.Seal(wire.Body{Lane: wire.LaneFull, FirstNS: 1, LastNS: 2, Samples: 1, Payload: []byte{1, 0xff, 0xff, 0xff}})
	good := car.Full(5*ms, 1)
	out := feed(t, sealed.New(), car.Open(), car.Anchor(1, 0, utc, ms), bad, good)
	count := map[string]int{}
	for _, r := range out {
		count[r.Topic]++
	}
	if count["telemetry.dlq"] != 1 || count["telemetry.gaps"] != 1 || count["telemetry.samples"] != 3 {
		t.Errorf("records by topic: %v, want a dead letter, a gap, and open, anchor and the good batch", count)
	}
}

func TestEachLaneHasItsFormat(t *testing.T) {
	car := sequencetest.NewCar("car-1", 1, 7)
	by := sequence.ByLane{wire.LaneCritical: jsonrow.New(), wire.LaneLive: jsonrow.New(), wire.LaneFull: sealed.New()}
	full, live := car.Full(1000*ms, 3), car.Live(1000*ms)
	kinds := map[string]int{}
	for _, r := range feed(t, by, car.Open(), car.Anchor(1, 0, utc, ms), full, live) {
		v, _ := r.Get(topic.HeaderContentType)
		kinds[r.Topic+" "+v]++
	}
	if kinds["telemetry.samples "+sealed.ContentType] != 1 || kinds["telemetry.live "+jsonrow.ContentType] != 1 {
		t.Errorf("records: %v", kinds)
	}
}
