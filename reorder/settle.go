package reorder

import "telemetry/wire"

// fromCar reports whether a reason comes out of a loss record: the car knows,
// everything else is a conclusion of the sequencer.
func fromCar(why wire.Reason) bool {
	switch why {
	case wire.ReasonEpoch, wire.ReasonGap, wire.ReasonRetention, wire.ReasonCardReplaced, wire.ReasonNone:
		return false
	}
	return true
}

// settle notes that first..last will not come. What is delivered or held stays
// (rule 3); what is missing already gets the better reason.
func (c *Car) settle(x *stream, first, last uint64, why wire.Reason, out *Out) {
	first, last = max(first, 1), min(last, MaxSeq)
	if first > last {
		return
	}
	x.hi = max(x.hi, last)
	for seq := first; seq <= last; {
		k, end := x.classify(seq)
		end = min(end, last)
		switch k {
		case unknown:
			if !c.addMissing(x, seq, end, why, out) {
				return
			}
		case lost:
			c.refine(x, seq, end, why, out)
		}
		seq = end + 1
	}
}

// fill settles all up to last that is neither delivered, held nor missing, and
// moves the floor there. Nothing may be held below last.
func (c *Car) fill(x *stream, last uint64, why wire.Reason, out *Out) {
	if last <= x.floor {
		return
	}
	for seq := x.floor + 1; seq <= last; {
		k, end := x.classify(seq)
		end = min(end, last)
		if k == unknown {
			n := len(x.missing)
			x.missing = x.missing.add(seq, end, why)
			c.gapCount += len(x.missing) - n
			d := out.add(KindGap, x, seq)
			d.Last, d.Gap, d.Reason = end, GapSettled, why
		}
		seq = end + 1
	}
	c.raise(x, last)
	for c.gapCount > c.cfg.Limits.GapRanges && c.mergeGaps(out) {
	}
}

// addMissing settles a run of unknown numbers, and reports whether there was room.
func (c *Car) addMissing(x *stream, first, last uint64, why wire.Reason, out *Out) bool {
	if c.gapCount >= c.cfg.Limits.GapRanges && !c.mergeGaps(out) {
		return false
	}
	n := len(x.missing)
	x.missing = x.missing.add(first, last, why)
	c.gapCount += len(x.missing) - n
	d := out.add(KindGap, x, first)
	d.Last, d.Gap, d.Reason = last, GapSettled, why
	return true
}

// refine replaces the reason of missing numbers when the car has said why and
// nothing of its own said so before. What retention has deleted was there, whatever
// the car believes (rule 3); only of numbers from before the log's start is that a
// guess.
func (c *Car) refine(x *stream, first, last uint64, why wire.Reason, out *Out) {
	g, _ := x.missing.get(first)
	if !fromCar(why) || fromCar(g.reason) || g.reason == wire.ReasonRetention && !x.epoch.inside {
		return
	}
	if c.gapCount+2 > c.cfg.Limits.GapRanges && !c.mergeGaps(out) {
		return
	}
	if g, _ = x.missing.get(first); g.merged {
		return
	}
	n := len(x.missing)
	x.missing = x.missing.remove(first, last).add(first, last, why)
	c.gapCount += len(x.missing) - n
	d := out.add(KindGap, x, first)
	d.Last, d.Gap, d.Reason, d.Was = last, GapRefined, why, g.reason
}

// withdraw takes a number that is delivered after all out of its gap (rule 13).
func (c *Car) withdraw(x *stream, seq uint64, out *Out) {
	g, _ := x.missing.get(seq)
	n := len(x.missing)
	x.missing = x.missing.remove(seq, seq)
	c.gapCount += len(x.missing) - n
	d := out.add(KindGap, x, seq)
	d.Last, d.Gap, d.Was = seq, GapWithdrawn, g.reason
	for c.gapCount > c.cfg.Limits.GapRanges && c.mergeGaps(out) {
	}
}

// mergeGaps makes room for one range by merging the lowest two of a stream
// (rule 14): previews first, then full, then critical, the oldest epoch first.
func (c *Car) mergeGaps(out *Out) bool {
	c.alarmLimit(LimitGapRanges, out)
	for _, l := range [...]wire.Lane{wire.LaneLive, wire.LaneFull, wire.LaneCritical} {
		for _, ln := range c.lanes {
			if ln.lane != l {
				continue
			}
			for _, x := range ln.streams {
				var ok bool
				if x.missing, ok = x.missing.mergeLowest(x.floor); ok {
					c.gapCount--
					return true
				}
			}
		}
	}
	return false
}

// setBase notes the lowest number that a stream may still send; the greatest one
// counts (rule 2). In live it settles what is below. In critical and full
// nothing below may be unknown: a loss record came first, or it was deleted unread.
func (c *Car) setBase(x *stream, base uint64, out *Out) {
	base = min(base, MaxSeq)
	if base <= x.base {
		return
	}
	from := max(x.base, x.floor+1, 1)
	x.base = base
	if base <= x.floor+1 {
		return
	}
	if x.id.Lane == wire.LaneLive {
		c.settle(x, x.floor+1, base-1, wire.ReasonSuperseded, out)
		if x.complete() {
			c.tail(x, out)
		}
		return
	}
	const most = 8 // alarms for one base
	for n := 0; from < base && n < most; {
		k, last := x.classify(from)
		last = min(last, base-1)
		switch {
		case k == unknown && c.unread:
			for _, r := range c.takeWritten(x, wire.Ranges{{First: from, Last: last}}) {
				c.settle(x, r.First, r.Last, wire.ReasonRetention, out)
			}
		case k == unknown:
			d := out.add(KindAlarm, x, from)
			d.Last, d.Alarm = last, AlarmBelowBase
			n++
		}
		from = last + 1
	}
}

// alarmLimit reports once that a limit was reached.
func (c *Car) alarmLimit(l Limit, out *Out) {
	if c.alarmed[l] {
		return
	}
	c.alarmed[l] = true
	d := out.addID(KindAlarm, wire.ID{Stream: wire.Stream{Car: c.name}})
	d.Alarm, d.Last = AlarmLimit, uint64(l)
}

// rearm lets the limits that have room again raise their alarm once more.
func (c *Car) rearm() {
	l := &c.cfg.Limits
	for _, q := range [...]struct {
		l       Limit
		n, most int
	}{
		{LimitEpochs, len(c.epochs), l.Epochs},
		{LimitStreams, c.streamCount, l.Streams},
		{LimitTombstones, len(c.tombs), l.Tombstones},
		{LimitHeld, c.entryCount, l.Held / 2},
		{LimitGapRanges, c.gapCount, l.GapRanges},
		{LimitOtherRanges, c.otherCount, l.OtherRanges},
	} {
		if c.alarmed[q.l] && q.n <= q.most/2 {
			c.alarmed[q.l] = false
		}
	}
}

// makeRoom sees to it that one more batch of x can be kept.
func (c *Car) makeRoom(x *stream, out *Out) {
	if len(x.held) >= c.cfg.Limits.HeldRanges {
		c.alarmLimit(LimitHeldRanges, out)
		c.expire(x, out)
	}
	if c.entryCount < c.cfg.Limits.Held/2 {
		return
	}
	c.alarmLimit(LimitHeld, out)
	for c.entryCount >= c.cfg.Limits.Held && c.shed(out) {
	}
}

// shed skips the hole of the batch that is held longest; when none is held, it
// opens the gate. It reports whether something has changed.
func (c *Car) shed(out *Out) bool {
	for _, o := range c.order[c.orderAt:] {
		if o.x == nil {
			continue
		}
		if e, ok := o.x.entries[o.seq]; ok && e.offset == o.offset && e.flags&flagHeld != 0 {
			c.expire(o.x, out)
			return true
		}
	}
	n := c.entryCount
	for _, e := range c.epochs {
		if e.seen {
			c.sync(e, out)
		}
	}
	return c.entryCount < n
}
