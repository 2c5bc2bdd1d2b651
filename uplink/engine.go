package uplink

import (
	"math/rand/v2"

	"telemetry/wire"
)

// Times of the engine's rules, in ns.
const (
	deadAfterNS    = 3000 * ms   // without proof: redial beside it
	oldKeepNS      = 15_000 * ms // how long a dead connection waits for its successor
	silentAfterNS  = 2000 * ms   // an instance's credit, state and loans end
	loanNS         = 30_000 * ms // a loan ends unless the instance is stalled
	arrivedNS      = 1000 * ms   // arrived, but no instance speaks of it: lost, send again
	arrivedAcks    = 4           // so many statements must have come meanwhile
	arrivedMaxNS   = 2000 * ms   // or so much time
	supersededNS   = 200 * ms    // after a restart of an instance, its earlier start is over
	controlRetryNS = 10_000 * ms // a refused control batch is tried again
	stalledNS      = 2000 * ms   // rule 19: then a link moves
	sharedMaxNS    = 30_000 * ms // a broker may go on giving messages to a frozen instance for so long
	quietFloorNS   = 300 * ms    // a link unheard for so long, while others are heard, is probed
	othersHeardNS  = 200 * ms
	reviewNS       = 500 * ms // period of the walk over all flights
	rescanNS       = 5000 * ms
	readRetryNS    = 1000 * ms
	unprovableNS   = 1000 * ms
	maxSleepNS     = 1000 * ms
	dialTimeoutNS  = 5000 * ms
	dialFirstNS    = 150 * ms
	dialMaxNS      = 8000 * ms
	scoutFirstNS   = 2000 * ms
	scoutMaxNS     = 30_000 * ms
)

// Action is something that the engine wants done: a [Dial], [Send] or [Close].
type Action interface{ action() }

// Dial asks for a new connection of a link, beside any that it has. LinkUp or
// LinkDown answers it.
type Dial struct {
	Link int
	Gen  uint32
	Addr string
}

// Send hands one message to a connection. The engine takes Payload back at
// [Engine.Sent], and never touches it after [Engine.LinkDown] or a [Close].
type Send struct {
	Link    int
	Gen     uint32
	Topic   string
	Payload []byte
}

// Close ends a connection or a dial that is under way. No answer is expected.
type Close struct {
	Link int
	Gen  uint32
	Why  string
}

func (Dial) action()  {}
func (Send) action()  {}
func (Close) action() {}

// Engine decides what goes where and when. It isn't safe for concurrent use.
// Times are ns since boot and must not go backwards. The order of calls alone
// decides what it does: the same calls give the same actions.
type Engine struct {
	cfg     Config
	store   Store
	stamper Stamper // the store, if it knows; else nil
	hops    Hops
	rng     *rand.Rand
	now     int64
	links   []*link
	lanes   [wire.LaneFull + 1]lane
	flight  map[wire.ID]*flight
	views   []*view
	ctl     control
	pulls   []pull
	out     []Action

	prefer      string // address that rule 19 found good; empty = rendezvous order
	nextScoutNS int64
	scoutWaitNS int64
	fullOwedB   int64 // bytes that the full lane may take before higher lanes
	drainedNS   int64 // when the full lane last had nothing that waited
	review      bool
	nextReview  int64
	roomNS      int64 // when the paths of the last step have room; 0 = not known
	again       bool  // the step stopped early: step again at once
	pathsBuf    []PathState
	paths       []*connection // of pathsBuf
	free        [][]byte
	totals      Totals
	changes     []Change
	statements  uint64 // acks that said something new
}

// NewEngine returns an engine that dials every link at its first step. It panics
// if cfg is not valid.
func NewEngine(cfg Config, st Store) *Engine {
	if err := cfg.Validate(); err != nil {
		panic("uplink: internal error: " + err.Error())
	}
	if cfg.PartBytes == 0 {
		cfg.PartBytes = defaultPartBytes
	}
	if cfg.FullShare == 0 {
		cfg.FullShare = defaultFullShare
	}
	e := &Engine{
		cfg:    cfg,
		store:  st,
		rng:    rand.New(rand.NewPCG(cfg.Seed, uint64(cfg.Epoch.Counter)^cfg.Epoch.Nonce)),
		flight: map[wire.ID]*flight{},
	}
	e.stamper, _ = st.(Stamper)
	e.ctl.init(e)
	for i, lc := range cfg.Links {
		e.links = append(e.links, &link{
			index: i, name: lc.Name, addrs: rendezvous(cfg.Car, lc.Addrs),
			// Another start of the agent must not meet echoes of this one.
			gen:   uint32(cfg.Epoch.Nonce) | 1,
			meter: metered{Meter: lc.Meter},
		})
	}
	return e
}

// LinkUp says that the dial (link, gen) has a connection: it may send.
func (e *Engine) LinkUp(now int64, link int, gen uint32, addr string) {
	e.now = max(e.now, now)
	c := e.find(link, gen)
	if c == nil || c.up {
		e.out = append(e.out, Close{link, gen, "not wanted any more"})
		return
	}
	c.up, c.upNS, c.critical = true, e.now, true
	if addr != "" {
		c.addr = addr
	}
	c.est.guess(e.now-c.dialNS, e.links[link].rttNS)
	e.change(c, "up", "connected to "+c.addr)
}

// LinkDown says that a dial failed or that a connection has ended.
func (e *Engine) LinkDown(now int64, link int, gen uint32, why string) {
	e.now = max(e.now, now)
	if c := e.find(link, gen); c != nil {
		e.lost(c, why)
	}
}

// Refused counts a broker that turned the link away; LinkDown follows.
func (e *Engine) Refused(link int) {
	if link >= 0 && link < len(e.links) {
		e.links[link].refused++
		e.links[link].turnedAway = true
	}
}

// Sent says that the oldest message of a connection that wasn't yet handed to
// its socket now is. Its payload belongs to the engine again.
func (e *Engine) Sent(now int64, link int, gen uint32) {
	e.now = max(e.now, now)
	c := e.find(link, gen)
	if c == nil || c.pending == 0 {
		return
	}
	c.pending--
	if len(e.free) < maxBuffers {
		e.free = append(e.free, c.handed[0])
	}
	c.handed[0] = nil
	c.handed = c.handed[1:]
}

// Message takes one message of ctl/<car>/<link>: an ack or a command. It keeps
// nothing of payload.
func (e *Engine) Message(now int64, link int, gen uint32, payload []byte) {
	e.now = max(e.now, now)
	c := e.find(link, gen)
	if c != nil {
		c.heardNS = e.now
	}
	ack, cmd, err := wire.ParseCtl(payload)
	switch {
	case err != nil:
		e.totals.BadMessages++
	case ack != nil:
		e.totals.Acks++
		e.ack(c, ack)
	case cmd != nil:
		e.command(c, cmd)
	}
}

// Step lets time pass and returns what to do, valid until the next call, and
// when to call again at the latest; any event calls for a step too.
func (e *Engine) Step(now int64) (acts []Action, wake int64) {
	e.now = max(e.now, now)
	e.again = false
	for i := range e.lanes {
		e.lanes[i].peeked = false
	}
	e.expireViews()
	e.stepLinks()
	e.moveLinks()
	e.stepControl()
	if e.review || e.now >= e.nextReview {
		e.reviewFlights()
	}
	e.schedule()
	acts, e.out = e.out, nil
	if e.again {
		return acts, e.now
	}
	return acts, e.wake()
}

// wake returns the earliest moment at which time alone changes something.
func (e *Engine) wake() int64 {
	w := e.now + maxSleepNS
	sooner := func(t int64) {
		if t > e.now && t < w {
			w = t
		}
	}
	sooner(e.roomNS)
	sooner(e.nextLate())
	if len(e.flight) > 0 {
		sooner(e.nextReview)
	}
	for _, v := range e.views {
		sooner(v.heardNS + silentAfterNS)
		if v.troubledNS != 0 {
			sooner(v.troubledNS + stalledNS)
		}
	}
	for _, l := range e.links {
		sooner(l.dialAtNS)
		for _, c := range [...]*connection{l.cur, l.next} {
			if c == nil || !c.up {
				continue
			}
			if t, ok := c.suspectAt(); ok {
				sooner(t)
			}
			if t, ok := c.deadAt(); ok {
				sooner(t)
			}
			sooner(c.sign() + e.quietAfter(c))
			sooner(c.deadNS + oldKeepNS)
		}
	}
	sooner(e.ctl.nextExpiry())
	return w
}

// find returns the connection (link, gen) as long as it is wanted.
func (e *Engine) find(link int, gen uint32) *connection {
	if link < 0 || link >= len(e.links) {
		return nil
	}
	for _, c := range [...]*connection{e.links[link].cur, e.links[link].next} {
		if c != nil && c.gen == gen {
			return c
		}
	}
	return nil
}

// change notes a change of state for logs and the snapshot.
func (e *Engine) change(c *connection, state, why string) {
	c.why = why
	l := e.links[c.link]
	l.why, l.whyNS, l.cause = state+": "+why, e.now, l.causeOf(state, why)
	if len(e.changes) < maxChanges {
		e.changes = append(e.changes, Change{AtNS: e.now, Link: c.link, Gen: c.gen, Addr: c.addr, State: state, Why: why})
	}
}
