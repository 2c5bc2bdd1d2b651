package kafka

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"telemetry/receiver/archive"
	"telemetry/receiver/topic"
)

func TestPastKnowsWhatIsThere(t *testing.T) {
	o, c := observed(t, nil)
	for seq := range uint64(6) {
		produce(t, c, batchRecord(c, "car-1", seq+1))
	}
	p, err := o.Past()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	name, part := c.names.Batches, topic.Partition([]byte("car-1"), 2)
	if p.Partition("car-1", 2) != part || p.Names() != c.names {
		t.Errorf("partition %d, names %+v", p.Partition("car-1", 2), p.Names())
	}
	extent := func(sinceMS int64) archive.Extent {
		t.Helper()
		list, err := p.Extents(t.Context(), name, sinceMS)
		if err != nil || len(list) != 2 {
			t.Fatalf("%+v: %v", list, err)
		}
		return list[part]
	}
	if e := extent(0); e != (archive.Extent{Partition: part, End: 6}) {
		t.Errorf("all: %+v", e)
	}
	if e := extent(time.Now().Add(time.Hour).UnixMilli()); e.Since != 6 {
		t.Errorf("since a time to come: %+v", e)
	}
	if e := extent(producedAt.UnixMilli()); e.Since != 0 { // this broker stamps nothing
		t.Errorf("since the first: %+v", e)
	}
	offsets := func(from, end int64) (out []int64, next int64) {
		t.Helper()
		recs, next, err := p.Chunk(t.Context(), name, part, from, end)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range recs {
			out = append(out, r.Offset)
		}
		return out, next
	}
	if got, next := offsets(1, 4); !slices.Equal(got, []int64{1, 2, 3}) || next != 4 {
		t.Errorf("1 to 4: %v, then %d", got, next)
	}
	if got, next := offsets(4, 6); !slices.Equal(got, []int64{4, 5}) || next != 6 {
		t.Errorf("4 to 6, by a reader that knows the leader: %v, then %d", got, next)
	}
	if _, err := c.adm.DeleteRecords(t.Context(), kadm.Offsets{name: {part: {Topic: name, Partition: part, At: 3}}}); err != nil {
		t.Fatal(err)
	}
	if got, next := offsets(0, 6); len(got) != 0 || next != 3 {
		t.Errorf("what retention has deleted: %v, then %d", got, next)
	}
	if e := extent(0); e.Start != 3 || e.Since != 3 {
		t.Errorf("after that: %+v", e)
	}
	if _, err := p.Extents(t.Context(), "nothing", 0); !errors.Is(err, archive.ErrNoTopic) {
		t.Errorf("a topic that is not there: %v", err)
	}
}

// The end of a context takes back no record that was taken, and takes none.
func TestWriterTakesOrNot(t *testing.T) {
	_, c := observed(t, nil)
	w, err := OpenWriter(t.Context(), Config{Brokers: c.Brokers(), Prefix: "again", AllowWeak: true, Log: quietLog()})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	spec := topic.NewNames("again").Specs(2)[0]
	held, err := w.Ensure(t.Context(), []topic.Spec{spec}, 0)
	if err != nil || len(held) != 1 || !held[0].Made || held[0].Partitions != 2 {
		t.Fatalf("%+v: %v", held, err)
	}
	rec := topic.Record{Topic: spec.Name, Partition: -1, Key: []byte("k"), Value: []byte("v")}
	done := 0
	if err := w.Put(t.Context(), rec, func(bool) { done++ }); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(t.Context()); err != nil || done != 1 || w.Written() != 1 {
		t.Errorf("%d done, %d written: %v", done, w.Written(), err)
	}
	if held, err = w.Ensure(t.Context(), []topic.Spec{spec}, time.Hour); err != nil || held[0].Made || held[0].Records != 1 {
		t.Errorf("once more: %+v, %v", held, err)
	}
	large := rec
	large.Value = make([]byte, 2<<20)
	if err := errors.Join(w.Put(t.Context(), large, nil), w.Flush(t.Context())); err == nil {
		t.Error("a record that is too large is written")
	}
	if err := w.Put(t.Context(), rec, func(bool) { done++ }); err == nil || done != 2 {
		t.Errorf("after a failure the next is taken (%d done): %v", done, err)
	}
}
