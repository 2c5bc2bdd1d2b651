package uplink

import (
	"slices"

	"telemetry/wire"
)

// view is what the car knows of one ingest instance, from its acks.
type view struct {
	name    string
	nonce   uint64
	old     [4]uint64 // nonces of earlier starts, newest first: their late acks don't bring them back
	counter uint64    // greatest under this nonce
	seen    uint64    // bit i: statement counter-i was taken
	state   wire.InstanceState
	credit  uint64
	heardNS int64

	troubledNS int64 // since when it is stalled, draining or without credit; 0 = it isn't
	wasFresh   bool
	release    bool // its loans don't hold any more
	evicted    bool
	durable    map[wire.Stream]wire.Ranges // of its last statement
}

// fresh reports whether v was heard in the last 2 s: credit, state and loans of
// a silent instance don't count (rule 19).
func (v *view) fresh(now int64) bool {
	return !v.evicted && v.heardNS != 0 && now-v.heardNS < silentAfterNS
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

// heldOn reports whether every instance that speaks over c takes nothing now, or
// is in trouble while another one isn't.
func (e *Engine) heldOn(c *connection) bool {
	n := 0
	for _, h := range c.heard {
		if !h.v.fresh(e.now) || e.now-h.ns >= silentAfterNS {
			continue
		}
		n++
		if h.v.credit > 0 && (h.v.troubledNS == 0 || !e.alternative(h.v)) {
			return false
		}
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
// its way to them, in bytes. Without a word from any it is not limited.
func (e *Engine) creditFor(c *connection) int64 {
	const unlimited = int64(1) << 40
	var room int64
	any := false
	for _, h := range c.heard {
		if h.v.fresh(e.now) && e.now-h.ns < silentAfterNS {
			room += int64(min(h.v.credit, uint64(unlimited)))
			any = true
		}
	}
	if !any {
		return unlimited
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

// view returns the view that a belongs to, or nil when a must not change any: a
// late word of an earlier start of the instance, or no room for another one.
func (e *Engine) viewOf(a *wire.Ack) *view {
	for _, v := range e.views {
		if v.name != a.Instance {
			continue
		}
		if v.nonce == a.Nonce {
			return v
		}
		if v.fresh(e.now) && slices.Contains(v.old[:], a.Nonce) {
			return nil
		}
		copy(v.old[1:], v.old[:])
		v.old[0] = v.nonce
		v.nonce, v.counter, v.seen, v.durable, v.troubledNS = a.Nonce, 0, 0, map[wire.Stream]wire.Ranges{}, 0
		e.review = true
		return v
	}
	if len(e.views) >= maxInstances {
		oldest := slices.IndexFunc(e.views, func(v *view) bool { return !v.fresh(e.now) })
		if oldest < 0 {
			return nil
		}
		e.views[oldest].evicted = true
		e.views = slices.Delete(e.views, oldest, oldest+1)
		e.review = true
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
				e.revive(c, "heard again")
			}
		}
	}
	switch {
	case a.Counter > v.counter:
		if d := a.Counter - v.counter; d < 64 {
			v.seen = v.seen<<d | 1
		} else {
			v.seen = 1
		}
		v.counter = a.Counter
		v.state, v.credit, v.heardNS = a.State, a.Credit, e.now
		switch troubled := a.State == wire.InstanceStalled || a.State == wire.InstanceDraining || a.Credit == 0; {
		case !troubled:
			v.troubledNS = 0
		case v.troubledNS == 0:
			v.troubledNS = e.now
		}
	default:
		d := v.counter - a.Counter
		if d >= 64 || v.seen&(1<<d) != 0 {
			e.totals.StaleAcks++
			return // the same statement over another link, or a very old one
		}
		v.seen |= 1 << d
	}
	for i := range a.Streams {
		e.settle(v, &a.Streams[i])
	}
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
				e.totals.Durable++
				e.end(f)
			case sa.Refused.Contains(seq):
				e.totals.RefusedBatches++
				e.store.Refuse(f.item.ID, wire.ReasonRefused)
				e.end(f)
			case v != nil && sa.Received.Contains(seq):
				f.lend(v, e.now)
			}
		}
		f = next
	}
}

// proofs applies the echoes of a: what arrived over which connection. They count
// over whatever link the ack came; round trips only over the same one.
func (e *Engine) proofs(over *connection, a *wire.Ack) {
	var first []*flight // critical batches whose arrival this ack is the first to prove
	for _, x := range a.Links {
		c := e.find(int(x.Link), x.Gen)
		if c == nil || !c.up || x.Messages == 0 {
			continue
		}
		if x.LastSentNS > c.lastSentNS || x.Messages > c.sentMessages || x.Bytes > c.echoable {
			e.totals.BadEchoes++
			continue
		}
		if c == over && x.LastSentNS > c.roundNS {
			c.roundNS = x.LastSentNS
			c.est.rttSample(e.now, e.now-x.LastSentNS-max(x.HeldNS, 0))
		}
		if x.LastSentNS <= c.provenNS {
			continue
		}
		done := c.prove(e.now, x.LastSentNS, x.HeldNS)
		at := c.deliveredAtNS // of the last one; those before it came as much earlier as they are bytes before it
		for i := len(done) - 1; i >= 0; i-- {
			if f := done[i].f; f != nil && !f.ended {
				f.arrived(c, e.now)
				if f.wins(c, at) {
					first = append(first, f)
				}
			}
			at -= c.est.drain(done[i].bytes)
		}
		e.revive(c, "delivery proof")
	}
	for _, f := range first {
		f.won = true
		e.links[f.winner].wins++
	}
}
