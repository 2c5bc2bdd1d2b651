package link

import (
	"math/bits"
	"time"
)

// DisturbedAfter is how late a carrier may be at worst. A measurement during
// which it was later says more about the machine than about what was measured:
// repeat it.
const DisturbedAfter = 20 * time.Millisecond

// Lateness counts how late a carrier did what was due: a histogram with eight
// steps per doubling, from 1 µs. The zero value is empty. Not safe for concurrent
// use; a copy is a snapshot.
type Lateness struct {
	n    int64
	max  time.Duration
	hist [lateSteps]int64
}

// lateSteps reaches beyond an hour.
const lateSteps = 8 * 33

// Add counts one deed that was late by d; early counts as in time.
func (l *Lateness) Add(d time.Duration) {
	d = max(d, 0)
	l.n++
	l.max = max(l.max, d)
	l.hist[lateStep(d)]++
}

// lateStep returns the step of d: below 8 µs one per µs, then eight per doubling.
func lateStep(d time.Duration) int {
	us := uint64(d / time.Microsecond)
	if us < 8 {
		return int(us)
	}
	e := bits.Len64(us) - 4 // us>>e is 8..15
	return min(8*e+int(us>>e), lateSteps-1)
}

// lateBound returns where a step ends.
func lateBound(step int) time.Duration {
	if step < 8 {
		return time.Duration(step+1) * time.Microsecond
	}
	e := step/8 - 1
	return time.Duration(uint64(step%8+9)<<e) * time.Microsecond
}

// Count returns how many deeds were counted.
func (l *Lateness) Count() int64 { return l.n }

// Max returns the worst.
func (l *Lateness) Max() time.Duration { return l.max }

// Quantile returns a time, 12 % above the true one at most, that the share q of
// all deeds did not exceed. 0 if there were none.
func (l *Lateness) Quantile(q float64) time.Duration {
	need := int64(q * float64(l.n))
	for step, n := range l.hist {
		if need -= n; need <= 0 && n > 0 {
			return min(lateBound(step), l.max)
		}
	}
	return l.max
}

// Disturbed reports whether the worst is beyond DisturbedAfter.
func (l *Lateness) Disturbed() bool { return l.max > DisturbedAfter }
