package uplink

import (
	"container/heap"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"

	lablink "telemetry/lab/link"
	"telemetry/wire"
)

// The simulation: an engine, links with delay, rate and outages, ingest
// instances and a Kafka, in virtual time under one seed.

type simEvent struct {
	at int64
	n  int
	do func()
}

type simQueue []simEvent

func (q simQueue) Len() int      { return len(q) }
func (q simQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *simQueue) Push(x any)   { *q = append(*q, x.(simEvent)) }
func (q simQueue) Less(i, j int) bool {
	return q[i].at < q[j].at || (q[i].at == q[j].at && q[i].n < q[j].n)
}

func (q *simQueue) Pop() any {
	o := *q
	x := o[len(o)-1]
	*q = o[:len(o)-1]
	return x
}

const simCar = "car-7"

var simEpoch = wire.Epoch{Counter: 3, Nonce: 0xabcdef0123456789}

// firstGen is the generation of every link's first dial.
const firstGen = 0x23456789 + 1

// simLink is one modem's path.
type simLink struct {
	delay     int64              // one way, ns
	rate      int64              // bytes/s
	model     *lablink.Direction // in place of rate; nil = none
	arrivals  []func()           // of the packets in model, by flow
	pumpAt    int64              // when the model is looked at next
	ahead     int64              // bytes that the path takes ahead of the air; 0 = 16 KiB
	freeAt    int64
	silent    int64 // nothing passes before this moment; held packets follow
	rtoFactor int64 // how much longer than the outage an old connection stays stuck, in per cent
	conns     map[uint32]*simConn
	carried   int64 // bytes that left
}

type simConn struct {
	link       int
	gen        uint32
	inst       *simInst
	nonce      uint64
	up, closed bool
	stuck      int64 // retransmission back-off: nothing passes before
	lastUp     int64
	lastDown   int64
	echo       wire.LinkEcho
	echoAt     int64
	paceAt     int64 // when the pace lets the next segment go; with a model only
	unacked    int64 // bytes that the other end's TCP has not confirmed; with a model only
}

type simInst struct {
	name     string
	nonce    uint64
	counter  uint64
	down     int64 // not running before
	frozen   int64
	noKafka  int64
	rcv, dur map[wire.ID]bool
	ranges   map[wire.Stream]wire.Ranges // of dur
	pulled   map[wire.ID]bool
	refuse   map[wire.ID]bool
	keep     map[wire.ID]bool // received and never produced
	queued   int64            // bytes received and not durable
	credit   int64            // most bytes queued
	forget   bool             // its acks name nothing but what is new: absence must mean nothing
}

type sim struct {
	t       testing.TB
	rng     *rand.Rand
	now     int64
	n       int
	q       simQueue
	e       *Engine
	st      *simStore
	links   []*simLink
	insts   map[string]*simInst // by address
	addrs   []string
	kafka   map[wire.ID]bool
	pulledK map[wire.ID]bool
	next    [wire.LaneFull + 1]uint64
	madeAt  map[wire.ID]int64
	gotAt   map[wire.ID]int64 // first arrival at any instance
	sends   map[wire.ID][]simSend
	lose    map[wire.ID]int // arrivals that a broker drops behind the link
	dials   []Dial
	dialAt  []int64
	other   []Send // on tele/<car>/catalogue and answer
	digest  uint64
	nonces  uint64
	maxFl   int
	wakeAt  int64
	taken   []Close // connections that took a message, not told yet
}

type simSend struct {
	at   int64
	link int
	gen  uint32
	hdr  wire.Send
}

func newSim(t testing.TB, seed uint64, links []*simLink, addrs ...string) *sim {
	if len(addrs) == 0 {
		addrs = []string{"tcp://a:1"}
	}
	s := &sim{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), st: newSimStore(), links: links, insts: map[string]*simInst{}, addrs: addrs,
		kafka: map[wire.ID]bool{}, pulledK: map[wire.ID]bool{}, madeAt: map[wire.ID]int64{}, gotAt: map[wire.ID]int64{}, sends: map[wire.ID][]simSend{}, lose: map[wire.ID]int{},
		now: 1000 * ms,
	}
	cfg := Config{Car: simCar, Epoch: simEpoch, Seed: seed}
	for i, l := range links {
		l.conns = map[uint32]*simConn{}
		cfg.Links = append(cfg.Links, LinkConfig{Name: fmt.Sprint("modem", i), Addrs: addrs})
	}
	for _, a := range addrs {
		in := &simInst{name: "ingest-" + a, credit: 1 << 20}
		s.insts[a] = in
		s.restart(in)
	}
	s.e = NewEngine(cfg, s.st)
	for i, a := range addrs {
		s.at(int64(i+1)*7*ms, func() { s.ackLoop(s.insts[a]) })
	}
	s.at(0, s.step)
	return s
}

func (s *sim) restart(in *simInst) {
	s.nonces++
	in.nonce, in.counter, in.queued = s.nonces*1000, 0, 0
	in.rcv, in.dur, in.pulled = map[wire.ID]bool{}, map[wire.ID]bool{}, map[wire.ID]bool{}
	in.ranges = map[wire.Stream]wire.Ranges{}
	if in.refuse == nil {
		in.refuse = map[wire.ID]bool{}
	}
	for li, l := range s.links {
		for _, g := range sortedGens(l) {
			if c := l.conns[g]; c.inst == in && !c.closed {
				s.breakConn(li, c, "connection reset")
			}
		}
	}
}

func sortedGens(l *simLink) []uint32 {
	var gens []uint32
	for g := range l.conns {
		gens = append(gens, g)
	}
	slices.Sort(gens)
	return gens
}

// breakConn ends a connection; the car notices when the link lets it.
func (s *sim) breakConn(li int, c *simConn, why string) {
	c.closed = true
	l := s.links[li]
	s.at(max(l.silent, s.now)+l.delay-s.now, func() {
		if l.conns[c.gen] == c {
			delete(l.conns, c.gen)
			s.e.LinkDown(s.now, li, c.gen, why)
			s.step()
		}
	})
}

func (s *sim) at(d int64, do func()) {
	s.n++
	heap.Push(&s.q, simEvent{s.now + max(d, 0), s.n, do})
}

// run lets virtual time pass until end, or until stop says so.
func (s *sim) run(end int64, stop func() bool) {
	for len(s.q) > 0 && s.q[0].at <= end {
		if stop != nil && stop() {
			return
		}
		ev := heap.Pop(&s.q).(simEvent)
		s.now = ev.at
		ev.do()
	}
	if stop == nil {
		s.now = end
	}
}

// sent says that the socket took a message, as Run does: the engine is told at the
// next step unless it waits for it.
func (s *sim) sent(link int, gen uint32) {
	if s.e.Wants(link, gen) {
		s.e.Sent(s.now, link, gen)
		s.step()
		return
	}
	s.taken = append(s.taken, Close{Link: link, Gen: gen})
}

func (s *sim) step() {
	for _, x := range s.taken {
		s.e.Sent(s.now, x.Link, x.Gen)
	}
	s.taken = s.taken[:0]
	for i, l := range s.links {
		if l.model == nil {
			continue
		}
		for _, g := range sortedGens(l) {
			s.e.Unacked(s.now, i, g, l.conns[g].unacked)
		}
	}
	acts, wake := s.e.Step(s.now)
	s.maxFl = max(s.maxFl, len(s.e.flight))
	for _, a := range acts {
		s.mix(fmt.Sprintf("%d %T", s.now, a))
		switch a := a.(type) {
		case Dial:
			s.mix(fmt.Sprint(a))
			s.dial(a)
		case Send:
			s.mix(fmt.Sprint(a.Link, a.Gen, a.Topic, len(a.Payload)))
			s.send(a)
		case Close:
			s.mix(fmt.Sprint(a))
			if c := s.links[a.Link].conns[a.Gen]; c != nil {
				c.closed = true
				delete(s.links[a.Link].conns, a.Gen)
			}
		}
	}
	if s.wakeAt <= s.now || wake < s.wakeAt {
		s.wakeAt = wake
		s.at(wake-s.now, func() {
			if s.now >= s.wakeAt {
				s.step()
			}
		})
	}
}

func (s *sim) mix(v string) {
	h := fnv.New64a()
	fmt.Fprint(h, s.digest, v)
	s.digest = h.Sum64()
}

func (s *sim) dial(a Dial) {
	s.dials, s.dialAt = append(s.dials, a), append(s.dialAt, s.now)
	l, in := s.links[a.Link], s.insts[a.Addr]
	fail := func(d int64, why string) {
		s.at(d, func() { s.e.LinkDown(s.now, a.Link, a.Gen, why); s.step() })
	}
	switch {
	case l.silent > s.now+1500*ms:
		fail(2000*ms, "connect timeout")
	case in.down > s.now:
		fail(2*l.delay, "connection refused")
	default:
		c := &simConn{link: a.Link, gen: a.Gen, inst: in, nonce: in.nonce, echo: wire.LinkEcho{Link: uint8(a.Link), Gen: a.Gen}}
		l.conns[a.Gen] = c
		s.at(max(l.silent-s.now, 0)+6*l.delay, func() {
			if c.closed {
				return
			}
			c.up = true
			s.e.LinkUp(s.now, a.Link, a.Gen, a.Addr)
			s.step()
		})
	}
}

func (s *sim) send(a Send) {
	l := s.links[a.Link]
	c := l.conns[a.Gen]
	if c == nil {
		s.t.Fatalf("send on a connection that is gone: link %d gen %d", a.Link, a.Gen)
	}
	n := int64(len(a.Payload))
	if l.model != nil {
		s.sendModel(l, c, a, n)
		return
	}
	start := max(s.now, l.freeAt, l.silent)
	l.freeAt = start + n*1e9/l.rate
	start = max(start, c.stuck)
	arrive := max(l.freeAt, c.stuck) + l.delay
	arrive = max(arrive, c.lastUp+1)
	c.lastUp = arrive
	payload := slices.Clone(a.Payload)
	lane := a.Topic == topicLane(simCar, wire.LaneCritical) || a.Topic == topicLane(simCar, wire.LaneLive) || a.Topic == topicLane(simCar, wire.LaneFull)
	if lane {
		hdr, id := simParse(payload)
		if hdr.Base > id.Seq || hdr.Base == 0 {
			s.t.Fatalf("%v sent with base %d", id, hdr.Base)
		}
		if a.Topic != topicLane(simCar, id.Stream.Lane) {
			s.t.Fatalf("%v sent on %s", id, a.Topic)
		}
		s.sends[id] = append(s.sends[id], simSend{s.now, a.Link, a.Gen, hdr})
	} else {
		s.other = append(s.other, Send{a.Link, a.Gen, a.Topic, payload})
	}
	ahead := l.ahead
	if ahead == 0 {
		ahead = 16 << 10
	}
	s.at(max(0, start-s.now-ahead*1e9/l.rate), func() {
		s.sent(a.Link, a.Gen)
	})
	s.at(arrive-s.now, func() { s.arrive(l, c, n, lane, payload) })
}

// sendModel gives one message to the link's model, which takes it at once.
func (s *sim) sendModel(l *simLink, c *simConn, a Send, n int64) {
	payload := slices.Clone(a.Payload)
	lane := a.Topic != topicCatalogue(simCar) && a.Topic != topicAnswer(simCar)
	if lane {
		hdr, id := simParse(payload)
		s.sends[id] = append(s.sends[id], simSend{s.now, a.Link, a.Gen, hdr})
	}
	c.unacked += n
	pace := s.e.Pace(a.Link, a.Gen)
	c.paceAt = max(c.paceAt, s.now)
	for left := n; left > 0; left -= segment {
		part := min(left, segment)
		offer := func() { s.offer(l, c, part, func() { s.arrive(l, c, n, lane, payload) }, part == left) }
		if pace == 0 && c.paceAt == s.now {
			offer()
			continue
		}
		s.at(c.paceAt-s.now, func() { offer(); s.pump(l) })
		if pace > 0 {
			c.paceAt += part * 1e9 / pace
		}
	}
	s.at(0, func() {
		if l.conns[a.Gen] == c {
			s.sent(a.Link, a.Gen)
		}
	})
	s.pump(l)
}

// offer gives one segment to the link's model; the last one of a message arrives
// with it.
func (s *sim) offer(l *simLink, c *simConn, part int64, arrive func(), last bool) {
	kept := l.model.Offer(s.now, lablink.Packet{Data: zeros[:part+segmentHeader], Flow: uint64(len(l.arrivals))})
	if kept != lablink.Kept {
		s.t.Fatalf("the link's queue is full: %v", kept)
	}
	l.arrivals = append(l.arrivals, func() {
		if last {
			arrive()
		}
		s.at(max(l.silent, c.stuck, s.now)-s.now+l.delay, func() { c.unacked -= part })
	})
}

// A TCP segment of a link with a model.
const (
	segment       = 1448
	segmentHeader = 52
)

var zeros [segment + segmentHeader]byte // never written

// pump delivers what has come out of a model.
func (s *sim) pump(l *simLink) {
	for p, _, ok := l.model.Pop(s.now); ok; p, _, ok = l.model.Pop(s.now) {
		l.arrivals[p.Flow]()
		l.arrivals[p.Flow] = nil
	}
	at, ok := l.model.Wake()
	if !ok || (l.pumpAt > s.now && l.pumpAt <= at) {
		return
	}
	l.pumpAt = max(at, s.now+1)
	s.at(l.pumpAt-s.now, func() { l.pumpAt = 0; s.pump(l) })
}

// arrive delivers one message unless the link went silent meanwhile.
func (s *sim) arrive(l *simLink, c *simConn, n int64, lane bool, payload []byte) {
	if c.closed || c.inst.nonce != c.nonce || c.inst.down > s.now {
		return
	}
	if wait := max(l.silent, c.stuck, c.inst.frozen); wait > s.now {
		c.lastUp = max(c.lastUp, wait) + 1
		s.at(c.lastUp-s.now, func() { s.arrive(l, c, n, lane, payload) })
		return
	}
	l.carried += n
	c.echo.Bytes += uint64(n)
	if !lane {
		return
	}
	hdr, id := simParse(payload)
	c.echo.Messages++
	c.echo.LastSentNS = hdr.SentNS
	c.echoAt = s.now
	if s.lose[id] > 0 {
		s.lose[id]--
		return
	}
	s.take(c.inst, hdr, id, n)
}

func (s *sim) take(in *simInst, hdr wire.Send, id wire.ID, n int64) {
	if _, ok := s.gotAt[id]; !ok {
		s.gotAt[id] = s.now
	}
	if in.refuse[id] {
		return
	}
	if (in.rcv[id] || in.dur[id]) && (!hdr.Pulled || in.pulled[id]) {
		return
	}
	if hdr.Pulled {
		in.pulled[id] = true
	}
	if !in.dur[id] {
		in.rcv[id] = true
	}
	in.queued += n
	nonce := in.nonce
	var produce func()
	produce = func() {
		if in.nonce != nonce {
			return
		}
		if in.keep[id] {
			return
		}
		if wait := max(in.noKafka, in.frozen); wait > s.now {
			s.at(wait-s.now+1, produce)
			return
		}
		s.kafka[id] = true
		if hdr.Pulled {
			s.pulledK[id] = true
		}
		in.queued -= n
		delete(in.rcv, id)
		in.dur[id] = true
		in.ranges[id.Stream] = in.ranges[id.Stream].Add(id.Seq, id.Seq)
	}
	s.at((5+s.rng.Int64N(40))*ms, produce)
}

func (s *sim) ackLoop(in *simInst) {
	s.at(50*ms, func() { s.ackLoop(in) })
	if in.down > s.now || in.frozen > s.now {
		return
	}
	in.counter++
	a := &wire.Ack{Instance: in.name, Nonce: in.nonce, Counter: in.counter, State: wire.InstanceOK, Credit: uint64(max(0, in.credit-in.queued))}
	if in.noKafka > s.now {
		a.State = wire.InstanceStalled
	}
	a.Streams = s.streams(in)
	for _, l := range s.links {
		for _, g := range sortedGens(l) {
			if c := l.conns[g]; c.inst == in && c.up && c.echo.Messages > 0 {
				c.echo.HeldNS = s.now - c.echoAt
				a.Links = append(a.Links, c.echo)
			}
		}
	}
	b := wire.AppendAck(nil, a)
	for li, l := range s.links {
		for _, g := range sortedGens(l) {
			if c := l.conns[g]; c.inst == in && c.up && !c.closed {
				s.down(li, l, c, b)
			}
		}
	}
}

// down carries one ctl message to the car, in order.
func (s *sim) down(li int, l *simLink, c *simConn, b []byte) {
	c.lastDown = max(max(s.now, l.silent, c.stuck)+l.delay+s.rng.Int64N(2*ms), c.lastDown+1)
	s.at(c.lastDown-s.now, func() { s.deliverDown(li, l, c, b) })
}

func (s *sim) deliverDown(li int, l *simLink, c *simConn, b []byte) {
	if c.closed {
		return
	}
	if wait := max(l.silent, c.stuck); wait > s.now {
		c.lastDown = max(c.lastDown, wait) + 1
		s.at(c.lastDown-s.now, func() { s.deliverDown(li, l, c, b) })
		return
	}
	s.e.Message(s.now, li, c.gen, b)
	s.step()
}

func (s *sim) streams(in *simInst) []wire.StreamAck {
	sets := map[wire.Stream]*wire.StreamAck{}
	get := func(id wire.ID) *wire.StreamAck {
		sa := sets[id.Stream]
		if sa == nil {
			sa = &wire.StreamAck{Epoch: id.Stream.Epoch, Lane: id.Stream.Lane}
			sets[id.Stream] = sa
		}
		return sa
	}
	for id := range in.rcv {
		get(id).Received = get(id).Received.Add(id.Seq, id.Seq)
	}
	for st, rs := range in.ranges {
		id := wire.ID{Stream: st}
		if !in.forget {
			get(id).Durable = rs.Clone()
			continue
		}
		for _, r := range rs {
			for seq := r.First; seq <= r.Last; seq++ {
				if s.rng.IntN(2) == 0 {
					get(id).Durable = get(id).Durable.Add(seq, seq)
				}
			}
		}
	}
	for id := range in.refuse {
		get(id).Refused = get(id).Refused.Add(id.Seq, id.Seq)
	}
	var out []wire.StreamAck
	for _, sa := range sets {
		out = append(out, *sa)
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].Epoch.Counter != out[j].Epoch.Counter {
			return out[i].Epoch.Counter < out[j].Epoch.Counter
		}
		return out[i].Lane < out[j].Lane
	})
	return out
}

// make seals one batch and tells the engine.
func (s *sim) make(l wire.Lane, size int) wire.ID {
	s.next[l]++
	id := wire.ID{Stream: wire.Stream{Car: simCar, Epoch: simEpoch, Lane: l}, Seq: s.next[l]}
	s.st.add(wire.Item{ID: id, Size: size, FirstNS: s.now - 20*ms, LastNS: s.now, SealedNS: s.now})
	s.madeAt[id] = s.now
	s.step()
	return id
}
