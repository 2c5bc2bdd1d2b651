package uplink

import "slices"

// Behind a broker that spreads messages over several instances, a message may
// have gone to one that is frozen, or has died with it. Then nobody proves it,
// and nothing is wrong with the link.

// excused reports whether a suspect connection's missing proofs say nothing
// about its path any more: its socket took everything, several instances have
// spoken over it lately, and acks still come. TCP brings none for long when its
// own acknowledgements don't get through.
func (e *Engine) excused(c *connection) bool {
	return c.suspect && c.pending == 0 && e.now-c.suspectNS >= arrivedNS && e.now-c.heardNS < othersHeardNS &&
		c.sharedNS != 0 && e.now-c.sharedNS < sharedMaxNS
}

// forgive forgets what a suspect connection owes and takes it back; what was on
// its way over it goes out again.
func (e *Engine) forgive(c *connection) {
	owed := c.fifo
	c.fifo, c.inFlight = nil, 0
	for _, s := range owed {
		if s.f == nil || s.f.ended {
			continue
		}
		s.f.copies = slices.DeleteFunc(s.f.copies, func(cp copyOf) bool { return cp.c == c && cp.arrivedNS == 0 })
		if !e.covered(s.f) {
			e.giveBack(s.f)
		}
	}
	e.revive(c, whyExcused)
}
