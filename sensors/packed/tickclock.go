package packed

import "math"

// TickClock maps a device's own count of time to boot time, by the least delay
// that any packet showed: a packet never comes before it was stamped. It is owned
// by one goroutine. Bits and NS must be set.
type TickClock struct {
	Bits int     // of the count; it turns over
	NS   float64 // of one count

	rows     bool // the count is one of rows: see rowTiming
	begun    bool
	raw      uint64
	at       float64 // device time of the latest packet, ns since the first
	arrival  int64   // of it, boot time
	offset   float64 // boot time less device time
	strange  int     // stamps in a row that made no sense
	lateFrom int64   // arrival of the first of a run of packets that all were late
	lateAt   float64 // device time of it
	lateRun  int     // packets in it
	lateness float64 // the least of them
	Restarts uint64  // times that the count began anew
	Strange  uint64  // stamps that made no sense
}

// Passage is what else is known of a packet. It tells a reader that stood still,
// for whom packets wait and come at once, from a device whose count is another
// one.
type Passage struct {
	Verdict   Verdict // of its number; InOrder if it has none
	ElapsedNS float64 // from the packet before, as its rows tell; 0: not known
}

// Limits of a [TickClock].
const (
	jumpNS    = 500e6 // a packet that is so early is of another count, as is one
	backNS    = 10e6  // whose count has gone back so far and is not late;
	jumpTimes = 3     // so many in a row are believed, or the first with a number that begins anew
)

// timing is how a clock follows its device.
type timing struct {
	drift    float64 // how fast the least delay may grow: a crystal against ours
	late     float64 // a run of packets that are later by so much, ns,
	patience int64   // for so long, ns, is no stall of ours: the device stood still
	pause    float64 // packets so late need no patience; 0: all do
}

var (
	// A device's own time goes on whatever we do.
	tickTiming = timing{drift: 200e-6, late: 100e6, patience: 30e9}
	// A count of rows stops when the device does, and is off by as much as its
	// rate is.
	rowTiming = timing{drift: 50e-3, late: 50e6, patience: 200e6, pause: 1e9}
)

func (c *TickClock) timing() *timing {
	if c.rows {
		return &rowTiming
	}
	return &tickTiming
}

// Boot returns the boot time of a count that came with a packet at arrival: never
// later than that. Late packets may have earlier counts than the ones before.
func (c *TickClock) Boot(raw uint64, arrival int64, p Passage) int64 {
	if !c.begun {
		c.begin(raw, arrival)
		return arrival
	}
	how := c.timing()
	at := c.unwrap(raw, arrival, p.ElapsedNS)
	delay := float64(arrival) - at - c.offset
	if p.Verdict == LateOne {
		if delay < -jumpNS {
			c.Strange++
			return arrival
		}
		return min(arrival, int64(at+c.offset))
	}
	if delay < -jumpNS || at < c.at-backNS || p.Verdict == Restart && delay > how.late {
		c.Strange++
		if c.strange++; c.strange >= jumpTimes || p.Verdict == Restart {
			c.Restarts++
			c.begin(raw, arrival)
		}
		return arrival
	}
	c.strange = 0
	if d := c.stoodStill(delay, at, arrival, how); d > 0 {
		c.Restarts++
		c.offset += d
	} else if delay <= how.late { // what waited tells nothing of a crystal
		c.offset += min(delay, max(0, at-c.at)*how.drift)
	}
	if at > c.at {
		c.raw, c.at, c.arrival = raw, at, arrival
	}
	return min(arrival, int64(at+c.offset))
}

// stoodStill follows runs of late packets. It returns for how long the device's
// count has stood still, once that is certain, or 0. Packets that come faster than
// they were sent have waited: the reader stood still, and the device did not.
func (c *TickClock) stoodStill(delay, at float64, arrival int64, how *timing) float64 {
	if delay <= how.late {
		c.lateRun = 0
		return 0
	}
	if c.lateRun == 0 {
		c.lateFrom, c.lateAt, c.lateness = arrival, at, math.Inf(1)
	}
	c.lateRun++
	c.lateness = min(c.lateness, delay)
	if c.lateRun < jumpTimes {
		return 0
	}
	passed := float64(arrival - c.lateFrom)
	if passed < (at-c.lateAt)/2 {
		c.lateRun = 0 // those that follow may tell
		return 0
	}
	if passed < float64(how.patience) && (how.pause == 0 || c.lateness < how.pause) {
		return 0
	}
	c.lateRun = 0
	return c.lateness
}

func (c *TickClock) begin(raw uint64, arrival int64) {
	c.begun, c.raw, c.at, c.arrival, c.strange, c.lateRun = true, raw, 0, arrival, 0, 0
	c.offset = float64(arrival)
}

// unwrap returns the device time of a count: of all those that it may mean the
// one that fits the time that has passed, which is known of packets that follow
// each other, and else taken to be what passed here.
func (c *TickClock) unwrap(raw uint64, arrival int64, elapsed float64) float64 {
	if c.Bits == 64 {
		return c.at + float64(int64(raw-c.raw))*c.NS
	}
	turn := float64(uint64(1)<<c.Bits) * c.NS
	d := float64((raw-c.raw)&(1<<c.Bits-1)) * c.NS
	passed := float64(arrival - c.arrival)
	if elapsed > 0 {
		passed = elapsed
	}
	return c.at + d + turn*math.Round((passed-d)/turn)
}
