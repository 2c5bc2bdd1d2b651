package slcan

import "time"

// Limits of a [stampClock].
const (
	leakPPM      = 200                           // how fast the offset may rise: more than a crystal's drift
	stampSlackNS = int64(2 * time.Millisecond)   // a frame that seems to come earlier than it was stamped, by less, is drift
	suspectLimit = 3                             // strange stamps in a row that are a new count, not noise
	stepWindowNS = int64(5 * time.Second)        // time after which a delay that never went away is no delay
	stepFrames   = 16                            // frames that a window must have to tell
	stepAtNS     = int64(3 * time.Millisecond)   // smallest delay that is taken for a step
	wrapMilli    = 60_000                        // Z1, in ms
	wrapMilli16  = 1 << 16                       // firmware that lets 16 bits overflow
	wrapMicro    = 3_600_000_000                 // Z2, in µs
	overLimit    = 3                             // stamps past 60,000 that prove 16 bits
	unitMilliNS  = int64(time.Millisecond)       // of Z1
	unitMicroNS  = int64(time.Microsecond)       // of Z2
	settleNS     = int64(50 * time.Millisecond)  // how long the first frames wait at least for a good offset
	settleMaxNS  = int64(150 * time.Millisecond) // and at most: they would be lost with the process
	settleEnough = 32                            // frames that make an offset good
	settleFrames = 4096                          // most frames that wait
)

// stampClock maps an adapter's wrapping stamps to boot time. It unwraps a stamp
// to the count nearest to what the host's clock says has passed, so silence of
// hours does no harm, and adds the least offset between host and adapter that
// any frame showed: a frame never comes before it was stamped, so the least
// delayed frames tell the truth and delayed ones don't matter. The offset leaks
// upwards with leakPPM to follow drift. It is pure: owned by one goroutine.
type stampClock struct {
	unit, wrap int64 // ns per count; counts per turn
	begun      bool
	settling   bool  // the offset may still fall freely
	base       int64 // added to the unwrapped count, in ns, so that a restart goes on where the count was
	last       int64 // adapter time of the latest good stamp, ns
	lastAt     int64 // boot time at which it came
	offset     int64 // boot time less adapter time
	leaked     int64 // how much of it leaked in since a frame last touched it
	suspects   int
	over       int

	window   int64 // boot time at which it began
	frames   int
	minDelay int64

	restarts, steps, strange uint64 // since the latest drain
}

// drain adds what was counted to a source's counters.
func (c *stampClock) drain(to *counts) {
	if c.restarts|c.steps|c.strange == 0 {
		return
	}
	to.restarts.Add(c.restarts)
	to.steps.Add(c.steps)
	to.strange.Add(c.strange)
	c.restarts, c.steps, c.strange = 0, 0, 0
}

// reset prepares the clock for stamps of some digits.
func (c *stampClock) reset(digits int) {
	*c = stampClock{unit: unitMilliNS, wrap: wrapMilli, settling: true}
	if digits == digitsMicro {
		c.unit, c.wrap = unitMicroNS, wrapMicro
	}
}

// at takes the stamp of a frame that came at a boot time and returns its adapter
// time, which boot maps. It returns false for a stamp that makes no sense: such
// a frame is stamped by its arrival.
func (c *stampClock) at(stamp uint32, arrival int64) (adapter int64, ok bool) {
	count := int64(stamp)
	if count >= c.wrap {
		if c.over++; c.over < overLimit || c.unit != unitMilliNS || count >= wrapMilli16 {
			c.strange++
			return 0, false
		}
		c.wrap = wrapMilli16
	}
	ns, turn := count*c.unit, c.wrap*c.unit
	if !c.begun {
		c.begun, c.last, c.lastAt, c.offset = true, ns, arrival, arrival-ns
		c.begin(arrival)
		return ns, true
	}
	elapsed := max(0, arrival-c.lastAt)
	adapter = nearest(ns+c.base, c.last+elapsed, turn)
	// A host that was frozen reads a backlog at once: no time passes between its
	// frames there, and the offset must not rise.
	leak := max(0, min(elapsed, adapter-c.last)) / (1_000_000 / leakPPM)
	delay := arrival - adapter - c.offset - leak
	c.leaked += leak
	early := delay < -(stampSlackNS+2*c.leaked) && !c.settling // a fast crystal is as likely as a slow one
	if early || adapter < c.last-stampSlackNS {
		if c.suspects++; c.suspects < suspectLimit {
			c.strange++
			return 0, false
		}
		c.restarts++ // another count: it goes on from here, as if this frame had no delay
		adapter = arrival - c.offset
		c.base = adapter - ns
		leak, delay = 0, 0
		c.begin(arrival)
	}
	if delay <= 0 {
		c.leaked = 0
	}
	c.suspects = 0
	c.offset += leak + min(0, delay)
	c.last, c.lastAt = max(c.last, adapter), arrival
	c.watch(arrival, max(0, delay))
	return adapter, true
}

// nearest returns the value nearest to want that equals v but for whole turns.
func nearest(v, want, turn int64) int64 {
	d := (v - want) % turn
	switch {
	case d > turn/2:
		d -= turn
	case d < -turn/2:
		d += turn
	}
	return want + d
}

func (c *stampClock) begin(arrival int64) {
	c.window, c.frames, c.minDelay = arrival, 0, 1<<62
}

// watch looks for a delay that stays: then the count jumped forward unseen, or
// the adapter's clock is slower than the leak.
func (c *stampClock) watch(arrival, delay int64) {
	if arrival-c.window >= stepWindowNS {
		if c.frames >= stepFrames && c.minDelay > stepAtNS {
			c.offset += c.minDelay
			c.steps++
		}
		c.begin(arrival)
	}
	c.frames++
	c.minDelay = min(c.minDelay, delay)
}

// boot maps an adapter time to boot time, never after the frame's arrival. A frame
// came half a tick after its stamp on average; but the offset holds the least
// delay that was seen, which a machine that starts up makes as long as that, so
// half of the half keeps the greatest error smallest.
func (c *stampClock) boot(adapter, arrival int64) int64 {
	return min(adapter+c.offset+c.unit/4, arrival)
}
