package archive

import (
	"cmp"
	"context"
	"slices"

	"telemetry/receiver/sequence/timemap"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// Order says how the batches of a reading follow one another.
type Order uint8

// Orders.
const (
	// ByTime gives each batch once, by the time of its samples; those of one lane in
	// the order of epochs and numbers.
	ByTime Order = iota
	// ByArrival gives every record of the cars as the log took it, copies and the
	// operator's words included, without the ticks. For a window it gives the records
	// whose samples lie in it, and before them what their epochs have said on the
	// critical lane, so that another receiver knows how they began.
	ByArrival
)

// Batch is one batch of a reading. It is valid during the call that it is given to;
// the record's memory may be kept.
type Batch struct {
	Record topic.Record // as it stands in telemetry.batches
	Header wire.Header
	Sealed wire.Batch
	// AtNS is its place in the reading, UTC: by time that of its first sample, as well as
	// that is known, or, if that is later, of the batch before it in its lane; by arrival
	// when the log took it. It never goes back within a reading.
	AtNS int64
	// AppendMS is when the log took it, ms since 1970; of a file, which does not say,
	// the time of its newest sample.
	AppendMS int64
	Clock    *timemap.Map // of its epoch; nil: no anchor is known, or was when it was written
	Again    bool         // by arrival: a copy of a batch that was there already
	Inside   bool         // it has samples in the window
}

// Batches calls fn for the batches of a window, of one car or, when q.Car is empty,
// of all. Whole batches are given: they may reach over the window's ends. An error
// of fn ends the reading and is returned, ErrStop too.
func (a *Archive) Batches(ctx context.Context, q Query, o Order, fn func(*Batch) error, progress Progress) (Report, error) {
	r := newReading(a, &q, o, progress)
	err := r.run(ctx, fn)
	return r.report, err
}

// entry is a batch that is to be read.
type entry struct {
	at       int64 // see Batch.AtNS; boot time until it is placed
	end      int64 // UTC of the newest sample, as outputs have it; likewise
	offset   int64
	seq      uint64
	appendMS int64
	samples  uint32
	crc      uint32
	part     int32
	stream   int32 // index in reading.streams
	placed   bool
	unsynced bool // it was written before its epoch had a map
}

// arrange drops copies, orders what is left, and returns the runs of numbers that
// are not among it.
func (r *reading) arrange() (suspects []suspect) {
	rank := r.ranks()
	es := r.entries
	slices.SortFunc(es, func(a, b entry) int {
		return cmp.Or(cmp.Compare(rank[a.stream], rank[b.stream]), cmp.Compare(a.seq, b.seq), cmp.Compare(a.part, b.part), cmp.Compare(a.offset, b.offset))
	})
	keep := es[:0]
	for _, e := range es {
		x := &r.streams[e.stream]
		var prev *entry
		if k := len(keep); k > 0 && keep[k-1].stream == e.stream {
			prev = &keep[k-1]
		}
		if prev != nil && prev.seq == e.seq {
			r.report.Duplicates++
			if prev.crc != e.crc {
				r.report.Conflicts++
			}
			continue
		}
		if x.high > 0 && e.seq > x.high+1 {
			s := suspect{e.stream, Gap{Stream: x.Stream, Range: wire.Range{First: x.high + 1, Last: e.seq - 1}, ToNS: e.at}}
			if prev != nil {
				s.FromNS = prev.end
			}
			suspects = append(suspects, s)
		}
		x.high = max(x.high, e.seq)
		keep = append(keep, e)
	}
	// Within a lane of a car numbers win over times: what comes later in the order has
	// no earlier place.
	for i := range keep {
		x := &r.streams[keep[i].stream]
		lane := laneOf{x.Car, x.Lane, x.Shard}
		if tail, ok := r.tails[lane]; ok {
			keep[i].at = max(keep[i].at, tail)
		}
		r.tails[lane] = keep[i].at
	}
	slices.SortStableFunc(keep, func(a, b entry) int { return cmp.Compare(a.at, b.at) })
	r.entries = keep
	return suspects
}

// ranks returns the place of each stream in the order of all.
func (r *reading) ranks() []int {
	order := make([]int, len(r.streams))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return r.streams[a].compare(&r.streams[b]) })
	rank := make([]int, len(order))
	for at, i := range order {
		rank[i] = at
	}
	return rank
}
