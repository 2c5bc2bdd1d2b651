package live

import (
	"cmp"
	"slices"
	"strings"

	"telemetry/wire"
)

// CarView is one car in a list.
type CarView struct {
	Car      string `json:"car"`
	Session  string `json:"session"`
	Channels int    `json:"channels"`
	SeenMS   int64  `json:"seen_ms"` // UTC; 0: never
	Synced   bool   `json:"synced"`  // the car's clock is known
}

// CarDetail is one car with all but its channels.
type CarDetail struct {
	CarView
	NowMS    int64      `json:"now_ms"`
	Ingest   bool       `json:"ingest"`   // the role is in this process
	Sequence bool       `json:"sequence"` // so is this one
	Credit   uint64     `json:"credit_bytes"`
	Waiting  int64      `json:"waiting_bytes"`
	Links    []Link     `json:"links"`
	Lanes    []LaneView `json:"lanes"`
	Events   []Event    `json:"events"` // newest first
}

// ChannelView is one channel without its value.
type ChannelView struct {
	ID          int              `json:"id"`
	Name        string           `json:"name"`
	Group       string           `json:"group"`
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
		out = append(out, c.view())
	}
	slices.SortFunc(out, func(a, b CarView) int { return cmp.Compare(a.Car, b.Car) })
	return out
}

func (c *car) view() CarView {
	return CarView{Car: c.name, Session: c.session, Channels: len(c.channels), SeenMS: c.seenMS, Synced: c.synced}
}

// full reports whether cars have been left out.
func (s *store) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.cars) >= MaxCars
}

// detail returns a car; false when it is not known.
func (s *store) detail(name string, nowMS int64) (CarDetail, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.cars[name]
	if c == nil {
		return CarDetail{}, false
	}
	d := CarDetail{
		CarView: c.view(), NowMS: nowMS, Ingest: s.here.Ingest, Sequence: s.here.Sequence,
		Credit: c.report.Credit, Waiting: c.report.Waiting, Links: c.linksOf(), Lanes: c.lanesOf(s.here),
		Events: make([]Event, 0, len(c.events)),
	}
	for _, e := range slices.Backward(c.events) {
		d.Events = append(d.Events, e)
	}
	return d, true
}

// find returns a page of the channels of a car that have all the words of query
// in their name, group or unit, and how many there are.
func (s *store) find(name, query string, offset, limit int) (total int, out []ChannelView, ok bool) {
	words := strings.Fields(strings.ToLower(query))
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.cars[name]
	if c == nil {
		return 0, nil, false
	}
	out = []ChannelView{}
	for _, ch := range c.inOrder() {
		if slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(ch.folded, w) }) {
			continue
		}
		if total >= offset && len(out) < limit {
			out = append(out, ch.view())
		}
		total++
	}
	return total, out, true
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

// chartSince returns the steps of a channel's chart from a slot on, and the
// newest slot.
func (s *store) chartSince(name string, id int, from, nowMS int64) (out []Bin, newest int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.cars[name]
	if c == nil || id < 0 || id >= len(c.channels) {
		return nil, 0
	}
	ch := c.channels[id]
	s.chart(ch, nowMS)
	return ch.hist.since(from), ch.hist.newest
}

// laneNames are the lanes by the number in a [Value].
func laneNames() []string {
	names := []string{""}
	for _, l := range wire.Lanes {
		names = append(names, l.String())
	}
	return names
}
