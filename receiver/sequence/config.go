package sequence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"telemetry/receiver/hop"
	"telemetry/receiver/topic"
	"telemetry/reorder"
	"telemetry/wire"
)

// Clock paces commits and retries; no decision about data rests on it.
type Clock interface {
	// NowNS returns the time in ns since any fixed instant.
	NowNS() int64
	// Sleep returns nil after d, or ctx's error when ctx ends first.
	Sleep(ctx context.Context, d time.Duration) error
}

// Config says how to sequence. Topics and NewFormat are required;
// [Defaults] has the rest.
type Config struct {
	Topics topic.Names
	// NewFormat makes the format of one partition.
	NewFormat func() Format
	// Lanes are those that the output has, empty for all: of the others its format
	// must make nothing, and their gaps are told by the outputs that have them.
	Lanes []wire.Lane
	// Reorder holds windows and limits per car.
	Reorder reorder.Config
	// Budget bounds the bytes of held batches kept in memory over all
	// partitions; nil keeps none, so that every held batch is read again.
	Budget *Budget
	// CarBytes bounds the same for one car.
	CarBytes int64
	// MaxCars is how many cars one partition serves; batches of more are dead
	// letters.
	MaxCars int
	// RecordAge is the oldest timestamp, before its arrival, that a record of
	// samples, late, pulled and events gets; LiveAge is that of live. Both lie
	// below the topics' retention, else Kafka deletes a record as it comes.
	RecordAge, LiveAge time.Duration
	// Commits happen at least CommitInterval apart, or when CommitBytes of output
	// wait; IdleCommit is how long progress without output may stay uncommitted.
	CommitInterval, IdleCommit time.Duration
	CommitBytes                int
	// CommitBehind is how many times CommitBytes wait while the partition's end is
	// not reached: a transaction costs some 25 ms whatever is in it. 0 means 1.
	CommitBehind int
	// Hops takes what the way of sampled batches in order took; nil: nobody asks.
	Hops *hop.Set
	// Wall is the host's time, ns since 1970, for Hops alone.
	Wall func() int64
	// TickEvery is the least time between two ticks (see [Session.Tick]).
	TickEvery time.Duration
	// FetchRecords is how many records one Fetch may return, FetchWait how long
	// it waits for the first.
	FetchRecords int
	FetchWait    time.Duration
	// Backoff is the first wait after an error; it doubles up to BackoffMax.
	Backoff, BackoffMax time.Duration
	Clock               Clock
	Log                 *slog.Logger
}

// Defaults returns everything but Topics and NewFormat: the budget
// is 64 MiB in total and 8 MiB for a car.
//
// Retention is taken to be what we give telemetry.batches; set Reorder.Retention
// and Reorder.Forget, and RecordAge and LiveAge, when the topics differ.
func Defaults() Config {
	r := reorder.Defaults()
	r.Retention, r.Forget = topic.BatchRetention, 2*topic.BatchRetention
	return Config{
		Reorder:        r,
		Budget:         NewBudget(64 << 20),
		CarBytes:       8 << 20,
		MaxCars:        10_000,
		RecordAge:      topic.BatchRetention - time.Hour,
		LiveAge:        23 * time.Hour,
		CommitInterval: 50 * time.Millisecond,
		IdleCommit:     time.Second,
		CommitBytes:    1 << 20,
		CommitBehind:   4,
		TickEvery:      250 * time.Millisecond,
		FetchRecords:   512,
		FetchWait:      250 * time.Millisecond,
		Backoff:        100 * time.Millisecond,
		BackoffMax:     5 * time.Second,
		Clock:          NewSystemClock(),
		Wall:           func() int64 { return time.Now().UnixNano() },
		Log:            slog.New(slog.DiscardHandler),
	}
}

// takes reports whether the output has a lane.
func (c *Config) takes(l wire.Lane) bool { return len(c.Lanes) == 0 || slices.Contains(c.Lanes, l) }

// Validate reports all faults.
func (c *Config) Validate() error {
	errs := []error{c.Reorder.Validate()}
	bad := func(ok bool, what string) {
		if !ok {
			errs = append(errs, fmt.Errorf("sequence: %s", what))
		}
	}
	bad(c.Topics.State != "" && c.Topics.Samples != "", "topics are not named")
	bad(c.NewFormat != nil, "no output format")
	bad(c.Clock != nil && c.Log != nil, "no clock or no log")
	bad(c.CarBytes >= 0, "memory for a car is negative")
	bad(c.MaxCars > 0, "limit of cars is not positive")
	bad(c.RecordAge > 0 && c.LiveAge > 0, "oldest record time is not positive")
	bad(c.CommitInterval >= 0 && c.IdleCommit >= c.CommitInterval, "commit intervals are not in order")
	bad(c.CommitBytes > 0 && c.FetchRecords > 0 && c.FetchWait > 0, "a limit is not positive")
	bad(c.CommitBehind >= 0, "commits of a partition that is behind are negative")
	bad(c.Hops == nil || c.Wall != nil, "hops are measured without a clock")
	bad(c.TickEvery > 0, "tick interval is not positive")
	bad(c.Backoff > 0 && c.BackoffMax >= c.Backoff, "backoff is not positive")
	return errors.Join(errs...)
}
