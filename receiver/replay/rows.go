package replay

import (
	"container/heap"
	"context"
	"math"
	"sync/atomic"

	"telemetry/receiver/archive"
	"telemetry/receiver/sequence"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// Rows plays the records that a format makes of the batches of a window: each batch
// once, late ones in their place, holes left out; records in the order of their event
// time. They are those of the sequencer, byte for byte, but for their topic, and but
// that no timestamp is moved to where retention would leave it.
type Rows struct {
	Archive *archive.Archive
	Query   archive.Query
	// Format makes the format of one pass.
	Format func() (sequence.Format, error)
	// Names has the topics of rows, of live and of events.
	Names    topic.Names
	Progress archive.Progress

	// Report is that of the last pass, complete when it is over. Unreadable counts
	// batches that the format could not take as well.
	Report archive.Report
}

var _ Source = (*Rows)(nil)

// maxWaiting bounds the bytes of records that wait for earlier ones of other batches;
// beyond, the earliest goes.
const maxWaiting = 64 << 20

// Each implements [Source].
func (r *Rows) Each(ctx context.Context, fromNS int64, fn func(*Item) error) error {
	q := r.Query
	q.FromNS = max(q.FromNS, fromNS-archive.Lateness*1e6) // what comes later than its time is due then
	f, err := r.Format()
	if err != nil {
		return err
	}
	p := &rowPass{r: r, format: f, from: fromNS, fn: fn, decoder: archive.NewDecoder(r.Archive.Source())}
	defer p.drop()
	r.Report, err = r.Archive.Batches(ctx, q, archive.ByTime, func(b *archive.Batch) error { return p.batch(ctx, b) }, r.Progress)
	r.Report.Unreadable += p.unreadable
	for _, why := range p.reasons {
		if len(r.Report.Reasons) < archive.MaxReasons {
			r.Report.Reasons = append(r.Report.Reasons, why)
		}
	}
	if err != nil {
		return err
	}
	return p.flush(math.MaxInt64)
}

// rowPass is one pass of Rows.
type rowPass struct {
	r       *Rows
	format  sequence.Format
	from    int64
	fn      func(*Item) error
	decoder *archive.Decoder
	batch0  sequence.Batch
	spare   []*output
	waiting itemHeap
	bytes   int
	last    int64 // AtNS of the last item

	unreadable uint64
	reasons    []string
}

// output is what one batch made; its memory is used again when nobody has a record of
// it.
type output struct {
	sequence.Output
	left atomic.Int64
}

// maxSpare bounds the outputs that wait for their next use.
const maxSpare = 256

// take returns an empty output. Outputs whose records are still looked at are left
// alone.
func (p *rowPass) take() *output {
	for i, o := range p.spare {
		if o.left.Load() == 0 {
			p.spare[i] = p.spare[len(p.spare)-1]
			p.spare = p.spare[:len(p.spare)-1]
			o.Reset()
			return o
		}
		if i >= 4 { // the oldest are free first
			break
		}
	}
	return &output{}
}

// batch makes the records of a batch, and gives what comes before them.
func (p *rowPass) batch(ctx context.Context, b *archive.Batch) error {
	if err := p.flush(b.AtNS); err != nil {
		return err
	}
	if err := p.decoder.Decode(ctx, &p.batch0, b); err != nil {
		return p.bad(b, err)
	}
	s, names := &p.batch0, &p.r.Names
	s.Event, s.Rows, s.ByGroup = names.Events, names.Samples, true
	if b.Header.Stream.Lane == wire.LaneLive {
		s.Rows, s.ByGroup = names.Live, false
	}
	s.BehindMS = 1 << 50 // a recording is old: its times stay what they are
	out := p.take()
	if err := p.format.Append(&out.Output, s); err != nil {
		return p.bad(b, err)
	}
	out.left.Store(int64(len(out.Records)))
	if len(p.spare) < maxSpare {
		p.spare = append(p.spare, out)
	}
	free := func() { out.left.Add(-1) }
	for i := range out.Records {
		w := &waiting{order: i}
		w.Item = Item{AtNS: out.Records[i].TimestampMS * 1e6, Record: out.Records[i], ID: s.ID, Hash: s.Hash, free: free}
		p.bytes += w.Record.Size()
		heap.Push(&p.waiting, w)
	}
	for p.bytes > maxWaiting {
		if err := p.give(); err != nil {
			return err
		}
	}
	return nil
}

// bad notes a batch that makes no records; an error of the source is returned.
func (p *rowPass) bad(b *archive.Batch, err error) error {
	if archive.IsBroken(err) {
		return err
	}
	p.unreadable++
	if len(p.reasons) < archive.MaxReasons {
		p.reasons = append(p.reasons, b.Header.ID().String()+": "+err.Error())
	}
	return nil
}

// flush gives what is due before an instant: nothing earlier comes any more. Times of
// records are whole milliseconds, rounded towards the past.
func (p *rowPass) flush(beforeNS int64) error {
	for len(p.waiting) > 0 && p.waiting[0].AtNS < sequence.FloorMS(beforeNS)*1e6 {
		if err := p.give(); err != nil {
			return err
		}
	}
	return nil
}

// give gives the first of what waits.
func (p *rowPass) give() error {
	w := heap.Pop(&p.waiting).(*waiting)
	p.bytes -= w.Record.Size()
	p.last = max(p.last, w.AtNS)
	if w.AtNS = p.last; w.AtNS < p.from {
		w.Release()
		return nil
	}
	return p.fn(&w.Item)
}

// drop forgets what waits.
func (p *rowPass) drop() {
	for _, w := range p.waiting {
		w.Release()
	}
	p.waiting = nil
}

// waiting is an item before its turn.
type waiting struct {
	Item
	order int // among the records of its batch
}

// itemHeap has the earliest item first; at one time that of the lower identity.
type itemHeap []*waiting

func (h itemHeap) Len() int           { return len(h) }
func (h itemHeap) Less(i, j int) bool { return h[i].compare(h[j]) < 0 }
func (h itemHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements [heap.Interface].
func (h *itemHeap) Push(x any) { *h = append(*h, x.(*waiting)) }

// Pop implements [heap.Interface].
func (h *itemHeap) Pop() any {
	old := *h
	w := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return w
}
