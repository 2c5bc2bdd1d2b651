package uplink

// latelyNS is the period of [lately]'s buckets.
const latelyNS = 2000 * ms

// lately sums what came in the last two to four seconds. The zero value is ready.
type lately struct{ startNS, now, prev int64 }

func (l *lately) turn(now int64) {
	switch age := now - l.startNS; {
	case age >= 2*latelyNS:
		l.now, l.prev, l.startNS = 0, 0, now
	case age >= latelyNS:
		l.now, l.prev, l.startNS = 0, l.now, l.startNS+latelyNS
	}
}

func (l *lately) add(now, n int64) {
	l.turn(now)
	l.now += n
}

func (l *lately) sum(now int64) int64 {
	l.turn(now)
	return l.now + l.prev
}
