package reorder

import (
	"slices"

	"telemetry/wire"
)

// epoch is what is known of one start of the car's agent.
type epoch struct {
	id        wire.Epoch
	rank      int  // place in Car.epochs: lineage, then the counter, then first sight
	opened    bool // its EpochOpen has been read
	closed    bool // an EpochOpen names it as predecessor, or it was abandoned
	seen      bool // a batch of it has been read: firstMS counts
	synced    bool // an anchor has been read, or its time is over: the gate is open
	inside    bool // the log begins inside it (see Car.StartInside)
	aside     bool // it lost a fork: a successor of its sibling has come, it is not waited for
	abandoned bool // closed by an operator
	// heir is the newest epoch that names this one as predecessor, parent the newest
	// one that it names itself; nil when not known or forgotten.
	heir, parent *epoch

	firstMS int64 // when its first batch was read
	lastMS  int64 // when its last batch was read, or it was closed
	streams []*stream
}

// stale reports whether e is a forgotten epoch.
func (c *Car) stale(e wire.Epoch) bool { return slices.Contains(c.tombs, e) }

// epochFor returns the epoch, which is made on first sight; nil when it is
// forgotten or no room is left.
func (c *Car) epochFor(id wire.Epoch, out *Out) *epoch {
	if e := c.byEpoch[id]; e != nil {
		if !c.over(e) {
			return e
		}
		c.forget(e, out)
	}
	if c.stale(id) {
		return nil
	}
	if len(c.epochs) >= c.cfg.Limits.Epochs {
		c.alarmLimit(LimitEpochs, out)
		if !c.forgetOldest(out) {
			return nil
		}
	}
	e := &epoch{id: id, rank: c.placeFor(id, len(c.epochs)), lastMS: c.now}
	c.epochs = slices.Insert(c.epochs, e.rank, e)
	c.rerank()
	c.byEpoch[id] = e
	return e
}

// placed reports whether lineage tells where an epoch stands. That it has been
// released in a lane does not: what is older is late there, and comes before it in
// the other lanes.
func (e *epoch) placed() bool { return e.opened || e.closed }

// lastPlaced returns the newest placed epoch before a rank, nil if there is none.
func (c *Car) lastPlaced(rank int) *epoch {
	for i := rank - 1; i >= 0; i-- {
		if c.epochs[i].placed() {
			return c.epochs[i]
		}
	}
	return nil
}

// anew reports whether an epoch behind k is of a card that has begun to count
// again: its counter is not above that of k. k may be nil.
func (k *epoch) anew(id wire.Epoch) bool { return k != nil && id.Counter <= k.id.Counter }

// placeFor returns the rank of an epoch that is seen for the first time, or opened,
// if it stood before rank: behind all others, but before those with a higher counter
// whose place nobody knows either. There the counter tells more than first sight: it
// only grows on a card, and three links deceive. It tells nothing between what goes
// on counting where the last placed one was and what counts anew: those are two
// cards, as far as anybody knows, and the one that was seen first comes first.
func (c *Car) placeFor(id wire.Epoch, rank int) int {
	last := c.lastPlaced(rank)
	for i := 0; i < rank; i++ {
		k := c.epochs[i]
		if (last == nil || i > last.rank) && k.id.Counter > id.Counter && last.anew(k.id) == last.anew(id) {
			return i
		}
	}
	return rank
}

// chain puts epochs into lineage order: each of them, oldest first, before the
// next. What moves goes right before its successor; the others keep their order.
func (c *Car) chain(es []*epoch, out *Out) {
	moved := false
	for i := len(es) - 2; i >= 0; i-- {
		e, next := es[i], es[i+1]
		if e.rank <= next.rank {
			continue
		}
		c.epochs = slices.Delete(c.epochs, e.rank, e.rank+1)
		c.epochs = slices.Insert(c.epochs, next.rank, e)
		c.rerank()
		moved = true
	}
	if !moved {
		return
	}
	for _, ln := range c.lanes {
		c.resort(ln, out)
	}
}

// settlePlace puts an epoch whose EpochOpen is read for the first time before
// those that have overtaken it. First sight deceives: three links may bring a
// batch of a newer epoch before the EpochOpen of an older one. But a card without
// predecessors in a car that is known has begun to count anew: it stands where it
// was seen.
func (c *Car) settlePlace(e *epoch, o *wire.EpochOpen, out *Out) {
	to := e.rank
	last := c.lastPlaced(e.rank)
	if len(o.Predecessors) == 0 && last != nil {
		for to+1 < len(c.epochs) && c.seenBefore(c.epochs[to+1], e) && !last.anew(c.epochs[to+1].id) {
			to++
		}
	} else {
		to = c.placeFor(e.id, e.rank)
	}
	if to == e.rank {
		return
	}
	c.epochs = slices.Delete(c.epochs, e.rank, e.rank+1)
	c.epochs = slices.Insert(c.epochs, to, e)
	c.rerank()
	for _, ln := range c.lanes {
		c.resort(ln, out)
	}
}

// seenBefore reports whether k stands behind e for its counter alone, and was seen
// first.
func (c *Car) seenBefore(k, e *epoch) bool {
	return !k.placed() && k.seen && k.id.Counter > e.id.Counter && k.firstMS <= e.firstMS
}

// rerank numbers the epochs after their order has changed.
func (c *Car) rerank() {
	for i, e := range c.epochs {
		e.rank = i
	}
}

// forgettable reports whether an epoch is over: closed, complete, with nothing
// that waits. The newest one released in a lane is kept, it tells old from new.
func (e *epoch) forgettable() bool {
	if !e.closed {
		return false
	}
	for _, x := range e.streams {
		if !x.complete() || len(x.entries) > 0 || x.waiting() || x.lane.current() == x {
			return false
		}
	}
	return true
}

// over reports whether the time to forget an epoch has come. It is asked whenever
// a record names the epoch: when a tombstone is really made then does not matter.
func (c *Car) over(e *epoch) bool {
	return e.closed && c.cfg.Forget > 0 && c.now >= e.lastMS+millis(c.cfg.Forget) && e.forgettable()
}

// forgetOldest makes a tombstone of the oldest epoch that is over.
func (c *Car) forgetOldest(out *Out) bool {
	for _, e := range c.epochs {
		if e.forgettable() {
			c.forget(e, out)
			return true
		}
	}
	return false
}

// forget shrinks an epoch to a tombstone (rule 12).
func (c *Car) forget(e *epoch, out *Out) {
	for _, k := range c.epochs {
		if k.heir == e {
			k.heir = nil
		}
		if k.parent == e {
			k.parent = nil
		}
	}
	for _, x := range e.streams {
		x.lane.drop(x)
		c.gapCount -= len(x.missing)
		c.otherCount -= len(x.done) + len(x.pulled)
		c.streamCount--
		delete(c.byStream, keyOf(x.id))
	}
	c.epochs = slices.Delete(c.epochs, e.rank, e.rank+1)
	c.rerank()
	delete(c.byEpoch, e.id)
	if len(c.tombs) >= c.cfg.Limits.Tombstones {
		c.alarmLimit(LimitTombstones, out)
		c.tombs = slices.Delete(c.tombs, 0, len(c.tombs)-c.cfg.Limits.Tombstones+1)
	}
	c.tombs = append(c.tombs, e.id)
	c.last = nil
}

// related alarms when an EpochOpen does not continue what is known of the car:
// the card is new (rule 9), or there are two cards of one image. An epoch that
// shares a predecessor with a named one has lost such a fork and is set aside.
func (c *Car) related(e *epoch, o *wire.EpochOpen, id wire.ID, out *Out) {
	if e.closed {
		return
	}
	named := make(map[*epoch]bool, len(o.Predecessors))  // by e
	shared := make(map[*epoch]bool, len(o.Predecessors)) // continued by one of them
	for i := range o.Predecessors {
		if p := c.byEpoch[o.Predecessors[i].Epoch]; p != nil {
			named[p] = true
			if p.parent != nil {
				shared[p.parent] = true
			}
		}
	}
	first := len(o.Predecessors) == 0
	fork, alarm := false, first && len(c.tombs) > 0
	for _, k := range c.epochs {
		if k == e || named[k] || k.closed && !first {
			continue
		}
		if !k.placed() && k.id.Counter > e.id.Counter {
			continue // overtook this record: its own EpochOpen will tell
		}
		alarm = true
		if k.parent != nil {
			k.aside = k.aside || shared[k.parent]
			fork = fork || k.aside || named[k.parent]
		}
	}
	switch {
	case fork:
		out.addID(KindAlarm, id).Alarm = AlarmFork
	case alarm:
		out.addID(KindAlarm, id).Alarm = AlarmLineage
	}
}
