package uplink

import "telemetry/wire"

// maxChanges bounds the changes kept until [Engine.Changes] is called.
const maxChanges = 64

// Change is one change of a connection's state.
type Change struct {
	AtNS  int64 // ns since boot
	Link  int
	Gen   uint32
	Addr  string
	State string // "dialing", "up", "suspect", "dead", "down", "closed", "back"
	Why   string
}

// Totals are counters since the start of the engine.
type Totals struct {
	Acks           uint64 // acks taken
	StaleAcks      uint64 // acks older than one taken before
	BadMessages    uint64 // messages on ctl that couldn't be parsed
	BadEchoes      uint64 // echoes of sends that were never made
	Batches        uint64 // batches sent for the first time
	BatchBytes     uint64
	Resent         uint64 // copies of live and full batches beyond the first
	ResentBytes    uint64
	CriticalCopies uint64 // copies of critical batches beyond the first: by design
	Late           uint64 // copies of previews that were late elsewhere (also in Resent)
	Probes         uint64 // copies sent to hear of a quiet link (also in Resent)
	Durable        uint64 // flights that ended durable
	RefusedBatches uint64 // flights that an instance can never take
	ControlRefused uint64 // refusals of control batches: they are tried again
	Gone           uint64 // items dropped or superseded between choice and read
	ReadErrors     uint64 // reads of a pending item that failed, tried again later
	LoansEnded     uint64 // loans that ended without durable
	Commands       uint64
	CommandErrors  uint64 // commands answered with an error
	Parts          uint64 // catalogue parts sent
	PulledBatches  uint64 // batches sent with Pulled set
}

// LinkSnapshot is the state of one link. Sizes are MQTT payload bytes.
type LinkSnapshot struct {
	Name     string
	State    string // "up", "held", "quiet", "suspect", "dead", "dialing", "down"
	Addr     string
	Gen      uint32
	Beside   bool  // another connection is dialled or proving itself beside this one
	UpNS     int64 // ns since boot of the connection; 0 = not up
	RTTNS    int64 // smoothed
	MinRTTNS int64
	RateBps  int64 // delivery rate, bytes/s; 0 = unknown
	CapBytes int64
	InFlight int64 // bytes without delivery proof

	Messages      uint64 // sent over all connections of the link
	Bytes         uint64
	DayBytes      uint64  // today, as [Meter] counts
	DayLimit      uint64  // the meter's; 0 = none
	Share         float64 // of what all links delivered in the last seconds, 0 to 1
	ResentBytes   uint64  // of them, copies of live and full beyond the first
	Wins          uint64  // critical batches that this link delivered first
	Suspicions    uint64
	Deaths        uint64
	Dials         uint64
	DialFailures  uint64
	Refused       uint64 // of them, the broker said no
	LastChange    string // state and reason
	LastCause     Cause  // the reason as one of a few
	LastChangeNS  int64  // ns since boot
	HeardNS       int64  // ns since boot of the last message on ctl
	Instances     []string
	UnsentInQueue int // messages that the socket has not taken yet
}

// InstanceSnapshot is what the car knows of one ingest instance.
type InstanceSnapshot struct {
	Name    string
	Nonce   uint64
	State   wire.InstanceState
	Credit  uint64
	HeardNS int64 // ns since boot
	Silent  bool  // for 2 s or more
	Loans   int
}

// Snapshot is the state of the uplink at one moment.
type Snapshot struct {
	NowNS     int64
	Links     []LinkSnapshot
	Instances []InstanceSnapshot
	InFlight  [wire.LaneFull + 1]int // batches by lane that are sent and not settled
	OnLoan    int
	Held      bool // every reachable instance is stalled or gives no credit
	Pulls     int  // ranges of the full lane pulled forward
	Totals    Totals
	Hops      Hops
}

// Changes returns the changes of state since the last call, oldest first.
func (e *Engine) Changes() []Change {
	ch := e.changes
	e.changes = nil
	return ch
}

// Snapshot returns the state as of the last call. The caller owns it.
func (e *Engine) Snapshot() Snapshot {
	s := Snapshot{NowNS: e.now, Totals: e.totals, Hops: e.hops, Pulls: len(e.pulls), Held: e.held()}
	var proven int64
	for _, l := range e.links {
		s.Links = append(s.Links, e.linkSnapshot(l))
		proven += l.proven.sum(e.now)
	}
	for i, l := range e.links {
		s.Links[i].Share = float64(l.proven.sum(e.now)) / float64(max(1, proven))
	}
	loans := map[*view]int{}
	for _, ln := range wire.Lanes {
		s.InFlight[ln] = e.lanes[ln].list.len
		for f := e.lanes[ln].list.first; f != nil; f = f.next {
			if len(f.loans) > 0 {
				s.OnLoan++
			}
			for _, lo := range f.loans {
				loans[lo.v]++
			}
		}
	}
	for _, v := range e.views {
		s.Instances = append(s.Instances, InstanceSnapshot{
			Name: v.name, Nonce: v.nonce, State: v.state, Credit: v.credit,
			HeardNS: v.heardNS, Silent: !v.fresh(e.now), Loans: loans[v],
		})
	}
	return s
}

func (e *Engine) linkSnapshot(l *link) LinkSnapshot {
	s := LinkSnapshot{
		Name: l.name, State: "down", Beside: l.cur != nil && l.next != nil,
		Messages: l.messages, Bytes: l.bytes, ResentBytes: l.resentBytes, Wins: l.wins,
		Suspicions: l.suspicions, Deaths: l.deaths, Dials: l.dials, DialFailures: l.dialFailures, Refused: l.refused,
		DayBytes: l.meter.Bytes, DayLimit: l.meter.DayBytes, LastChange: l.why, LastChangeNS: l.whyNS, LastCause: l.cause,
	}
	c := l.cur
	if c == nil {
		return s
	}
	if l.next != nil && l.next.trusted() && !c.trusted() {
		c = l.next
	}
	s.Addr, s.Gen, s.UpNS, s.HeardNS = c.addr, c.gen, c.upNS, c.heardNS
	p := e.pathState(c)
	s.RTTNS, s.MinRTTNS, s.RateBps, s.InFlight, s.UnsentInQueue = c.est.srttNS, c.est.minRTT(), c.est.rate, c.inFlight, c.pending
	s.CapBytes = p.capBytes(p.fullTarget())
	for _, h := range c.heard {
		if e.now-h.ns < silentAfterNS {
			s.Instances = append(s.Instances, h.v.name)
		}
	}
	s.State = e.stateName(c)
	return s
}

func (e *Engine) stateName(c *connection) string {
	switch {
	case !c.up:
		return "dialing"
	case c.dead:
		return "dead"
	case c.suspect:
		return "suspect"
	case e.heldOn(c):
		return "held"
	case e.quiet(c):
		return "quiet"
	}
	return "up"
}
