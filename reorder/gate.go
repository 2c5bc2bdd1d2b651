package reorder

import (
	"slices"

	"telemetry/wire"
)

// The gate stands behind the decisions: what is released, late or pulled leaves
// in the order of its lane, but not before its catalogue is known and its epoch
// has an anchor or has waited for one. What waits there is decided: it opens no
// hole and no window runs for it, and holes behind it expire as if it had left.

// open reports whether a batch may leave.
func (c *Car) open(x *stream, h wire.CatalogueHash) bool {
	if h == (wire.CatalogueHash{}) {
		return x.id.Lane == wire.LaneCritical || x.epoch.synced
	}
	if !x.epoch.synced {
		return false
	}
	if x.lane.known == h {
		return true
	}
	if !slices.Contains(c.catalogues, h) {
		return false
	}
	x.lane.known = h
	return true
}

// emit lets a decided batch leave, or keeps it at the gate. Its entry is e; it
// may be kept already.
func (c *Car) emit(x *stream, seq uint64, kind int, e entry, out *Out) {
	if (kind != outMain || x.lane.waiting == 0) && c.open(x, e.catalogue) {
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
	if c.cfg.CatalogueAlarm > 0 {
		c.wake(e.appendMS + millis(c.cfg.CatalogueAlarm))
	}
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
			if !ok || !c.open(x, e.catalogue) {
				if c.cfg.CatalogueAlarm > 0 {
					c.wake(e.appendMS + millis(c.cfg.CatalogueAlarm))
				}
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
				if e := x.entries[seq]; c.open(x, e.catalogue) {
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

// refuse gives up a batch at the gate: its number counts as delivered, its record
// goes to the dead-letter topic.
func (c *Car) refuse(o entryAt, e entry, out *Out) {
	for kind := range outs {
		if e.flags&flagOf(kind) == 0 {
			continue
		}
		o.x.wait[kind] = o.x.wait[kind].Remove(o.seq, o.seq)
		if kind == outMain {
			o.x.lane.waiting--
		}
	}
	d := out.add(KindDeadLetter, o.x, o.seq)
	d.Offset, d.Why = e.offset, WhyCatalogue
	c.unkeep(o.x, o.seq)
	c.flush(o.x.lane, out)
}

// KnowCatalogue says that batches with this catalogue can be decoded from now on,
// and releases what waited for it. What is known is not part of the state:
// after a takeover it is said again, best before the first record.
func (c *Car) KnowCatalogue(h wire.CatalogueHash, out *Out) {
	if slices.Contains(c.catalogues, h) {
		return
	}
	if len(c.catalogues) >= c.cfg.Limits.Catalogues {
		old := c.catalogues[0]
		c.catalogues = slices.Delete(c.catalogues, 0, 1)
		for _, ln := range c.lanes {
			if ln.known == old {
				ln.known = wire.CatalogueHash{}
			}
		}
	}
	c.catalogues = append(c.catalogues, h)
	if !c.restoring {
		c.flushAll(out)
	}
}

// Wanted appends the catalogues that the batches at the gate wait for, each
// once, at most 16 of them.
func (c *Car) Wanted(dst []wire.CatalogueHash) []wire.CatalogueHash {
	const most = 16
	n := len(dst)
	for _, ln := range c.lanes {
		for _, x := range ln.streams {
			for kind := range outs {
				if len(x.wait[kind]) == 0 || len(dst)-n >= most {
					continue
				}
				h := x.entries[x.wait[kind][0].First].catalogue
				if h != (wire.CatalogueHash{}) && !slices.Contains(c.catalogues, h) && !slices.Contains(dst[n:], h) {
					dst = append(dst, h)
				}
			}
		}
	}
	return dst
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
