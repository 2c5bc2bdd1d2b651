// Package sealed is the output format `batch`: one record per batch, its value
// the batch as the car sealed it, in order. It is the cheapest way to the full
// rate: nothing is decoded here, and a reader decodes it with package wire and the
// catalogue that the record's headers name.
//
// The entry point is [New]. Headers say which batch it is, whether and by which
// anchor its clock is known, and which offset, in ns, added to its boot times
// gives UTC at its first and at its last sample. Every batch of a lane is there,
// control records included, so that the numbers of a stream have no holes but
// those of telemetry.gaps. One of control records only that came before its turn is
// in late.
//
// The package never changes a byte of a batch. Events go to the events topic as
// rows of package jsonrow as well.
package sealed

import (
	"encoding/hex"
	"strconv"

	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/jsonrow"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// ContentType stands in each record's content-type header.
const ContentType = topic.ContentTypeBatch

// Place stands in each record's part header: beside the rows of events, which
// have places of their own.
const Place = sequence.PlaceBatch

// Headers beside those of package topic and package sequence.
const (
	HeaderFirstNS     = "first_ns"      // event time of the oldest sample, ns since boot
	HeaderLastNS      = "last_ns"       // of the newest
	HeaderFirstUTCNS  = "first_utc_ns"  // the same as UTC; the log's time while unsynced
	HeaderLastUTCNS   = "last_utc_ns"   // differs from first_utc_ns by last_ns - first_ns and by slewing
	HeaderUncertainNS = "clock_unc_ns"  // absent while unsynced
	HeaderSegment     = "clock_segment" // absent while unsynced
	HeaderSamples     = "samples"
)

var (
	contentType = []byte(ContentType)
	place       = []byte(Place)
	synced      = []byte(jsonrow.ClockSynced)
	unsynced    = []byte(jsonrow.ClockUnsynced)
)

// Format implements [sequence.SealedFormat]. It is not safe for concurrent use.
type Format struct{ events *jsonrow.Format }

var _ sequence.SealedFormat = (*Format)(nil)

// New returns a format.
func New() *Format { return &Format{events: jsonrow.New()} }

// TakesSealed implements [sequence.SealedFormat].
func (*Format) TakesSealed(wire.Lane) bool { return true }

// Append implements [sequence.Format].
func (f *Format) Append(out *sequence.Output, b *sequence.Batch) error {
	first := b.Stamp(b.FirstNS)
	ms, clamped := b.RecordMS(first.UTCNS)
	if clamped {
		out.Clamped++
	}
	key := out.Keep(append(out.Value(len(b.ID.Stream.Car)), b.ID.Stream.Car...))
	out.Add(topic.Record{
		Topic: b.Rows, Partition: -1, Key: key, TimestampMS: ms,
		Value:   b.Sealed, // the record's own memory, which nobody writes to
		Headers: headers(out, b, key),
	})
	if len(b.Events) == 0 || b.Event == b.Rows {
		return nil
	}
	return f.events.Append(out, b)
}

// headers returns the record's headers, in the output's memory.
func headers(out *sequence.Output, b *sequence.Batch, car []byte) []topic.Header {
	st := b.ID.Stream
	hs := out.Headers(20)[:0]
	add := func(key string, v []byte) { hs = append(hs, topic.Header{Key: key, Value: v}) }
	uint := func(key string, n uint64) { add(key, out.Keep(strconv.AppendUint(out.Value(20), n, 10))) }
	int := func(key string, n int64) { add(key, out.Keep(strconv.AppendInt(out.Value(20), n, 10))) }
	add(topic.HeaderCar, car)
	uint(topic.HeaderEpoch, uint64(st.Epoch.Counter))
	add(topic.HeaderNonce, hex64(out, st.Epoch.Nonce))
	lane := st.Lane.String()
	add(topic.HeaderLane, out.Keep(append(out.Value(len(lane)), lane...)))
	if st.Shard != 0 {
		uint(topic.HeaderShard, uint64(st.Shard))
	}
	uint(topic.HeaderSeq, b.ID.Seq)
	add(topic.HeaderPart, place)
	if b.Hash != (wire.CatalogueHash{}) {
		add(topic.HeaderCatalogue, out.Keep(hex.AppendEncode(out.Value(2*len(b.Hash)), b.Hash[:])))
	}
	uint(HeaderSamples, uint64(b.Samples))
	first, last := b.Stamp(b.FirstNS), b.Stamp(b.LastNS)
	int(HeaderFirstNS, b.FirstNS)
	int(HeaderLastNS, b.LastNS)
	int(HeaderFirstUTCNS, first.UTCNS)
	int(HeaderLastUTCNS, last.UTCNS)
	if first.Synced {
		add(sequence.HeaderClock, synced)
		uint(sequence.HeaderAnchor, uint64(first.Anchor))
		int(HeaderUncertainNS, first.UncNS)
		uint(HeaderSegment, uint64(first.Segment))
		int(sequence.HeaderLateMS, b.AppendMS-sequence.FloorMS(last.UTCNS))
	} else {
		add(sequence.HeaderClock, unsynced)
	}
	uint(topic.HeaderLink, uint64(b.Link))
	add(topic.HeaderContentType, contentType)
	return hs
}

// hex64 writes 16 hexadecimal digits.
func hex64(out *sequence.Output, n uint64) []byte {
	const digits = "0123456789abcdef"
	v := out.Value(16)
	for shift := 60; shift >= 0; shift -= 4 {
		v = append(v, digits[n>>shift&15])
	}
	return out.Keep(v)
}
