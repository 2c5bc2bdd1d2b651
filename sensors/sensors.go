// Package sensors says what a source of samples is, and runs several of them.
//
// The entry points are [Source], which the folders below implement, and
// [Supervisor], which keeps sources running: one that fails is started again
// with backoff and counted, and never stops the others.
//
// The package never reads the boot clock, never numbers or stores samples and
// never knows what a value means: that is the agent's and the catalogue's part.
package sensors

import (
	"context"
	"fmt"

	"telemetry/wire"
)

// Rows is a run of rows of one group, as a source hands them to a [Sink]. The
// sink copies: a source may reuse all slices after Append has returned.
type Rows struct {
	Group   int      // index in the source's Groups
	Ticks   []int64  // ns since boot, one per row, non-decreasing; at least one
	Values  []int64  // row-major raw words, len(Ticks) times the group's channels; see wire.Column
	Present []uint64 // nil: every value is there; else bit row*channels+channel says so
}

// Sink takes what a source reads. Implementations must be safe for use by one
// source at a time; a sink that is shared by sources says so itself.
type Sink interface {
	// Append copies r. It blocks while the agent's queue is full (this is the
	// backpressure) and fails only when the agent is stopping.
	Append(r Rows) error
	// Event records one instant, under the same rules as Append.
	Event(e wire.Event) error
}

// AnchorSink is an optional capability of a [Sink]: it takes time anchors of
// sources that know UTC. The sink gives them their number.
type AnchorSink interface {
	// Anchor takes a under the rules of Append; a.ID is not looked at.
	Anchor(a wire.Anchor) error
}

// Source reads one device, bus, file or simulation.
type Source interface {
	// Groups lists what the source delivers. It is fixed for the life of the
	// source; Group.Source is filled in by the agent. The caller must not
	// change what it is given.
	Groups() []wire.Group
	// Run reads until ctx ends, the source is at its end (nil: a file) or it
	// fails (an error: it will be run again after a backoff). It returns after
	// all that it started has ended. Runs never overlap.
	Run(ctx context.Context, out Sink) error
}

// Health is an optional capability of a [Source]: what it counted since it was
// made. It is safe for use beside Run.
type Health interface {
	Counters() []Counter
}

// Counter is one number that only grows.
type Counter struct {
	Name  string // snake_case, without a prefix
	Help  string // one line
	Value uint64
}

// Bit reports whether bit i of a [Rows.Present] map is set. A nil map has all
// bits set.
func Bit(present []uint64, i int) bool {
	return present == nil || present[i>>6]>>(i&63)&1 != 0
}

// Check reports why r cannot be rows of one of groups, or nil.
func (r Rows) Check(groups []wire.Group) error {
	if r.Group < 0 || r.Group >= len(groups) {
		return fmt.Errorf("sensors: rows of group %d (the source has %d)", r.Group, len(groups))
	}
	name, n := groups[r.Group].Name, len(r.Ticks)*len(groups[r.Group].Channels)
	if len(r.Ticks) == 0 || len(r.Values) != n {
		return fmt.Errorf("sensors: group %s: %d ticks and %d values (want %d values)", name, len(r.Ticks), len(r.Values), n)
	}
	if r.Present != nil && len(r.Present) < (n+63)/64 {
		return fmt.Errorf("sensors: group %s: presence map of %d words (want %d)", name, len(r.Present), (n+63)/64)
	}
	for i := 1; i < len(r.Ticks); i++ {
		if r.Ticks[i] < r.Ticks[i-1] {
			return fmt.Errorf("sensors: group %s: tick of row %d is %d ns before the row above", name, i, r.Ticks[i-1]-r.Ticks[i])
		}
	}
	return nil
}
