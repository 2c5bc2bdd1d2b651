package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"

	"telemetry/receiver/sequence/timemap"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// ErrNoTopic says that a source has no topic of that name; a source of files has
// only batches.
var ErrNoTopic = errors.New("archive: no such topic")

// Lateness is how long before its first sample a batch may stand in the log: cars'
// clocks are not the log's.
const Lateness = 10 * 60 * 1000 // ms

// reading is one pass over a window.
type reading struct {
	a        *Archive
	q        *Query
	order    Order
	progress Progress
	report   Report
	scanned  atomic.Int64 // bytes that are not in the report yet
	name     string       // of the topic

	done, of int64 // of progress

	from, to int64 // window; to is exclusive
	after    int64 // entries before it were given by an earlier slice
	cut      int64 // entries from it on are left to the next slice

	entries []entry
	streams []streamOf
	index   map[wire.Stream]int32
	last    int32            // stream of the last record
	tails   map[laneOf]int64 // places of the last batches
	ends    map[int32]int64  // of partitions

	why       []gapRecord // of the window; nil: not read yet
	explained int         // gaps of the report that have their reasons
}

// streamOf is a stream of a reading.
type streamOf struct {
	wire.Stream
	rank  int // of its epoch in the car's history
	clock *timemap.Map
	told  bool // clock is that of the sequencer
	// before says which batches have no part in clock: the sequencer wrote them unsynced.
	before *timemap.Before
	high   uint64 // greatest number given so far; 0: none
	// firstNS and lastNS are the bounds of its samples, UTC, after a survey.
	firstNS, lastNS int64
}

// laneOf names a lane of a car.
type laneOf struct {
	car   string
	lane  wire.Lane
	shard uint16
}

// compare orders streams: the lanes of a car together, their epochs in order.
func (s *streamOf) compare(o *streamOf) int {
	return cmp.Or(cmp.Compare(s.Car, o.Car), cmp.Compare(s.Lane, o.Lane), cmp.Compare(s.Shard, o.Shard),
		cmp.Compare(s.Epoch.Counter, o.Epoch.Counter), cmp.Compare(s.rank, o.rank), cmp.Compare(s.Epoch.Nonce, o.Epoch.Nonce))
}

func newReading(a *Archive, q *Query, o Order, progress Progress) *reading {
	r := &reading{
		a: a, q: q, order: o, progress: progress, name: a.src.Names().Batches,
		from: math.MinInt64, to: math.MaxInt64, after: math.MinInt64, cut: math.MaxInt64,
		index: map[wire.Stream]int32{}, last: -1, tails: map[laneOf]int64{}, ends: map[int32]int64{},
	}
	if q.FromNS > 0 {
		r.from = q.FromNS
	}
	if q.ToNS > 0 {
		r.to = q.ToNS
	}
	return r
}

// windowed reports whether the reading is of a part of the time.
func (r *reading) windowed() bool { return r.from != math.MinInt64 || r.to != math.MaxInt64 }

func (r *reading) run(ctx context.Context, fn func(*Batch) error) error {
	if r.order == ByArrival {
		return r.runArrivals(ctx, fn)
	}
	for {
		r.entries, r.cut = r.entries[:0], math.MaxInt64
		if err := r.plan(ctx); err != nil {
			return err
		}
		r.gaps(r.arrange())
		if err := r.explain(ctx); err != nil {
			return err
		}
		if err := r.give(ctx, fn); err != nil {
			return err
		}
		if r.cut == math.MaxInt64 {
			return nil
		}
		r.after = r.cut
	}
}

// move tells how far it is.
func (r *reading) move(done, more int64) {
	r.done, r.of = r.done+done, r.of+more
	if r.progress != nil {
		r.progress(min(r.done, r.of), r.of)
	}
}

// extents returns the partitions that may have something of the window.
func (r *reading) extents(ctx context.Context, sinceMS int64) ([]Extent, error) {
	exts, err := r.a.src.Extents(ctx, r.name, sinceMS)
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	if r.q.Car != "" {
		if only := r.a.src.Partition(r.q.Car, len(exts)); only >= 0 {
			exts = slices.DeleteFunc(exts, func(e Extent) bool { return e.Partition != only })
		}
	}
	for _, e := range exts {
		r.ends[e.Partition] = e.End
	}
	return exts, nil
}

// plan collects the batches of the window, up to the limit.
func (r *reading) plan(ctx context.Context) error {
	release, err := r.a.load(ctx)
	if err != nil {
		return err
	}
	defer release()
	since := int64(0)
	if r.from != math.MinInt64 && !r.q.Prelude {
		since = max(0, r.from/1e6-Lateness)
	}
	exts, err := r.extents(ctx, since)
	if err != nil {
		return err
	}
	for _, e := range exts {
		s := &scanner{src: r.a.src, name: r.name, part: e.Partition, visit: r.visit, moved: func(n, bytes int64) {
			r.report.Scanned += bytes
			r.move(n, 0)
		}}
		if b := r.a.books.snapshot(e.Partition); b == nil || b.hi > e.End {
			r.move(0, e.End-e.Since)
		} else {
			r.move(0, max(0, b.lo-e.Since)+max(0, e.End-b.hi))
		}
		b, fresh, err := r.a.extend(ctx, e, s)
		if err != nil {
			return err
		}
		for _, bl := range b.blocks {
			if bl.to <= e.Since || slices.ContainsFunc(fresh, func(f [2]int64) bool { return bl.from >= f[0] && bl.to <= f[1] }) || !r.touches(&bl) {
				continue
			}
			// A joined block may hold a part that was just read.
			for _, piece := range without(bl.from, bl.to, fresh) {
				r.move(0, piece[1]-piece[0])
				if _, err := s.scan(ctx, piece[0], piece[1]); err != nil {
					return err
				}
			}
		}
	}
	r.resolve()
	return nil
}

// without returns [from, to) without some stretches.
func without(from, to int64, minus [][2]int64) [][2]int64 {
	out := [][2]int64{{from, to}}
	for _, m := range minus {
		var next [][2]int64
		for _, p := range out {
			if m[1] <= p[0] || m[0] >= p[1] {
				next = append(next, p)
				continue
			}
			if p[0] < m[0] {
				next = append(next, [2]int64{p[0], m[0]})
			}
			if m[1] < p[1] {
				next = append(next, [2]int64{m[1], p[1]})
			}
		}
		out = next
	}
	return out
}

// wants reports whether a stream is asked for.
func (r *reading) wants(s *wire.Stream) bool {
	if r.q.Car != "" && s.Car != r.q.Car || r.q.Epoch != nil && s.Epoch != *r.q.Epoch {
		return false
	}
	if len(r.q.Lanes) == 0 {
		return s.Lane != wire.LaneLive
	}
	return slices.Contains(r.q.Lanes, s.Lane)
}

// touches reports whether a block may have something of the window.
func (r *reading) touches(b *block) bool {
	if !r.windowed() && r.after == math.MinInt64 {
		return slices.ContainsFunc(b.spans, func(s span) bool { return r.wants(&s.stream) })
	}
	return slices.ContainsFunc(b.spans, func(s span) bool {
		if !r.wants(&s.stream) {
			return false
		}
		m := r.a.clocks.clock(s.stream.Car, s.stream.Epoch)
		if m == nil || r.q.Prelude && s.stream.Lane == wire.LaneCritical {
			return true
		}
		// Slewing moves by less than a second what lies between two bends.
		first, last := m.At(s.firstNS).UTCNS-1e9, m.At(s.lastNS).UTCNS+1e9
		if len(s.seqs) > 0 && r.a.clocks.before(s.stream.Car, s.stream.Epoch).Reaches(&s.stream, s.seqs[0].First) {
			return s.loggedMS[0]*1e6 < r.to && s.loggedMS[1]*1e6 >= r.from || first < r.to && last >= max(r.from, r.after)
		}
		return first < r.to && last >= max(r.from, r.after)
	})
}

// stream returns the index of a stream.
func (r *reading) stream(s *wire.Stream) int32 {
	if r.last >= 0 && r.streams[r.last].Stream == *s {
		return r.last
	}
	i, ok := r.index[*s]
	if !ok {
		i = int32(len(r.streams))
		x := streamOf{Stream: *s, rank: int(i)}
		cc := r.a.clocks.of(s.Car)
		if x.told = cc.told[s.Epoch] != nil; x.told {
			x.clock, x.before = r.a.clocks.clock(s.Car, s.Epoch), r.a.clocks.before(s.Car, s.Epoch)
		}
		r.streams = append(r.streams, x)
		r.index[*s] = i
	}
	r.last = i
	return i
}

// visit takes a record of the topic while it is scanned.
func (r *reading) visit(rec *topic.Record, h *wire.Header) error {
	if h == nil {
		if len(rec.Value) > 0 && (r.q.Car == "" || string(rec.Key) == r.q.Car) && r.after == math.MinInt64 {
			r.unreadable(fmt.Sprintf("%s/%d at %d: no batch", rec.Topic, rec.Partition, rec.Offset))
		}
		return nil
	}
	r.a.clocks.meet(h, rec.Value)
	if !r.wants(&h.Stream) {
		return nil
	}
	i := r.stream(&h.Stream)
	x := &r.streams[i]
	e := entry{
		at: h.FirstNS, end: h.LastNS, offset: rec.Offset, seq: h.Seq, samples: h.Samples, crc: h.PayloadCRC,
		part: rec.Partition, stream: i, appendMS: rec.TimestampMS,
	}
	if x.told && !r.place(&e) {
		return nil
	}
	r.entries = append(r.entries, e)
	if len(r.entries) >= r.a.opt.PlanBatches {
		r.halve()
	}
	return nil
}

// place gives an entry its times in UTC, and reports whether it belongs to this
// slice of the window. What was written unsynced is in the window with the log's time,
// as its rows are; its place among others is by the map, where there is one, so that
// the numbers of a lane are in the order of their times.
func (r *reading) place(e *entry) bool {
	x := &r.streams[e.stream]
	e.unsynced = x.before.Has(&x.Stream, e.seq)
	if x.clock != nil {
		e.at, e.end = x.clock.At(e.at).UTCNS, x.clock.At(e.end).UTCNS
	} else if e.appendMS > 0 {
		e.at, e.end = e.appendMS*1e6, e.appendMS*1e6
	}
	begin := e.at
	if e.unsynced {
		begin, e.end = e.appendMS*1e6, e.appendMS*1e6
		e.at = max(e.at, r.from)
	}
	e.placed = true
	if r.q.Prelude && e.end < r.from && r.streams[e.stream].Lane == wire.LaneCritical {
		e.at = r.from // nobody waits for it
		return r.after == math.MinInt64
	}
	return e.end >= r.from && begin < r.to && e.at >= r.after && e.at < r.cut
}

// resolve places what could not be placed while it was read.
func (r *reading) resolve() {
	for i := range r.streams {
		if x := &r.streams[i]; !x.told {
			if m := r.a.clocks.clock(x.Car, x.Epoch); m != nil {
				x.clock = timemap.FromKnots(m.Knots()) // a later reading may bend it on
			}
		}
	}
	r.entries = slices.DeleteFunc(r.entries, func(e entry) bool { return !e.placed && !r.place(&e) })
	for i := range r.entries {
		if !r.entries[i].placed {
			r.place(&r.entries[i])
		}
	}
}

// halve leaves the later half of the entries to the next slice.
func (r *reading) halve() {
	r.resolve()
	if len(r.entries) < r.a.opt.PlanBatches {
		return
	}
	at := make([]int64, len(r.entries))
	for i := range r.entries {
		at[i] = r.entries[i].at
	}
	slices.Sort(at)
	cut := at[len(at)/2]
	if cut == at[0] { // all at one time: they cannot be told apart
		return
	}
	r.cut = cut
	r.entries = slices.DeleteFunc(r.entries, func(e entry) bool { return e.at >= cut })
}

func (r *reading) unreadable(why string) {
	r.report.Unreadable++
	if len(r.report.Reasons) < MaxReasons {
		r.report.Reasons = append(r.report.Reasons, why)
	}
}

// suspect is a run of numbers of one stream that this reading does not have.
type suspect struct {
	stream int32
	Gap
}

// gaps adds to the report what of some runs of numbers is in no place of the topic: a
// batch whose times lie outside of the window is no gap.
func (r *reading) gaps(suspects []suspect) {
	var found []Gap
	seen := map[int32]wire.Ranges{}
	for _, s := range suspects {
		have, ok := seen[s.stream]
		if !ok {
			for part := range r.ends {
				if b := r.a.books.snapshot(part); b != nil {
					have = have.Union(b.seen(s.Stream))
				}
			}
			seen[s.stream] = have
		}
		for _, g := range have.Missing(s.Range.First, s.Range.Last) {
			found = append(found, Gap{Stream: s.Stream, Range: g, FromNS: s.FromNS, ToNS: s.ToNS})
		}
	}
	slices.SortStableFunc(found, func(a, b Gap) int { return cmp.Compare(a.FromNS, b.FromNS) })
	for _, g := range found {
		r.report.Missing += g.Range.Len()
		if len(r.report.Gaps) >= MaxGaps {
			r.report.MoreGaps++
			continue
		}
		r.report.Gaps = append(r.report.Gaps, g)
	}
}

// survey finds the streams and the bounds of their samples, without planning anything.
func (r *reading) survey(ctx context.Context) error {
	release, err := r.a.load(ctx)
	if err != nil {
		return err
	}
	defer release()
	exts, err := r.extents(ctx, 0)
	if err != nil {
		return err
	}
	for _, e := range exts {
		s := &scanner{src: r.a.src, name: r.name, part: e.Partition, visit: func(rec *topic.Record, h *wire.Header) error {
			if h != nil {
				r.a.clocks.meet(h, rec.Value)
			}
			return nil
		}}
		b, _, err := r.a.extend(ctx, e, s)
		if err != nil {
			return err
		}
		for i := range b.blocks {
			for k := range b.blocks[i].spans {
				r.bounds(&b.blocks[i].spans[k])
			}
		}
	}
	return nil
}

// bounds widens the bounds of a span's stream.
func (r *reading) bounds(s *span) {
	if !r.wants(&s.stream) {
		return
	}
	x := &r.streams[r.stream(&s.stream)]
	first, last := s.firstNS, s.lastNS
	if m := r.a.clocks.clock(x.Car, x.Epoch); m != nil {
		first, last = m.At(first).UTCNS, m.At(last).UTCNS
	} else if s.loggedMS[1] > 0 {
		first, last = s.loggedMS[0]*1e6, s.loggedMS[1]*1e6
	}
	if x.lastNS == 0 {
		x.firstNS, x.lastNS = first, last
	}
	x.firstNS, x.lastNS = min(x.firstNS, first), max(x.lastNS, last)
}
