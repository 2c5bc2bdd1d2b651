package live

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"sync"

	"telemetry/wire"
)

// store holds what the page can show. One mutex guards everything in it; it is
// held for one row or one frame, never across I/O.
type store struct {
	want func(h wire.CatalogueHash) bool // asks for a catalogue; never blocks

	mu        sync.Mutex
	cars      map[string]*car // guarded by mu, and all below
	channels  int             // of all cars
	histories int
	n         Counters // rows, malformed and dropped ones
	here      Report   // of the other roles, the newest
	asked     map[wire.CatalogueHash]bool
}

func newStore(want func(wire.CatalogueHash) bool) *store {
	return &store{want: want, cars: map[string]*car{}, asked: map[wire.CatalogueHash]bool{}}
}

// car is one car.
type car struct {
	name, session string
	synced        bool
	seenMS        int64 // when a row of it came, UTC
	version       uint64
	channels      []*channel          // by id
	byKey         map[string]*channel // by name as it stands in rows
	groups        map[string]*group   // by name as it stands in rows
	lanes         [wire.LaneFull + 1]lane
	events        []Event  // oldest first
	links         []string // names of the car's links, in their order
	report        CarReport
	linkRates     map[string]rate // bytes of one connection

	sorted []*channel // by name; nil when channels have come since

	// What turns a preview's boot time into UTC: from the newest row of session
	// whose clock is known. bootUTC 0: none is.
	bootUTC int64 // ms

	changed chan struct{} // closed at the next change; nil while nobody waits

	described map[wire.CatalogueHash]bool // catalogues that all channels have been looked up in
	askedMS   int64                       // when a catalogue was last asked for
}

// group is one group of channels, as rows show it.
type group struct {
	order []*channel // as in the last row: the next one is the same
}

// channel is one channel with its last value.
type channel struct {
	id          int
	key         []byte // name as it stands in rows, with quotes
	name        string
	group       string
	folded      string // name, group and unit in lower case, for the search
	unit        string
	description string
	enum        []wire.EnumValue
	value       float64
	tsMS        int64
	lane        wire.Lane
	synced      bool
	version     uint64 // of the car, when the value came
	hist        *history
}

// lane counts one lane since the role's start.
type lane struct {
	rows, batches, late, missing uint64
	rowRate, batchRate, inRate   rate
	newestMS                     int64 // event time
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

// sink says what a row's topic makes of it.
type sink int

const (
	inOrder sink = iota
	late
	event
)

// apply takes one row. hash is its catalogue, zero when it names none; fresh
// means that the row has come since the role's start.
func (s *store) apply(r *row, to sink, hash wire.CatalogueHash, nowMS int64, fresh bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.car(r.car, nowMS)
	if c == nil {
		s.n.CarsDropped++
		return
	}
	s.n.Rows++
	ts := r.tsMS
	if ts <= 0 || ts > nowMS+aheadMS {
		ts = nowMS
	}
	id := laneOf(r.lane)
	l := &c.lanes[id]
	if to == late {
		if r.first && fresh {
			l.late++
		}
		return
	}
	if fresh {
		c.seenMS = nowMS
		l.rows++
		if r.first {
			l.batches++
		}
	} else {
		c.seenMS = max(c.seenMS, ts)
	}
	if string(r.session) != c.session {
		c.session, c.bootUTC = string(r.session), 0
	}
	c.synced = r.synced
	if r.synced && r.tsMS > 0 {
		c.bootUTC = r.tsMS - r.bootNS/1e6
	}
	l.newestMS = max(l.newestMS, ts)
	if to == event && r.event != nil {
		c.addEvent(Event{TimeMS: ts, Kind: "event", Text: unquote(r.event), Detail: unquote(r.detail)})
		return
	}
	s.values(c, r, id, ts, nowMS, hash)
}

// preview takes one row of a batch that has arrived and is not in order yet. It
// shows values, and counts nothing: the same row comes again from its topic.
func (s *store) preview(r *row, hash wire.CatalogueHash, nowMS int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.car(r.car, nowMS)
	if c == nil {
		return
	}
	if string(r.session) != c.session {
		if epochOf(string(r.session)) <= epochOf(c.session) {
			return // of an epoch that is over
		}
		c.session, c.bootUTC = string(r.session), 0
	}
	c.seenMS = nowMS
	ts := nowMS
	if r.synced = c.bootUTC != 0; r.synced {
		ts = c.bootUTC + r.bootNS/1e6
	}
	s.values(c, r, laneOf(r.lane), ts, nowMS, hash)
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
	if len(s.cars) >= MaxCars && !s.evict(nowMS) {
		return nil
	}
	c := &car{name: n, byKey: map[string]*channel{}, groups: map[string]*group{}, linkRates: map[string]rate{}, described: map[wire.CatalogueHash]bool{}}
	s.cars[n] = c
	return c
}

// evict forgets the car that has been silent for longest, if for long enough.
func (s *store) evict(nowMS int64) bool {
	var old *car
	for _, c := range s.cars {
		if old == nil || c.seenMS < old.seenMS {
			old = c
		}
	}
	if old == nil || nowMS-old.seenMS < forgetCarMS {
		return false
	}
	for _, ch := range old.channels {
		if ch.hist != nil {
			s.histories--
		}
	}
	s.channels -= len(old.channels)
	delete(s.cars, old.name)
	return true
}

// values takes the channels of a row.
func (s *store) values(c *car, r *row, lane wire.Lane, ts, nowMS int64, hash wire.CatalogueHash) {
	g := c.groups[string(r.group)]
	if g == nil {
		if len(r.fields) == 0 || len(c.groups) >= MaxCarChannels || len(r.group) > maxNameBytes {
			return
		}
		g = &group{}
		c.groups[string(r.group)] = g
	}
	c.version++
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
	for i := range r.fields {
		f := &r.fields[i]
		var ch *channel
		if i < len(g.order) && bytes.Equal(g.order[i].key, f.key) {
			ch = g.order[i]
		} else if ch = c.byKey[string(f.key)]; ch == nil {
			if ch = s.addChannel(c, f.key, r.group); ch == nil {
				s.n.ChannelsDropped++
				continue
			}
		} else {
			c.regroup(ch, r.group)
		}
		if i < len(g.order) {
			g.order[i] = ch
		} else if i == len(g.order) {
			g.order = append(g.order, ch)
		}
		if ch.hist != nil {
			ch.hist.add(ts, f.value)
		}
		if ts == ch.tsMS && f.value == ch.value && r.synced == ch.synced && ch.version > 0 {
			continue // shown already, as it arrived
		}
		if ts >= ch.tsMS { // a newer value than the one that is shown
			ch.value, ch.tsMS, ch.synced, ch.version = f.value, ts, r.synced, c.version
			ch.lane = lane
		}
	}
	if hash != (wire.CatalogueHash{}) && !c.described[hash] && nowMS >= c.askedMS+askEveryMS && s.ask(hash) {
		c.askedMS = nowMS
	}
}

// askEveryMS is how often a catalogue is looked up for a car whose channels are
// still being discovered; maxDescribed is how many are remembered.
const (
	askEveryMS   = 2000
	maxDescribed = 16
)

func (s *store) addChannel(c *car, key, group []byte) *channel {
	if len(c.channels) >= MaxCarChannels || s.channels >= MaxChannels || len(key) > maxNameBytes {
		return nil
	}
	ch := &channel{id: len(c.channels), key: bytes.Clone(key), name: unquote(key), group: unquote(group)}
	ch.fold()
	if s.histories < maxHistories {
		ch.hist = &history{}
		s.histories++
	}
	c.channels = append(c.channels, ch)
	c.byKey[string(key)] = ch
	c.sorted = nil
	clear(c.described)
	s.channels++
	c.link(ch)
	return ch
}

// previewPrefix is what the agent puts in front of a group's name for its preview.
const previewPrefix = "live."

// regroup gives a channel that was first seen in a preview its proper group.
func (c *car) regroup(ch *channel, group []byte) {
	if !strings.HasPrefix(ch.group, previewPrefix) || bytes.HasPrefix(group, []byte(`"`+previewPrefix)) {
		return
	}
	ch.group = unquote(group)
	ch.fold()
	c.link(ch)
}

func (ch *channel) fold() {
	ch.folded = strings.ToLower(ch.name + "\x00" + ch.group + "\x00" + ch.unit)
}

// chart makes sure that a channel has a history; the one that nobody has looked
// at for longest gives its own up when there are too many.
func (s *store) chart(ch *channel, nowMS int64) {
	if ch.hist == nil {
		if s.histories >= maxHistories {
			s.dropHistory()
		}
		ch.hist = &history{}
		s.histories++
	}
	ch.hist.usedMS = nowMS
}

func (s *store) dropHistory() {
	var old *channel
	for _, c := range s.cars {
		for _, ch := range c.channels {
			if ch.hist != nil && (old == nil || ch.hist.usedMS < old.hist.usedMS) {
				old = ch
			}
		}
	}
	if old != nil {
		old.hist = nil
		s.histories--
	}
}

// ask has a catalogue read, once.
func (s *store) ask(h wire.CatalogueHash) bool {
	if s.asked[h] {
		return true
	}
	if len(s.asked) >= maxHashes || !s.want(h) {
		return false
	}
	s.asked[h] = true
	return true
}

// forgetHash lets a catalogue be asked for again.
func (s *store) forgetHash(h wire.CatalogueHash) {
	s.mu.Lock()
	delete(s.asked, h)
	s.mu.Unlock()
}

// describe gives the channels of a catalogue's car their units.
func (s *store) describe(h wire.CatalogueHash, cat *wire.Catalogue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.asked, h)
	c := s.cars[cat.Car]
	if c == nil {
		return
	}
	byName := make(map[string]*channel, len(c.channels))
	for _, ch := range c.channels {
		byName[ch.name] = ch
	}
	for i := range cat.Groups {
		for j := range cat.Groups[i].Channels {
			w := &cat.Groups[i].Channels[j]
			ch := byName[w.Name]
			if ch == nil {
				ch = byName[w.Name+"_"] // the name is one of a row's own fields
			}
			if ch != nil {
				ch.unit, ch.description, ch.enum = w.Unit, w.Description, w.Enum
				ch.fold()
			}
		}
	}
	if len(c.described) >= maxDescribed {
		clear(c.described)
	}
	c.described[h] = true
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
	return s.n
}
