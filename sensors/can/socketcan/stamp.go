package socketcan

import "time"

// Limits of a [stampClock].
const (
	stepNS        = int64(time.Millisecond)       // a UTC clock that moves by more between two looks was set
	slackNS       = int64(time.Millisecond)       // by which a stamp may seem to lie outside of its time
	hardSlackNS   = int64(2 * time.Millisecond)   // the same of a controller's clock, which drifts
	hardDelayNS   = int64(500 * time.Millisecond) // between controller and kernel; more is a clock that was set
	leakPPM       = 200                           // how fast a controller's offset may rise: more than a crystal's drift
	hardSuspects  = 3                             // strange stamps in a row that are a new count
	ppm           = 1_000_000
	maxBacklogNS  = int64(time.Minute) // that a frame may have waited in the kernel
	stampSettleNS = int64(time.Hour)   // for how long the UTC clock from before a step is remembered
)

// StampSource says where a frame's time comes from.
type StampSource uint8

// Stamp sources, best first.
const (
	StampHardware StampSource = iota // the controller's clock, mapped
	StampKernel                      // the kernel's clock when the frame came up from the driver
	StampHost                        // the time at which this process read it
)

func (s StampSource) String() string { return [...]string{"hardware", "kernel", "host"}[s] }

// stampClock maps the stamps of one interface to boot time. Its times never go
// back. It is pure: owned by one goroutine.
type stampClock struct {
	offset  int64 // UTC less boot time at the latest look
	before  int64 // the same before UTC was last set
	setAt   int64 // boot time of that; 0: never
	known   bool
	last    int64 // latest result
	hard    hardClock
	steps   uint64 // times that UTC was set
	strange uint64 // stamps that made no sense
}

// look compares the clocks; it is due before each batch of frames.
func (c *stampClock) look(boot, utc int64) {
	offset := utc - boot
	if d := offset - c.offset; c.known && (d > stepNS || d < -stepNS) {
		c.before, c.setAt = c.offset, boot
		c.steps++
	}
	c.offset, c.known = offset, true
}

// boot returns the boot time of a frame that was read at now. utc and hard are
// its stamps, 0 where it has none.
func (c *stampClock) boot(utc, hard, now int64) (int64, StampSource) {
	from := StampHost
	at := now
	if utc != 0 {
		if t, ok := c.kernel(utc, now); ok {
			at, from = t, StampKernel
		} else {
			c.strange++
		}
	}
	if hard != 0 {
		if t, ok := c.hard.boot(hard, at); ok {
			at, from = t, StampHardware
		} else {
			c.strange++
		}
	}
	c.last = max(c.last, min(at, now))
	return c.last, from
}

// kernel maps a stamp in UTC. A frame that waited while UTC was set is told by
// its place in time: not before the frame above and not after now.
func (c *stampClock) kernel(utc, now int64) (int64, bool) {
	floor := max(c.last-slackNS, now-maxBacklogNS)
	if t := utc - c.offset; t >= floor && t <= now+slackNS {
		return t, true
	}
	if c.setAt != 0 && now-c.setAt < stampSettleNS {
		if t := utc - c.before; t >= floor && t <= now+slackNS {
			return t, true
		}
	}
	return 0, false
}

// hardClock maps a controller's clock, whose start nobody knows, by the least
// distance to the kernel's that any frame showed: a frame never comes up before
// it was stamped. The offset leaks upwards to follow drift.
type hardClock struct {
	begun    bool
	last     int64 // latest good stamp
	offset   int64
	suspects int
	restarts uint64
}

func (h *hardClock) boot(stamp, arrival int64) (int64, bool) {
	if !h.begun {
		*h = hardClock{begun: true, last: stamp, offset: arrival - stamp, restarts: h.restarts}
		return arrival, true
	}
	leak := min(max(0, stamp-h.last), int64(time.Hour)) / (ppm / leakPPM)
	delay := arrival - stamp - h.offset - leak
	if delay < -hardSlackNS-leak || delay > hardDelayNS || stamp < h.last-hardSlackNS {
		if h.suspects++; h.suspects < hardSuspects {
			return 0, false
		}
		*h = hardClock{begun: true, last: stamp, offset: arrival - stamp, restarts: h.restarts + 1}
		return arrival, true
	}
	h.suspects = 0
	h.offset += leak + min(0, delay)
	h.last = max(h.last, stamp)
	return stamp + h.offset, true
}
