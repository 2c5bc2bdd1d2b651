package agent

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"telemetry/internal/config"
	"telemetry/sensors"
	"telemetry/wire"
)

// Limits of the encoder.
const (
	chunkQueue = 64 // row chunks between the sources and the encoder
	// maxCells bounds what one lane gathers before it is sealed early.
	maxCells = 64 << 10
	// headerRoom is the longest envelope: what a batch's limit leaves for it.
	headerRoom = 150
)

// appender is what the encoder needs of the spool.
type appender interface {
	Append(b wire.Body) (wire.ID, error)
}

// Taken counts what the spool has accepted.
type Taken struct {
	Batches [wire.LaneFull + 1]atomic.Uint64 // by lane
	Samples [wire.LaneFull + 1]atomic.Uint64 // by lane
	Dropped atomic.Uint64                    // samples that could not be encoded or that the spool refused
}

// encoder gathers rows by lane and group, and seals them: when a lane has
// waited its time or has enough. One goroutine, Run's, owns everything but in.
type encoder struct {
	plan  *plan
	spool appender
	seal  map[wire.Lane]time.Duration
	taken *Taken
	in    chan chunk

	lanes [wire.LaneFull + 1]*laneBuffer
	typs  [][]wire.ValueType // by group
}

// chunk is what a source hands over in one call: rows, or one prepared body.
type chunk struct {
	rows sensors.Rows // Group is the catalogue's
	body *wire.Body
	done chan error // not nil: everything before it is flushed, then answered
}

// laneBuffer is what one lane gathers.
type laneBuffer struct {
	lane     wire.Lane
	limit    int // bytes of payload
	builders map[uint32]*wire.Builder
	order    []uint32 // groups with rows, in the order of their first
	cells    int
	deadline time.Time // of the oldest row; zero = empty
	body     wire.Body
}

func newEncoder(p *plan, s appender, seal config.Seal, taken *Taken) *encoder {
	e := &encoder{plan: p, spool: s, taken: taken, in: make(chan chunk, chunkQueue), seal: map[wire.Lane]time.Duration{
		wire.LaneCritical: seal.Critical.D(), wire.LaneLive: seal.Live.D(), wire.LaneFull: seal.Full.D(),
	}}
	limits := map[wire.Lane]int{wire.LaneCritical: wire.MaxCriticalBytes, wire.LaneLive: wire.MaxLiveBytes, wire.LaneFull: wire.MaxFullBytes}
	for _, l := range wire.Lanes {
		e.lanes[l] = &laneBuffer{lane: l, limit: limits[l] - headerRoom, builders: map[uint32]*wire.Builder{}}
	}
	for _, g := range p.catalogue.Groups {
		t := make([]wire.ValueType, len(g.Channels))
		for i, c := range g.Channels {
			t[i] = c.Type
		}
		e.typs = append(e.typs, t)
	}
	return e
}

// Run encodes until ctx ends, then flushes what it has. The spool must still
// take batches then.
func (e *encoder) Run(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case c := <-e.in:
			e.take(c)
		case <-timer.C:
			e.flushDue(time.Now())
		case <-ctx.Done():
			e.rest()
			return nil
		}
		if d, ok := e.nextDeadline(); ok {
			timer.Reset(time.Until(d))
		}
	}
}

// rest takes what is still queued and flushes every lane.
func (e *encoder) rest() {
	for {
		select {
		case c := <-e.in:
			e.take(c)
		default:
			e.flushAll()
			return
		}
	}
}

func (e *encoder) take(c chunk) {
	switch {
	case c.done != nil:
		e.flushAll()
		c.done <- nil
	case c.body != nil:
		e.append(*c.body)
	default:
		e.takeRows(c.rows)
	}
}

func (e *encoder) takeRows(r sensors.Rows) {
	g := uint32(r.Group)
	n := len(e.typs[g])
	l := e.lanes[e.plan.catalogue.Groups[g].Lane]
	v := e.plan.views[g]
	for i, tick := range r.Ticks {
		values := r.Values[i*n : (i+1)*n]
		e.add(l, g, tick, values, r.Present, i*n)
		if v != nil {
			v.row(tick, values, func(ch int) bool { return sensors.Bit(r.Present, i*n+ch) }, func(tick int64, values []int64, present []uint64) {
				e.add(e.lanes[wire.LaneLive], v.group, tick, values, present, 0)
			})
		}
	}
}

func (e *encoder) add(l *laneBuffer, g uint32, tick int64, values []int64, present []uint64, bit int) {
	b := l.builders[g]
	if b == nil {
		b = wire.NewBuilder(g, e.typs[g])
		l.builders[g] = b
	}
	if b.Rows() == 0 {
		l.order = append(l.order, g)
	}
	b.Append(tick, values, present, bit)
	l.cells += len(values)
	if l.deadline.IsZero() {
		l.deadline = time.Now().Add(e.seal[l.lane])
	}
	if l.cells >= maxCells {
		e.flush(l)
	}
}

func (e *encoder) nextDeadline() (time.Time, bool) {
	var d time.Time
	for _, l := range wire.Lanes {
		if t := e.lanes[l].deadline; !t.IsZero() && (d.IsZero() || t.Before(d)) {
			d = t
		}
	}
	return d, !d.IsZero()
}

func (e *encoder) flushDue(now time.Time) {
	for _, l := range wire.Lanes {
		if b := e.lanes[l]; !b.deadline.IsZero() && !b.deadline.After(now) {
			e.flush(b)
		}
	}
}

func (e *encoder) flushAll() {
	for g := range e.plan.views {
		v := e.plan.views[g]
		v.flush(func(tick int64, values []int64, present []uint64) {
			e.add(e.lanes[wire.LaneLive], v.group, tick, values, present, 0)
		})
	}
	for _, l := range wire.Lanes {
		e.flush(e.lanes[l])
	}
}

// flush seals everything that a lane has gathered.
func (e *encoder) flush(l *laneBuffer) {
	for _, g := range l.order {
		b := l.builders[g]
		e.pack(l, *b.Block())
		b.Reset()
	}
	e.close(l)
	l.order, l.cells, l.deadline = l.order[:0], 0, time.Time{}
}

// pack adds a block to the lane's open batch; one that is too large is halved.
func (e *encoder) pack(l *laneBuffer, blk wire.Block) {
	mark := len(l.body.Payload)
	out, err := wire.AppendBlock(l.body.Payload, &blk)
	if err != nil {
		e.taken.Dropped.Add(samplesOf(&blk))
		return
	}
	if len(out)-mark > l.limit {
		x, y, ok := wire.SplitBlock(&blk)
		if ok {
			e.pack(l, x)
			e.pack(l, y)
			return
		}
		// A single value: it goes out alone, past the target size.
	}
	if len(out) > l.limit && mark > 0 {
		section := append([]byte(nil), out[mark:]...)
		e.close(l)
		out = section
	}
	body := &l.body
	if len(body.Payload) == 0 {
		*body = wire.Body{Lane: l.lane, Catalogue: e.plan.hash, FirstNS: blk.Ticks[0], LastNS: blk.Ticks[len(blk.Ticks)-1]}
	}
	body.FirstNS = min(body.FirstNS, blk.Ticks[0])
	body.LastNS = max(body.LastNS, blk.Ticks[len(blk.Ticks)-1])
	body.Samples += uint32(samplesOf(&blk))
	body.Payload = out
}

// close hands the lane's open batch to the spool, if there is one.
func (e *encoder) close(l *laneBuffer) {
	if len(l.body.Payload) == 0 {
		return
	}
	b := l.body
	l.body = wire.Body{} // the spool may keep the payload
	e.append(b)
}

func (e *encoder) append(b wire.Body) {
	if _, err := e.spool.Append(b); err != nil {
		e.taken.Dropped.Add(uint64(b.Samples))
		return
	}
	e.taken.Batches[b.Lane].Add(1)
	e.taken.Samples[b.Lane].Add(uint64(b.Samples))
}

func samplesOf(b *wire.Block) uint64 {
	var n uint64
	for i := range b.Columns {
		n += uint64(len(b.Columns[i].Values))
	}
	return n
}

// errStopping is what a source gets from its sink when the agent ends.
var errStopping = errors.New("agent: stopping")

// sink hands one source's rows to the encoder. It is safe for concurrent use.
type sink struct {
	enc    *encoder
	stop   <-chan struct{} // ends the waiting of a source
	source int
	groups []wire.Group // of the source, for Check
}

// Append copies r and waits while the encoder's queue is full.
func (s *sink) Append(r sensors.Rows) error {
	if err := r.Check(s.groups); err != nil {
		return err
	}
	r.Group = int(s.enc.plan.groups[s.source][r.Group])
	r.Ticks = append([]int64(nil), r.Ticks...)
	r.Values = append([]int64(nil), r.Values...)
	if r.Present != nil {
		r.Present = append([]uint64(nil), r.Present...)
	}
	return s.put(chunk{rows: r})
}

// Event takes one event for the critical lane.
func (s *sink) Event(ev wire.Event) error {
	b := wire.Body{Lane: wire.LaneCritical, FirstNS: ev.BootNS, LastNS: ev.BootNS, Samples: 1, Payload: wire.AppendEvent(nil, &ev)}
	return s.put(chunk{body: &b})
}

func (s *sink) put(c chunk) error {
	select {
	case s.enc.in <- c:
		return nil
	case <-s.stop:
		return errStopping
	}
}

// anchor takes a time anchor for the critical lane.
func (e *encoder) anchor(ctx context.Context, a wire.Anchor) error {
	b := wire.Body{Lane: wire.LaneCritical, Control: true, FirstNS: a.BootNS, LastNS: a.BootNS, Payload: wire.AppendAnchor(nil, &a)}
	return (&sink{enc: e, stop: ctx.Done()}).put(chunk{body: &b})
}

// Flush returns after everything queued before it has been handed to the spool.
func (e *encoder) Flush(ctx context.Context) error {
	done := make(chan error, 1)
	if err := (&sink{enc: e, stop: ctx.Done()}).put(chunk{done: done}); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
