package live

import (
	"cmp"
	"slices"
	"strings"

	"telemetry/receiver/sequence/jsonrow"
	"telemetry/wire"
)

// CarView is one car in a list. What nobody in this process knows is null.
type CarView struct {
	Car       string      `json:"car"`
	Session   string      `json:"session"`
	Channels  int         `json:"channels"`
	Described uint64      `json:"described"` // grows when units and the like of channels become known
	SeenMS    int64       `json:"seen_ms"`   // UTC; 0: never
	Synced    bool        `json:"synced"`    // the car's clock is known
	LinkCount int         `json:"links"`
	LinksUp   int         `json:"links_up"`
	LagMS     *int64      `json:"lag_ms"` // of what is written behind what was read, of the full lane
	Holes     *uint64     `json:"holes"`  // batches waited for
	Missing   uint64      `json:"missing"`
	Lap       int         `json:"lap"` // under way; 0: nobody knows
	Speed     *Speed      `json:"speed,omitempty"`
	Pos       *[2]float64 `json:"pos,omitempty"` // lat, lon
	Replay    *ReplayOf   `json:"replay,omitempty"`
}

// Speed is how fast a car goes.
type Speed struct {
	ID    int     `json:"id"`
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

// CarDetail is one car with all but its channels. Its links and its replay stand in
// place of what a list says of them.
type CarDetail struct {
	CarView
	NowMS    int64       `json:"now_ms"`
	Ingest   bool        `json:"ingest"`   // the role is in this process
	Sequence bool        `json:"sequence"` // so is this one
	Credit   uint64      `json:"credit_bytes"`
	Waiting  int64       `json:"waiting_bytes"`
	Links    []Link      `json:"links"`
	Lanes    []LaneView  `json:"lanes"`
	Events   []Event     `json:"events"` // newest first
	Replay   *ReplayView `json:"replay,omitempty"`
}

// ChannelView is one channel without its value.
type ChannelView struct {
	ID          int              `json:"id"`
	Name        string           `json:"name"`
	Group       string           `json:"group"`
	Lane        string           `json:"lane"` // of the last value; "": none yet
	Unit        string           `json:"unit"`
	Description string           `json:"description,omitempty"`
	Enum        map[int64]string `json:"enum,omitempty"`
}

// Value is one last value: id, value, event time (UTC, ms), lane, and 1 when
// the time is known to be UTC.
type Value [5]float64

func (s *store) list() []CarView {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]CarView, 0, len(s.cars))
	for _, c := range s.cars {
		out = append(out, s.view(c))
	}
	slices.SortFunc(out, func(a, b CarView) int { return cmp.Compare(a.Car, b.Car) })
	return out
}

// heardMS is how long ago a link whose state the car does not tell may have been heard to
// count as one that is up.
const heardMS = 5000

// view returns a car as lists have it.
func (s *store) view(c *car) CarView {
	if c.place.stale {
		c.place.choose(c)
	}
	v := CarView{
		Car: c.name, Session: c.session, Channels: len(c.channels), Described: c.told, SeenMS: c.seenMS, Synced: c.synced,
		Lap: s.sessions[c.name].lap(),
	}
	for _, l := range c.linksOf() {
		v.LinkCount++
		if l.State == linkUp || l.State == "" && l.HeardMS != nil && *l.HeardMS < heardMS {
			v.LinksUp++
		}
	}
	for _, l := range c.lanesOf(s.here) {
		v.Missing += l.Missing
		if l.Holes != nil {
			if v.Holes == nil {
				v.Holes = new(uint64)
			}
			*v.Holes += *l.Holes
		}
		if l.Lane == wire.LaneFull.String() {
			v.LagMS = l.LagMS
		}
	}
	if ch := c.place.speed; ch != nil && ch.version > 0 {
		v.Speed = &Speed{ID: ch.id, Name: ch.name, Value: ch.value, Unit: ch.unit}
	}
	if n := len(c.place.at); n > 0 {
		last := c.place.at[(c.place.next+n-1)%n]
		v.Pos = &[2]float64{last.lat, last.lon}
	}
	if c.replay != nil {
		v.Replay = &ReplayOf{ID: c.replay.info.ID, Of: c.replay.info.Of}
		v.Lap = s.sessions[c.name].lapAt(c.replay.state.AtMS) // its sessions tell of later ones
	}
	return v
}

// full reports whether cars have been left out.
func (s *store) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.cars)-s.replays >= MaxCars
}

// detail returns a car; false when it is not known.
func (s *store) detail(name string, nowMS int64) (CarDetail, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.cars[name]
	if c == nil {
		return CarDetail{}, false
	}
	c.lookedMS = nowMS
	d := CarDetail{
		CarView: s.view(c), NowMS: nowMS, Ingest: s.here.Ingest, Sequence: s.here.Sequence,
		Credit: c.report.Credit, Waiting: c.report.Waiting, Links: c.linksOf(), Lanes: c.lanesOf(s.here),
		Events: make([]Event, 0, len(c.events)),
	}
	if c.replay != nil {
		d.Replay = c.replay.view(nowMS)
	}
	for _, e := range slices.Backward(c.events) {
		d.Events = append(d.Events, e)
	}
	return d, true
}

// described returns [CarView].Described of a car.
func (s *store) described(name string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.cars[name]; c != nil {
		return c.told
	}
	return 0
}

// linkChanges counts the changes of the states of a car's links.
func (s *store) linkChanges(name string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.cars[name]; c != nil {
		return c.linkChanges
	}
	return 0
}

// exactly returns the channels of a car that have given names, in the order of the
// names.
func (s *store) exactly(name string, names []string) (out []ChannelView, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.cars[name]
	if c == nil {
		return nil, false
	}
	out = []ChannelView{}
	var key []byte
	for _, n := range names {
		key = jsonrow.AppendString(key[:0], n)
		if ch := c.byKey[string(key)]; ch != nil {
			out = append(out, ch.view())
		}
	}
	return out, true
}

// inOrder returns the channels by name. Guarded by the store's mu.
func (c *car) inOrder() []*channel {
	if c.sorted == nil {
		c.sorted = slices.Clone(c.channels)
		slices.SortFunc(c.sorted, func(a, b *channel) int {
			return cmp.Or(natural(a.name, b.name), cmp.Compare(a.group, b.group), cmp.Compare(a.id, b.id))
		})
	}
	return c.sorted
}

// natural compares names so that ch9 stands before ch10, without regard to
// case.
func natural(a, b string) int {
	for a != "" && b != "" {
		if na, nb := digits(a), digits(b); na > 0 && nb > 0 {
			x, y := strings.TrimLeft(a[:na], "0"), strings.TrimLeft(b[:nb], "0")
			if d := cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y)); d != 0 {
				return d
			}
			a, b = a[na:], b[nb:]
			continue
		}
		if d := cmp.Compare(lower(a[0]), lower(b[0])); d != 0 {
			return d
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// maxEnum bounds the value names that one channel's answer carries.
const maxEnum = 256

func (ch *channel) view() ChannelView {
	v := ChannelView{ID: ch.id, Name: ch.name, Group: ch.group, Unit: ch.unit, Description: ch.description}
	if ch.lane.Valid() {
		v.Lane = ch.lane.String()
	}
	if n := len(ch.enum); n > 0 && n <= maxEnum {
		v.Enum = make(map[int64]string, n)
		for _, e := range ch.enum {
			v.Enum[e.Raw] = e.Name
		}
	}
	return v
}

// changed returns the values of channels that have come after a version of the
// car, and the version now. false: the car is not known any more.
func (s *store) changed(name string, ids []int, after uint64) ([]Value, uint64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.cars[name]
	if c == nil {
		return nil, 0, false
	}
	var out []Value
	for _, id := range ids {
		if id >= len(c.channels) {
			continue
		}
		if ch := c.channels[id]; ch.version > after {
			synced := 0.0
			if ch.synced {
				synced = 1
			}
			out = append(out, Value{float64(id), ch.value, float64(ch.tsMS), float64(ch.lane), synced})
		}
	}
	return out, c.version, true
}

// laneNames are the lanes by the number in a [Value].
func laneNames() []string {
	names := []string{""}
	for _, l := range wire.Lanes {
		names = append(names, l.String())
	}
	return names
}
