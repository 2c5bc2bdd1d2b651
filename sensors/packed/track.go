package packed

// Numbers follows the numbers of packets. The zero value is not ready: set Bits.
// It is owned by one goroutine.
type Numbers struct {
	Bits int // of the number, 1 to 64

	begun    bool
	next     uint64
	Lost     uint64 // numbers that never came; one that comes late is taken off again
	Late     uint64 // came after a higher one
	Repeated uint64 // the same number again at once
	Restarts uint64 // times that the count began anew
	window   uint64 // bit i: number next-1-i has come
}

// How far behind a number may be to be late instead of the first of a new count,
// and how far ahead it may be to be one of the same count.
const (
	lateWindow = 64
	farAhead   = 1 << 16
)

// Verdict says what a packet's number means.
type Verdict uint8

// Verdicts.
const (
	InOrder Verdict = iota
	AfterGap
	LateOne
	Repeat
	Restart
)

// Add takes the number of a packet and returns what it means, and how many were
// lost before it.
func (s *Numbers) Add(n uint64) (Verdict, uint64) {
	mask := ^uint64(0) >> (64 - s.Bits)
	if !s.begun {
		s.begun, s.next, s.window = true, (n+1)&mask, 1
		return InOrder, 0
	}
	ahead := (n - s.next) & mask
	behind := (s.next - n) & mask // 1: the latest one
	switch {
	case ahead == 0:
		s.shift(1)
	case behind <= min(lateWindow, mask/4):
		bit := uint64(1) << (behind - 1)
		if s.window&bit != 0 {
			s.Repeated++
			return Repeat, 0
		}
		s.window |= bit
		s.Late++
		if s.Lost > 0 {
			s.Lost--
		}
		return LateOne, 0
	case ahead <= mask/2 && ahead < farAhead:
		s.Lost += ahead
		s.shift(ahead + 1)
		s.next = (n + 1) & mask
		return AfterGap, ahead
	default:
		s.Restarts++
		s.next, s.window = n, 0
		s.shift(1)
		s.next = (n + 1) & mask
		return Restart, 0
	}
	s.next = (n + 1) & mask
	return InOrder, 0
}

func (s *Numbers) shift(by uint64) {
	if by >= 64 {
		s.window = 1
		return
	}
	s.window = s.window<<by | 1
}

// TickClock maps a device's own count of time to boot time, by the least delay
// that any packet showed: a packet never comes before it was stamped. It is owned
// by one goroutine. Bits and NS must be set.
type TickClock struct {
	Bits int     // of the count; it turns over
	NS   float64 // of one count

	begun    bool
	raw      uint64
	at       float64 // device time of the latest packet, ns since the first
	arrival  int64   // of it, boot time
	offset   float64 // boot time less device time
	strange  int
	Restarts uint64 // times that the count began anew
	Strange  uint64 // stamps that made no sense
}

// Limits of a [TickClock].
const (
	driftPPM  = 200   // of a device's crystal against ours
	jumpNS    = 500e6 // a delay that differs by more is another count
	jumpTimes = 3     // so many in a row are believed
)

// Boot returns the boot time of a count that came with a packet at arrival: never
// later than that. Late packets may have earlier counts than the ones before.
func (c *TickClock) Boot(raw uint64, arrival int64) int64 {
	if !c.begun {
		c.begin(raw, arrival)
		return arrival
	}
	at := c.unwrap(raw, arrival)
	leak := max(0, at-c.at) * driftPPM / 1e6
	delay := float64(arrival) - at - c.offset
	if delay > jumpNS || delay < -jumpNS {
		c.Strange++
		if c.strange++; c.strange >= jumpTimes {
			c.Restarts++
			c.begin(raw, arrival)
		}
		return arrival
	}
	c.strange = 0
	c.offset += min(leak, delay)
	if at > c.at {
		c.raw, c.at, c.arrival = raw, at, arrival
	}
	return min(arrival, int64(at+c.offset))
}

func (c *TickClock) begin(raw uint64, arrival int64) {
	c.begun, c.raw, c.at, c.arrival, c.strange = true, raw, 0, arrival, 0
	c.offset = float64(arrival)
}

// unwrap returns the device time of a count, of all those that it may mean the
// one that fits the time that has passed here.
func (c *TickClock) unwrap(raw uint64, arrival int64) float64 {
	if c.Bits == 64 {
		return c.at + float64(int64(raw-c.raw))*c.NS
	}
	turn := float64(uint64(1)<<c.Bits) * c.NS
	d := float64((raw-c.raw)&(1<<c.Bits-1)) * c.NS
	passed := float64(arrival - c.arrival)
	turns := (passed - d) / turn
	return c.at + d + turn*roundHalf(turns)
}

func roundHalf(x float64) float64 {
	if x < 0 {
		return -float64(int64(-x + 0.5))
	}
	return float64(int64(x + 0.5))
}
