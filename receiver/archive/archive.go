// Package archive reads the past of cars out of telemetry.batches: every sample
// once, in order, with the times that the sequencer gave them, and the sessions
// and laps in which people look for them.
//
// The entry points are [New], [Archive.Read] for samples, [Archive.Sessions] for
// where they are, and [Archive.Plan] for who wants the batches themselves, at a
// pace of its own. An archive remembers where in the topic which car's time is, so
// that a second look does not scan the topic again; it keeps no sample.
//
// The package never writes, never follows the end of a topic, and never holds more
// than its limits: [MaxPlan], [MaxIndex] and [Options].
package archive

import (
	"context"
	"errors"

	"telemetry/receiver/sequence/columns"
	"telemetry/wire"
)

// Query says what is read.
type Query struct {
	Car   string
	Epoch *wire.Epoch // nil: all
	// FromNS and ToNS are UTC, ns since 1970: [FromNS, ToNS). 0 for both is
	// everything that is kept, 0 for ToNS what is there up to now.
	FromNS, ToNS int64
	// Take selects channels; nil takes all.
	Take func(group, channel string) bool
	// Lanes are those wanted; empty: critical (events) and full (samples), by arrival
	// all.
	Lanes []wire.Lane
	// Prelude adds, by time, what the critical lane has said before the window.
	Prelude bool
	// Context gives, by arrival, everything that was taken from Lateness before the
	// window on, and no earlier word of the critical lane; see Batch.Inside.
	Context bool
	// ArrivedNS leaves out, by arrival, what was given before that place.
	ArrivedNS int64
}

// Rows is a stretch of rows of one group, or one event. It is valid during the
// call that it is given to.
type Rows struct {
	// Table has the rows that lie in the window; nil for an event.
	*columns.Table
	ID    wire.ID
	Car   string
	AtNS  int64  // the batch's place in the reading, see [Batch]
	Event *Event // nil for rows
}

// Event is an event of the car.
type Event struct {
	BootNS, UTCNS int64
	Synced        bool // UTCNS rests on an anchor; else it is when the log took the event
	Name, Detail  string
}

// Gap is a run of numbers of one stream that are not in the topic.
type Gap struct {
	Stream wire.Stream
	Range  wire.Range
	// FromNS and ToNS, UTC, are the newest sample before it and the oldest behind.
	FromNS, ToNS int64
	// Reason is what telemetry.gaps says of it, as "quota" or "corrupt, disk"; empty:
	// nobody knows why.
	Reason string
}

// Report says what a reading met.
type Report struct {
	Batches    uint64 // read, each once
	Samples    uint64 // given to the caller
	Events     uint64 // likewise
	Duplicates uint64 // copies of batches, dropped
	Conflicts  uint64 // of them with another payload under the same identity: the first is taken
	Unreadable uint64 // batches that cannot be decoded, or whose catalogue is gone
	Gaps       []Gap  // at most MaxGaps, oldest first
	MoreGaps   int    // beyond those
	Missing    uint64 // numbers in all gaps
	Scanned    int64  // bytes of values read from the topic
	// Reasons are the first few of what was unreadable.
	Reasons []string
}

// Limits.
const (
	// MaxPlan is how many batches of one reading are planned at once, about 80 bytes
	// of memory each; a longer window is read in slices of that many.
	MaxPlan = 1 << 20
	// MaxIndex is how many entries the index of one topic has, about 100 bytes each.
	// Beyond it neighbours are merged.
	MaxIndex = 1 << 18
	// MaxGaps bounds the gaps of one report, MaxReasons its reasons.
	MaxGaps    = 1000
	MaxReasons = 10
)

// Options bound an archive's memory; the zero value takes the defaults.
type Options struct {
	// CacheBytes bounds the batches that one reading holds: fetched ahead, or
	// fetched because they lie between others. Default 64 MiB.
	CacheBytes int
	// PlanBatches and IndexEntries lower MaxPlan and MaxIndex.
	PlanBatches, IndexEntries int
}

// Progress is told how far a reading is: done of "of" bytes or offsets. It may be
// nil, is called by the goroutine that reads, and must not block.
type Progress func(done, of int64)

// ErrStop, returned by the function of a reading, ends it without an error.
var ErrStop = errors.New("archive: enough")

// ErrUnknown says that there is no such car, session or lap.
var ErrUnknown = errors.New("archive: unknown")

// IsBroken reports whether an error of a [Decoder] is the source's and not the batch's:
// the next batch would fail as well.
func IsBroken(err error) bool {
	var b *brokenSource
	return errors.As(err, &b)
}

// Archive reads one cluster's past. It is safe for concurrent use.
type Archive struct {
	src    Source
	opt    Options
	books  bookkeeping
	clocks clocks
}

// New returns an archive over a source.
func New(src Source, opt Options) *Archive {
	if opt.CacheBytes <= 0 {
		opt.CacheBytes = 64 << 20
	}
	if opt.PlanBatches <= 0 || opt.PlanBatches > MaxPlan {
		opt.PlanBatches = MaxPlan
	}
	if opt.IndexEntries <= 0 || opt.IndexEntries > MaxIndex {
		opt.IndexEntries = MaxIndex
	}
	a := &Archive{src: src, opt: opt}
	a.books.init()
	a.clocks.init()
	return a
}

// Source returns what the archive reads.
func (a *Archive) Source() Source { return a.src }

// Read calls fn for the rows of a window: epoch by epoch, in the order of their
// time; those of one lane in the order of their numbers. Rows outside of the window
// are left out. An error of fn ends the reading and is returned.
func (a *Archive) Read(ctx context.Context, q Query, fn func(*Rows) error, progress Progress) (Report, error) {
	r := newRowReader(ctx, a, &q, fn)
	rep, err := a.Batches(ctx, q, ByTime, r.batch, progress)
	r.addTo(&rep)
	if errors.Is(err, ErrStop) {
		err = nil
	}
	return rep, err
}
