package uplink

import "telemetry/wire"

// socketView is what a connection's socket tells between two proofs: how much the
// other end's TCP has confirmed. That says nothing of what an instance has, and a
// carrier's proxy may be what confirms, so it moves only what is presumed of the
// path. But it comes with every round trip. The zero value knows nothing.
type socketView struct {
	unacked int64 // bytes at the last look, with those that the socket has not taken
	acked   int64 // bytes confirmed since the connection's begin
	atNS    int64 // of the last look; 0 = never
	marks   [socketMarks]socketMark
	n       int   // marks taken; the newest is at (n-1) % socketMarks
	busyBps int64 // the latest rate of a window in which the link was busy; 0 = none yet
}

// socketMark is one look.
type socketMark struct {
	atNS    int64
	acked   int64 // bytes confirmed since the connection's begin
	backlog bool  // something had waited for longer than a round trip
}

const (
	socketMarks  = 96
	socketStepNS = 4 * ms   // between two marks
	recentNS     = 50 * ms  // the window in which a rate is recent
	steadyNS     = 250 * ms // the window that evens out what a radio does within a few round trips
	steadyPct    = 110      // of that window's rate is what a busy link is given, so that a rising rate finds bytes
	// proxyNS of a link's rate is what a proxy may have confirmed ahead of the
	// instances' proofs: an ack's period and the way beyond it.
	proxyNS = 150 * ms
)

// Unacked says how many of the bytes handed to (link, gen) the other end's TCP has
// not confirmed, those that its socket has not taken yet included. It is told
// before a step, as often as steps come, and may be left out.
func (e *Engine) Unacked(now int64, link int, gen uint32, bytes int64) {
	e.now = max(e.now, now)
	if c := e.find(link, gen); c != nil && c.up && bytes >= 0 {
		c.look(e.now, bytes)
	}
}

func (c *connection) look(now, bytes int64) {
	t := &c.socket
	t.unacked, t.acked, t.atNS = bytes, int64(c.echoable)-bytes, now
	if t.n > 0 && now-t.marks[(t.n-1)%socketMarks].atNS < socketStepNS {
		return
	}
	t.marks[t.n%socketMarks] = socketMark{now, int64(c.echoable) - bytes, bytes > c.recent(now)}
	t.n++
	if bps, busy, ok := t.rate(recentNS); ok && busy {
		t.busyBps = bps
	}
}

// recent returns how many bytes were handed to c so lately that they can't be
// confirmed yet.
func (c *connection) recent(now int64) (bytes int64) {
	trip := c.est.minRTT() + leadNS
	for i := len(c.fifo) - 1; i >= 0 && now-c.fifo[i].sentNS < trip; i-- {
		bytes += c.fifo[i].bytes
	}
	return bytes
}

// While there is a lasting backlog a batch that a slow link is given at once stands
// in the modem's queue for as long as the link takes for it. Sent over time it
// stands in our socket instead, where it holds up nobody who shares the modem. The
// pace leaves room for a rate that grows: the next proofs raise it.
const (
	paceBelow   = wire.MaxFullBytes * 20 // bytes/s: a batch takes longer than 50 ms
	paceAfterNS = 2000 * ms              // without a faster sample: a link that is slow now and then needs all it is given
	pacePct     = 150                    // of the best recent rate
	// paceLeast is what a link gets that has faded: the kernel sends a pair of
	// segments each 45 ms, and no critical copy waits for its turn longer.
	paceLeast = 64 << 10 // bytes/s
)

// lasting reports whether the full lane has had a backlog for long.
func (e *Engine) lasting() bool { return e.now-e.drainedNS >= lastingNS }

// Pace returns how fast (link, gen) should give its bytes to the path, in bytes/s;
// 0 = as fast as it can. A suspect link and one that has just come back show nothing
// of what they can do, and wait for what proves them.
func (e *Engine) Pace(link int, gen uint32) int64 {
	c := e.find(link, gen)
	if c == nil || !e.lasting() || !c.trusted() || !c.est.measured || c.est.starting() || c.est.rate >= paceBelow ||
		e.now-max(c.est.fastNS, c.upNS, c.backNS) < paceAfterNS {
		return 0
	}
	return max(c.est.rate*pacePct/100, paceLeast)
}

// confirmed reports whether the other end's TCP has all of the last copy of f.
func (c *connection) confirmed(f *flight) bool {
	for i := len(c.fifo) - 1; i >= 0; i-- {
		if c.fifo[i].f == f {
			return c.fifo[i].end <= c.socket.acked
		}
	}
	return true // proven
}

// rate returns the rate of the last window in bytes/s, and whether the link was
// busy for all of it: then that is what it can do. ok is false while there is no
// such window yet.
func (t *socketView) rate(window int64) (bps int64, busy, ok bool) {
	if t.n == 0 {
		return 0, false, false
	}
	last := t.marks[(t.n-1)%socketMarks]
	busy = true
	for i := t.n - 1; i >= 0 && i > t.n-socketMarks; i-- {
		m := t.marks[i%socketMarks]
		busy = busy && m.backlog
		if d := last.atNS - m.atNS; d >= window {
			return max(0, (last.acked-m.acked)*1000/(d/ms)), busy, true
		}
	}
	return 0, false, false
}

// rates returns what c probably does now and what its cap counts with, in bytes/s.
// The best of the last second is too much for a link that has just become slow:
// while it was busy, what it did lately counts. While there is a lasting backlog
// its cap counts with what it did over a few round trips if that is more: a radio's
// pauses are short, and an idle link is worse than a preview that waits for one.
// While it was not busy, it may do twice what it did, at least what it did when it
// last was busy, and half of its best.
func (c *connection) rates(backlog bool) (now, limit int64) {
	best := c.est.known()
	lately, busy, ok := c.socket.rate(recentNS)
	switch {
	case !ok:
		return best, best
	case busy && !backlog:
		limit = min(best, lately)
		return limit, limit
	case busy:
		steady, _, _ := c.socket.rate(steadyNS)
		return min(best, lately), min(best, max(lately, steady*steadyPct/100))
	}
	now = min(best, max(2*lately, best/2, c.socket.busyBps))
	return now, now
}
