package receiver

import (
	"context"
	"strconv"
	"time"

	"telemetry/receiver/hop"
	"telemetry/receiver/live"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// shownLog is the log that the page follows. It measures how old the rows of sampled
// batches are when the page has taken them: browsers get them with the next frame.
type shownLog struct {
	live.Log
	hops *hop.Set
}

// Follow implements live.Log. What was there before is history, and not measured.
func (l shownLog) Follow(ctx context.Context, name string, from map[int32]int64, fn func(topic.Record) error) error {
	if n := l.Names(); name != n.Samples && name != n.Live {
		return l.Log.Follow(ctx, name, from, fn)
	}
	ends, err := l.EndOffsets(ctx, name)
	if err != nil {
		return err
	}
	return l.Log.Follow(ctx, name, from, func(rec topic.Record) error {
		if err := fn(rec); err != nil {
			return err
		}
		text, ok := rec.Get(topic.HeaderSeq)
		if seq, err := strconv.ParseUint(text, 10, 64); ok && err == nil && wire.Sampled(seq) && rec.Offset >= ends[rec.Partition] {
			l.hops.Observe(hop.Shown, time.Since(time.UnixMilli(rec.TimestampMS)))
		}
		return nil
	})
}
