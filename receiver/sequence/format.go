package sequence

import (
	"errors"
	"fmt"

	"telemetry/receiver/sequence/timemap"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// Headers of output records beside those of package topic.
const (
	HeaderBootNS = "boot_ns" // event time, ns since boot
	HeaderClock  = "clock"   // "synced" or "unsynced"
	HeaderAnchor = "anchor"  // id of the anchor that ts_ns rests on; absent while unsynced
	// HeaderMade says how many records the batch makes here, when its output leaves
	// some of its places out.
	HeaderMade   = "made"
	HeaderLateMS = "late_ms" // from the batch's newest sample to its arrival in Kafka; absent while unsynced
)

// PlaceBatch is the part header of a record that is the batch as it was sealed.
const PlaceBatch = "batch"

// MaxValueBytes is the largest value of one output record: below every broker's
// default limit, so that one record can't stop a partition for ever.
const MaxValueBytes = 900_000

// MaxMadeBytes bounds what one batch makes, as [topic.Record.Size] counts. Columns that
// do not change cost a car nothing: without it, less than a hundred bytes make a
// gigabyte, which no transaction takes, and which is tried again for ever.
const MaxMadeBytes = 64 << 20

// ErrTooLarge says that a batch gives a record above MaxValueBytes, or more than
// MaxMadeBytes.
var ErrTooLarge = errors.New("sequence: output record too large")

// Format turns decoded batches into output records. An instance serves one
// partition and is not safe for concurrent use. Its output is a pure function
// of the batch, so that a batch written twice is the same records twice.
type Format interface {
	// Append adds the batch's records to out: one per row and group in the
	// order of the batch, then its events. It keeps nothing of b. After an
	// error the caller discards what was added; the batch goes to the
	// dead-letter topic.
	Append(out *Output, b *Batch) error
}

// SealedFormat is a [Format] that takes the batches of some lanes as they were
// sealed. Such a batch comes without Catalogue and Blocks: it is checked to be
// whole and to consist of sections, but its columns are not read, and nothing
// waits for its catalogue. Each batch makes one record with [PlaceBatch].
type SealedFormat interface {
	Format
	// TakesSealed reports whether the lane's batches are taken so. The answer
	// never changes.
	TakesSealed(lane wire.Lane) bool
}

// ByLane is a format that leaves each lane's batches to a format of its own; all
// three must be set. Index 0 is not used.
type ByLane [wire.LaneFull + 1]Format

var _ SealedFormat = ByLane{}

// Append implements [Format].
func (f ByLane) Append(out *Output, b *Batch) error {
	if b.Rows == "" { // pulled forward, and the output has no topic for that
		return nil
	}
	return f[laneFormat(b.ID.Stream.Lane)].Append(out, b)
}

// TakesSealed implements [SealedFormat].
func (f ByLane) TakesSealed(lane wire.Lane) bool {
	s, ok := f[laneFormat(lane)].(SealedFormat)
	return ok && s.TakesSealed(lane)
}

// Nothing is the format of a lane that an output does not have.
type Nothing struct{}

var _ SealedFormat = Nothing{}

// Append implements [Format].
func (Nothing) Append(*Output, *Batch) error { return nil }

// TakesSealed implements [SealedFormat].
func (Nothing) TakesSealed(wire.Lane) bool { return true }

// laneFormat returns the index of a lane's format.
func laneFormat(l wire.Lane) int {
	if l.Valid() {
		return int(l)
	}
	return int(wire.LaneFull)
}

// Batch is one batch, decoded, on its way to an output. It is valid during one
// call of [Format.Append].
type Batch struct {
	ID        wire.ID
	Sealed    []byte // as the car sealed it; never written to, and may be kept as long as the output
	FirstNS   int64  // event time of the oldest sample, ns since boot
	Samples   uint32 // as its envelope says
	Hash      wire.CatalogueHash
	Catalogue *wire.Catalogue // nil when Blocks is empty
	Blocks    []wire.Block    // in the order of the payload
	Events    []wire.Event
	LastNS    int64        // event time of the newest sample, ns since boot
	Clock     *timemap.Map // nil: no anchor of the epoch is known
	AppendMS  int64        // LogAppendTime of the batch's record: the time of unsynced rows
	Link      uint8        // link of the copy that was taken
	Rows      string       // topic of the rows
	Event     string       // topic of the events
	ByGroup   bool         // rows are keyed <car>/<group>, else <car>
	BehindMS  int64        // oldest record time allowed, before AppendMS
}

// aheadMS is how far a record's time may be ahead of the log's: brokers refuse
// more than an hour, readers' watermarks suffer from less.
const aheadMS = 5 * 60 * 1000

// RecordMS returns the record timestamp for an event time in ns since 1970: the
// event time, but within what the output topic's broker takes and retention
// does not delete at once. The body keeps the truth.
func (b *Batch) RecordMS(tsNS int64) (ms int64, clamped bool) {
	ms = FloorMS(tsNS)
	if limit := b.AppendMS + aheadMS; ms > limit {
		return limit, true
	}
	if limit := b.AppendMS - b.BehindMS; ms < limit {
		return limit, true
	}
	return ms, false
}

// FloorMS converts ns to ms, rounded towards the past.
func FloorMS(ns int64) int64 {
	ms := ns / 1e6
	if ns%1e6 < 0 {
		ms--
	}
	return ms
}

// Stamp maps an instant of the batch's epoch to UTC; without a map it is the
// time at which the log took the batch, marked unsynced.
func (b *Batch) Stamp(bootNS int64) timemap.Stamp {
	if b.Clock != nil {
		if s := b.Clock.At(bootNS); s.Synced {
			return s
		}
	}
	return timemap.Stamp{UTCNS: b.AppendMS * 1e6}
}

// Output collects records and owns all their bytes but those of sealed batches. [Output.Reset] makes the
// memory free for the next ones.
type Output struct {
	Records []topic.Record
	Bytes   int // estimated size of all records in a producer's buffer
	Clamped int // records whose timestamp was moved, see [Batch.RecordMS]

	began   int // Bytes when the batch began
	bytes   arena[byte]
	headers arena[topic.Header]
}

// Value returns an empty slice to append a value, key or header value to, best
// with room for n bytes; give the result to [Output.Keep]. Only one may be open
// at a time.
func (o *Output) Value(n int) []byte { return o.bytes.open(n) }

// Keep ends what [Output.Value] began and returns it with its length as capacity.
func (o *Output) Keep(b []byte) []byte { return o.bytes.keep(b) }

// Headers returns n headers to fill in.
func (o *Output) Headers(n int) []topic.Header { return o.headers.take(n) }

// Begin says that what is added from now on is another batch's, see [Output.Full].
func (o *Output) Begin() { o.began = o.Bytes }

// Full returns an error that wraps [ErrTooLarge] when a batch has made more than
// MaxMadeBytes.
func (o *Output) Full() error {
	if o.Bytes-o.began > MaxMadeBytes {
		return fmt.Errorf("%w: more than %d bytes of one batch", ErrTooLarge, MaxMadeBytes)
	}
	return nil
}

// Add adds a record.
func (o *Output) Add(r topic.Record) {
	o.Bytes += r.Size()
	o.Records = append(o.Records, r)
}

// Reset forgets all records and reuses their memory.
func (o *Output) Reset() {
	clear(o.Records)
	o.Records = o.Records[:0]
	o.Bytes, o.Clamped, o.began = 0, 0, 0
	o.bytes.reset()
	o.headers.reset()
}

// truncate forgets the records from n on.
func (o *Output) truncate(n int) {
	for i := n; i < len(o.Records); i++ {
		o.Bytes -= o.Records[i].Size()
	}
	clear(o.Records[n:])
	o.Records = o.Records[:n]
}

// Sizes of an arena's blocks, in elements, and how many are kept for reuse.
const (
	arenaBlock = 64 << 10
	arenaKeep  = 64
)

// arena hands out slices that all become free at once. Blocks never move, so
// what was handed out stays valid until reset.
type arena[T any] struct {
	full [][]T // used up, in use until reset
	free [][]T // empty
	cur  []T
}

// open returns an empty slice with the rest of the current block as capacity, at
// least n.
func (a *arena[T]) open(n int) []T {
	if cap(a.cur)-len(a.cur) < n {
		a.grow(max(n, arenaBlock))
	}
	return a.cur[len(a.cur):]
}

// keep commits what was appended to an opened slice, wherever it lives now.
func (a *arena[T]) keep(b []T) []T {
	if len(b) <= cap(a.cur)-len(a.cur) {
		rest := a.cur[len(a.cur):cap(a.cur)]
		if len(b) == 0 || &rest[0] == &b[0] {
			a.cur = a.cur[:len(a.cur)+len(b)]
		}
	}
	return b[:len(b):len(b)]
}

// take returns n elements of unspecified content.
func (a *arena[T]) take(n int) []T {
	if cap(a.cur)-len(a.cur) < n {
		a.grow(max(n, arenaBlock/16))
	}
	k := len(a.cur)
	a.cur = a.cur[:k+n]
	return a.cur[k : k+n : k+n]
}

func (a *arena[T]) grow(n int) {
	if cap(a.cur) > 0 {
		a.full = append(a.full, a.cur)
	}
	a.cur = nil
	if k := len(a.free); k > 0 && cap(a.free[k-1]) >= n {
		a.cur = a.free[k-1]
		a.free = a.free[:k-1]
		return
	}
	a.cur = make([]T, 0, n)
}

func (a *arena[T]) reset() {
	for _, b := range a.full {
		if len(a.free) < arenaKeep {
			clear(b)
			a.free = append(a.free, b[:0])
		}
	}
	clear(a.full)
	a.full = a.full[:0]
	clear(a.cur)
	a.cur = a.cur[:0]
}
