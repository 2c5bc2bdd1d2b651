package reorder

import "telemetry/wire"

// The gate stands behind the decisions: what is released, late or pulled leaves
// in the order of its lane, but not before its epoch has an anchor or has waited
// for one. What waits there is decided: it opens no hole and no window runs for
// it, and holes behind it expire as if it had left. Whether a catalogue is known
// is not asked here: it comes by another topic, and a replay must decide alike.

// open reports whether a batch may leave.
func open(x *stream, flags uint8) bool {
	return x.epoch.synced || x.id.Lane == wire.LaneCritical && flags&flagColumns == 0
}

// emit lets a decided batch leave, or keeps it at the gate. Its entry is e; it
// may be kept already.
func (c *Car) emit(x *stream, seq uint64, kind int, e entry, out *Out) {
	if (kind != outMain || x.lane.waiting == 0) && open(x, e.flags) {
		c.leave(x, seq, kind, e, out)
		return
	}
	x.wait[kind] = x.wait[kind].Add(seq, seq)
	if kind == outMain {
		x.lane.waiting++
	}
	if old, ok := x.entries[seq]; ok {
		e.flags |= old.flags &^ flagHeld
		if x.held.Contains(seq) {
			e.flags |= flagHeld
		}
	}
	e.flags |= flagOf(kind)
	c.keep(x, seq, e)
}

// flagOf returns the entry flag of an output.
func flagOf(kind int) uint8 { return [outs]uint8{flagMain, flagLate, flagPulled}[kind] }

// leave appends the decision and drops the entry when it was kept for nothing else.
func (c *Car) leave(x *stream, seq uint64, kind int, e entry, out *Out) {
	d := out.add([outs]Kind{KindRelease, KindLate, KindPulled}[kind], x, seq)
	d.Offset = e.offset
	if len(x.entries) == 0 {
		return
	}
	old, ok := x.entries[seq]
	if !ok {
		return
	}
	old.flags &^= flagOf(kind)
	if !x.held.Contains(seq) {
		old.flags &^= flagHeld
	}
	if old.flags&flagsKeep == 0 {
		c.unkeep(x, seq)
		return
	}
	x.entries[seq] = old
}

// flush releases in order what may leave now in one lane.
func (c *Car) flush(ln *lane, out *Out) {
	if ln.waiting == 0 {
		return
	}
	for _, x := range ln.streams {
		for len(x.wait[outMain]) > 0 {
			seq := x.wait[outMain][0].First
			e, ok := x.entries[seq]
			if !ok || !open(x, e.flags) {
				return
			}
			x.wait[outMain] = x.wait[outMain].Remove(seq, seq)
			ln.waiting--
			c.leave(x, seq, outMain, e, out)
		}
	}
}

// flushRest lets go what may leave of one stream to late and to pulled. There
// one need not wait for another.
func (c *Car) flushRest(x *stream, out *Out) {
	for _, kind := range [...]int{outLate, outPulled} {
		if len(x.wait[kind]) == 0 {
			continue
		}
		var still wire.Ranges
		for _, r := range x.wait[kind] {
			for seq := r.First; seq <= r.Last; seq++ {
				if e := x.entries[seq]; open(x, e.flags) {
					c.leave(x, seq, kind, e, out)
				} else {
					still = still.Add(seq, seq)
				}
			}
		}
		x.wait[kind] = still
	}
}

// flushAll flushes everything that is at the gate.
func (c *Car) flushAll(out *Out) {
	if c.entryCount == 0 {
		return
	}
	for _, ln := range c.lanes {
		c.flush(ln, out)
		for _, x := range ln.streams {
			c.flushRest(x, out)
		}
	}
}

// sync ends the wait for an epoch's anchor.
func (c *Car) sync(e *epoch, out *Out) {
	if e.synced {
		return
	}
	e.synced = true
	if c.entryCount == 0 {
		return
	}
	for _, x := range e.streams {
		if x.waiting() {
			c.flush(x.lane, out)
			c.flushRest(x, out)
		}
	}
}
