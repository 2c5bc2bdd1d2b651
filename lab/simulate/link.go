package simulate

import (
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
}

func newLink(w *world, b *box, no int) *link {
	r := w.rng(fmt.Sprint("link-", b.no, "-", no))
	return &link{
		w: w, b: b, no: no, rng: r,
		delay: (10 + r.Int64N(50)) * ms, jitter: 1 + r.Int64N(8*ms), rate: 20_000 + r.Int64N(200_000),
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

// conn is one MQTT connection of one link.
type conn struct {
	k        *link
	l        *life
	gen      uint32
	e        *endpoint
	epoch    int // of the endpoint when the connection was made
	up       bool
	attached bool // the endpoint knows its subscription
	gone     bool // no end uses it any more
	carGone  bool
	lastUp   int64
	lastDown int64
}

func (l *life) conn(link int, gen uint32) *conn {
	for _, c := range l.conns {
		if c.k.no == link && c.gen == gen && !c.carGone {
			return c
		}
	}
	return nil
}

// dialTimeout is when a dial that nothing answers is given up.
const dialTimeout = 5 * sec

// dial makes a connection, if the way and the receiver let it.
func (l *life) dial(a uplink.Dial) {
	w, k := l.b.w, l.b.links[a.Link]
	c := &conn{k: k, l: l, gen: a.Gen, e: w.endpoint(a.Addr)}
	l.conns = append(l.conns, c)
	switch {
	case k.silent > w.now()+dialTimeout || c.e.frozen():
		w.after(dialTimeout, func() { c.down("connect timeout") })
	case k.down > w.now() || c.e.dead():
		w.after(2*k.travel(), func() { c.down("connection refused") })
	default:
		w.after(max(0, k.silent-w.now())+6*k.travel(), func() { c.established() })
	}
}

func (c *conn) established() {
	w := c.k.w
	if c.carGone || c.l.dead {
		return
	}
	if c.e.dead() || c.k.down > w.now() {
		c.down("connection refused")
		return
	}
	c.up, c.epoch = true, c.e.epoch
	c.e.attach(c)
	w.tracef("%s: link %d gen %d is up to %s", c.l.b, c.k.no, c.gen, c.e.addr)
	c.l.engine.LinkUp(c.l.b.BootNS(), c.k.no, c.gen, c.e.addr)
	c.l.step()
}

// down tells the car that a dial failed or a connection ended.
func (c *conn) down(why string) {
	if c.carGone || c.l.dead {
		return
	}
	c.shut()
	c.k.w.tracef("%s: link %d gen %d is down: %s", c.l.b, c.k.no, c.gen, why)
	c.l.engine.LinkDown(c.l.b.BootNS(), c.k.no, c.gen, why)
	c.l.step()
}

// shut ends the car's side; the receiver learns of it when a packet can reach it.
func (c *conn) shut() {
	if c.carGone {
		return
	}
	c.carGone, c.gone = true, true
	c.l.conns = slices.DeleteFunc(c.l.conns, func(x *conn) bool { return x == c })
	w := c.k.w
	w.after(max(0, c.k.silent-w.now())+c.k.travel(), func() { c.e.detach(c) })
}

// vanish ends the car's side without a packet: the receiver waits for its
// keep-alive.
func (c *conn) vanish() {
	c.carGone, c.gone = true, true
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
	w.after(max(0, c.k.silent-w.now())+c.k.travel(), func() { c.down(why) })
	w.after(c.k.travel(), func() { c.e.detach(c) })
}

// sockBytes is what a socket takes ahead of the modem.
const sockBytes = 4 << 10

// send carries one message up.
func (l *life) send(a uplink.Send) {
	w := l.b.w
	c := l.conn(a.Link, a.Gen)
	if c == nil || !c.up {
		w.o.violate("uplink", "%s sends on link %d gen %d, which it was told is down", l.b, a.Link, a.Gen)
		return
	}
	payload := slices.Clone(a.Payload)
	w.o.sent(l, c, a.Topic, payload)
	k := c.k
	n := int64(len(payload)) + 40
	k.freeAt = max(w.now(), k.freeAt) + n*sec/k.rate
	c.lastUp = max(k.freeAt+k.travel(), c.lastUp+1)
	taken := max(0, k.freeAt-w.now()-sockBytes*sec/k.rate)
	if k.silent > w.now() && k.freeAt-w.now() > sockBytes*sec/k.rate {
		taken += k.silent - w.now()
	}
	w.after(taken, func() {
		if !c.gone && !l.dead {
			l.engine.Sent(l.b.BootNS(), c.k.no, c.gen)
			l.step()
		}
	})
	w.after(c.lastUp-w.now(), func() { c.arrive(a.Topic, payload) })
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
	if c.gone || c.l.dead {
		return
	}
	if c.k.silent > w.now() {
		c.lastDown = max(c.lastDown, c.k.silent) + 1
		w.after(c.lastDown-w.now(), func() { c.hear(payload) })
		return
	}
	c.l.engine.Message(c.l.b.BootNS(), c.k.no, c.gen, payload)
	c.l.step()
}

// short is a batch's name in traces: car, epoch's counter, lane, number.
func short(id wire.ID) string {
	return fmt.Sprintf("%s/%d-%04x/%s#%d", id.Stream.Car, id.Stream.Epoch.Counter, uint16(id.Stream.Epoch.Nonce>>48), id.Stream.Lane, id.Seq)
}
