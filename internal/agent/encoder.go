package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"telemetry/internal/config"
	"telemetry/sensors/can"
	"telemetry/wire"
)

// Limits of the encoder.
const (
	// maxCells bounds what one lane gathers before it is sealed early: 512 KiB.
	maxCells = 64 << 10
	// headerRoom is the longest envelope: what a batch's limit leaves for it.
	headerRoom = 150
	// maxWait is the longest that a sample may wait to be sealed.
	maxWait = time.Second
	// previewGrace is how long a preview waits for a row beyond its interval
	// before it goes out without one: sources deliver rows in runs.
	previewGrace = 100 * time.Millisecond
	// dropLogEvery is the most often that dropped samples are logged.
	dropLogEvery = 10 * time.Second
)

// appender is what the encoder needs of the spool. It keeps nothing of b.
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
	boot  func() int64 // boot clock, ns; nil: rows are as old as their arrival here
	seal  [wire.LaneFull + 1]time.Duration
	taken *Taken
	log   *slog.Logger
	in    chan chunk
	judge anchorJudge   // of anchors
	ended chan struct{} // closed when Run has returned

	lanes   [wire.LaneFull + 1]*laneBuffer
	widths  []int     // channels by group
	auto    bool      // the speed follows the queue
	viewDue time.Time // not after the earliest deadline of a view; zero = none
	logged  time.Time // when dropped samples were last logged
}

func newEncoder(p *plan, s appender, seal config.Seal, taken *Taken, log *slog.Logger) *encoder {
	e := &encoder{plan: p, spool: s, taken: taken, log: log, in: make(chan chunk, chunkQueue), ended: make(chan struct{}), auto: seal.Speed == "auto"}
	e.seal[wire.LaneCritical], e.seal[wire.LaneLive], e.seal[wire.LaneFull] = seal.Critical.D(), seal.Live.D(), seal.Full.D()
	limits := map[wire.Lane]int{wire.LaneCritical: wire.MaxCriticalBytes, wire.LaneLive: wire.MaxLiveBytes, wire.LaneFull: wire.MaxFullBytes}
	speed := wire.Full
	if seal.Speed == "fast" {
		speed = wire.Fast
	}
	for _, l := range wire.Lanes {
		e.lanes[l] = &laneBuffer{lane: l, limit: limits[l] - headerRoom, blocks: wire.BlockEncoder{Speed: speed}}
	}
	for i, g := range p.catalogue.Groups {
		b := &groupBuffer{id: uint32(i), keys: can.RawKeys(&g)}
		for _, c := range g.Channels {
			b.types = append(b.types, c.Type)
		}
		e.widths = append(e.widths, len(b.types))
		e.lanes[g.Lane].groups = append(e.lanes[g.Lane].groups, make([]*groupBuffer, i+1-len(e.lanes[g.Lane].groups))...)
		e.lanes[g.Lane].groups[i] = b
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
			close(e.ended)
			e.rest() // what was put just before it
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
		close(c.done)
	case c.body != nil:
		e.append(*c.body)
	default:
		e.takeRows(c.rows)
		c.rows.free()
	}
}

func (e *encoder) takeRows(r *rowChunk) {
	n := e.widths[r.group]
	l := e.lanes[e.plan.catalogue.Groups[r.group].Lane]
	views, band := e.plan.views[r.group], e.plan.bands[r.group]
	if band == nil {
		e.addRows(l, r.group, r.ticks, r.values, r.present, r.bit)
	}
	if band == nil && len(views) == 0 {
		return
	}
	for i, tick := range r.ticks {
		values := r.values[i*n : (i+1)*n]
		for _, v := range views {
			e.preview(v, tick, values, r.present, r.bit+i*n)
		}
		if band == nil {
			continue
		}
		if present, some := band.filter(tick, values, r.present, r.bit+i*n); some {
			e.add(l, r.group, tick, values, present, 0)
		}
	}
}

// preview takes a row for a view. A row behind the view's interval ends it.
func (e *encoder) preview(v *view, tick int64, values []int64, present []uint64, bit int) {
	if v.over(tick) {
		e.emit(v)
	}
	if v.take(tick, values, present, bit) {
		v.deadline = time.Now().Add(max(0, min(time.Duration(v.period)+previewGrace, maxWait-e.seal[wire.LaneLive])))
		if e.viewDue.IsZero() || v.deadline.Before(e.viewDue) {
			e.viewDue = v.deadline
		}
	}
}

// emit puts what a view has gathered into the live lane.
func (e *encoder) emit(v *view) {
	if tick, values, present, ok := v.finish(); ok {
		e.add(e.lanes[wire.LaneLive], v.group, tick, values, present, 0)
	}
}

// add takes one row.
func (e *encoder) add(l *laneBuffer, g uint32, tick int64, values []int64, present []uint64, bit int) {
	ticks := [1]int64{tick}
	e.addRows(l, g, ticks[:], values, present, bit)
}

// addRows takes rows whose ticks do not decrease: at most chunkCells values, or
// one row.
func (e *encoder) addRows(l *laneBuffer, g uint32, ticks, values []int64, present []uint64, bit int) {
	b := l.groups[g]
	if n := len(b.ticks); n > 0 && ticks[0] < b.ticks[n-1] || l.cells > 0 && l.cells+len(values) > maxCells {
		e.flush(l) // ticks never decrease inside a block
	}
	if len(b.ticks) == 0 {
		l.order = append(l.order, b)
	}
	b.add(ticks, values, present, bit)
	l.cells += len(values)
	if l.deadline.IsZero() {
		l.deadline = time.Now().Add(e.seal[l.lane] - e.age(ticks[0], e.seal[l.lane]/2))
	}
}

// age returns how long ago a row was taken, at most limit: its source may have
// held it, and a kill costs what is not sealed and durable yet. The limit keeps
// batches whole while a backlog is read.
func (e *encoder) age(tick int64, limit time.Duration) time.Duration {
	if e.boot == nil {
		return 0
	}
	return min(max(0, time.Duration(e.boot()-tick)), limit)
}

func (e *encoder) nextDeadline() (time.Time, bool) {
	d := e.viewDue
	for _, l := range wire.Lanes {
		if t := e.lanes[l].deadline; !t.IsZero() && (d.IsZero() || t.Before(d)) {
			d = t
		}
	}
	return d, !d.IsZero()
}

func (e *encoder) flushDue(now time.Time) {
	if !e.viewDue.IsZero() && !e.viewDue.After(now) {
		e.viewDue = time.Time{}
		for _, views := range e.plan.views {
			for _, v := range views {
				switch {
				case v.deadline.IsZero():
				case !v.deadline.After(now):
					e.emit(v)
				case e.viewDue.IsZero() || v.deadline.Before(e.viewDue):
					e.viewDue = v.deadline
				}
			}
		}
	}
	for _, l := range wire.Lanes {
		if b := e.lanes[l]; !b.deadline.IsZero() && !b.deadline.After(now) {
			e.flush(b)
		}
	}
}

func (e *encoder) flushAll() {
	for _, views := range e.plan.views {
		for _, v := range views {
			e.emit(v)
		}
	}
	e.viewDue = time.Time{}
	for _, l := range wire.Lanes {
		e.flush(e.lanes[l])
	}
}

// close hands the lane's open batch to the spool, if there is one.
func (e *encoder) close(l *laneBuffer) {
	if len(l.body.Payload) == 0 {
		return
	}
	e.append(l.body)
	l.body = wire.Body{Payload: l.body.Payload[:0]} // the spool kept nothing of it
}

func (e *encoder) append(b wire.Body) {
	if _, err := e.spool.Append(b); err != nil {
		e.drop(uint64(b.Samples), b.Lane, err)
		return
	}
	e.taken.Batches[b.Lane].Add(1)
	e.taken.Samples[b.Lane].Add(uint64(b.Samples))
}

// drop counts samples that will never be in the spool, and says so now and then.
func (e *encoder) drop(samples uint64, lane wire.Lane, err error) {
	total := e.taken.Dropped.Add(samples)
	if now := time.Now(); e.logged.IsZero() || now.Sub(e.logged) >= dropLogEvery {
		e.logged = now
		e.log.Error("samples dropped before the spool", "lane", lane.String(), "samples", samples, "dropped_total", total, "error", err)
	}
}

// Flush returns after everything queued before it has been handed to the spool.
func (e *encoder) Flush(ctx context.Context) error {
	done := make(chan struct{})
	if err := e.put(chunk{done: done}, ctx.Done()); err != nil {
		return errors.Join(err, ctx.Err())
	}
	select {
	case <-done:
		return nil
	case <-e.ended:
		return errStopping
	case <-ctx.Done():
		return ctx.Err()
	}
}
