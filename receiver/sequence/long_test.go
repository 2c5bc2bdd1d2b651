package sequence_test

import (
	"testing"

	"telemetry/receiver/topic"
	"telemetry/reorder"
	"telemetry/wire"
)

// What waits behind one hole and is released at once stands in the car's state until it
// is written. That must be a record that Kafka takes, whatever the order in which it
// came and however much of other cars lies between: else nothing of the partition is
// ever committed again.
func TestAllThatWaitsFitsIntoTheState(t *testing.T) {
	cfg := config()
	cfg.Reorder.Windows[wire.LaneFull] = reorder.None
	b, c := opened(t, cfg)
	small := func() topic.Record { return c.Seal(wire.Body{Lane: wire.LaneFull, Payload: []byte{100, 0}}) }
	at := int64(len(b.log))
	put := func(r topic.Record) {
		r.Offset, r.TimestampMS = at, b.nowMS
		at += 300 // a busy partition
		b.p.Apply(&r)
	}
	first := small()
	window := make([]topic.Record, 2*cfg.Reorder.Limits.HeldRanges-200)
	for left := cfg.Reorder.Limits.Held - 1; left > 0; left -= len(window) {
		window = window[:min(len(window), left)]
		for k := range window {
			window[k] = small()
		}
		for _, odd := range []int{0, 1} { // so that neighbours lie far apart
			for k := odd; k < len(window); k += 2 {
				put(window[k])
			}
		}
	}
	put(first)
	if n := b.p.Unwritten(); n != cfg.Reorder.Limits.Held {
		t.Fatalf("%d batches are released, want %d", n, cfg.Reorder.Limits.Held)
	}
	size := 0
	for _, r := range b.p.Commit().State {
		size = max(size, r.Size())
	}
	const others = 330_000 // reorder's own part and the time maps, at their limits
	if size+others > topic.MaxRecordBytes-4096 {
		t.Errorf("the state has %d bytes, and %d of other parts may come on top (limit %d)", size, others, topic.MaxRecordBytes)
	}
}
