// Package link emulates a bad cellular link: rate or a recorded trace, delay,
// jitter, loss, a queue, and times when nothing gets through. The entry points
// are [Direction], the pure model of one direction, and [NewRelay], which carries
// TCP connections through two of them in user space; package lab/netns carries
// kernel packets through the same model. It needs no privileges and never links
// into a product binary.
package link

import (
	"math/bits"
	"math/rand/v2"
	"time"
)

// Packet is what a direction carries. The direction keeps Data, without reading
// it, until the packet comes out or is lost.
type Packet struct {
	Data []byte
	Flow uint64 // whatever the carrier wants back
}

// Direction is the pure model of one direction of a link: packets and times go
// in, decisions and departures come out. A packet first waits in the queue for
// its turn on the wire, then flies for the delay. The model holds no clock,
// goroutine or lock and is not safe for concurrent use. Times are ns on any
// clock; one that lies before an earlier one counts as that one. The first call
// with a time begins the link, and with it the trace.
type Direction struct {
	spec         Spec
	state        State
	loss, jitter *rand.Rand

	begun bool
	now   int64 // latest time told
	start int64 // where slot times count from
	slot  int64 // next slot of the trace
	sent  int   // trace: bytes of the first waiting packet that have left
	free  int64 // rate: when the wire has sent all before
	upNS  int64 // time spent Up

	wait  fifo
	bytes int // that wait
	air   fifo
	last  int64 // when the latest packet comes out: order is kept
	count Counters
}

// NewDirection returns a direction that is Up and idle; seed decides loss and
// jitter. The spec must be valid.
func NewDirection(s Spec, seed uint64) *Direction {
	if s.Queue == 0 {
		s.Queue = DefaultQueue
	}
	return &Direction{
		spec:   s,
		loss:   rand.New(rand.NewPCG(seed, 1)),
		jitter: rand.New(rand.NewPCG(seed, 2)),
	}
}

// Spec returns what the direction was made from.
func (d *Direction) Spec() Spec { return d.spec }

// State returns what the direction does with packets.
func (d *Direction) State() State { return d.state }

// Offer gives a packet to the link. Any answer but Kept means that it is lost,
// and that the caller owns Data again.
func (d *Direction) Offer(now int64, p Packet) Cause {
	d.advance(now)
	n := len(p.Data)
	d.count.InPackets++
	d.count.InBytes += int64(n)
	// Drawn for every packet, so that the dice do not depend on states.
	unlucky := d.spec.Loss > 0 && d.loss.Float64() < d.spec.Loss
	why := stateCause(d.state)
	switch {
	case why != Kept:
	case unlucky:
		why = LostRandom
	case !d.fits(n):
		why = LostQueue
	default:
		d.bytes += n
		d.wait.push(item{p, d.now})
		d.serve() // at no rate limit it flies at once
		return Kept
	}
	d.count.Dropped.add(why, 1)
	return why
}

// Fits reports whether the queue takes n bytes more. An empty one takes any
// packet.
func (d *Direction) Fits(now int64, n int) bool {
	d.advance(now)
	return d.fits(n)
}

func (d *Direction) fits(n int) bool {
	if d.wait.n == 0 {
		return true
	}
	return d.bytes+n <= d.spec.Queue && (d.spec.QueuePackets == 0 || d.wait.n < d.spec.QueuePackets)
}

// Pop takes out the next packet that comes out at now or earlier, with its own
// time. Packets come out in the order in which they were offered.
func (d *Direction) Pop(now int64) (p Packet, due int64, ok bool) {
	d.advance(now)
	if d.air.n == 0 || d.air.head().at > d.now {
		return Packet{}, 0, false
	}
	it := d.air.pop()
	d.count.OutPackets++
	d.count.OutBytes += int64(len(it.p.Data))
	return it.p, it.at, true
}

// Wake returns the earliest time at which Pop may give a packet; false if there
// is none until the next Offer or Set.
func (d *Direction) Wake() (int64, bool) {
	if d.air.n > 0 {
		return d.air.head().at, true
	}
	at, ok := d.Leave()
	return at + int64(d.spec.Delay), ok
}

// Leave returns when the queue's first packet may leave it for the air; false if
// none waits or the link does not serve.
func (d *Direction) Leave() (int64, bool) {
	if d.wait.n == 0 || d.state != Up {
		return 0, false
	}
	if d.spec.Trace != nil {
		return d.start + d.spec.Trace.moment(d.slot), true
	}
	it := d.wait.head()
	return max(d.free, it.at) + d.transmit(len(it.p.Data)), true
}

// Set changes what the link does from now on.
func (d *Direction) Set(now int64, s State) {
	d.advance(now)
	if why := stateCause(s); why != Kept {
		d.flush(&d.wait, why)
		if s != Drop {
			d.flush(&d.air, why)
		}
	}
	if d.state != Up { // what waits begins its turn anew
		d.free = max(d.free, d.now)
	}
	d.state = s
}

// Readdress loses all that waits and flies: it belongs to an address that is no
// more.
func (d *Direction) Readdress(now int64) {
	d.advance(now)
	d.flush(&d.wait, LostReaddress)
	d.flush(&d.air, LostReaddress)
}

func (d *Direction) flush(q *fifo, why Cause) {
	d.count.Dropped.add(why, int64(q.n))
	for q.n > 0 {
		q.pop()
	}
	if q == &d.wait {
		d.bytes, d.sent = 0, 0
	}
}

// Counters returns what happened until now.
func (d *Direction) Counters(now int64) Counters {
	d.advance(now)
	c := d.count
	c.Inside = int64(d.wait.n + d.air.n)
	if d.spec.BitRate > 0 {
		hi, lo := bits.Mul64(uint64(d.upNS), uint64(d.spec.BitRate))
		q, _ := bits.Div64(hi, lo, 8*uint64(time.Second))
		c.CapacityBytes = int64(q)
	}
	return c
}

// advance does all that happens until now.
func (d *Direction) advance(now int64) {
	if !d.begun {
		d.begun, d.now, d.free, d.last = true, now, now, now
		if t := d.spec.Trace; t != nil {
			from := int64(d.spec.TraceFrom % t.Period())
			d.start = now - from
			d.slot = t.slots(from - 1)
		}
	}
	if now > d.now {
		if d.state == Up {
			d.upNS += now - d.now
		}
		d.now = now
	}
	d.serve()
}

// serve moves packets whose turn came until d.now from the queue into the air.
func (d *Direction) serve() {
	if d.spec.Trace != nil {
		d.serveTrace()
	} else if d.state == Up {
		for d.wait.n > 0 {
			it := d.wait.head()
			begin := max(d.free, it.at)
			if d.expired(it, begin) {
				continue
			}
			done := begin + d.transmit(len(it.p.Data))
			if done > d.now {
				break
			}
			d.free = done
			d.depart(done)
		}
	}
	if d.state == Up && d.spec.Trace == nil {
		return // every wait ended when the packet's turn began
	}
	for d.wait.n > 0 && d.sent == 0 && d.expired(d.wait.head(), d.now) {
		continue
	}
}

// serveTrace uses the slots until d.now. Those that find no packet are lost, and
// a packet may need several.
func (d *Direction) serveTrace() {
	if d.state == Up {
		for d.wait.n > 0 {
			at := d.start + d.spec.Trace.moment(d.slot)
			if at > d.now {
				break
			}
			d.slot++
			d.count.CapacityBytes += SlotBytes
			d.useSlot(at)
		}
	}
	if n := d.spec.Trace.slots(d.now - d.start); n > d.slot {
		if d.state == Up {
			d.count.CapacityBytes += (n - d.slot) * SlotBytes
		}
		d.slot = n
	}
}

func (d *Direction) useSlot(at int64) {
	for left := SlotBytes; left > 0 && d.wait.n > 0; {
		it := d.wait.head()
		if d.sent == 0 && d.expired(it, at) {
			continue
		}
		need := len(it.p.Data) - d.sent
		if need > left {
			d.sent += left
			return
		}
		left -= need
		d.sent = 0
		d.depart(at)
	}
}

// expired loses the queue's first packet if its turn, at begin, comes too late.
func (d *Direction) expired(it *item, begin int64) bool {
	if d.spec.MaxWait == 0 || begin-it.at <= int64(d.spec.MaxWait) {
		return false
	}
	d.bytes -= len(it.p.Data)
	d.wait.pop()
	d.count.Dropped.add(LostWait, 1)
	return true
}

// depart lets the queue's first packet fly at the time at.
func (d *Direction) depart(at int64) {
	it := d.wait.pop()
	d.bytes -= len(it.p.Data)
	d.count.MaxWaitNS = max(d.count.MaxWaitNS, at-it.at)
	due := at + int64(d.spec.Delay)
	if d.spec.Jitter > 0 {
		due += d.jitter.Int64N(int64(d.spec.Jitter) + 1)
	}
	d.last = max(due, d.last)
	d.air.push(item{it.p, d.last})
}

// transmit returns the time that n bytes take on the wire, rounded up: the rate
// is never exceeded.
func (d *Direction) transmit(n int) int64 {
	if d.spec.BitRate == 0 {
		return 0
	}
	return (int64(n)*8*int64(time.Second) + d.spec.BitRate - 1) / d.spec.BitRate
}
