package receiver

import (
	"context"
	"errors"
	"testing"
	"time"

	"telemetry/receiver/hop"
	"telemetry/receiver/topic"
)

// fixedLog is a log that has some records.
type fixedLog struct {
	ends map[int32]int64
	recs []topic.Record
}

func (fixedLog) Names() topic.Names { return topic.NewNames("") }

func (l fixedLog) EndOffsets(context.Context, string) (map[int32]int64, error) { return l.ends, nil }

func (l fixedLog) Follow(_ context.Context, name string, _ map[int32]int64, fn func(topic.Record) error) error {
	for _, r := range l.recs {
		r.Topic = name
		if err := fn(r); err != nil {
			return err
		}
	}
	return nil
}

// TestShownIsMeasuredOfSampledRowsThatAreNew: not of history, of other batches, of other
// topics, or of what the page did not take.
func TestShownIsMeasuredOfSampledRowsThatAreNew(t *testing.T) {
	row := func(offset int64, seq string) topic.Record {
		return topic.Record{Offset: offset, TimestampMS: time.Now().Add(-time.Minute).UnixMilli(), Headers: []topic.Header{{Key: topic.HeaderSeq, Value: []byte(seq)}}}
	}
	log := fixedLog{ends: map[int32]int64{0: 5}, recs: []topic.Record{row(4, "1"), row(5, "17"), row(6, "18"), {Offset: 7}, row(8, "33")}}
	names := log.Names()
	for name, want := range map[string]uint64{names.Samples: 2, names.Live: 2, names.Events: 0} {
		l := shownLog{log, new(hop.Set)}
		n := 0
		if err := l.Follow(t.Context(), name, nil, func(topic.Record) error { n++; return nil }); err != nil || n != len(log.recs) {
			t.Errorf("%s: %d records, %v", name, n, err)
		}
		figures, _ := l.hops.Snapshot()
		f := figures[hop.Shown]
		if f.Hop != "shown" || f.Count != want || want > 0 && (f.P50MS < 60_000 || f.P50MS > 120_000) {
			t.Errorf("%s: %+v, want %d of a minute", name, f, want)
		}
	}
	bad := errors.New("full")
	l := shownLog{log, new(hop.Set)}
	if err := l.Follow(t.Context(), names.Samples, nil, func(topic.Record) error { return bad }); !errors.Is(err, bad) {
		t.Errorf("the page's error: %v", err)
	}
	if figures, _ := l.hops.Snapshot(); figures[hop.Shown].Count != 0 {
		t.Error("what the page did not take is measured")
	}
}
