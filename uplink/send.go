package uplink

import (
	"container/heap"
	"slices"

	"telemetry/wire"
)

const (
	maxSendsPerStep = 256
	sendOverhead    = 64 // bytes of a send header, for the choice only
	maxProbeSearch  = 64
	roomStepNS      = 3 * ms    // least time until room is looked for again
	watchStepNS     = 20 * ms   // most time, where sockets tell of it
	lastingNS       = 5000 * ms // a backlog that has stood for so long is there for longer
	startingPct     = 75        // of its best rate is what a path delivers while it is given more than that
	youngNS         = 5000 * ms // a connection that is up for less may not have had what shows its rate
)

// candidate is the batch that a lane would send next.
type candidate struct {
	item wire.Item
	f    *flight // it was sent before; nil = new
	pull *pull   // new, and found through this range
}

// schedule sends what can go now: critical everywhere, then the rest in order.
func (e *Engine) schedule() {
	e.sendCritical()
	for range maxSendsPerStep {
		if !e.sendOne() {
			if _, waits := e.next(wire.LaneFull); !waits {
				e.drainedNS = e.now
			}
			e.markLimited()
			e.roomNS = e.nextRoom()
			e.markWanted()
			return
		}
	}
	e.again = true
}

// nextRoom returns when a path that is full now should have room for what waits if
// it goes on delivering; 0 = only an event can say.
func (e *Engine) nextRoom() (at int64) {
	for _, l := range [...]wire.Lane{wire.LaneLive, wire.LaneFull} {
		cand, ok := e.next(l)
		if !ok {
			continue
		}
		size := int64(cand.item.Size) + sendOverhead
		e.bar(l, size)
		for i, c := range e.paths {
			p := &e.pathsBuf[i]
			if !p.Usable || p.Barred || p.Rate == 0 {
				continue
			}
			target := p.fullTarget()
			if l == wire.LaneLive {
				target = liveTargetNS
			}
			wait := max(p.over(size, target)*1000/max(p.CapRate, unknownRate)*ms, roomStepNS)
			switch {
			case p.Watched:
				wait = min(wait, watchStepNS)
			case wait > maxAheadNS-c.ahead(e.now):
				continue
			}
			if at == 0 || e.now+wait < at {
				at = e.now + wait
			}
		}
	}
	return at
}

// sendOne sends one message in the order of the lanes, and reports whether
// anything moved.
func (e *Engine) sendOne() bool {
	e.readPaths()
	if len(e.paths) == 0 {
		return false
	}
	if e.fullOwedB >= wire.MaxFullBytes {
		if _, waits := e.next(wire.LaneFull); waits {
			// Its turn: what would go before it waits for room, too.
			return e.sendBulk(wire.LaneFull, PickOwed) || e.sendControl()
		}
	}
	return e.sendControl() ||
		e.sendBulk(wire.LaneLive, PickFirst) ||
		e.sendLate() ||
		e.sendBulk(wire.LaneFull, e.pickFull()) ||
		e.probe()
}

// pickFull returns how the full lane's next batch finds its path.
func (e *Engine) pickFull() func([]PathState, int64) int {
	if e.lasting() {
		return PickFilling
	}
	return PickStriped
}

// readPaths collects the connections that are up and their states.
func (e *Engine) readPaths() {
	e.paths, e.pathsBuf = e.paths[:0], e.pathsBuf[:0]
	for _, l := range e.links {
		for _, c := range [...]*connection{l.cur, l.next} {
			if c != nil && c.up {
				e.paths = append(e.paths, c)
				e.pathsBuf = append(e.pathsBuf, e.pathState(c))
			}
		}
	}
}

func (e *Engine) pathState(c *connection) PathState {
	best := c.est.known()
	nowRate, capRate := c.rates(e.lasting())
	p := PathState{
		Usable:   c.trusted() && !e.heldOn(c) && !e.quiet(c),
		Busy:     c.pending > 0,
		InFlight: c.expected(e.now), Recent: c.recent(e.now), Rate: best, NowRate: nowRate, CapRate: capRate, Watched: c.socket.atNS != 0,
		RTT: c.est.rtt(), MinRTT: c.est.minRTT(),
		Starting: c.est.starting() && capRate*100 >= best*startingPct,
		Young:    e.now-c.upNS < youngNS,
	}
	if p.Usable {
		p.Credit = e.creditFor(c)
	}
	return p
}

// sendBulk sends the next batch of live or full over the path that pick chooses.
func (e *Engine) sendBulk(l wire.Lane, pick func([]PathState, int64) int) bool {
	cand, ok := e.next(l)
	if !ok {
		return false
	}
	for i, c := range e.paths {
		e.pathsBuf[i].Shun = cand.f != nil && cand.f.avoid != nil && slices.ContainsFunc(c.heard, func(h heardView) bool { return h.v == cand.f.avoid })
	}
	size := int64(cand.item.Size) + sendOverhead
	e.bar(l, size)
	i := pick(e.pathsBuf, size)
	if i < 0 {
		return false
	}
	n := e.bind(e.paths[i], cand)
	if l == wire.LaneFull {
		e.fullOwedB = max(0, e.fullOwedB-n)
	} else {
		e.owe(n)
	}
	return true
}

// owe gives the full lane its share of n bytes that went before it, if it waits.
func (e *Engine) owe(n int64) {
	if _, waits := e.next(wire.LaneFull); waits {
		e.fullOwedB = min(e.fullOwedB+n*int64(e.cfg.FullShare)/100, 2*wire.MaxFullBytes)
	}
}

// next returns what lane l would send next: what came back first, then what is
// pulled forward, then the oldest.
func (e *Engine) next(l wire.Lane) (candidate, bool) {
	ln := &e.lanes[l]
	for len(ln.back) > 0 {
		f := ln.back[0]
		if !f.ended && !e.covered(f) {
			return candidate{item: f.item, f: f}, true
		}
		heap.Pop(&ln.back)
		f.queued = false
	}
	if ln.list.len >= flightLimit(l) {
		return candidate{}, false
	}
	if l == wire.LaneFull {
		if c, ok := e.nextPulled(); ok {
			return c, true
		}
	}
	it, ok := e.peek(l)
	return candidate{item: it}, ok
}

// peek returns the oldest item of l that isn't in flight. Now and then the cursor
// starts again from the beginning, so that nothing can stay behind it.
func (e *Engine) peek(l wire.Lane) (wire.Item, bool) {
	ln := &e.lanes[l]
	if ln.peeked && !(ln.peekOK && e.flight[ln.peek.ID] != nil) {
		return ln.peek, ln.peekOK
	}
	if e.now-ln.rescanNS >= rescanNS {
		ln.cursor, ln.rescanNS = wire.ID{}, e.now
	}
	ln.peeked, ln.peekOK = true, false
	for range maxLookahead {
		it, ok := e.store.Next(l, ln.cursor)
		if !ok {
			return wire.Item{}, false
		}
		if e.flight[it.ID] == nil {
			ln.peek, ln.peekOK = it, true
			return it, true
		}
		ln.cursor = it.ID
	}
	e.again = true
	return wire.Item{}, false
}

// took moves the cursors past a candidate that has been dealt with.
func (e *Engine) took(cand candidate) {
	ln := &e.lanes[cand.item.ID.Stream.Lane]
	switch {
	case cand.f != nil:
		if cand.f.queued {
			heap.Pop(&ln.back)
			cand.f.queued = false
		}
	case cand.pull != nil:
		cand.pull.cursor = cand.item.ID
	default:
		ln.cursor, ln.peeked = cand.item.ID, false
	}
}

// bind gives a batch to c and returns how many bytes that is: 0 when the store
// doesn't have it any more. cand must be the head of its queue.
func (e *Engine) bind(c *connection, cand candidate) int64 {
	e.took(cand)
	return e.send(c, cand)
}

// send makes the message and hands it to c.
func (e *Engine) send(c *connection, cand candidate) int64 {
	id, f := cand.item.ID, cand.f
	hdr := wire.Send{
		Link: uint8(c.link), Gen: c.gen, SentNS: max(e.now, c.lastSentNS+1),
		Base:   max(1, min(e.store.Base(id.Stream), id.Seq)),
		Pulled: e.pulled(cand.item),
	}
	e.stamp(&hdr, cand.item, f == nil || f.sends == 0)
	b, err := e.store.Read(id, wire.AppendSend(e.buffer(), hdr))
	if err != nil {
		e.unreadable(cand)
		return 0
	}
	if f == nil {
		f = e.begin(cand.item)
	}
	n := int64(len(b))
	l := e.links[c.link]
	switch {
	case f.sends == 0:
		e.totals.Batches++
		e.totals.BatchBytes += uint64(n)
	case id.Stream.Lane == wire.LaneCritical:
		e.totals.CriticalCopies++
	default:
		e.totals.Resent++
		e.totals.ResentBytes += uint64(n)
		l.resentBytes += uint64(n)
	}
	if hdr.Pulled {
		e.totals.PulledBatches++
	}
	f.sends++
	if id.Stream.Lane == wire.LaneLive {
		e.expect(f, c, n)
	}
	f.copies = append(f.copies, copyOf{c: c})
	c.push(f, n, hdr.SentNS, e.now)
	e.hand(c, topicLane(e.cfg.Car, id.Stream.Lane), b)
	return n
}

// hand passes one payload to the connection's writer.
func (e *Engine) hand(c *connection, topic string, b []byte) {
	l := e.links[c.link]
	l.messages++
	l.bytes += uint64(len(b))
	l.meter.count(e.now, len(b))
	c.pending++
	c.handed = append(c.handed, b)
	c.echoable += uint64(len(b))
	e.out = append(e.out, Send{Link: c.link, Gen: c.gen, Topic: topic, Payload: b})
}

// unreadable deals with a batch whose bytes the store didn't give. If the store
// still lists it the read is tried again later; else it was dropped, superseded
// or settled.
func (e *Engine) unreadable(cand candidate) {
	id := cand.item.ID
	it, ok := e.store.Next(id.Stream.Lane, wire.ID{Stream: id.Stream, Seq: id.Seq - 1})
	if !ok || it.ID != id {
		e.totals.Gone++
		if cand.f != nil {
			e.end(cand.f)
		}
		return
	}
	e.totals.ReadErrors++
	f := cand.f
	if f == nil {
		f = e.begin(cand.item)
	}
	f.retry = e.now + readRetryNS
}

// sendCritical puts every critical batch on every connection that is not dead,
// past the caps, suspect ones too. Only an instance in trouble without credit stops it.
func (e *Engine) sendCritical() {
	var ready []*connection
	for _, l := range e.links {
		for _, c := range [...]*connection{l.cur, l.next} {
			if c != nil && c.up && !c.dead && !e.closedOn(c) && l.meter.allows(e.now, wire.LaneCritical, 0) {
				ready = append(ready, c)
			}
		}
	}
	if len(ready) == 0 {
		return
	}
	ln := &e.lanes[wire.LaneCritical]
	for ln.list.len < maxCriticalFlights {
		it, ok := e.peek(wire.LaneCritical)
		if !ok {
			break
		}
		e.took(candidate{item: it})
		e.begin(it)
		e.markCritical()
	}
	for _, c := range ready {
		if c.critical {
			c.critical = !e.broadcast(c)
		}
	}
}

// broadcast gives c every critical batch that it lacks and nobody has on loan,
// oldest first; false means that its writer is full.
func (e *Engine) broadcast(c *connection) bool {
	for f := e.lanes[wire.LaneCritical].list.first; f != nil; {
		next := f.next
		if len(f.loans) == 0 && f.retry <= e.now && !f.on(c) {
			if c.pending >= maxWriterQueue {
				return false
			}
			e.send(c, candidate{item: f.item, f: f})
		}
		f = next
	}
	return true
}

// probe gives a quiet, idle link a copy of something that is under way elsewhere:
// its proof brings the link back, its absence makes it suspect.
func (e *Engine) probe() bool {
	for _, c := range e.paths {
		if !c.trusted() || c.pending > 0 || e.heldOn(c) || !e.quiet(c) {
			continue
		}
		if _, owes := c.oldest(); owes {
			continue
		}
		for _, l := range [...]wire.Lane{wire.LaneLive, wire.LaneFull} {
			f := e.lanes[l].list.first
			if f != nil && !e.links[c.link].meter.allows(e.now, l, wire.MaxFullBytes) {
				continue
			}
			for i := 0; f != nil && i < maxProbeSearch; f, i = f.next, i+1 {
				if len(f.loans) == 0 && !f.queued && f.retry <= e.now && !f.on(c) {
					e.totals.Probes++
					e.send(c, candidate{item: f.item, f: f})
					return true
				}
			}
		}
	}
	return false
}

// markLimited notes which connections had room that nothing used: their rates
// say nothing about what they could do.
func (e *Engine) markLimited() {
	for i, c := range e.paths {
		p := &e.pathsBuf[i]
		if !p.Busy && p.over(wire.MaxFullBytes, p.fullTarget()) <= 0 {
			c.limitedBytes = max(1, c.deliveredBytes+c.inFlight)
		}
	}
}

// markWanted notes for which connections something waits only because their
// writers have bytes: [Engine.Wants].
func (e *Engine) markWanted() {
	busy := false
	for i, c := range e.paths {
		c.wanted = e.pathsBuf[i].Busy && (c.critical || e.controlWaits())
		busy = busy || e.pathsBuf[i].Busy
	}
	if !busy {
		return
	}
	for _, l := range [...]wire.Lane{wire.LaneLive, wire.LaneFull} {
		cand, ok := e.next(l)
		if !ok && (l != wire.LaneLive || !e.lateWaits()) {
			continue
		}
		size := int64(cand.item.Size) + sendOverhead
		e.bar(l, size)
		for i, c := range e.paths {
			p := e.pathsBuf[i]
			free := p.Busy
			p.Busy = false
			c.wanted = c.wanted || free && !p.Barred && p.open(size, liveTargetNS)
		}
	}
}

// Wants reports whether something waits for the writer of (link, gen): then
// [Engine.Sent] calls for a step. Otherwise the next step is soon enough.
func (e *Engine) Wants(link int, gen uint32) bool {
	c := e.find(link, gen)
	return c != nil && c.wanted && c.pending > 0
}

// buffer returns an empty payload buffer.
func (e *Engine) buffer() []byte {
	if n := len(e.free); n > 0 {
		b := e.free[n-1]
		e.free = e.free[:n-1]
		return b[:0]
	}
	return make([]byte, 0, 4<<10)
}
