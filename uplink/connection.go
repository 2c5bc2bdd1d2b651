package uplink

// connection is one dial of one link: what was sent over it, what is proven to
// have arrived, and what that tells of the path.
type connection struct {
	link int
	gen  uint32
	addr string

	up, closed          bool
	suspect, dead, held bool
	why                 string
	dialNS, upNS        int64
	suspectNS, deadNS   int64
	backNS              int64 // when it last was taken back; 0 = never
	moving              bool  // dialled for rule 19, not because another one died

	fifo     []sent // unproven sends, oldest first
	inFlight int64  // bytes in fifo
	pending  int    // sends that the writer has not handed to the socket
	handed   [][]byte
	critical bool // critical batches may be missing here
	wanted   bool // something waits for its writer alone: the end of the last step

	sentMessages, echoable uint64 // batches; payload bytes of all that was handed out
	lastSentNS             int64
	provenNS               int64 // greatest SentNS that an instance echoed
	roundNS                int64 // greatest SentNS that gave a round trip
	proofNS                int64 // when the last proof came; 0 = never
	heardNS                int64 // when anything came over it
	heldUntilNS            int64 // end of the last hold: no suspicion counts from before
	outlivedNS             int64 // when the first proof came after an outage; 0 = round trips have been usual since
	outages                int   // such outages in a row
	est                    estimate
	socket                 socketView
	deliveredBytes         int64
	deliveredAtNS          int64 // when the last proven one arrived, plus the way back
	limitedBytes           int64 // until so many are delivered, rates are limited by the application; 0 = not

	heard    []heardView // instances that spoke over it
	sharedNS int64       // when several of them last did; 0 = never
}

// sent is one message on its way.
type sent struct {
	f           *flight // nil: a catalogue part or an answer, proven only by what follows
	bytes       int64
	end         int64 // of all that was handed to the connection, with this
	sentNS      int64
	before      int64 // that probably still waited in front of it
	delivered   int64 // of the connection, when this was sent
	deliveredAt int64
	limited     bool
}

type heardView struct {
	v  *view
	ns int64
}

// trusted reports whether a batch on c counts as being on its way.
func (c *connection) trusted() bool { return c.up && !c.closed && !c.suspect && !c.dead }

// push notes one message of n bytes handed out at sentNS.
func (c *connection) push(f *flight, n, sentNS, now int64) {
	if c.inFlight == 0 {
		c.deliveredAtNS = now
	}
	c.fifo = append(c.fifo, sent{f: f, bytes: n, end: int64(c.echoable) + n, sentNS: sentNS, before: c.queued(now), delivered: c.deliveredBytes, deliveredAt: c.deliveredAtNS, limited: c.limitedBytes != 0})
	c.inFlight += n
	c.lastSentNS = sentNS
	if f != nil {
		c.sentMessages++
	}
}

// ahead returns for how long c has probably delivered beyond the last proof:
// proofs come every 50 ms, and the link goes on between two of them. No more than
// maxAheadNS is presumed, so a link that stops is soon full.
func (c *connection) ahead(now int64) int64 {
	if len(c.fifo) == 0 || c.est.srttNS == 0 {
		return 0
	}
	return min(max(0, now-max(c.deliveredAtNS, c.fifo[0].sentNS+c.est.minRTT())), maxAheadNS)
}

// expected returns how much of c's bytes is probably still on its way, at least 1
// while a proof is missing: what the socket says, else what is presumed.
func (c *connection) expected(now int64) int64 {
	if c.inFlight == 0 {
		return 0
	}
	if c.socket.atNS != 0 {
		proxied := c.inFlight - c.est.known()*(proxyNS/ms)/1000
		return max(1, min(c.inFlight, max(c.socket.unacked, proxied)))
	}
	return max(1, c.inFlight-c.est.known()*(c.ahead(now)/1000)/1_000_000)
}

// queued returns how much of what is expected is more than fits on the way: it
// waits in front of the link.
func (c *connection) queued(now int64) int64 {
	return max(0, c.expected(now)-c.est.known()*(c.est.minRTT()/1000)/1_000_000)
}

// oldest returns the send stamp of the oldest batch without proof.
func (c *connection) oldest() (int64, bool) {
	for i := range c.fifo {
		if c.fifo[i].f != nil {
			return c.fifo[i].sentNS, true
		}
	}
	return 0, false
}

// waitStart returns since when c owes a delivery proof.
func (c *connection) waitStart() (int64, bool) {
	o, ok := c.oldest()
	return max(o, c.proofNS, c.heldUntilNS, c.upNS), ok
}

// suspectAt returns when c becomes suspect unless a proof comes: the oldest batch
// without one is overdue, and none has come of any other for a while. TCP's own
// confirmations tell 20 ms sooner and double what is sent again: they are left out.
func (c *connection) suspectAt() (int64, bool) {
	for i := range c.fifo {
		if x := &c.fifo[i]; x.f != nil {
			due := max(x.sentNS, c.heldUntilNS, c.upNS) + c.est.suspectAfter(x.before+x.bytes)
			return max(due, max(c.proofNS, c.heldUntilNS)+silenceNS+c.est.drain(x.bytes)), true
		}
	}
	return 0, false
}

// deadAt returns when c becomes dead unless a proof comes.
func (c *connection) deadAt() (int64, bool) {
	t, ok := c.waitStart()
	return t + max(deadAfterNS+c.est.drain(c.inFlight), c.est.suspectAfter(c.inFlight)), ok
}

// prove takes everything sent up to stamp off the connection; held is how long
// ago the last of it arrived. It returns the messages proven, valid until the
// next push.
func (c *connection) prove(now, stamp, held int64) []sent {
	n := 0
	var bytes int64
	for n < len(c.fifo) && c.fifo[n].sentNS <= stamp {
		bytes += c.fifo[n].bytes
		n++
	}
	c.provenNS = max(c.provenNS, stamp)
	c.proofNS = now
	if n == 0 {
		return nil
	}
	done := c.fifo[:n]
	last := done[n-1]
	c.fifo = c.fifo[n:]
	c.inFlight -= bytes
	c.deliveredBytes += bytes
	c.deliveredAtNS = max(c.deliveredAtNS, now-max(held, 0))
	took := max(c.deliveredAtNS-last.deliveredAt, c.est.minRTT()*3/4, ms)
	if c.deliveredBytes > c.limitedBytes {
		c.limitedBytes = 0
	}
	c.est.rateSample(now, int64(float64(c.deliveredBytes-last.delivered)*1e9/float64(took)), last.limited)
	return done
}

// outlived reports whether a round trip of a batch sent at sentNS says how long the
// link was silent, not how long its path is: believed, it would hide the next silence
// for seconds. A path that has become so long shows it again and again with what is
// sent later, and then it counts.
func (c *connection) outlived(now, sentNS, rtt int64) bool {
	if rtt < outageNS {
		c.outlivedNS, c.outages = 0, 0
		return false
	}
	if sentNS >= c.outlivedNS && c.outages < maxOutages && (c.suspect || c.dead || sentNS < c.backNS) {
		c.outlivedNS = now
		c.outages++
	}
	return sentNS < c.outlivedNS
}

// dropUnprovable forgets parts and answers at the head that no later batch has
// proven: after a second more than the link takes for them they have arrived.
func (c *connection) dropUnprovable(now int64) {
	for len(c.fifo) > 0 && c.fifo[0].f == nil && now-c.fifo[0].sentNS > unprovableNS+c.est.drain(c.inFlight) {
		c.inFlight -= c.fifo[0].bytes
		c.fifo = c.fifo[1:]
	}
}

// hear notes that v spoke over c.
func (c *connection) hear(v *view, now int64) {
	keep := c.heard[:0]
	found := false
	for _, h := range c.heard {
		if h.v == v {
			h.ns, found = now, true
		}
		if now-h.ns < silentAfterNS {
			keep = append(keep, h)
		}
	}
	c.heard = keep
	if !found {
		c.heard = append(c.heard, heardView{v, now})
	}
	if len(c.heard) > 1 {
		c.sharedNS = now
	}
}

// sign is when the path last showed life in either direction.
func (c *connection) sign() int64 { return max(c.heardNS, c.proofNS, c.upNS) }
