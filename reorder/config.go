package reorder

import (
	"errors"
	"fmt"
	"time"

	"telemetry/wire"
)

// None is the window that never runs out: a hole waits until it is filled or
// settled.
const None time.Duration = -1

// MaxSeq is the greatest sequence number taken. A batch beyond it is a dead
// letter; ranges are cut off there.
const MaxSeq uint64 = wire.MaxSeq

// CRCWindow is how many of a stream's latest delivered numbers keep the CRC of
// their payload, so that another payload under the same identity is noticed.
// Copies of older ones are taken for duplicates unseen. The window is not part of
// the state: after a takeover it fills again.
const CRCWindow = 1024

// maxLimit bounds the limits of epochs and streams, and so what [ParseCar] makes.
const maxLimit = 1 << 14

// Config says how long to wait and how much to keep. The zero value is not
// useful: its windows are 0, which skips every hole as soon as time moves on;
// start from [Defaults].
type Config struct {
	// Windows is how long a hole is waited for, by lane (index 0 is not used),
	// counted from the earliest LogAppendTime of an unpulled batch beyond it.
	// None waits for ever. Fractions of a millisecond are rounded up.
	Windows [wire.LaneFull + 1]time.Duration
	// AnchorWait is how long an epoch's first time anchor is waited for, from the
	// first batch of the epoch; 0 does not wait.
	AnchorWait time.Duration
	// Retention is that of the input topic: at half of it a waiting batch raises
	// an alarm, at its end it is settled. 0 means that nothing is ever deleted.
	Retention time.Duration
	// Forget is how long a closed epoch is remembered in full after its last
	// batch: the retention plus the longest replay delay, or longer. After that
	// its batches are stale. 0 remembers for ever, within Limits.Epochs.
	Forget time.Duration
	// Limits bounds the memory of one car.
	Limits Limits
}

// Limits bounds what one car may occupy. Each limit raises [AlarmLimit] once,
// until half of it is free again.
type Limits struct {
	// Epochs known at once. At the limit the oldest complete epoch becomes a
	// tombstone early; without one, batches of new epochs are dead letters.
	Epochs int
	// Streams known at once. At the limit batches of new streams are dead letters.
	Streams int
	// Tombstones kept. At the limit the oldest is forgotten.
	Tombstones int
	// Held is how many batches may wait, about 100 bytes of memory each. The alarm
	// comes at half of it. At the limit the hole that is open longest is skipped
	// although its window still runs, or is None, and no anchor is waited for.
	Held int
	// HeldRanges is how many runs of numbers one stream may hold; at the limit
	// as for Held.
	HeldRanges int
	// GapRanges is how many ranges of missing numbers are kept in all streams. At
	// the limit the lowest two of a stream merge, live first; a batch inside a
	// merged range is a dead letter. Ranges above the floor never merge: a loss
	// that finds no room is not settled, its hole stays.
	GapRanges int
	// OtherRanges is how many ranges are kept of numbers pulled, and of numbers
	// delivered beyond a closed stream's end or spent; half of it is for what is
	// spent, more waits like other batches. At the limit the lowest two pulled
	// ones merge (what lies between is not emitted to pulled again), and a batch
	// beyond the end is a dead letter.
	OtherRanges int
}

// Defaults returns the windows of the design (critical and full 1 min, live
// 250 ms), an anchor wait of 5 s, no retention, and limits that keep a car under
// 60 MB and its state under 200 kB, whatever it sends.
func Defaults() Config {
	c := Config{
		AnchorWait: 5 * time.Second,
		Limits: Limits{
			Epochs:      512,
			Streams:     1024,
			Tombstones:  4096,
			Held:        5 << 15, // released at once, their offsets take 4 bytes each: a state stays below 1 MB
			HeldRanges:  4096,
			GapRanges:   2048,
			OtherRanges: 2048,
		},
	}
	c.Windows[wire.LaneCritical] = time.Minute
	c.Windows[wire.LaneLive] = 250 * time.Millisecond
	c.Windows[wire.LaneFull] = time.Minute
	return c
}

// Validate reports all faults of the configuration.
func (c Config) Validate() error {
	var errs []error
	for _, l := range wire.Lanes {
		if w := c.Windows[l]; w < 0 && w != None {
			errs = append(errs, fmt.Errorf("reorder: window of lane %s is %v (want 0 or more, or none)", l, w))
		}
	}
	for _, d := range []struct {
		name string
		d    time.Duration
	}{
		{"anchor wait", c.AnchorWait},
		{"retention", c.Retention},
		{"forget", c.Forget},
	} {
		if d.d < 0 {
			errs = append(errs, fmt.Errorf("reorder: %s is %v (want 0 or more)", d.name, d.d))
		}
	}
	if c.Forget > 0 && c.Forget < c.Retention {
		errs = append(errs, fmt.Errorf("reorder: forget %v is below the retention %v", c.Forget, c.Retention))
	}
	for _, l := range []struct {
		name   string
		n, min int
	}{
		{"epochs", c.Limits.Epochs, 2},
		{"streams", c.Limits.Streams, 3},
		{"tombstones", c.Limits.Tombstones, 1},
		{"held batches", c.Limits.Held, 2},
		{"held ranges", c.Limits.HeldRanges, 1},
		{"gap ranges", c.Limits.GapRanges, 2},
		{"other ranges", c.Limits.OtherRanges, 2},
	} {
		if l.n < l.min {
			errs = append(errs, fmt.Errorf("reorder: limit of %s is %d (want at least %d)", l.name, l.n, l.min))
		}
	}
	if n := max(c.Limits.Epochs, c.Limits.Streams); n > maxLimit {
		errs = append(errs, fmt.Errorf("reorder: limit of epochs or streams is %d (want at most %d)", n, maxLimit))
	}
	return errors.Join(errs...)
}

// millis converts a duration to whole milliseconds, rounded up; None stays -1.
func millis(d time.Duration) int64 {
	if d < 0 {
		return -1
	}
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}
