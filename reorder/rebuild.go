package reorder

import (
	"slices"

	"telemetry/wire"
)

// Rebuild takes a record below the state's input offset after [ParseCar], in
// offset order from LowestNeeded on: it restores what the state leaves out and
// decides nothing (rule 22). Records that do not wait any more are ignored. The
// first Apply, Advance, Abandon or Gone ends the rebuilding; what the state
// knows to be released or held but was not read again by then has been deleted,
// and is settled with the reason "retention" (rule 15).
func (c *Car) Rebuild(in *Input) {
	if !c.restoring || in.Offset >= c.next || in.Offset < c.resumeOffset {
		return
	}
	c.rebuildMS = min(max(c.rebuildMS, c.resumeMS, in.AppendMS), c.read)
	h := &in.Header
	x := c.byStream[keyOf(h.Stream)]
	if x == nil || h.Stream.Car != c.name || h.Seq == 0 || h.Seq > MaxSeq || !x.sameCRC(h.Seq, h.PayloadCRC) {
		return
	}
	if _, ok := x.entries[h.Seq]; ok {
		return
	}
	e := entry{offset: in.Offset, appendMS: c.rebuildMS, crc: h.PayloadCRC, flags: flagsFor(in)}
	for kind := range outs {
		if x.wait[kind].Contains(h.Seq) {
			e.flags |= flagOf(kind)
		}
	}
	if e.flags&flagsKeep != 0 {
		c.keep(x, h.Seq, e)
	}
	if k, _ := x.classify(h.Seq); k == unknown && !x.complete() && !(x.ended && h.Seq > x.end) {
		c.hold(x, h.Seq, e)
	}
}

// restored ends the rebuilding.
func (c *Car) restored(out *Out) {
	if !c.restoring {
		return
	}
	c.restoring = false
	c.due = 0
	for _, ln := range c.lanes {
		ln.waiting = 0
		for _, x := range ln.streams {
			c.lostInWait(x, out)
			c.lostWhileHeld(x, out)
			ln.waiting += int(x.wait[outMain].Count())
		}
	}
	c.pumpAll(out)
	c.flushAll(out)
}

// lostInWait settles what was decided but cannot be read again.
func (c *Car) lostInWait(x *stream, out *Out) {
	if !x.waiting() {
		return
	}
	written := c.writtenOf(x)
	for kind := range outs {
		var have wire.Ranges
		for _, seq := range x.kept(flagOf(kind)) {
			have = have.Add(seq, seq)
		}
		lost := x.wait[kind].Clone().Subtract(have)
		if len(lost) == 0 {
			continue
		}
		x.wait[kind] = have
		if kind == outPulled {
			continue // main has it, or will: nothing is missing
		}
		for _, r := range lost.Subtract(written) {
			c.loseRange(x, r, out)
		}
	}
}

// lostWhileHeld settles what was held but cannot be read again.
func (c *Car) lostWhileHeld(x *stream, out *Out) {
	if len(x.expect) == 0 {
		return
	}
	lost := x.expect.Subtract(x.held)
	x.expect = nil
	for _, r := range c.takeWritten(x, lost) {
		c.settle(x, r.First, r.Last, wire.ReasonRetention, out)
	}
	if len(lost) > 0 && x.complete() {
		c.tail(x, out)
	}
}

// Written sets what says which numbers of a stream an owner has written that died
// before it could put that into the state. Where the records of such numbers are
// deleted they count as delivered, else reading them again finds them. What f
// returns is not changed.
func (c *Car) Written(f func(wire.Stream) wire.Ranges) { c.written = f }

func (c *Car) writtenOf(x *stream) wire.Ranges {
	if c.written == nil {
		return nil
	}
	return c.written(x.id)
}

// takeWritten counts as delivered what was written of some numbers whose records
// are deleted, and returns the others, in the memory of rs.
func (c *Car) takeWritten(x *stream, rs wire.Ranges) wire.Ranges {
	written := c.writtenOf(x)
	if len(written) == 0 {
		return rs
	}
	n := len(x.done)
	for _, r := range rs {
		for _, w := range written {
			for seq := max(r.First, w.First, x.floor+1); seq <= min(r.Last, w.Last); {
				k, last := x.classify(seq)
				last = min(last, r.Last, w.Last)
				if k == unknown {
					x.done = x.done.Add(seq, last)
				}
				seq = last + 1
			}
		}
	}
	c.otherCount += len(x.done) - n
	return rs.Subtract(written)
}

// Restoring reports whether the car comes out of a state and nothing has ended its
// rebuilding yet.
func (c *Car) Restoring() bool { return c.restoring }

// kept returns the numbers whose entries have a flag, in order.
func (x *stream) kept(flag uint8) []uint64 {
	var seqs []uint64
	for seq, e := range x.entries {
		if e.flags&flag != 0 {
			seqs = append(seqs, seq)
		}
	}
	slices.Sort(seqs)
	return seqs
}

// loseRange makes delivered numbers missing for retention.
func (c *Car) loseRange(x *stream, r wire.Range, out *Out) {
	for seq := r.First; seq <= r.Last; {
		k, last := x.classify(seq)
		last = min(last, r.Last)
		if k == delivered {
			n, m := len(x.missing), len(x.done)
			x.done = x.done.Remove(seq, last)
			x.missing = x.missing.add(seq, last, wire.ReasonRetention)
			c.gapCount += len(x.missing) - n
			c.otherCount += len(x.done) - m
		}
		if k == delivered || k == blurred {
			d := out.add(KindGap, x, seq)
			d.Last, d.Gap, d.Reason = last, GapSettled, wire.ReasonRetention
		}
		seq = last + 1
	}
	for c.gapCount > c.cfg.Limits.GapRanges && c.mergeGaps(out) {
	}
}
