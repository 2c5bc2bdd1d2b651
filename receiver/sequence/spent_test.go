package sequence_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/sealed"
	"telemetry/receiver/sequence/sequencetest"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// sealedConfig is that of an output in format batch.
func sealedConfig() sequence.Config {
	c := config()
	c.NewFormat = func() sequence.Format { return sealed.New() }
	return c
}

// batches lists sealed batches as "topic lane#seq", and leaves all else out.
func batches(recs []topic.Record) []string {
	var s []string
	for i := range recs {
		if id, ok := topic.OutputIdentity(&recs[i]); ok && id.Place == sealed.Place {
			s = append(s, fmt.Sprintf("%s %v#%d", strings.TrimPrefix(id.Topic, "telemetry."), id.ID.Stream.Lane, id.ID.Seq))
		}
	}
	return s
}

func wantBatches(t *testing.T, what string, got []topic.Record, want ...string) {
	t.Helper()
	if g := batches(got); !slices.Equal(g, want) {
		t.Errorf("%s:\n got %q\nwant %q", what, g, want)
	}
}

// TestRule04SpentControlIsThereWhereBatchesAreSealed: a loss record overtakes the batch
// before it; its number is in no gap, so it must be in a topic, once.
func TestRule04SpentControlIsThereWhereBatchesAreSealed(t *testing.T) {
	b := newBench(t, sealedConfig(), sequencetest.Catalogue("car-1"))
	c := sequencetest.NewCar("car-1", 1, 0xabc)
	b.apply(c.Open(), c.Anchor(1, 1000*ms, utc+1000*ms, ms))
	wantBatches(t, "opening", b.write(), "samples critical#1", "samples critical#2")
	late := c.Event(1000*ms, "mark")
	loss := c.Loss(wire.LaneFull, 1, 1, wire.ReasonQuota)
	state, offset := maps.Clone(b.state), b.offset
	b.apply(loss)
	rows := slices.Clone(b.write())
	wantBatches(t, "before its turn", rows, "late critical#4")
	t.Run("a dead owner has written it", func(t *testing.T) {
		b := *b
		b.t, b.state, b.offset = t, maps.Clone(state), offset
		b.inherit(0, rows[len(rows)-1])
		wantBatches(t, "again", b.write())
	})
	b.load(0)
	b.apply(loss, late)
	wantBatches(t, "the batch before it", b.write(), "samples critical#3")
	b.apply(c.Event(1001*ms, "mark"))
	wantBatches(t, "the next one", b.write(), "samples critical#5")
	if b.offset != int64(len(b.log)) {
		t.Errorf("the group is at %d of %d", b.offset, len(b.log))
	}
	if s := b.p.Snapshot(); s.Late != 0 || s.Spent != 0 || s.Released != 2 || s.Duplicates != 1 {
		t.Errorf("after the takeover: late %d, spent %d, released %d, duplicates %d, want 0, 0, 2, 1", s.Late, s.Spent, s.Released, s.Duplicates)
	}
}

// TestRule04SpentControlIsCountedApart: formats that decode make nothing of it.
func TestRule04SpentControlIsCountedApart(t *testing.T) {
	b, c := opened(t, config())
	late := c.Event(1000*ms, "mark")
	b.apply(c.Loss(wire.LaneFull, 1, 1, wire.ReasonQuota))
	want(t, "before its turn", b.write(), "gaps full#1-1 settled quota")
	if s := b.p.Snapshot(); s.Spent != 1 || s.Released != 2 || s.Late != 0 {
		t.Errorf("spent %d, released %d, late %d, want 1, 2, 0", s.Spent, s.Released, s.Late)
	}
	b.apply(late)
	want(t, "the batch before it", b.write(), "events critical#3:1/1 synced")
}
