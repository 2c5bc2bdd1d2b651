package sequence

import (
	"context"
	"sync/atomic"
	"time"

	"telemetry/internal/clock"
)

// Budget bounds bytes over all partitions. It only decides what is kept in
// memory and what is read again, never what comes out. A nil Budget has no room.
type Budget struct {
	limit int64
	used  atomic.Int64
}

// NewBudget returns a budget of limit bytes.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// Used returns the bytes taken.
func (b *Budget) Used() int64 {
	if b == nil {
		return 0
	}
	return b.used.Load()
}

// take reports whether n bytes were free, and takes them.
func (b *Budget) take(n int64) bool {
	if b == nil {
		return false
	}
	if b.used.Add(n) > b.limit {
		b.used.Add(-n)
		return false
	}
	return true
}

func (b *Budget) give(n int64) {
	if b != nil {
		b.used.Add(-n)
	}
}

// SystemClock is the machine's monotonic clock.
type SystemClock struct{ start time.Time }

var _ Clock = SystemClock{}

// NewSystemClock returns a clock that is 0 now.
func NewSystemClock() SystemClock { return SystemClock{start: time.Now()} }

// NowNS implements [Clock].
func (c SystemClock) NowNS() int64 { return int64(time.Since(c.start)) }

// Sleep implements [Clock].
func (SystemClock) Sleep(ctx context.Context, d time.Duration) error { return clock.Sleep(ctx, d) }
