package reorder

import (
	"slices"

	"telemetry/wire"
)

// epoch is what is known of one start of the car's agent.
type epoch struct {
	id     wire.Epoch
	rank   int  // place in Car.epochs: lineage, then first sight
	opened bool // its EpochOpen has been read
	closed bool // an EpochOpen names it as predecessor, or it was abandoned
	seen   bool // a batch of it has been read: firstMS counts
	synced bool // an anchor has been read, or its time is over: the gate is open

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
	e := &epoch{id: id, rank: len(c.epochs), lastMS: c.now}
	c.epochs = append(c.epochs, e)
	c.byEpoch[id] = e
	return e
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
// the card is new, or there are two of it (rule 9).
func (c *Car) related(e *epoch, o *wire.EpochOpen, id wire.ID, out *Out) {
	if e.closed {
		return
	}
	first := len(o.Predecessors) == 0
	alarm := first && len(c.tombs) > 0
	for _, k := range c.epochs {
		if k == e || k.closed && !first {
			continue
		}
		if !k.opened && !k.closed && k.id.Counter > e.id.Counter {
			continue // overtook this record: its own EpochOpen will tell
		}
		if !slices.ContainsFunc(o.Predecessors, func(p wire.Predecessor) bool { return p.Epoch == k.id }) {
			alarm = true
		}
	}
	if alarm {
		out.addID(KindAlarm, id).Alarm = AlarmLineage
	}
}
