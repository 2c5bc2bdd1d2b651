package uplink

import (
	"slices"

	"telemetry/wire"
)

// view is what the car knows of one start of one ingest instance, from its acks:
// the nonce is the instance, its name is for people.
type view struct {
	name    string
	nonce   uint64
	counter uint64 // greatest so far
	seen    uint64 // bit i: statement counter-i was taken
	state   wire.InstanceState
	credit  uint64
	heardNS int64 // its last new statement

	troubledNS int64 // since when it is stalled or draining; 0 = it isn't
	superseded bool  // another start of the same name was heard
	wasFresh   bool
	release    bool // its loans don't hold any more
	evicted    bool
	durable    map[wire.Stream]wire.Ranges // of its last statement
}

// fresh reports whether v still speaks: credit, state and loans of an instance
// that is silent for 2 s don't count (rule 19); 200 ms are enough when another
// start of it is heard.
func (v *view) fresh(now int64) bool {
	limit := silentAfterNS
	if v.superseded {
		limit = supersededNS
	}
	return !v.evicted && v.heardNS != 0 && now-v.heardNS < limit
}

func (v *view) draining() bool { return v.state == wire.InstanceDraining }

// expireViews notices what silence and time change about instances.
func (e *Engine) expireViews() {
	for _, v := range e.views {
		fresh := v.fresh(e.now)
		if v.wasFresh && !fresh {
			v.troubledNS = 0
		}
		v.wasFresh = fresh
		release := !fresh || (v.troubledNS != 0 && e.now-v.troubledNS >= stalledNS && e.alternative(v))
		if release && !v.release {
			e.review = true
		}
		v.release = release
	}
}

// alternative reports whether another instance that isn't in trouble can be
// reached over some connection.
func (e *Engine) alternative(v *view) bool {
	for _, l := range e.links {
		for _, c := range [...]*connection{l.cur, l.next} {
			if c == nil || !c.trusted() {
				continue
			}
			for _, h := range c.heard {
				if h.v != v && h.v.fresh(e.now) && e.now-h.ns < silentAfterNS && h.v.troubledNS == 0 {
					return true
				}
			}
		}
	}
	return false
}

// heldOn reports whether every instance that speaks over c takes no live or full
// batch now, or is in trouble while another one isn't.
func (e *Engine) heldOn(c *connection) bool {
	return e.allOn(c, func(v *view) bool { return v.credit == 0 || e.avoidable(v) })
}

// closedOn reports whether every instance that speaks over c takes nothing at
// all: one without credit that isn't in trouble still takes critical batches.
func (e *Engine) closedOn(c *connection) bool {
	return e.allOn(c, func(v *view) bool { return v.troubledNS != 0 && (v.credit == 0 || e.avoidable(v)) })
}

func (e *Engine) avoidable(v *view) bool { return v.troubledNS != 0 && e.alternative(v) }

// allOn reports whether some instance speaks over c and is holds for all that do.
func (e *Engine) allOn(c *connection, is func(*view) bool) bool {
	n := 0
	for _, h := range c.heard {
		if !h.v.fresh(e.now) || e.now-h.ns >= silentAfterNS {
			continue
		}
		if !is(h.v) {
			return false
		}
		n++
	}
	return n > 0
}

// held reports whether all that can be reached takes nothing.
func (e *Engine) held() bool {
	n := 0
	for _, l := range e.links {
		for _, c := range [...]*connection{l.cur, l.next} {
			if c == nil || !c.trusted() {
				continue
			}
			if !e.heldOn(c) {
				return false
			}
			n++
		}
	}
	return n > 0
}

// creditFor is what the instances behind c would still take beyond what is on
// its way to them, in bytes. Without a word from any it is one batch.
func (e *Engine) creditFor(c *connection) int64 {
	const unlimited = uint64(1) << 40
	var room int64
	any := false
	for _, h := range c.heard {
		if h.v.fresh(e.now) && e.now-h.ns < silentAfterNS {
			room += int64(min(h.v.credit, unlimited))
			any = true
		}
	}
	if !any {
		return 1 // an empty path takes a batch whatever its size
	}
	for _, l := range e.links {
		for _, o := range [...]*connection{l.cur, l.next} {
			if o != nil && o.up && slices.ContainsFunc(o.heard, func(h heardView) bool {
				return slices.ContainsFunc(c.heard, func(g heardView) bool { return g.v == h.v })
			}) {
				room -= o.inFlight
			}
		}
	}
	return max(room, 0)
}

// viewOf returns the view that a belongs to, or nil when there is no room for
// another one.
func (e *Engine) viewOf(a *wire.Ack) *view {
	for _, v := range e.views {
		if v.nonce == a.Nonce && v.name == a.Instance {
			return v
		}
	}
	if len(e.views) >= maxInstances {
		old := slices.IndexFunc(e.views, func(v *view) bool { return !v.fresh(e.now) })
		if old < 0 {
			return nil
		}
		e.views[old].evicted = true
		e.views = slices.Delete(e.views, old, old+1)
		e.review = true
	}
	for _, v := range e.views {
		v.superseded = v.superseded || v.name == a.Instance
	}
	v := &view{name: a.Instance, nonce: a.Nonce, durable: map[wire.Stream]wire.Ranges{}}
	e.views = append(e.views, v)
	return v
}

// ack takes one statement that came over c (nil: over a connection that is gone).
func (e *Engine) ack(c *connection, a *wire.Ack) {
	v := e.viewOf(a)
	e.proofs(c, a)
	if v == nil {
		e.totals.StaleAcks++
		for i := range a.Streams {
			e.settle(nil, &a.Streams[i])
		}
		return
	}
	if c != nil {
		c.hear(v, e.now)
		if c.dead {
			if _, owes := c.oldest(); !owes {
				e.revive(c, whyHeard)
			}
		}
	}
	if !e.newer(v, a) {
		e.totals.StaleAcks++
		return
	}
	e.statements++
	for i := range a.Streams {
		e.settle(v, &a.Streams[i])
	}
}

// newer takes state and credit of a statement that is newer than all before it.
// It reports false for one that was taken already over another link, and for a
// very old one; an older one that wasn't taken yet still adds its sets.
func (e *Engine) newer(v *view, a *wire.Ack) bool {
	if a.Counter <= v.counter {
		d := v.counter - a.Counter
		if d >= 64 || v.seen&(1<<d) != 0 {
			return false
		}
		v.seen |= 1 << d
		return true
	}
	if d := a.Counter - v.counter; d < 64 {
		v.seen = v.seen<<d | 1
	} else {
		v.seen = 1
	}
	v.counter = a.Counter
	v.state, v.credit, v.heardNS = a.State, a.Credit, e.now
	switch troubled := a.State == wire.InstanceStalled || a.State == wire.InstanceDraining; {
	case !troubled:
		v.troubledNS = 0
	case v.troubledNS == 0:
		v.troubledNS = e.now
	}
	return true
}

// settle applies what one statement says of one stream. A number in none of the
// sets says nothing. v is nil when loans must not change.
func (e *Engine) settle(v *view, sa *wire.StreamAck) {
	if !sa.Lane.Valid() {
		return
	}
	st := wire.Stream{Car: e.cfg.Car, Epoch: sa.Epoch, Lane: sa.Lane, Shard: sa.Shard}
	fresh := sa.Durable
	if v != nil {
		last, known := v.durable[st]
		if known {
			fresh = sa.Durable.Clone().Subtract(last)
		}
		if known || len(v.durable) < maxStreamsPerView {
			v.durable[st] = append(last[:0], sa.Durable...)
		}
	}
	if len(fresh) > 0 {
		e.store.Settle(st, fresh)
	}
	ln := &e.lanes[sa.Lane]
	for f := ln.list.first; f != nil; {
		next := f.next
		if f.item.ID.Stream == st {
			seq := f.item.ID.Seq
			switch {
			case sa.Durable.Contains(seq):
				if !fresh.Contains(seq) { // said before it was sent, when the store could not take it
					e.store.Settle(st, wire.Ranges{{First: seq, Last: seq}})
				}
				e.totals.Durable++
				e.end(f)
			case sa.Refused.Contains(seq):
				e.refused(f)
			case v != nil && sa.Received.Contains(seq):
				f.lend(v, e.now)
			}
		}
		f = next
	}
}

// refused turns a batch that can never be taken into a loss record. A control
// batch is never given up: without it a stream could hang, so it is tried again.
func (e *Engine) refused(f *flight) {
	if f.item.Control {
		if f.retry <= e.now {
			e.totals.ControlRefused++
			f.retry, f.copies, f.loans = e.now+controlRetryNS, nil, nil
		}
		return
	}
	e.totals.RefusedBatches++
	e.store.Refuse(f.item.ID, wire.ReasonRefused)
	e.end(f)
}
