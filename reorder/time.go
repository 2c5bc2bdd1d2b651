package reorder

import (
	"math"

	"telemetry/wire"
)

const (
	// never is a time that does not come.
	never = math.MaxInt64
	// maxMS bounds times, so that no window overflows; it is beyond the year 140000.
	maxMS = 1 << 52
)

// wake makes sure that the events due at t are looked for then.
func (c *Car) wake(t int64) { c.due = min(c.due, t) }

// forgetAt wakes when a closed epoch may be forgotten.
func (c *Car) forgetAt(e *epoch) {
	if c.cfg.Forget > 0 {
		c.wake(e.lastMS + millis(c.cfg.Forget))
	}
}

// event is what happens next by time alone. Ties go to the lower kind, then to
// the lane, then to the older epoch.
type event struct {
	at   int64
	kind eventKind
	x    *stream
	e    *epoch
}

type eventKind uint8

const (
	eventAnchor eventKind = iota // an epoch has waited for its anchor long enough
	eventHole                    // a window runs out
	eventHalf                    // something waits for half the retention
	eventGone                    // the retention deletes something that waits
	eventForget                  // a closed epoch becomes a tombstone
)

// Advance moves time to nowMS: windows run out, and the other limits of time
// strike, in the order of their times. Time never goes back. The caller takes it
// from the log only, from records of other cars or made for the purpose: nowMS is
// never above the LogAppendTime of a record of this car that is still to come
// (rule 20).
func (c *Car) Advance(nowMS int64, out *Out) {
	nowMS = min(nowMS, maxMS)
	if nowMS <= c.now {
		return
	}
	if nowMS < c.due && !c.restoring {
		c.now = nowMS
		return
	}
	c.restored(out)
	c.now = nowMS
	for {
		ev := c.nextEvent(true)
		if ev.at > nowMS {
			c.due = ev.at
			break
		}
		c.strike(ev, out)
	}
	c.rearm()
}

// strike does what an event asks for.
func (c *Car) strike(ev event, out *Out) {
	switch ev.kind {
	case eventAnchor:
		c.sync(ev.e, out)
	case eventHole:
		c.expire(ev.x, out)
	case eventHalf:
		o, _, _ := c.first()
		out.add(KindAlarm, o.x, o.seq).Alarm = AlarmRetention
		c.halfAlarmed = c.next
	case eventGone:
		o, e, _ := c.first()
		c.gone(o, e, out)
	case eventForget:
		c.forget(ev.e, out)
	}
}

// nextEvent returns the earliest event; its time is never when there is none.
// Forgetting decides nothing and may be left out.
func (c *Car) nextEvent(forget bool) event {
	ev := event{at: never}
	take := func(n event) {
		if n.at < ev.at {
			ev = n
		}
	}
	for _, e := range c.epochs {
		if e.seen && !e.synced {
			take(event{at: e.firstMS + millis(c.cfg.AnchorWait), kind: eventAnchor, e: e})
		}
	}
	if c.entryCount > 0 {
		for _, ln := range c.lanes {
			if ln.window < 0 {
				continue
			}
			for i := ln.start(); i < len(ln.streams); i++ {
				if t, ok := ln.streams[i].oldest(); ok {
					take(event{at: t + ln.window, kind: eventHole, x: ln.streams[i]})
				}
			}
		}
	}
	if c.cfg.Retention > 0 {
		if _, e, ok := c.first(); ok {
			if e.offset >= c.halfAlarmed {
				take(event{at: e.appendMS + millis(c.cfg.Retention/2), kind: eventHalf})
			}
			take(event{at: e.appendMS + millis(c.cfg.Retention), kind: eventGone})
		}
	}
	if forget && c.cfg.Forget > 0 {
		for _, e := range c.epochs {
			if t := e.lastMS + millis(c.cfg.Forget); t < ev.at && e.forgettable() {
				take(event{at: t, kind: eventForget, e: e})
			}
		}
	}
	return ev
}

// NextDeadline returns the next time in ms at which Advance will decide something,
// and false when only a record can.
func (c *Car) NextDeadline() (ms int64, ok bool) {
	if c.due == never || c.restoring {
		return 0, false
	}
	ev := c.nextEvent(false)
	return ev.at, ev.at != never
}

// gone settles a batch that the input topic has deleted, or is about to, before
// its turn came (rule 15).
func (c *Car) gone(o entryAt, e entry, out *Out) {
	x := o.x
	for kind := range outs {
		if e.flags&flagOf(kind) == 0 {
			continue
		}
		x.wait[kind] = x.wait[kind].Remove(o.seq, o.seq)
		if kind == outMain {
			x.lane.waiting--
		}
	}
	c.unkeep(x, o.seq)
	if e.flags&flagHeld != 0 {
		x.held = x.held.Remove(o.seq, o.seq)
		c.settle(x, o.seq, o.seq, wire.ReasonRetention, out)
	}
	if e.flags&(flagMain|flagLate) != 0 {
		c.loseRange(x, wire.Range{First: o.seq, Last: o.seq}, out)
	}
	c.settled(x, out)
	c.flush(x.lane, out)
}

// Gone says that the input topic begins at logStart: what waits below it cannot be
// read again and is settled with the reason "retention". The caller says so when
// it finds that retention by size was faster than Config.Retention.
func (c *Car) Gone(logStart int64, out *Out) {
	c.restored(out)
	for {
		o, e, ok := c.first()
		if !ok || o.offset >= logStart {
			return
		}
		c.gone(o, e, out)
	}
}

// Hole is a run of numbers that one lane waits for.
type Hole struct {
	Stream wire.Stream
	Range  wire.Range
	// SinceMS is when the earliest batch behind it was appended; 0 when only
	// pulled batches are behind it, or an older epoch's end is missing.
	SinceMS int64
	Held    int // batches of the stream that wait
}

// Holes appends what each stream waits for now, one hole for each stream at most:
// the first. A stream that only waits for its epoch to open has none.
func (c *Car) Holes(dst []Hole) []Hole {
	for _, ln := range c.lanes {
		for i := ln.start(); i < len(ln.streams); i++ {
			x := ln.streams[i]
			if x.complete() {
				continue
			}
			k, last := x.classify(x.floor + 1)
			if k != unknown || len(x.held) == 0 && !x.ended {
				continue
			}
			if x.ended {
				last = min(last, x.end)
			}
			since, _ := x.oldest()
			dst = append(dst, Hole{x.id, wire.Range{First: x.floor + 1, Last: last}, since, int(x.held.Count())})
		}
	}
	return dst
}
