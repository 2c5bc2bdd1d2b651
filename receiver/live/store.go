package live

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"sync"

	"telemetry/receiver/live/coverage"
	"telemetry/wire"
)

// store holds what the page can show. One mutex guards everything in it; it is
// held for one row, one table or one frame, never across I/O.
type store struct {
	want func(h wire.CatalogueHash) bool // asks for a catalogue; never blocks

	mu        sync.Mutex
	cars      map[string]*car // guarded by mu, and all below
	replays   int             // of cars
	channels  int             // of all cars
	histories int
	striped   []*channel // those with a strip
	n         Counters   // rows, malformed and dropped ones
	here      Report     // of the other roles, the newest
	asked     map[wire.CatalogueHash]bool
	sessions  map[string]*carSessions // by car, from the sessions topic
	scratch   scratch
}

func newStore(want func(wire.CatalogueHash) bool) *store {
	return &store{want: want, cars: map[string]*car{}, asked: map[wire.CatalogueHash]bool{}, sessions: map[string]*carSessions{}}
}

// car is one car.
type car struct {
	name, session string
	synced        bool
	seenMS        int64 // when a row of it came, UTC
	lookedMS      int64 // when somebody looked at it, UTC
	version       uint64
	channels      []*channel          // by id
	byKey         map[string]*channel // by name as it stands in rows
	groups        map[string]*group   // by name as it stands in rows
	lanes         [wire.LaneFull + 1]lane
	events        []Event  // oldest first
	links         []string // names of the car's links, in their order
	linkChanges   uint64   // of the states of links
	told          uint64   // how often a catalogue said something new of a known channel
	report        CarReport
	linkRates     map[string]rate // bytes of one connection
	replay        *replay         // nil: the car itself

	sorted []*channel // by name; nil when channels have come since

	clock carClock       // of session
	cover coverage.Car   // the full lane
	full  *coverage.Lane // of session; nil: none yet
	place place

	changed chan struct{} // closed at the next change; nil while nobody waits

	described map[wire.CatalogueHash]bool // catalogues that all channels have been looked up in
	askedMS   int64                       // when a catalogue was last asked for
}

// lane counts one lane since the role's start.
type lane struct {
	rows, batches, late, missing uint64
	rowRate, batchRate, inRate   rate
	newestMS                     int64 // event time
	past                         lanePast
}

// Event is one event of a car, or one gap in its data.
type Event struct {
	TimeMS int64  `json:"time_ms"`
	Kind   string `json:"kind"` // "event" or "gap"
	Text   string `json:"text"`
	Detail string `json:"detail,omitempty"`
}

// aheadMS is how far a row's time may be ahead of ours; beyond, a clock is wrong
// and the time of arrival stands in.
const aheadMS = 10_000

// forgetCarMS is how long a car must be silent to make room for another.
const forgetCarMS = 10 * 60_000

// sink says what comes of a row.
type sink int

const (
	inOrder sink = iota
	late         // fills charts and holes, and is no last value
	event
	preview // has arrived, and is not in order yet
)

// origin is how a row came.
type origin struct {
	to     sink
	source int32              // partition of its topic
	hash   wire.CatalogueHash // zero: none is named
	nowMS  int64
	fresh  bool // it has come since the role's start
}

// apply takes one row.
func (s *store) apply(r *row, o origin) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.car(r.car, o.nowMS)
	if c == nil {
		s.n.CarsDropped++
		return
	}
	s.n.Rows++
	id := laneOf(r.lane)
	if o.to == late {
		c.lateRow(r, id, o)
		return
	}
	ts := sane(r.tsNS/1e6, o.nowMS)
	c.count(id, ts, r.first, o)
	if c.full == nil || string(r.session) != c.session {
		c.enter(string(r.session))
	}
	c.synced = r.synced
	chartMS := sane(c.clock.row(r.tsNS, r.bootNS, r.synced)/1e6, o.nowMS)
	if o.to == event && r.event != nil {
		c.addEvent(Event{TimeMS: ts, Kind: "event", Text: unquote(r.event), Detail: unquote(r.detail)})
		return
	}
	if id == wire.LaneFull && r.seq > 0 {
		c.full.Begin(o.source, r.seq, o.nowMS)
		c.full.Seen(r.seq, chartMS, o.nowMS)
	}
	s.values(c, r, arrival{lane: id, tsMS: ts, chartMS: chartMS, synced: r.synced}, o)
}

// count counts a row of a topic in order.
func (c *car) count(id wire.Lane, tsMS int64, first bool, o origin) {
	l := &c.lanes[id]
	if o.fresh {
		c.seenMS = o.nowMS
		l.rows++
		if first {
			l.batches++
		}
	} else {
		c.seenMS = max(c.seenMS, tsMS)
	}
	l.newestMS = max(l.newestMS, tsMS)
}

// enter notes the epoch of what comes.
func (c *car) enter(session string) {
	if session != c.session {
		c.session, c.clock = session, carClock{}
	}
	c.full = c.cover.Epoch(session)
}

// lateRow lets a row that has missed its place fill charts and holes.
func (c *car) lateRow(r *row, id wire.Lane, o origin) {
	if r.first && o.fresh {
		c.lanes[id].late++
	}
	ms := r.tsNS / 1e6
	if !r.synced || sane(ms, o.nowMS) != ms {
		return // nobody knows where it belongs
	}
	if l := c.epoch(string(r.session)); l != nil && id == wire.LaneFull && r.seq > 0 {
		l.Seen(r.seq, ms, o.nowMS)
	}
	for i := range r.fields {
		if ch := c.byKey[string(r.fields[i].key)]; ch != nil {
			ch.plot(ms, r.fields[i].value)
		}
	}
}

// sane returns an event time in ms, or the time of arrival when no right clock says it.
func sane(tsMS, nowMS int64) int64 {
	if tsMS <= 0 || tsMS > nowMS+aheadMS {
		return nowMS
	}
	return tsMS
}

// carClock turns the boot time of one epoch into UTC, in ns.
type carClock struct {
	offset int64 // UTC − boot, of the newest row whose clock is known; 0: none
	guess  int64 // the same by the time of arrival, while no clock is known; 0: none
}

// guessStep is how much sooner than guessed a row must have come to move the guess:
// a chart that moved with every delay would be of no use.
const guessStep = 100e6

// row takes one row's times and returns where charts show it.
func (k *carClock) row(tsNS, bootNS int64, synced bool) int64 {
	if synced && tsNS > 0 {
		k.offset = tsNS - bootNS
		return tsNS
	}
	if d := tsNS - bootNS; k.guess == 0 || d < k.guess-guessStep {
		k.guess = d
	}
	return k.guess + bootNS
}

// at returns where charts show an instant, and whether that is UTC.
func (k *carClock) at(bootNS, nowMS int64) (utcNS int64, synced bool) {
	if k.offset != 0 {
		return k.offset + bootNS, true
	}
	return k.row(nowMS*1e6, bootNS, false), false
}

// epochOf returns the counter in a session's name, "<epoch>-<nonce>"; 0 in what is
// none.
func epochOf(session string) uint64 {
	counter, _, _ := strings.Cut(session, "-")
	n, err := strconv.ParseUint(counter, 10, 32)
	if err != nil {
		return 0
	}
	return n
}

// changes returns a channel that is closed when something of a car changes; nil
// when the car is not there.
func (s *store) changes(name string) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.cars[name]
	if c == nil {
		return nil
	}
	if c.changed == nil {
		c.changed = make(chan struct{})
	}
	return c.changed
}

// wake tells whoever waits that the car has changed.
func (c *car) wake() {
	c.version++
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

// laneOf returns the lane of a name; what is none is lane 0.
func laneOf(name []byte) wire.Lane {
	for _, l := range wire.Lanes {
		if string(name) == l.String() {
			return l
		}
	}
	return 0
}

// car returns the car of a name, nil when there is no room for it.
func (s *store) car(name []byte, nowMS int64) *car {
	if c := s.cars[string(name)]; c != nil {
		return c
	}
	n := string(name)
	if wire.ValidCar(n) != nil {
		return nil
	}
	if len(s.cars)-s.replays >= MaxCars && !s.evict(nowMS) {
		return nil
	}
	return s.addCar(n)
}

func (s *store) addCar(name string) *car {
	c := &car{
		name: name, byKey: map[string]*channel{}, groups: map[string]*group{}, linkRates: map[string]rate{},
		described: map[wire.CatalogueHash]bool{},
	}
	s.cars[name] = c
	return c
}

// evict forgets the car that has been silent for longest, if for long enough.
func (s *store) evict(nowMS int64) bool {
	var old *car
	for _, c := range s.cars {
		if c.replay == nil && (old == nil || c.seenMS < old.seenMS) {
			old = c
		}
	}
	if old == nil || nowMS-old.seenMS < forgetCarMS {
		return false
	}
	s.forget(old)
	return true
}

// forget takes a car away.
func (s *store) forget(c *car) {
	for _, ch := range c.channels {
		if ch.hist != nil {
			s.histories--
		}
		s.dropStrip(ch)
	}
	s.channels -= len(c.channels)
	if c.replay != nil {
		s.replays--
	}
	delete(s.cars, c.name)
	c.wake()
}

// arrival is what the values of one row share.
type arrival struct {
	lane    wire.Lane
	tsMS    int64 // as it is shown
	chartMS int64 // where charts have it
	synced  bool
}

// values takes the channels of a row.
func (s *store) values(c *car, r *row, a arrival, o origin) {
	g := c.groups[string(r.group)]
	if g == nil {
		if len(r.fields) == 0 || len(c.groups) >= MaxCarChannels || len(r.group) > maxNameBytes {
			return
		}
		g = &group{}
		c.groups[string(r.group)] = g
	}
	c.wake()
	for i := range r.fields {
		f := &r.fields[i]
		var ch *channel
		if i < len(g.order) && bytes.Equal(g.order[i].key, f.key) {
			ch = g.order[i]
		} else if ch = s.channel(c, f.key, r.group); ch == nil {
			s.n.ChannelsDropped++
			continue
		}
		if i < len(g.order) {
			g.order[i] = ch
		} else if i == len(g.order) {
			g.order = append(g.order, ch)
		}
		ch.plot(a.chartMS, f.value)
		ch.show(c, f.value, a)
	}
	c.place.note(c, a)
	if o.hash != (wire.CatalogueHash{}) && !c.described[o.hash] && o.nowMS >= c.askedMS+askEveryMS && s.ask(o.hash) {
		c.askedMS = o.nowMS
	}
}

func (c *car) addEvent(e Event) {
	if len(c.events) >= maxEvents {
		c.events = slices.Delete(c.events, 0, 1)
	}
	c.events = append(c.events, e)
}

func (s *store) malformed() {
	s.mu.Lock()
	s.n.Malformed++
	s.mu.Unlock()
}

func (s *store) counters() Counters {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.n
	n.Strips = len(s.striped)
	for _, ch := range s.striped {
		n.StripBytes += ch.strip.Bytes()
	}
	return n
}
