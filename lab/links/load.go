package links

import (
	"time"

	"telemetry/internal/clock"
)

func bootNS() int64 { return clock.System{}.BootNS() }

// The load is the same for everybody: messages of three lanes.
const (
	criticalEvery = 100 * time.Millisecond
	criticalBytes = 64
	liveEvery     = 100 * time.Millisecond
	liveBytes     = 2048
	fullBytes     = 14336 // one batch of the full lane
)

// load is what one run offers, on the boot clock.
type load struct {
	StartNS, EndNS int64
	FullBitS       float64 // 0 = as much as is taken
	Backlog        int64   // bytes of the full lane that wait at all times then
}

// Bounds of the backlog that saturation keeps.
const (
	minBacklog = 512 << 10
	maxBacklog = 3 << 20
)

// backlog returns what should wait, so that links of so many bit/s in all never lack
// it and have drained it soon after the end: two seconds of theirs within bounds, and
// half a second of the fastest.
func backlog(bitS float64) int64 {
	return int64(max(min(max(bitS/8*2, minBacklog), maxBacklog), bitS/8/2))
}

// freshBitS is what critical and live take of a load.
const freshBitS = float64(criticalBytes*8)*10 + float64(liveBytes*8)*10

// fullEvery returns the time between two messages of the full lane; 0 = at once.
func (l load) fullEvery() time.Duration {
	if l.FullBitS <= 0 {
		return 0
	}
	return time.Duration(fullBytes * 8 / l.FullBitS * float64(time.Second))
}

// totalBitS is what a case offers in all; 0 = saturation. rates are the links'.
func totalBitS(which string, rates []float64) float64 {
	sum, best := 0.0, 0.0
	for _, r := range rates {
		sum += r
		best = max(best, r)
	}
	switch which {
	case "saturate", "heal":
		return 0
	case "trace":
		return 0.6 * sum
	}
	if len(rates) == 1 {
		return sum / 2
	}
	return (sum - best) / 2
}
