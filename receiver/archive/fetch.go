package archive

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"telemetry/receiver/sequence"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// chunk is a stretch of a partition in memory.
type chunk struct {
	part     int32
	from, to int64
	recs     []topic.Record
	bytes    int
	used     int // when it was used last
}

// fetcher reads records by offset. Offsets that are near each other are asked for in
// nearly ascending order, so that whole chunks are kept for a while.
type fetcher struct {
	r      *reading
	limit  int // bytes
	chunks []*chunk
	bytes  int
	clock  int
}

// get returns a record; ok is false when it does not exist any more.
func (f *fetcher) get(ctx context.Context, part int32, offset int64) (rec topic.Record, ok bool, err error) {
	f.clock++
	i := slices.IndexFunc(f.chunks, func(c *chunk) bool { return c.part == part && c.from <= offset && offset < c.to })
	if i < 0 {
		if i, err = f.fetch(ctx, part, offset); err != nil {
			return rec, false, err
		}
	}
	c := f.chunks[i]
	c.used = f.clock
	at, ok := slices.BinarySearchFunc(c.recs, offset, func(r topic.Record, o int64) int { return cmp.Compare(r.Offset, o) })
	if ok {
		rec = c.recs[at]
	}
	return rec, ok, nil
}

// fetch reads the chunk that begins at an offset.
func (f *fetcher) fetch(ctx context.Context, part int32, offset int64) (int, error) {
	recs, next, err := f.r.a.src.Chunk(ctx, f.r.name, part, offset, f.r.ends[part])
	if err != nil {
		return 0, fmt.Errorf("archive: %w", err)
	}
	c := &chunk{part: part, from: offset, to: max(next, offset+1), recs: recs}
	for i := range recs {
		c.bytes += recs[i].Size()
	}
	f.r.scanned.Add(int64(c.bytes))
	for len(f.chunks) > 0 && f.bytes+c.bytes > f.limit {
		old := 0
		for i := range f.chunks {
			if f.chunks[i].used < f.chunks[old].used {
				old = i
			}
		}
		f.bytes -= f.chunks[old].bytes
		f.chunks = slices.Delete(f.chunks, old, old+1)
	}
	f.bytes += c.bytes
	f.chunks = append(f.chunks, c)
	return len(f.chunks) - 1, nil
}

// loaded are records on their way to who reads.
type loaded struct {
	recs []topic.Record // without a value: the record is gone
	err  error
}

// How records are handed over.
const (
	loadRecords = 64
	loadBytes   = 1 << 20
	loadAhead   = 4 // groups
)

// prefetch fetches the entries' records in order, ahead of who reads them. The
// goroutine ends with ctx.
func (r *reading) prefetch(ctx context.Context) <-chan loaded {
	ch := make(chan loaded, loadAhead)
	f := &fetcher{r: r, limit: r.a.opt.CacheBytes}
	entries := r.entries
	go func() {
		defer close(ch)
		send := func(l loaded) bool {
			select {
			case ch <- l:
				return true
			case <-ctx.Done():
				return false
			}
		}
		var l loaded
		bytes := 0
		for i := range entries {
			rec, _, err := f.get(ctx, entries[i].part, entries[i].offset)
			if err != nil {
				send(loaded{err: err})
				return
			}
			l.recs = append(l.recs, rec)
			if bytes += len(rec.Value); len(l.recs) >= loadRecords || bytes >= loadBytes || i == len(entries)-1 {
				if !send(l) {
					return
				}
				l, bytes = loaded{}, 0
			}
		}
	}()
	return ch
}

// give calls fn for the entries.
func (r *reading) give(ctx context.Context, fn func(*Batch) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	r.move(0, int64(len(r.entries)))
	ch := r.prefetch(ctx)
	defer func() { // the goroutine reads entries that the next slice overwrites
		stop()
		for range ch {
		}
	}()
	var b Batch
	at := 0
	for l := range ch {
		if l.err != nil {
			return l.err
		}
		for i := range l.recs {
			e := &r.entries[at]
			at++
			if !r.open(&b, e, &l.recs[i]) {
				continue
			}
			r.report.Batches++
			if err := fn(&b); err != nil {
				return err
			}
		}
		r.report.Scanned += r.scanned.Swap(0)
		r.move(int64(len(l.recs)), 0)
	}
	return ctx.Err()
}

// open makes the batch of an entry.
func (r *reading) open(b *Batch, e *entry, rec *topic.Record) bool {
	x := &r.streams[e.stream]
	if len(rec.Value) == 0 {
		r.unreadable(fmt.Sprintf("%s#%d at %d: deleted by retention while it was read", x.Stream, e.seq, e.offset))
		return false
	}
	sealed, n, err := wire.Parse(rec.Value)
	if err == nil && n != len(rec.Value) {
		err = fmt.Errorf("%d bytes behind the batch", len(rec.Value)-n)
	}
	if err != nil {
		r.unreadable(fmt.Sprintf("%s#%d at %d: %v", x.Stream, e.seq, e.offset, err))
		return false
	}
	*b = Batch{
		Record: *rec, Header: sealed.Header, Sealed: sealed, AtNS: e.at, AppendMS: rec.TimestampMS,
		Clock: x.clock, Inside: e.end >= r.from,
	}
	if e.unsynced {
		b.Clock = nil
	}
	if b.AppendMS <= 0 {
		b.AppendMS = sequence.FloorMS(e.end)
	}
	return true
}
