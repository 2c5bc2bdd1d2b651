package uplink

import "telemetry/wire"

// A preview is worth most while it is new, and the lane is small: one that the
// link should have delivered by now and didn't goes over another link as well,
// long before the link is suspect.

const (
	lateSlackNS  = 70 * ms // beyond the expected proof: an ack's period and its jitter
	stuckSlackNS = 25 * ms // beyond the expected confirmation by TCP
	maxLateSends = 3       // copies of one preview in all, those after a suspicion not counted
)

// expect notes when the preview that c is given now is late.
func (e *Engine) expect(f *flight, c *connection, n int64) {
	p := e.pathState(c)
	f.lateNS, f.stuckNS = 0, 0
	if f.sends >= maxLateSends {
		return
	}
	f.lateNS = e.now + p.completion(n, false) + p.RTT/2 + 2*c.est.rttvarNS + lateSlackNS
	if p.Watched {
		f.stuckNS = e.now + p.delivery(n) + p.MinRTT/2 + stuckSlackNS
	}
}

// due returns from when on f is late: earlier while its last copy is on a
// connection whose socket says that the bytes are not there.
func (e *Engine) due(f *flight) int64 {
	if f.stuckNS != 0 && len(f.copies) > 0 && !f.copies[len(f.copies)-1].c.confirmed(f) {
		return f.stuckNS
	}
	return f.lateNS
}

// late reports whether f is a preview whose proof should have come.
func (e *Engine) late(f *flight) bool {
	if f.lateNS == 0 || e.now < e.due(f) || len(f.loans) > 0 || f.ended || f.queued || f.retry > e.now {
		return false
	}
	for i := range f.copies {
		if f.copies[i].arrivedNS != 0 {
			return false
		}
	}
	return true
}

// sendLate sends the oldest late preview over a link that doesn't have it.
func (e *Engine) sendLate() bool {
	for f := e.lanes[wire.LaneLive].list.first; f != nil; f = f.next {
		if !e.late(f) {
			continue
		}
		for i, c := range e.paths {
			e.pathsBuf[i].Shun = f.on(c)
		}
		size := int64(f.item.Size) + sendOverhead
		e.bar(wire.LaneLive, size)
		i := best(e.pathsBuf, size, (*PathState).delivery, func(p *PathState) bool { return !p.Shun && p.open(size, liveTargetNS) })
		if i < 0 {
			continue
		}
		e.totals.Late++
		e.send(e.paths[i], candidate{item: f.item, f: f})
		return true
	}
	return false
}

// lateWaits reports whether a late preview could go over another link.
func (e *Engine) lateWaits() bool {
	for f := e.lanes[wire.LaneLive].list.first; f != nil; f = f.next {
		if e.late(f) {
			return true
		}
	}
	return false
}

// nextLate returns when the next preview is late; 0 = none.
func (e *Engine) nextLate() (at int64) {
	for f := e.lanes[wire.LaneLive].list.first; f != nil; f = f.next {
		if f.lateNS == 0 || len(f.loans) > 0 {
			continue
		}
		if t := e.due(f); t > e.now && (at == 0 || t < at) {
			at = t
		}
	}
	return at
}
