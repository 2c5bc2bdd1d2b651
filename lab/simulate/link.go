package simulate

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"

	"telemetry/uplink"
	"telemetry/wire"
)

// link is one modem's path. TCP runs over it: inside a connection nothing is
// lost or overtaken, but everything may stand still, and what a broken
// connection had taken is gone.
type link struct {
	w      *world
	b      *box
	no     int
	rng    *rand.Rand
	delay  int64 // one way
	jitter int64
	rate   int64 // bytes/s
	freeAt int64 // the modem's queue is empty
	lossy  int64 // until then packets are lost and sent again by TCP
	slow   int64 // until then the delay is extra more
	extra  int64
	shaky  int64 // until then the jitter is large
	silent int64 // until then nothing passes in either direction
	down   int64 // until then connections are reset and refused
	choked int64 // until then it carries next to nothing
	plain  bool  // its connections can only send and wait
	blind  bool  // its sockets don't tell what was confirmed

	dialled *life // that has dialled last
	dialAt  int64 // when
	fails   int   // dials that have failed since anything else
}

func newLink(w *world, b *box, no int) *link {
	r := w.rng(fmt.Sprint("link-", b.no, "-", no))
	return &link{
		w: w, b: b, no: no, rng: r,
		delay: (10 + r.Int64N(50)) * ms, jitter: 1 + r.Int64N(8*ms), rate: 20_000 + r.Int64N(200_000),
		plain: w.plan.Plain&(1<<no) != 0, blind: w.plan.Blind&(1<<no) != 0,
	}
}

// travel is the time of one way, without queueing.
func (k *link) travel() int64 {
	now := k.w.now()
	d := k.delay + k.rng.Int64N(k.jitter)
	if now < k.slow {
		d += k.extra
	}
	if now < k.shaky {
		d += k.rng.Int64N(400 * ms)
	}
	if now < k.lossy && k.rng.IntN(4) == 0 {
		k.w.happened(KindLoss)
		d += 200*ms + k.rng.Int64N(400*ms)
	}
	return d
}

// bps is what the modem carries now, bytes/s.
func (k *link) bps() int64 {
	if k.w.now() < k.choked {
		return max(k.rate/40, 500)
	}
	return k.rate
}

// hush lets nothing pass until then; what waits in the modem and in the sockets
// leaves so much later, or sooner if a silence ends before its time.
func (k *link) hush(until int64) {
	now := k.w.now()
	by := max(until, now) - max(k.silent, now)
	k.silent = until
	later := func(at int64) int64 {
		if at <= now {
			return at
		}
		return max(now, at+by)
	}
	k.freeAt = later(k.freeAt)
	if l := k.b.life; l != nil {
		for _, c := range l.conns {
			if c.k != k {
				continue
			}
			if c.leaves = later(c.leaves); c.part != nil {
				c.part.leaves = c.leaves
			}
		}
	}
}

// conn is one MQTT connection of one link. The car's end of it is carConn.
type conn struct {
	k        *link
	l        *life
	gen      uint32
	req      uplink.DialRequest
	e        *endpoint
	epoch    int // of the endpoint when the connection was made
	up       bool
	attached bool // the endpoint knows its subscription
	gone     bool // no end uses it any more
	carGone  bool
	lastUp   int64
	lastDown int64

	// Of the car's end.
	end              chan struct{} // closed when a blocked write must look again
	ended            bool
	closing          bool  // Close was called
	broken           error // the car's kernel knows that it is over
	failed           bool  // a write was told so
	leaves           int64 // when the modem has sent all that it was given
	paceAt           int64 // the kernel gives the modem nothing before
	pace             int64 // bytes/s; 0 = no limit
	part             *message
	given, confirmed int64 // bytes of payload
}

// unblock wakes who waits for the socket.
func (c *conn) unblock() {
	if !c.ended {
		c.ended = true
		close(c.end)
	}
}

// dialTimeout is when a dial that nothing answers is given up.
const dialTimeout = 5 * sec

// breaks ends a connection at the car: the kernel knows it now, who reads from it
// learns of it within a while.
func (c *conn) breaks(why error, within int64) {
	if c.broken != nil || c.carGone {
		return
	}
	c.broken, c.gone = why, true
	c.unblock()
	c.k.w.after(within, c.down)
}

// down tells the uplink that a connection has ended.
func (c *conn) down() {
	if c.carGone || c.l.dead.Load() {
		return
	}
	w := c.k.w
	c.shut()
	w.o.dialed(c.k, nil)
	w.tracef("%s: link %d gen %d is down: %v", c.l.b, c.k.no, c.gen, c.broken)
	c.mustClose()
	w.outside(func() { c.req.OnDown(c.broken) })
}

// shut ends the car's side; the receiver learns of it when a packet can reach it.
func (c *conn) shut() {
	if c.carGone {
		return
	}
	c.carGone, c.gone = true, true
	c.unblock()
	c.l.conns = slices.DeleteFunc(c.l.conns, func(x *conn) bool { return x == c })
	if w := c.k.w; c.e != nil {
		w.after(max(0, c.k.silent-w.now())+c.k.travel(), func() { c.e.detach(c) })
	}
}

// vanish ends the car's side without a packet: the receiver waits for its
// keep-alive.
func (c *conn) vanish() {
	c.carGone, c.gone = true, true
	c.unblock()
	c.k.w.after(6*sec, func() { c.e.detach(c) })
}

// reset breaks the connection: what is under way is lost; both ends learn of it
// when the way lets them.
func (c *conn) reset(why string) {
	if c.gone {
		return
	}
	c.gone = true
	w := c.k.w
	w.after(max(0, c.k.silent-w.now())+c.k.travel(), func() { c.breaks(failure(why), c.k.rng.Int64N(20*ms)) })
	w.after(c.k.travel(), func() { c.e.detach(c) })
}

// sockBytes is what a socket takes ahead of the modem.
const sockBytes = 4 << 10

// give hands a message to the connection.
func (c *conn) give(topic string, payload []byte) *message {
	k, now := c.k, c.k.w.now()
	m := &message{topic: topic, payload: bytes.Clone(payload), theirs: payload}
	c.k.w.o.sent(c.l, c, topic, m.payload)
	n := int64(len(payload)) + 40
	from := max(now, k.freeAt, k.silent, c.paceAt)
	m.leaves = from + n*sec/k.bps()
	k.freeAt, c.leaves = m.leaves, m.leaves
	if c.pace > 0 {
		c.paceAt = max(now, c.paceAt) + n*sec/c.pace
	}
	c.given += int64(len(payload))
	return m
}

// inSocket is how much the socket still has.
func (c *conn) inSocket() int64 {
	return max(0, c.leaves-max(c.k.w.now(), c.k.silent)) * c.k.bps() / sec
}

// untaken is how long it lasts until the socket has all of m, if all goes on like
// now.
func (c *conn) untaken(m *message) int64 {
	now, ahead := c.k.w.now(), sockBytes*sec/c.k.bps()
	from := max(now, c.k.silent)
	if m.leaves-from <= ahead {
		return 0
	}
	return m.leaves - ahead - now
}

// taken carries a message up that the socket has.
func (c *conn) taken(m *message) {
	w, k := c.k.w, c.k
	if !bytes.Equal(m.payload, m.theirs) {
		w.o.violate("uplink", "%s: a message on link %d gen %d changed before the socket had it", c.l.b, k.no, c.gen)
	}
	m.theirs = nil
	c.lastUp = max(max(w.now(), m.leaves)+k.travel(), c.lastUp+1)
	w.after(c.lastUp-w.now(), func() { c.arrive(m.topic, m.payload) })
}

// arrive delivers one message to the receiver, once the way lets it.
func (c *conn) arrive(topic string, payload []byte) {
	w := c.k.w
	if c.gone {
		return
	}
	if c.k.silent > w.now() {
		c.lastUp = max(c.lastUp, c.k.silent) + 1
		w.after(c.lastUp-w.now(), func() { c.arrive(topic, payload) })
		return
	}
	n := int64(len(payload))
	w.after(c.k.delay, func() { c.confirmed += n })
	c.e.message(c, topic, payload)
}

// deliver carries one message down to the car.
func (c *conn) deliver(payload []byte) {
	w := c.k.w
	c.lastDown = max(w.now()+c.k.travel(), c.lastDown+1)
	w.after(c.lastDown-w.now(), func() { c.hear(payload) })
}

func (c *conn) hear(payload []byte) {
	w := c.k.w
	if c.gone || c.l.dead.Load() {
		return
	}
	if c.k.silent > w.now() {
		c.lastDown = max(c.lastDown, c.k.silent) + 1
		w.after(c.lastDown-w.now(), func() { c.hear(payload) })
		return
	}
	w.outside(func() { c.req.OnMessage(payload) })
}

// short is a batch's name in traces: car, epoch's counter, lane, number.
func short(id wire.ID) string {
	return fmt.Sprintf("%s/%d-%04x/%s#%d", id.Stream.Car, id.Stream.Epoch.Counter, uint16(id.Stream.Epoch.Nonce>>48), id.Stream.Lane, id.Seq)
}
