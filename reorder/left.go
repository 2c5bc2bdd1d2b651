package reorder

import "telemetry/wire"

// Left calls fn for each stream of an epoch, by lane and shard, with the numbers that
// have left: they are released, or late, and past the gate. What may have left, because
// gaps around it were merged, is among them. fn may keep the numbers.
func (c *Car) Left(id wire.Epoch, fn func(st wire.Stream, left wire.Ranges)) {
	e := c.byEpoch[id]
	if e == nil {
		return
	}
	for _, x := range e.streams {
		left := x.done.Clone()
		if x.floor > 0 {
			left = left.Add(1, x.floor)
		}
		for _, g := range x.missing {
			if !g.merged {
				left = left.Remove(g.first, g.last)
			}
		}
		for _, kind := range [...]int{outMain, outLate} {
			for _, r := range x.wait[kind] {
				left = left.Remove(r.First, r.Last)
			}
		}
		if len(left) > 0 {
			fn(x.id, left)
		}
	}
}
