package archive

import (
	"context"
	"fmt"
	"math"

	"telemetry/receiver/sequence"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// runArrivals gives the records of the topic in the order of their arrival, merged
// over the partitions.
func (r *reading) runArrivals(ctx context.Context, fn func(*Batch) error) error {
	since, err := r.since(ctx)
	if err != nil {
		return err
	}
	exts, err := r.extents(ctx, since)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	heads := make([]*head, 0, len(exts))
	for _, e := range exts {
		r.move(0, e.End-e.Since)
		h := &head{part: e.Partition, ch: r.stretch(ctx, e)}
		if err := h.next(r); err != nil {
			return err
		}
		heads = append(heads, h)
	}
	a := arrivals{r: r, copies: map[wire.Stream]wire.Ranges{}}
	for {
		var first *head
		for _, h := range heads {
			if len(h.recs) > 0 && (first == nil || h.recs[0].TimestampMS < first.recs[0].TimestampMS) {
				first = h
			}
		}
		if first == nil {
			return ctx.Err()
		}
		if err := a.take(ctx, &first.recs[0], fn); err != nil {
			return err
		}
		if first.recs = first.recs[1:]; len(first.recs) == 0 {
			if err := first.next(r); err != nil {
				return err
			}
		}
	}
}

// head is what comes next of a partition.
type head struct {
	part int32
	ch   <-chan stretch
	recs []topic.Record
}

// stretch is some records of a partition, and how many offsets they span.
type stretch struct {
	recs    []topic.Record
	offsets int64
	err     error
}

// next waits for records; without any the partition is at its end.
func (h *head) next(r *reading) error {
	for s := range h.ch {
		if s.err != nil {
			return fmt.Errorf("archive: %w", s.err)
		}
		r.move(s.offsets, 0)
		for i := range s.recs {
			r.report.Scanned += int64(len(s.recs[i].Value))
		}
		if len(s.recs) > 0 {
			h.recs = s.recs
			return nil
		}
	}
	return nil
}

// stretch reads a partition ahead of who takes its records. The goroutine ends with
// ctx.
func (r *reading) stretch(ctx context.Context, e Extent) <-chan stretch {
	ch := make(chan stretch)
	go func() {
		defer close(ch)
		for at := e.Since; at < e.End; {
			recs, next, err := r.a.src.Chunk(ctx, r.name, e.Partition, at, e.End)
			select {
			case ch <- stretch{recs, next - at, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
			at = next
		}
	}()
	return ch
}

// since returns when, in ms, the log has the first record that is of use: what the
// epochs of the window have said from their beginning on.
func (r *reading) since(ctx context.Context) (int64, error) {
	release, err := r.a.load(ctx)
	if err != nil {
		return 0, err
	}
	defer release()
	if r.q.ArrivedNS > 0 {
		return r.q.ArrivedNS / 1e6, nil
	}
	if r.from == math.MinInt64 {
		return 0, nil
	}
	if r.q.Context {
		return max(0, r.from/1e6-Lateness), nil
	}
	least := int64(math.MaxInt64)
	cars := []string{r.q.Car}
	if r.q.Car == "" {
		cars = cars[:0]
		for car := range r.a.clocks.cars {
			cars = append(cars, car)
		}
	}
	for _, car := range cars {
		least = min(least, r.a.clocks.begins(car, r.from))
	}
	if least == math.MaxInt64 {
		return 0, nil
	}
	return max(0, least-Lateness), nil
}

// arrivals chooses among the records of a reading by arrival.
type arrivals struct {
	r      *reading
	last   int64 // AtNS of what was given last
	copies map[wire.Stream]wire.Ranges
	batch  Batch
}

// take gives a record, if it is wanted.
func (a *arrivals) take(ctx context.Context, rec *topic.Record, fn func(*Batch) error) error {
	r, b := a.r, &a.batch
	*b = Batch{Record: *rec, AppendMS: rec.TimestampMS}
	arrived, inside := rec.TimestampMS*1e6, true
	if h := header(rec); h == nil {
		if !a.other(rec) {
			return nil
		}
	} else {
		if r.q.Epoch != nil && h.Stream.Epoch != *r.q.Epoch || len(r.q.Lanes) > 0 && !r.wants(&h.Stream) || r.q.Car != "" && h.Stream.Car != r.q.Car {
			return nil
		}
		at, end, err := a.times(ctx, rec, h)
		if err != nil {
			return err
		}
		x := &r.streams[r.index[h.Stream]]
		if b.Header, b.Clock = *h, x.clock; x.before.Has(&h.Stream, h.Seq) {
			b.Clock = nil
		}
		var wanted bool
		if wanted, inside = r.hasPart(h, at, end); !wanted {
			return nil
		}
		if b.Again = a.copies[h.Stream].Contains(h.Seq); b.Again {
			r.report.Duplicates++
		} else {
			a.copies[h.Stream] = a.copies[h.Stream].Add(h.Seq, h.Seq)
			r.report.Batches++
		}
	}
	if b.Inside = inside; !inside && !r.q.Context { // nobody waits for it
		arrived = r.from
	}
	if a.last = max(a.last, arrived); a.last < r.q.ArrivedNS {
		return nil
	}
	b.AtNS = a.last
	return fn(b)
}

// times returns when a batch's samples are from, UTC; while nothing says that, when
// the log took it. Where the sequencer has told no time map, anchors are met on the
// way.
func (a *arrivals) times(ctx context.Context, rec *topic.Record, h *wire.Header) (at, end int64, err error) {
	r := a.r
	i, known := r.index[h.Stream]
	if !known || !r.streams[i].told {
		select {
		case <-r.a.clocks.turn:
			defer func() { r.a.clocks.turn <- struct{}{} }()
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		}
		i = r.stream(&h.Stream)
		r.a.clocks.meet(h, rec.Value)
	}
	clock := r.streams[i].clock
	if !r.streams[i].told {
		clock = r.a.clocks.clock(h.Stream.Car, h.Stream.Epoch)
	}
	if clock == nil || r.streams[i].before.Has(&h.Stream, h.Seq) {
		return rec.TimestampMS * 1e6, rec.TimestampMS * 1e6, nil
	}
	return clock.At(h.FirstNS).UTCNS, clock.At(h.LastNS).UTCNS, nil
}

// hasPart reports whether a batch has a part in a reading by arrival, and whether its
// samples, from at to end, are in the window.
func (r *reading) hasPart(h *wire.Header, at, end int64) (part, inside bool) {
	switch {
	case end >= r.from && at < r.to:
		return true, true
	case r.q.Context:
		return true, false
	case h.Stream.Lane != wire.LaneCritical:
		return false, false
	}
	return at < r.to || h.Control, false
}

// other reports whether a record that is no batch is given: a word of the operator,
// and in a reading of everything also what is no batch at all. Ticks only carry time.
func (a *arrivals) other(rec *topic.Record) bool {
	r := a.r
	if r.q.Car != "" && string(rec.Key) != r.q.Car || r.q.Epoch != nil {
		return false
	}
	if _, ok := rec.Get(sequence.HeaderOperator); ok {
		return true
	}
	if len(rec.Value) == 0 {
		return false
	}
	r.unreadable(fmt.Sprintf("%s/%d at %d: no batch", rec.Topic, rec.Partition, rec.Offset))
	return !r.windowed()
}
