package live

import (
	"maps"
	"testing"
	"time"

	"telemetry/receiver/live/coverage"
	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/jsonrow"
	"telemetry/receiver/sequence/sealed"
	"telemetry/receiver/sequence/sequencetest"
	"telemetry/receiver/topic"
)

// recorded is when the batches of these tests were made, UTC in ms.
const recorded = int64(1_700_000_000_000)

// sequenced gives a car's batches to a sequencer with an output format and returns
// what it writes. The clock is known; the third batch comes late, the fourth never.
func sequenced(t *testing.T, f sequence.Format) []topic.Record {
	t.Helper()
	const ms = int64(1e6)
	car := sequencetest.NewCar("c", 3, 0xaa)
	recs := []topic.Record{car.Open(), car.Anchor(3, 0, recorded*ms, ms)}
	var full []topic.Record
	for i := range int64(8) {
		full = append(full, car.Full((1000+i*100)*ms, 40))
	}
	for i, r := range full {
		if i != 2 && i != 3 {
			recs = append(recs, r)
		}
	}
	cfg := sequence.Defaults()
	cfg.Topics = topic.NewNames("")
	cfg.NewFormat = func() sequence.Format { return f }
	p, err := sequence.NewPartition(cfg, 0, sequence.Loaded{Partitions: 1})
	if err != nil {
		t.Fatal(err)
	}
	learn := func() {
		if n := p.Drain(1 << 24); len(n.Catalogues) > 0 {
			p.Learn(n.Catalogues[0], sequencetest.Catalogue("c"))
			p.Drain(1 << 24)
		}
	}
	offset := int64(0)
	apply := func(r topic.Record, at int64) {
		r.Offset, r.TimestampMS = offset, at
		offset++
		p.Apply(&r)
	}
	for _, r := range recs {
		apply(r, recorded+3000)
	}
	learn()
	apply(car.Full(5000*ms, 1), recorded+600_000) // the window of the missing ones has run out
	apply(full[2], recorded+600_000)
	learn()
	var out []topic.Record
	for _, r := range p.Commit().Out {
		r.Value = append([]byte(nil), r.Value...)
		for i := range r.Headers {
			r.Headers[i].Value = append([]byte(nil), r.Headers[i].Value...)
		}
		out = append(out, r)
	}
	return out
}

// sees lets a new server take records as from their topics, and returns what its
// charts show.
func sees(t *testing.T, recs []topic.Record) (*Server, chartPage) {
	t.Helper()
	cat := sequencetest.Catalogue("c")
	s := &Server{opt: Options{Catalogues: catalogues{cat.Hash(): cat.Append(nil)}}, store: quietStore()}
	names := topic.NewNames("")
	by := map[string]*follower{}
	take := map[string]func(f *follower, rec *topic.Record){
		names.Samples: func(f *follower, rec *topic.Record) { f.row(t.Context(), rec, inOrder) },
		names.Late:    func(f *follower, rec *topic.Record) { f.row(t.Context(), rec, late) },
		names.Events:  func(f *follower, rec *topic.Record) { f.row(t.Context(), rec, event) },
		names.Gaps:    func(f *follower, rec *topic.Record) { f.gap(rec) },
	}
	var p chartPage
	now := recorded + 2500
	for i := range recs {
		r := &recs[i]
		if take[r.Topic] == nil {
			continue
		}
		if by[r.Topic] == nil {
			by[r.Topic] = &follower{s: s, followed: followed{name: r.Topic}}
		}
		take[r.Topic](by[r.Topic], r)
		if c := s.store.cars["c"]; c != nil && len(c.channels) >= 2 {
			frame(t, s.store, []plot{{id: 0}, {id: 1}}, 1, 1600, now, false, &p)
		}
	}
	frame(t, s.store, []plot{{id: 0}, {id: 1}}, 1, 1600, now, true, &p)
	return s, p
}

// holesOf returns all holes that have been there for a while.
func holesOf(s *Server) []coverage.Hole {
	hs, _ := s.store.holes(nil, "c", 1<<40, time.Now().Add(time.Hour).UnixMilli())
	return hs
}

// Batches as they were sealed show what rows show: values, times and holes.
func TestSealedBatchesShowWhatRowsShow(t *testing.T) {
	rows, want := sees(t, sequenced(t, jsonrow.New()))
	batches, got := sees(t, sequenced(t, sealed.New()))
	if len(want.steps[0]) < 7*40*9/10 || len(want.steps) != 2 {
		t.Fatalf("rows show %d steps of %d channels", len(want.steps[0]), len(want.steps))
	}
	for id := range want.steps {
		for k := recorded; k < recorded+1100; k++ { // before it was charted, its first batch is known less well
			delete(want.steps[id], k)
			delete(got.steps[id], k)
		}
		if !maps.Equal(got.steps[id], want.steps[id]) {
			t.Errorf("channel %d: %d steps of batches, %d of rows", id, len(got.steps[id]), len(want.steps[id]))
		}
	}
	a := holesOf(rows)
	b := holesOf(batches)
	if len(a) == 0 || len(a) != len(b) || a[0] != b[0] {
		t.Errorf("holes of rows %+v, of batches %+v", a, b)
	}
	x, _ := rows.store.detail("c", recorded)
	y, _ := batches.store.detail("c", recorded)
	x.SeenMS, y.SeenMS = 0, 0
	if x.Channels != 2 || x.Session != y.Session || x.Synced != y.Synced || x.Lanes[2].Late != 1 || y.Lanes[2].Late != 1 || x.Lanes[2].NewestMS != y.Lanes[2].NewestMS {
		t.Errorf("rows %+v, batches %+v", x, y)
	}
	_, found, _ := batches.store.find("c", "rpm", 0, 1)
	if len(found) != 1 || found[0].Group != "Engine" {
		t.Errorf("channels %+v", found)
	}
}

// A batch whose catalogue nobody has is no hole.
func TestABatchWithoutItsCatalogueIsNoHole(t *testing.T) {
	recs := sequenced(t, sealed.New())
	s := &Server{opt: Options{Catalogues: catalogues{}}, store: quietStore()}
	put(t, s.store, inOrder, recorded, rowText("c", "live", recorded, `,"x":1`))
	f := &follower{s: s}
	for i := range recs {
		if recs[i].Topic == "telemetry.samples" {
			f.row(t.Context(), &recs[i], inOrder)
		}
	}
	if n := s.Counters(); n.CatalogueErrors == 0 || n.Malformed != 0 {
		t.Errorf("counters %+v", n)
	}
	if hs := holesOf(s); len(hs) != 1 {
		t.Errorf("holes %+v, want the one batch pair that did not come", hs)
	}
	broken := recs[len(recs)-1]
	broken.Value = broken.Value[:len(broken.Value)/2]
	broken.Headers = append([]topic.Header{{Key: topic.HeaderContentType, Value: []byte(topic.ContentTypeBatch)}}, broken.Headers...)
	f.row(t.Context(), &broken, inOrder)
	if n := s.Counters(); n.Malformed != 1 {
		t.Errorf("a broken batch: %+v", n)
	}
}
