// Package link emulates a bad cellular link: rate, delay, jitter, a queue, and
// times when nothing gets through. The entry points are [Direction], the pure
// model of one direction, and [NewRelay], which carries TCP connections through
// two of them in user space. It never needs privileges and never links into a
// product binary.
package link

import "time"

// Spec describes one direction of a link. The zero value is a perfect one.
type Spec struct {
	BitRate int64         // bits per second of payload; 0 = no limit
	Delay   time.Duration // one way
	Jitter  time.Duration // uniform 0..Jitter on top, never reordering
	Queue   int           // bytes that wait before the sender is held back; 0 = DefaultQueue
}

// DefaultQueue holds about 300 ms of a 5 Mbit/s link, as modems do.
const DefaultQueue = 192 << 10

// Direction is the pure model of one direction: it says when bytes come out. It
// is not safe for concurrent use and holds no clock; times are ns on any clock.
type Direction struct {
	spec Spec
	rand uint64 // state of the jitter's generator
	free int64  // when the wire has sent all it was given
	last int64  // when the latest bytes come out: order is kept
}

// NewDirection returns an idle direction; seed decides the jitter.
func NewDirection(s Spec, seed uint64) *Direction {
	if s.Queue == 0 {
		s.Queue = DefaultQueue
	}
	return &Direction{spec: s, rand: seed*2862933555777941757 + 3037000493}
}

// Spec returns what the direction was made from.
func (d *Direction) Spec() Spec { return d.spec }

// Take puts n bytes on the wire at now and returns when they come out.
func (d *Direction) Take(now int64, n int) (out int64) {
	start := max(now, d.free)
	if d.spec.BitRate > 0 {
		d.free = start + int64(n)*8*int64(time.Second)/d.spec.BitRate
	} else {
		d.free = start
	}
	out = max(d.free+int64(d.spec.Delay)+d.jitter(), d.last)
	d.last = out
	return out
}

func (d *Direction) jitter() int64 {
	if d.spec.Jitter <= 0 {
		return 0
	}
	d.rand ^= d.rand << 13
	d.rand ^= d.rand >> 7
	d.rand ^= d.rand << 17
	return int64(d.rand % uint64(d.spec.Jitter))
}
