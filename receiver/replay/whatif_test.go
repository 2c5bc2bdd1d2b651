package replay_test

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"telemetry/receiver/archive"
	"telemetry/receiver/replay"
	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/sequencetest"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// log is a source with given times of arrival.
type log struct{ recs []topic.Record }

// add appends a record that came at a time, ms since 1970.
func (l *log) add(ms int64, r topic.Record) {
	r.Topic, r.Partition, r.Offset, r.TimestampMS = "telemetry.batches", 0, int64(len(l.recs)), ms
	l.recs = append(l.recs, r)
}

// Names implements archive.Source.
func (l *log) Names() topic.Names { return topic.NewNames("") }

// Extents implements archive.Source.
func (l *log) Extents(_ context.Context, name string, sinceMS int64) ([]archive.Extent, error) {
	if name != l.Names().Batches {
		return nil, archive.ErrNoTopic
	}
	since, _ := slices.BinarySearchFunc(l.recs, sinceMS, func(r topic.Record, ms int64) int { return cmp.Compare(r.TimestampMS, ms) })
	return []archive.Extent{{End: int64(len(l.recs)), Since: int64(since)}}, nil
}

// Chunk implements archive.Source.
func (l *log) Chunk(_ context.Context, _ string, _ int32, offset, end int64) ([]topic.Record, int64, error) {
	end = min(end, offset+10)
	return l.recs[offset:end], end, nil
}

// Partition implements archive.Source.
func (l *log) Partition(string, int) int32 { return 0 }

// Catalogue implements archive.Source.
func (l *log) Catalogue(context.Context, wire.CatalogueHash) ([]byte, bool, error) {
	return nil, false, nil
}

const began = int64(1_800_000_000_000) // ms

// One batch comes 50 ms after its turn, one 2 s after it, one never: that is what
// windows are chosen by.
func recorded() *log {
	l := &log{}
	car := sequencetest.NewCar("car-1", 1, 7)
	l.add(began, car.Open())
	l.add(began, car.Anchor(1, 1, began*1e6, 1e6))
	full := make([]topic.Record, 0, 40)
	for i := range 40 {
		full = append(full, car.Full(int64(i+1)*100e6, 2))
	}
	came := func(i int) (ms int64, ok bool) {
		at := began + int64(i+1)*100 + 20
		switch i {
		case 4: // number 5
			return at + 150, true
		case 9: // number 10
			return at + 2000, true
		case 19: // number 20
			return 0, false
		}
		return at, true
	}
	type arrived struct {
		ms  int64
		rec topic.Record
	}
	var all []arrived
	for i, r := range full {
		if ms, ok := came(i); ok {
			all = append(all, arrived{ms, r})
		}
	}
	slices.SortStableFunc(all, func(a, b arrived) int { return cmp.Compare(a.ms, b.ms) })
	for _, a := range all {
		l.add(a.ms, a.rec)
		l.add(a.ms, topic.Record{Headers: []topic.Header{{Key: sequence.HeaderTick, Value: []byte("1")}}})
	}
	l.add(all[3].ms+10_000, all[3].rec) // a copy
	return l
}

func TestWhatIf(t *testing.T) {
	a := archive.New(recorded(), archive.Options{})
	list, err := replay.WhatIf(t.Context(), a, archive.Query{}, []time.Duration{10 * time.Millisecond, 100 * time.Millisecond, time.Minute, -1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]replay.Outcome{}
	for _, o := range list {
		got[fmt.Sprintf("%d %s", o.WindowMS, o.Lane)] = o
	}
	// Number 6 comes 50 ms before number 5, numbers 11 to 19 before number 10, and 21 to
	// 40 never see number 20: what is behind a hole waits for what is left of the window.
	cases := map[string]replay.Outcome{
		"10 critical": {WindowMS: 10, Lane: "critical", Batches: 2},
		"10 full":     {WindowMS: 10, Lane: "full", Batches: 39, Delayed: 3, P50MS: 10, P99MS: 10, MaxMS: 10, Late: 2, Lost: 1},
		"100 full":    {WindowMS: 100, Lane: "full", Batches: 39, Delayed: 3, P50MS: 100, P99MS: 100, MaxMS: 100, Late: 1, Lost: 1},
		"60000 full":  {WindowMS: 60_000, Lane: "full", Batches: 39, Delayed: 1 + 9 + 20, MaxMS: 60_000, Late: 0, Lost: 1},
		"-1 full":     {WindowMS: -1, Lane: "full", Batches: 39, Delayed: 1 + 9, MaxMS: 1900, Late: 0, Lost: 0, Waiting: 20},
	}
	for name, want := range cases {
		o := got[name]
		if want.P99MS == 0 && want.Delayed > 0 {
			o.P50MS, o.P99MS = 0, 0
		}
		if o != want {
			t.Errorf("%s: %+v, want %+v", name, o, want)
		}
	}
}

// A window of time counts only what has samples in it, whatever came before.
func TestWhatIfOfAWindow(t *testing.T) {
	a := archive.New(recorded(), archive.Options{})
	from := began*1e6 + 850e6 // numbers 9 to 12
	list, err := replay.WhatIf(t.Context(), a, archive.Query{Car: "car-1", FromNS: from, ToNS: from + 400e6}, []time.Duration{10 * time.Millisecond, time.Minute}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range list {
		late := uint64(0)
		if o.WindowMS == 10 {
			late = 1
		}
		if o.Lane == "full" && (o.Batches != 4 || o.Late != late) || o.Lane != "full" && o.Batches > 0 {
			t.Errorf("%+v", o)
		}
	}
	if len(list) < 2 {
		t.Errorf("%+v", list)
	}
}

func TestWhatIfRefusesTooMuch(t *testing.T) {
	a := archive.New(recorded(), archive.Options{})
	for _, n := range []int{0, replay.MaxWindows + 1} {
		if _, err := replay.WhatIf(t.Context(), a, archive.Query{}, make([]time.Duration, n), nil); err == nil {
			t.Errorf("%d windows are taken", n)
		}
	}
}
