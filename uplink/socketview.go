package uplink

// socketView is what a connection's socket tells between two proofs: how much the
// other end's TCP has confirmed. That says nothing of what an instance has, and a
// carrier's proxy may be what confirms, so it moves only what is presumed of the
// path. But it comes with every round trip. The zero value knows nothing.
type socketView struct {
	unacked int64 // bytes at the last look, with those that the writer still has
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
	socketMarks  = 32
	socketStepNS = 4 * ms  // between two marks
	recentNS     = 50 * ms // the window in which a rate is recent
	// proxyNS of a link's rate is what a proxy may have confirmed ahead of the
	// instances' proofs: an ack's period and the way beyond it.
	proxyNS = 150 * ms
)

// Unacked says how many bytes the socket of (link, gen) holds that the other
// end's TCP has not confirmed. It is told before a step, as often as steps come,
// and may be left out.
func (e *Engine) Unacked(now int64, link int, gen uint32, bytes int64) {
	e.now = max(e.now, now)
	if c := e.find(link, gen); c != nil && c.up && bytes >= 0 {
		c.look(e.now, bytes)
	}
}

func (c *connection) look(now, bytes int64) {
	for _, b := range c.handed {
		bytes += int64(len(b))
	}
	t := &c.socket
	t.unacked, t.acked, t.atNS = bytes, int64(c.echoable)-bytes, now
	if t.n > 0 && now-t.marks[(t.n-1)%socketMarks].atNS < socketStepNS {
		return
	}
	young := int64(0) // can't be confirmed yet
	for i := len(c.fifo) - 1; i >= 0 && now-c.fifo[i].sentNS < c.est.minRTT()+leadNS; i-- {
		young += c.fifo[i].bytes
	}
	t.marks[t.n%socketMarks] = socketMark{now, int64(c.echoable) - bytes, bytes > young}
	t.n++
	if bps, busy, ok := t.recent(); ok && busy {
		t.busyBps = bps
	}
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

// recent returns the rate of the last window in bytes/s, and whether the link was
// busy for all of it: then that is what it can do. ok is false without a window.
func (t *socketView) recent() (bps int64, busy, ok bool) {
	if t.n == 0 {
		return 0, false, false
	}
	last := t.marks[(t.n-1)%socketMarks]
	busy = true
	for i := t.n - 1; i >= 0 && i > t.n-socketMarks; i-- {
		m := t.marks[i%socketMarks]
		busy = busy && m.backlog
		if d := last.atNS - m.atNS; d >= recentNS {
			return max(0, (last.acked-m.acked)*1000/(d/ms)), busy, true
		}
	}
	return 0, false, false
}

// capRate returns the rate that c's cap counts with, in bytes/s. The best of the
// last second is too much for a link that has just become slow: what it did
// lately counts while it was busy. While it was not, it may do twice that, at
// least what it did when it last was, and half of its best.
func (c *connection) capRate() int64 {
	best := c.est.known()
	lately, busy, ok := c.socket.recent()
	switch {
	case !ok:
		return best
	case busy:
		return min(best, lately)
	}
	return min(best, max(2*lately, best/2, c.socket.busyBps))
}
