package simulate

import (
	"slices"
	"strings"

	"telemetry/receiver/ingest"
)

// endpoint is what a car dials: the broker inside of one instance, or one broker
// in front of all.
type endpoint struct {
	w     *world
	addr  string
	owner *receiver // nil: an external broker
	epoch int       // counts up at each death: its connections are gone
	conns []*conn   // that have subscribed
	turn  int       // of the shared subscription
	drops int64     // until then the broker drops messages
	turns int64     // until then it turns new connections away
}

func (w *world) addrs() []string {
	var out []string
	for _, e := range w.ends {
		out = append(out, e.addr)
	}
	return out
}

func (w *world) endpoint(addr string) *endpoint {
	for _, e := range w.ends {
		if e.addr == addr {
			return e
		}
	}
	panic("simulate: internal error: dial of " + addr)
}

func (e *endpoint) dead() bool   { return e.owner != nil && e.owner.inst == nil }
func (e *endpoint) frozen() bool { return e.owner != nil && e.owner.frozen }

// attach notes the subscription of a connection.
func (e *endpoint) attach(c *conn) {
	e.conns = append(e.conns, c)
	c.attached = true
	if r := e.owner; r != nil {
		r.attached(c.l.b.car, c.k.no, true)
	}
}

// detach notes the end of a connection.
func (e *endpoint) detach(c *conn) {
	if !c.attached {
		return
	}
	c.attached = false
	e.conns = slices.DeleteFunc(e.conns, func(x *conn) bool { return x == c })
	if r := e.owner; r != nil && c.epoch == e.epoch {
		r.attached(c.l.b.car, c.k.no, false)
	}
}

// die ends all connections: the instance behind them is dead.
func (e *endpoint) die() {
	e.epoch++
	for _, c := range slices.Clone(e.conns) {
		c.attached = false
		c.reset("connection reset by " + e.addr)
	}
	e.conns = nil
}

// message takes one message from a car.
func (e *endpoint) message(c *conn, topic string, payload []byte) {
	w := e.w
	if w.now() < e.drops && w.rng("drop").IntN(3) == 0 {
		w.happened(KindDrop)
		w.tracef("%s drops a message of %s", e.addr, c.l.b)
		return
	}
	if r := e.owner; r != nil {
		if c.epoch == e.epoch {
			r.message(ingest.Peer{Car: c.l.b.car}, topic, payload)
		}
		return
	}
	leaf := topic[strings.LastIndexByte(topic, '/')+1:]
	if leaf == "catalogue" || leaf == "answer" { // every instance has subscribed
		for _, r := range w.rcvs {
			if r.inst != nil {
				r.message(ingest.Peer{}, topic, slices.Clone(payload))
			}
		}
		return
	}
	var able []*receiver
	for _, r := range w.rcvs {
		if r.shares() {
			able = append(able, r)
		}
	}
	if len(able) == 0 {
		return // nobody has subscribed
	}
	e.turn++
	able[e.turn%len(able)].message(ingest.Peer{}, topic, payload)
}

// publish sends one message to all who have subscribed to ctl/<car>/<link>.
func (e *endpoint) publish(car string, link int, payload []byte) {
	for _, c := range slices.Clone(e.conns) {
		if c.k.no == link && c.l.b.car == car && !c.gone {
			c.deliver(payload)
		}
	}
}
