package reorder

import (
	"slices"
	"sort"

	"telemetry/wire"
)

// lane orders the streams of one lane and shard. Up to cur all are complete:
// what still comes of them is late.
type lane struct {
	lane    wire.Lane
	shard   uint16
	window  int64     // ms; -1: none
	streams []*stream // by epoch rank
	cur     int       // index of the newest stream that has been released; -1: none
	waiting int       // released batches that wait at the gate
}

// current returns the newest stream that has been released, or nil.
func (ln *lane) current() *stream {
	if ln.cur < 0 {
		return nil
	}
	return ln.streams[ln.cur]
}

// start returns the index of the first stream that may still release.
func (ln *lane) start() int { return max(ln.cur, 0) }

// index returns the place of x in the lane.
func (ln *lane) index(x *stream) int {
	return sort.Search(len(ln.streams), func(i int) bool { return ln.streams[i].epoch.rank >= x.epoch.rank })
}

// insert adds a stream at its place. One that is older than what was released is
// complete from the start (rule 11).
func (ln *lane) insert(x *stream) {
	i := ln.index(x)
	ln.streams = slices.Insert(ln.streams, i, x)
	if i <= ln.cur {
		ln.cur++
	}
}

// drop removes a stream that is not the current one.
func (ln *lane) drop(x *stream) {
	i := ln.index(x)
	ln.streams = slices.Delete(ln.streams, i, i+1)
	if i < ln.cur {
		ln.cur--
	}
}

// behindOpen reports whether a stream waits for one whose epoch is open.
func (ln *lane) behindOpen(x *stream) bool {
	for _, o := range ln.streams[ln.start():ln.index(x)] {
		if !o.epoch.closed && !o.complete() {
			return true
		}
	}
	return false
}

// laneFor returns the lane of a shard, nil when it is not known.
func (c *Car) laneFor(l wire.Lane, shard uint16) *lane {
	if shard == 0 && l.Valid() {
		return c.main[l]
	}
	for _, ln := range c.lanes {
		if ln.lane == l && ln.shard == shard {
			return ln
		}
	}
	return nil
}

// addLane makes a lane; lanes are kept by lane, then shard.
func (c *Car) addLane(l wire.Lane, shard uint16) *lane {
	ln := &lane{lane: l, shard: shard, cur: -1, window: millis(c.cfg.Windows[l])}
	i := sort.Search(len(c.lanes), func(i int) bool {
		return c.lanes[i].lane > l || c.lanes[i].lane == l && c.lanes[i].shard >= shard
	})
	c.lanes = slices.Insert(c.lanes, i, ln)
	return ln
}

// resort restores the order of a lane after epochs have moved. Streams that now
// stand before one that has been released are late; those that were, and don't any
// more, go on behind what was settled of them meanwhile.
func (c *Car) resort(ln *lane, out *Out) {
	overtaken := slices.Clone(ln.streams[:ln.start()])
	ln.cur = -1
	sort.SliceStable(ln.streams, func(i, j int) bool {
		return ln.streams[i].epoch.rank < ln.streams[j].epoch.rank
	})
	for i, x := range ln.streams {
		if x.released {
			ln.cur = i
		}
	}
	for _, x := range overtaken {
		x.cut = x.cut && ln.index(x) < ln.cur
	}
	c.overtake(ln, 0, out)
}

// overtake ends the streams from index first up to the current one: what is held
// of them is late.
func (c *Car) overtake(ln *lane, first int, out *Out) {
	for i := first; i < ln.cur; i++ {
		x := ln.streams[i]
		if x.cut || x.ended && x.floor >= x.end && len(x.held) == 0 {
			continue
		}
		c.lateHeld(x, out)
		c.cutOff(x, out)
	}
}

// pump releases all that is next in order in one lane.
func (c *Car) pump(ln *lane, out *Out) {
	for i := ln.start(); i < len(ln.streams); i++ {
		x := ln.streams[i]
		if x.complete() {
			continue
		}
		if !x.ready() {
			return
		}
		c.run(x, out)
		if x.epoch.aside {
			continue
		}
		if !x.complete() {
			return
		}
		c.tail(x, out)
	}
}

// pumpAll pumps every lane.
func (c *Car) pumpAll(out *Out) {
	for _, ln := range c.lanes {
		c.pump(ln, out)
	}
}

// run moves the floor of one stream over all that is held or settled next.
func (c *Car) run(x *stream, out *Out) {
	for {
		next := x.floor + 1
		if len(x.held) > 0 && x.held[0].First == next {
			r := x.held[0]
			for seq := r.First; seq <= r.Last; seq++ {
				c.releaseHeld(x, seq, out)
			}
			continue
		}
		if k, last := x.classify(next); k == lost || k == blurred || k == delivered {
			c.raise(x, last)
			continue
		}
		return
	}
}

// raise moves the floor to seq; what stood in done is below it now.
func (c *Car) raise(x *stream, seq uint64) {
	x.floor = seq
	if len(x.done) > 0 && x.done[0].First <= seq {
		n := len(x.done)
		x.done = x.done.Remove(1, seq)
		c.otherCount += len(x.done) - n
	}
	if x.ended && x.complete() {
		x.recent = nil
	}
}

// releaseHeld releases a held batch that is next in its stream.
func (c *Car) releaseHeld(x *stream, seq uint64, out *Out) {
	e := x.entries[seq]
	x.held = x.held.Remove(seq, seq)
	c.release(x, seq, e.crc, out)
	e.flags &^= flagHeld
	c.emit(x, seq, outMain, e, out)
}

// release moves the floor over a batch that is next in order, and makes its
// stream the current one: older ones are complete, cut, or overtaken now.
func (c *Car) release(x *stream, seq uint64, crc uint32, out *Out) {
	x.released = true
	x.remember(seq, crc)
	if ln := x.lane; ln.current() != x {
		if i, old := ln.index(x), ln.start(); i > ln.cur {
			ln.cur = i
			c.overtake(ln, old, out)
		}
	}
	c.raise(x, seq)
}

// skip reports the hole before the lowest held batch and goes on behind it.
func (c *Car) skip(x *stream, out *Out) {
	c.fill(x, x.held[0].First-1, wire.ReasonGap, out)
	c.run(x, out)
}

// cutOff ends a stream that newer epochs have overtaken.
func (c *Car) cutOff(x *stream, out *Out) {
	x.cut = true
	c.tail(x, out)
}

// tail settles what is left of a complete stream, so that every number known of
// it is either delivered or missing: up to the end it is a gap, beyond the end it
// was never durable, or stayed on a card that was replaced.
func (c *Car) tail(x *stream, out *Out) {
	if x.ended {
		beyond := wire.ReasonEpoch
		if x.epoch.abandoned {
			beyond = wire.ReasonCardReplaced
		}
		c.fill(x, x.end, wire.ReasonGap, out)
		c.fill(x, x.hi, beyond, out)
	} else {
		c.fill(x, x.hi, wire.ReasonGap, out)
	}
}

// expire gives up waiting for what holds x back: its own hole, or the streams of
// older epochs and its EpochOpen.
func (c *Car) expire(x *stream, out *Out) {
	ln := x.lane
	blocked := !x.ready()
	n := ln.index(x)
	for i := ln.start(); i < n; i++ {
		o := ln.streams[i]
		if o.complete() || o.epoch.aside {
			continue
		}
		blocked = true
		for len(o.held) > 0 {
			c.skip(o, out)
		}
		c.cutOff(o, out)
	}
	if !blocked {
		c.skip(x, out)
	}
	if !x.ready() {
		x.forced = true
	}
	c.pump(ln, out)
}
