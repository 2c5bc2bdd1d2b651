package uplink

// link is one modem's path: the connection in use and at most one beside it.
type link struct {
	index int
	name  string
	addrs []string // in the order in which this car prefers them

	cur, next *connection
	gen       uint32 // of the last dial
	dialAtNS  int64  // no dial before
	meter     metered
	fails     int   // dials since the last connection that proved itself
	rttNS     int64 // least round trip of late of the connection that measured one last; 0 = none

	messages, bytes, resentBytes, wins      uint64
	suspicions, deaths, dials, dialFailures uint64
	refused                                 uint64
	proven                                  lately // bytes that were proven to have arrived
	why                                     string
	whyNS                                   int64
	cause                                   Cause // of the last change
	turnedAway                              bool  // the dial that ends now was refused
}

// stepLinks lets time act on every connection and dials where one is missing.
func (e *Engine) stepLinks() {
	for _, l := range e.links {
		for _, c := range [...]*connection{l.cur, l.next} {
			if c != nil && !c.closed {
				e.stepConnection(c)
			}
		}
		e.succeed(l)
		switch {
		case e.now < l.dialAtNS:
		case l.cur == nil:
			e.dial(l, e.dialAddr(l), false, whyMissing)
		case l.cur.dead && l.next == nil:
			e.dial(l, e.dialAddr(l), false, whyBeside)
		}
	}
}

// stepConnection raises suspicion and death. While the instances behind c take
// nothing, no timer runs: that is the receiver's trouble, not the link's.
func (e *Engine) stepConnection(c *connection) {
	if !c.up {
		if e.now-c.dialNS > 2*dialTimeoutNS {
			e.out = append(e.out, Close{c.link, c.gen, whyTimedOut})
			e.lost(c, whyTimedOut)
		}
		return
	}
	c.dropUnprovable(e.now)
	if e.heldOn(c) {
		c.held = true
		return
	}
	if c.held {
		c.held, c.heldUntilNS = false, e.now
	}
	if t, ok := c.suspectAt(); ok && !c.suspect && e.now >= t {
		c.suspect, c.suspectNS = true, e.now
		e.links[c.link].suspicions++
		e.change(c, "suspect", whyOverdue)
		e.returnFlights(c)
	}
	if e.excused(c) {
		e.forgive(c)
	}
	if c.dead {
		return
	}
	if t, ok := c.deadAt(); ok && e.now >= t {
		e.die(c, whyNoProof)
	} else if !ok && e.now-c.sign() >= deadAfterNS && e.quiet(c) {
		e.die(c, whySilent)
	}
}

func (e *Engine) die(c *connection, why string) {
	l := e.links[c.link]
	c.dead, c.deadNS = true, e.now
	l.deaths++
	l.dialAtNS = max(l.dialAtNS, e.now+e.rng.Int64N(dialFirstNS))
	e.change(c, "dead", why)
	e.returnFlights(c)
}

// succeed lets a connection that proved itself take the old one's place, and
// gives a dead one up after 15 s.
func (e *Engine) succeed(l *link) {
	if n := l.next; n != nil && n.proved() {
		e.drop(l.cur, whyReplaced)
		l.fails = 0
		return
	}
	if c := l.cur; c != nil && c.dead && e.now-c.deadNS >= oldKeepNS {
		l.fails++
		e.drop(c, whyGivenUp)
		l.dialAtNS = max(l.dialAtNS, e.now+e.backoff(l))
	}
}

// proved reports whether anything came back over c.
func (c *connection) proved() bool { return c.up && (c.heardNS != 0 || c.proofNS != 0) }

// dial starts a connection of l; moving marks one for rule 19.
func (e *Engine) dial(l *link, addr string, moving bool, why string) {
	if l.gen++; l.gen == 0 {
		l.gen = 1
	}
	l.dials++
	c := &connection{link: l.index, gen: l.gen, addr: addr, dialNS: e.now, moving: moving}
	if l.cur == nil {
		l.cur = c
	} else {
		l.next = c
	}
	e.change(c, "dialing", why)
	e.out = append(e.out, Dial{l.index, l.gen, addr})
}

// lost takes a connection out that has ended by itself.
func (e *Engine) lost(c *connection, why string) {
	l := e.links[c.link]
	if !c.up {
		l.dialFailures++
	}
	switch {
	case !c.proved():
		l.fails++
	case !c.dead: // what one proved that has been dead since is no news
		l.fails = 0
	}
	spent := e.now - c.dialNS
	if c.up {
		spent = 0
	}
	l.dialAtNS = e.now + max(e.backoff(l)-spent, e.rng.Int64N(dialFirstNS/2))
	e.change(c, "down", why)
	l.turnedAway = false
	e.remove(c)
}

// drop closes a connection that is not wanted any more.
func (e *Engine) drop(c *connection, why string) {
	e.out = append(e.out, Close{c.link, c.gen, why})
	e.change(c, "closed", why)
	e.remove(c)
}

// remove takes c out of its link; a connection beside it takes its place, and
// what c had not proven goes back.
func (e *Engine) remove(c *connection) {
	l := e.links[c.link]
	c.closed = true
	if l.cur == c {
		l.cur, l.next = l.next, nil
	} else if l.next == c {
		l.next = nil
	}
	e.returnFlights(c)
	c.fifo, c.inFlight, c.handed, c.pending = nil, 0, nil, 0
}

// backoff is the jittered delay before the next dial: 75–150 ms after a
// connection that worked, doubling with each failure up to 4–8 s.
func (e *Engine) backoff(l *link) int64 {
	d := min(dialFirstNS<<min(l.fails, 6), dialMaxNS)
	return d/2 + e.rng.Int64N(d/2)
}

// quietAfter is how long c may be unheard before it is worth a probe.
func (e *Engine) quietAfter(c *connection) int64 {
	return max(quietFloorNS, 100*ms+2*c.est.rtt()+4*c.est.rttvarNS)
}

// quiet reports whether nothing was heard of c for long while another link is
// heard: it gets a copy as a probe, nothing that depends on it alone.
func (e *Engine) quiet(c *connection) bool {
	if !c.up || e.now-c.sign() < e.quietAfter(c) {
		return false
	}
	for _, l := range e.links {
		for _, o := range [...]*connection{l.cur, l.next} {
			if o != nil && o != c && o.up && o.heardNS != 0 && e.now-o.heardNS < othersHeardNS {
				return true
			}
		}
	}
	return false
}

// revive takes a suspect or dead connection back after a sign of life.
func (e *Engine) revive(c *connection, why string) {
	if c.closed || !(c.suspect || c.dead) {
		return
	}
	c.suspect, c.dead, c.backNS = false, false, e.now
	e.change(c, "back", why)
	l := e.links[c.link]
	if n := l.next; l.cur == c && n != nil && !n.moving && !n.proved() {
		e.drop(n, whyUnneeded)
	}
}
