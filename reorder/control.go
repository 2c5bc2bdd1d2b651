package reorder

import (
	"slices"

	"telemetry/wire"
)

// control takes the control records of a batch, at its first reading, whatever
// became of the batch itself (rule 4). All effects are idempotent: a batch in a
// merged gap may be read twice. x is nil when there was no room for the stream.
func (c *Car) control(x *stream, in *Input, out *Out) {
	for i := range in.Controls {
		ctl := &in.Controls[i]
		if x != nil && c.byStream[keyOf(x.id)] != x {
			x = nil // forgotten to make room
		}
		switch {
		case ctl.EpochOpen != nil && x != nil:
			c.openEpoch(x, ctl.EpochOpen, in.Header.ID(), out)
		case ctl.Loss != nil:
			l := ctl.Loss
			if s := c.named(in, l.Epoch, l.Lane, l.Shard, out); s != nil {
				for _, r := range l.Ranges {
					c.settle(s, r.First, r.Last, l.Reason, out)
				}
				c.settled(s, out)
			}
		case ctl.Base != nil:
			b := ctl.Base
			if s := c.named(in, b.Epoch, b.Lane, b.Shard, out); s != nil {
				c.setBase(s, b.Base, out)
				c.settled(s, out)
			}
		case ctl.Anchor != nil && x != nil:
			d := out.add(KindAnchor, x, in.Header.Seq)
			d.Offset, d.Anchor = in.Offset, *ctl.Anchor
			c.sync(x.epoch, out)
		}
	}
}

// settled lets a lane go on after numbers of x were settled.
func (c *Car) settled(x *stream, out *Out) {
	if x.complete() {
		c.tail(x, out)
	}
	c.pump(x.lane, out)
}

// named returns the stream that a control record names, nil if it cannot be.
func (c *Car) named(in *Input, e wire.Epoch, l wire.Lane, shard uint16, out *Out) *stream {
	if !l.Valid() {
		out.addID(KindAlarm, in.Header.ID()).Alarm = AlarmControl
		return nil
	}
	return c.streamFor(streamKey{e, l, shard}, out)
}

// openEpoch takes an EpochOpen: it settles what the predecessors do not hold,
// closes them, and lets its own epoch begin (rules 9 to 11). An epoch may have
// several of them; each counts for the predecessors that it names.
func (c *Car) openEpoch(x *stream, o *wire.EpochOpen, id wire.ID, out *Out) {
	own := x.epoch
	if o.Epoch != own.id || slices.ContainsFunc(o.Predecessors, func(p wire.Predecessor) bool { return p.Epoch == own.id }) {
		out.addID(KindAlarm, id).Alarm = AlarmControl
		return
	}
	c.related(own, o, id, out)
	placed := own.placed()
	own.opened = true
	es := make([]*epoch, 0, len(o.Predecessors)+1)
	for i := range o.Predecessors {
		if e := c.epochFor(o.Predecessors[i].Epoch, out); e != nil {
			es = append(es, e)
		}
	}
	es = c.alive(append(es, own))
	if !placed {
		c.settlePlace(own, o, out)
	}
	c.chain(es, out)
	for i := range o.Predecessors {
		p := &o.Predecessors[i]
		e := c.byEpoch[p.Epoch]
		// A newer epoch that has named e knew better: what was held when this one
		// began and is gone since was acked, or has a loss record, or has vanished.
		if e == nil || e.heir != nil && e.heir.rank > own.rank {
			continue
		}
		if c.byEpoch[own.id] == own {
			e.heir = own
			if own.parent == nil || own.parent.rank < e.rank {
				own.parent = e
			}
		}
		c.closeEpoch(e, p.Held, out)
	}
	c.pumpAll(out)
}

// alive returns the epochs that were not forgotten to make room for later ones.
func (c *Car) alive(es []*epoch) []*epoch {
	keep := es[:0]
	for _, e := range es {
		if c.byEpoch[e.id] == e {
			keep = append(keep, e)
		}
	}
	return keep
}

// closeEpoch settles all of an epoch that the car does not hold any more.
func (c *Car) closeEpoch(e *epoch, held []wire.HeldRanges, out *Out) {
	e.closed, e.aside = true, false
	e.lastMS = max(e.lastMS, c.now)
	c.forgetAt(e)
	still := make(map[*stream]wire.Ranges, len(held))
	for i := range held {
		h := &held[i]
		if h.Lane.Valid() && len(h.Ranges) > 0 {
			if x := c.streamFor(streamKey{e.id, h.Lane, h.Shard}, out); x != nil {
				still[x] = h.Ranges
			}
		}
	}
	if c.byEpoch[e.id] != e {
		return // forgotten to make room
	}
	for _, x := range e.streams {
		c.closeStream(x, still[x], wire.ReasonEpoch, out)
	}
}

// closeStream ends a stream at the greatest number held by the car, or seen, and
// settles what is not held.
func (c *Car) closeStream(x *stream, still wire.Ranges, why wire.Reason, out *Out) {
	var top uint64
	if n := len(still); n > 0 {
		top = min(still[n-1].Last, MaxSeq)
	}
	if !x.ended || top > x.end {
		x.end = max(x.hi, top)
	}
	x.ended = true
	from := x.floor + 1
	for _, r := range still {
		if r.First > from {
			c.settle(x, from, min(r.First-1, x.end), why, out)
		}
		if r.Last >= from {
			from = min(r.Last, MaxSeq) + 1
		}
	}
	if from <= x.end {
		c.settle(x, from, x.end, why, out)
	}
	if x.complete() {
		c.tail(x, out)
	}
}

// Abandon takes an operator's record out of the log, at its place among the other
// records: it settles all that an epoch has not delivered, with the reason "card
// replaced", and closes it. What still comes of it is late, and newer epochs need
// not wait for it (rule 9). What is held of it and stands behind an older epoch that
// is open, which may run on for ever, is late at once. It reports false for an epoch that is not known, and
// for a record that was applied before.
func (c *Car) Abandon(offset, appendMS int64, id wire.Epoch, out *Out) bool {
	if offset < c.next {
		return false
	}
	c.tick(offset, appendMS, out)
	e := c.byEpoch[id]
	if e == nil {
		return false
	}
	e.closed, e.abandoned = true, true
	e.lastMS = max(e.lastMS, c.now)
	c.forgetAt(e)
	for _, x := range e.streams {
		c.closeStream(x, nil, wire.ReasonCardReplaced, out)
	}
	c.pumpAll(out)
	for _, x := range e.streams {
		if len(x.held) > 0 && x.lane.behindOpen(x) {
			c.lateHeld(x, out)
			c.cutOff(x, out)
		}
	}
	return true
}

// Open returns the epochs that are not closed, oldest first: what an operator may
// abandon. The newest is normally the running one.
func (c *Car) Open(dst []wire.Epoch) []wire.Epoch {
	for _, e := range c.epochs {
		if !e.closed {
			dst = append(dst, e.id)
		}
	}
	return dst
}
