package archive

import (
	"context"
	"slices"
	"sync"

	"telemetry/receiver/topic"
	"telemetry/wire"
)

// bookkeeping is the index of telemetry.batches: per partition, which stretch of
// offsets has which times of which streams. It grows at both ends as readings need
// it, and loses what retention has deleted.
type bookkeeping struct {
	turn  chan struct{} // holds one token; who has it may extend books
	mu    sync.Mutex
	books map[int32]*book // guarded by mu
}

func (b *bookkeeping) init() {
	b.turn = make(chan struct{}, 1)
	b.turn <- struct{}{}
	b.books = map[int32]*book{}
}

// book is the index of one partition, of offsets [lo, hi). It is replaced, never
// changed, so that readings go on while another one extends it.
type book struct {
	lo, hi  int64
	blocks  []block // in order of offsets; [lo, hi) without holes
	entries int     // spans in all blocks
}

// block is a stretch of offsets [from, to).
type block struct {
	from, to int64
	bytes    int64 // of values
	spans    []span
}

// span is what a block has of one stream.
type span struct {
	stream          wire.Stream
	firstNS, lastNS int64       // boot times
	loggedMS        [2]int64    // when the log took the first and the last of it
	seqs            wire.Ranges // at most spanRanges: runs that are near each other are one
}

const (
	// blockRecords and blockBytes bound a block when it is made.
	blockRecords = 2048
	blockBytes   = 8 << 20
	// spanRanges bounds the ranges of a span; beyond it the nearest two merge.
	spanRanges = 16
)

// add notes a batch.
func (b *block) add(h *wire.Header, appendMS int64, last *int) {
	i := *last
	if i >= len(b.spans) || b.spans[i].stream != h.Stream {
		i = slices.IndexFunc(b.spans, func(s span) bool { return s.stream == h.Stream })
		if i < 0 {
			i = len(b.spans)
			b.spans = append(b.spans, span{stream: h.Stream, firstNS: h.FirstNS, lastNS: h.LastNS, loggedMS: [2]int64{appendMS, appendMS}})
		}
		*last = i
	}
	s := &b.spans[i]
	s.firstNS, s.lastNS = min(s.firstNS, h.FirstNS), max(s.lastNS, h.LastNS)
	s.loggedMS = [2]int64{min(s.loggedMS[0], appendMS), max(s.loggedMS[1], appendMS)}
	s.seqs = s.seqs.Add(h.Seq, h.Seq)
}

// seal bounds the memory of a finished block.
func (b *block) seal() {
	for i := range b.spans {
		b.spans[i].bound()
	}
	b.spans = slices.Clip(b.spans)
}

func (s *span) bound() {
	for len(s.seqs) > spanRanges {
		at, least := 0, ^uint64(0)
		for i := range len(s.seqs) - 1 {
			if d := s.seqs[i+1].First - s.seqs[i].Last; d < least {
				at, least = i, d
			}
		}
		s.seqs = s.seqs.Add(s.seqs[at].First, s.seqs[at+1].Last)
	}
	s.seqs = slices.Clip(s.seqs)
}

// join returns two neighbours as one block.
func join(a, b block) block {
	out := block{from: a.from, to: b.to, bytes: a.bytes + b.bytes, spans: slices.Clone(a.spans)}
	for _, s := range b.spans {
		i := slices.IndexFunc(out.spans, func(o span) bool { return o.stream == s.stream })
		if i < 0 {
			out.spans = append(out.spans, s)
			continue
		}
		o := &out.spans[i]
		o.firstNS, o.lastNS = min(o.firstNS, s.firstNS), max(o.lastNS, s.lastNS)
		o.loggedMS = [2]int64{min(o.loggedMS[0], s.loggedMS[0]), max(o.loggedMS[1], s.loggedMS[1])}
		o.seqs = o.seqs.Clone().Union(s.seqs)
		o.bound()
	}
	return out
}

// shrink halves the number of blocks until the entries fit.
func (b *book) shrink(limit int) {
	b.count()
	for b.entries > limit && len(b.blocks) > 1 {
		half := make([]block, 0, len(b.blocks)/2+1)
		for i := 0; i < len(b.blocks); i += 2 {
			if i+1 == len(b.blocks) {
				half = append(half, b.blocks[i])
				break
			}
			half = append(half, join(b.blocks[i], b.blocks[i+1]))
		}
		b.blocks = half
		b.count()
	}
}

func (b *book) count() {
	b.entries = 0
	for i := range b.blocks {
		b.entries += len(b.blocks[i].spans)
	}
}

// seen returns which numbers of a stream the partition has; some more may be in it.
func (b *book) seen(s wire.Stream) (seqs wire.Ranges) {
	for i := range b.blocks {
		for k := range b.blocks[i].spans {
			if sp := &b.blocks[i].spans[k]; sp.stream == s {
				seqs = seqs.Union(sp.seqs)
			}
		}
	}
	return seqs
}

// snapshot returns the book of a partition, nil if there is none.
func (b *bookkeeping) snapshot(part int32) *book {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.books[part]
}

// scanner reads stretches of a partition.
type scanner struct {
	src  Source
	name string
	part int32
	// visit is called for each record; h is nil when it is no batch. It must not keep
	// either.
	visit func(r *topic.Record, h *wire.Header) error
	// moved is told of each stretch of offsets that was read, with the bytes in it.
	moved func(offsets, bytes int64)
}

// scan reads [from, to) and returns its blocks. What was read before an error is
// returned with it.
func (s *scanner) scan(ctx context.Context, from, to int64) (blocks []block, err error) {
	cur := block{from: from, to: from}
	last, records := 0, 0
	flush := func() {
		if cur.to > cur.from {
			cur.seal()
			blocks = append(blocks, cur)
		}
		cur = block{from: cur.to, to: cur.to}
		last, records = 0, 0
	}
	for at := from; at < to; {
		recs, next, err := s.src.Chunk(ctx, s.name, s.part, at, to)
		if err != nil {
			return blocks, err
		}
		bytes := int64(0)
		for i := range recs {
			r := &recs[i]
			bytes += int64(len(r.Value))
			h := header(r)
			if h != nil {
				cur.add(h, r.TimestampMS, &last)
			}
			if s.visit != nil {
				if err := s.visit(r, h); err != nil {
					return blocks, err
				}
			}
			cur.to = r.Offset + 1
			cur.bytes += int64(len(r.Value))
			if records++; records >= blockRecords || cur.bytes >= blockBytes {
				flush()
			}
		}
		if s.moved != nil {
			s.moved(next-at, bytes)
		}
		at = next
		cur.to = max(cur.to, at)
	}
	flush()
	return blocks, nil
}

// header returns the header of a record's batch, nil when it holds none that can be
// read.
func header(r *topic.Record) *wire.Header {
	if len(r.Value) == 0 {
		return nil
	}
	h, err := wire.ParseHeader(r.Value)
	if err != nil || h.Seq == 0 || h.Seq > wire.MaxSeq || !h.Stream.Lane.Valid() {
		return nil
	}
	return &h
}

// extend makes the book of a partition cover what it holds from an offset on, and
// returns it with the stretches that were read for that.
func (a *Archive) extend(ctx context.Context, e Extent, s *scanner) (b *book, fresh [][2]int64, err error) {
	select {
	case <-a.books.turn:
		defer func() { a.books.turn <- struct{}{} }()
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	old := a.books.snapshot(e.Partition)
	if old == nil || old.hi < e.Start || old.hi > e.End { // none, all deleted, or another topic
		old = &book{lo: e.Since, hi: e.Since}
	}
	next := &book{lo: min(old.lo, e.Since), hi: old.hi}
	for _, bl := range old.blocks {
		if bl.to > e.Start {
			next.blocks = append(next.blocks, bl)
		}
	}
	add := func(from, to int64, front bool) error {
		if from >= to {
			return nil
		}
		blocks, err := s.scan(ctx, from, to)
		fresh = append(fresh, [2]int64{from, to})
		if err != nil {
			return err
		}
		if front {
			next.blocks = append(blocks, next.blocks...)
		} else {
			next.blocks = append(next.blocks, blocks...)
		}
		return nil
	}
	if err := add(e.Since, old.lo, true); err != nil {
		return nil, fresh, err
	}
	if err := add(old.hi, e.End, false); err != nil {
		return nil, fresh, err
	}
	next.hi = max(old.hi, e.End)
	next.shrink(a.opt.IndexEntries)
	a.books.mu.Lock()
	a.books.books[e.Partition] = next
	a.books.mu.Unlock()
	return next, fresh, nil
}
