package gnss

import (
	"telemetry/wire"
)

// Limits of a [stampClock].
const (
	leakPPM      = 100                   // how fast the least delay may seem to grow: a crystal's drift
	jumpNS       = int64(2_000_000_000)  // a fix that is so much too early is of another clock at any time
	stepNS       = int64(400_000_000)    // by so much a settled clock is contradicted, unless its error is greater
	jumpFixes    = 3                     // so many too early ones in a row are believed
	lateFixes    = 10                    // so many late ones in a row,
	lateNS       = int64(5_000_000_000)  // over so long, are no stall of ours
	settleFixes  = 5                     // before the first anchor,
	settleNS     = int64(2_000_000_000)  // and so long: what waited in the port comes at once
	anchorEvery  = int64(10_000_000_000) // between anchors
	ppsFor       = int64(10_000_000_000) // an edge is worth something for so long
	ppsAgreeNS   = int64(200_000)        // by which two edges may differ
	ppsFloorNS   = int64(20_000)         // interrupt and pairing of clocks
	readNS       = int64(1_000_000)      // from the line into this process
	ppm          = int64(1_000_000)
	secondNS     = int64(1_000_000_000)
	notKnownNS   = int64(1_000_000)     // claimed for a receiver that says nothing of its time
	maxUncertain = int64(5_000_000_000) // a worse time is no anchor
)

// stampClock maps the receiver's time to boot time: by the least delay that any
// fix showed, less the receiver's known latency, or by the second's pulse. It is
// pure and owned by one goroutine.
type stampClock struct {
	latency, errNS int64 // of the first byte behind the instant of its fix

	begun   bool
	utc     int64 // of the latest fix
	offset  int64 // boot time less UTC at the least delay
	fixes   int   // since the offset began
	from    int64 // arrival of the first of them
	jumps   int
	late    lateRun
	resets  uint64
	tick    int64 // latest result
	anchor  int64 // boot time of the latest anchor; 0: none
	unc     int64 // of it
	pulse   pulse
	accNS   int64
	strange uint64
}

// pulse is what the second's pulse tells.
type pulse struct {
	offset int64 // boot time less UTC
	boot   int64 // of the latest edge
	good   int   // edges in a row that agreed
	edges  uint64
	seq    uint64
}

// lateRun is a run of fixes that all came later than the least delay and its error
// allow. Either we stood still, or the receiver's time is another one, as when it
// learns of a leap second.
type lateRun struct {
	n      int
	from   int64 // arrival of the first
	least  int64 // by how much they were later
	excess int64 // the least of a run that has lasted: so wrong the offset may be
}

// add takes how much a fix was later than it should have been at most.
func (l *lateRun) add(d, most, arrival int64) {
	if d <= most {
		*l = lateRun{}
		return
	}
	if l.n == 0 {
		l.from, l.least = arrival, d
	}
	l.n++
	l.least = min(l.least, d)
	if l.n >= lateFixes && arrival-l.from >= lateNS {
		*l = lateRun{excess: l.least}
	}
}

// at returns the boot time of a fix. Results never go back and are never later
// than the fix's arrival.
func (c *stampClock) at(f *fix) int64 {
	t := f.arrival
	if f.utcOK {
		c.learn(f)
		t = f.utc + c.offset - c.latency
		if c.pulsed(f.arrival) {
			t = f.utc + c.pulse.offset
		}
	}
	c.tick = max(c.tick, min(t, f.arrival))
	return c.tick
}

// learn follows the offset.
func (c *stampClock) learn(f *fix) {
	seen := f.arrival - f.utc
	if !c.begun {
		c.begun, c.offset, c.utc, c.fixes, c.jumps = true, seen, f.utc, 1, 0
		c.from, c.late, c.accNS = f.arrival, lateRun{}, f.accNS
		return
	}
	leak := max(0, f.utc-c.utc) / (ppm / leakPPM)
	d := seen - c.offset - leak
	step := max(stepNS, c.errNS)
	if f.utc < c.utc || d < -jumpNS || d < -step && c.settled(f.arrival) {
		c.strange++
		if c.jumps++; c.jumps >= jumpFixes {
			c.begun = false
			c.reset()
			c.learn(f)
		}
		return
	}
	c.jumps = 0
	if c.late.add(d, c.errNS, f.arrival); c.late.excess > step {
		c.offset += c.late.excess
		c.late = lateRun{}
		c.reset()
	}
	c.offset += leak + min(0, d)
	c.utc, c.accNS = f.utc, f.accNS
	c.fixes++
}

// reset forgets what rested on the offset before.
func (c *stampClock) reset() {
	c.pulse.good, c.anchor = 0, 0
	c.resets++
}

// settled reports that the offset rests on enough fixes, and not on what waited in
// the port alone.
func (c *stampClock) settled(now int64) bool {
	return c.begun && c.fixes >= settleFixes && now-c.from >= settleNS
}

// doubtful reports that the latest fixes contradict the offset, and that it is not
// known yet what that means.
func (c *stampClock) doubtful() bool { return c.jumps > 0 || c.late.n > 0 && c.late.excess == 0 }

// wrong returns how far the offset may be off, either way.
func (c *stampClock) wrong() int64 { return c.errNS + c.late.excess }

// pulsed reports that edges hold now.
func (c *stampClock) pulsed(now int64) bool { return c.pulse.good >= 2 && now-c.pulse.boot < ppsFor }

// edge takes the boot time of a second's pulse. Which second it was is told by
// the fixes: exactly one must be possible.
func (c *stampClock) edge(boot int64, seq uint64) {
	if seq == c.pulse.seq || !c.settled(boot) || c.doubtful() {
		return
	}
	c.pulse.seq = seq
	c.pulse.edges++
	least := boot - c.offset + c.latency - c.wrong() // UTC at the edge lies between
	most := boot - c.offset + c.latency + c.wrong()
	second := (most / secondNS) * secondNS
	if second < least || second-secondNS >= least {
		return // none, or two
	}
	off := boot - second
	if d := off - c.pulse.offset; c.pulse.good > 0 && d <= ppsAgreeNS && d >= -ppsAgreeNS {
		c.pulse.good++
	} else {
		c.pulse.good = 1
	}
	c.pulse.offset, c.pulse.boot = off, boot
}

// due returns an anchor when it is time for one: at first, every ten seconds, and
// as soon as the time is known twice as well.
func (c *stampClock) due(now int64) (wire.Anchor, bool) {
	if !c.settled(now) || c.doubtful() {
		return wire.Anchor{}, false
	}
	a := wire.Anchor{UTCNS: c.utc, Source: wire.AnchorGNSS}
	acc := c.accNS
	if acc <= 0 {
		acc = notKnownNS
	}
	if c.pulsed(now) {
		a.Source = wire.AnchorPPS
		a.BootNS = c.utc + c.pulse.offset
		a.UncertaintyNS = ppsFloorNS + min(acc, notKnownNS) + (now-c.pulse.boot)/(ppm/leakPPM)
	} else {
		a.BootNS = c.utc + c.offset - c.latency
		a.UncertaintyNS = c.wrong() + readNS + acc
	}
	switch {
	case a.UncertaintyNS > maxUncertain || a.BootNS <= 0:
		return wire.Anchor{}, false
	case c.anchor != 0 && a.BootNS-c.anchor < anchorEvery && a.UncertaintyNS > c.unc/2:
		return wire.Anchor{}, false
	}
	c.anchor, c.unc = a.BootNS, a.UncertaintyNS
	return a, true
}
