package live

import (
	"math"
	"slices"
	"strings"

	"telemetry/receiver/sequence/columns"
)

// A car's way is kept as one point per placeEveryMS of event time, for 10 minutes.
const (
	placeEveryMS  = 200
	maxPlaces     = 3000
	maxLinePoints = 2000
	lineMS        = 5 * 60_000 // of the line, without a lap
)

// place knows which channels tell where a car is and how fast it goes, and where it
// has been.
type place struct {
	lat, lon, speed *channel // nil: none
	stale           bool     // channels have come since they were chosen

	at   []point // ring
	next int     // where the next point goes, when the ring is full
}

// point is where a car was.
type point struct {
	ms       int64
	lat, lon float64
}

// choose looks for the channels.
func (p *place) choose(c *car) {
	p.stale = false
	lat, lon := positionOf(c.channels)
	if lat != p.lat || lon != p.lon {
		p.lat, p.lon, p.at, p.next = lat, lon, nil, 0
	}
	p.speed = nil
	best := 0
	for _, ch := range c.channels {
		if n := speedRank(ch); n > best {
			p.speed, best = ch, n
		}
	}
}

// positionOf returns the channels of latitude and longitude: in degrees, of one
// group, and named alike.
func positionOf(list []*channel) (lat, lon *channel) {
	type pair struct{ group, rest string }
	lats := map[pair]*channel{}
	for _, ch := range list {
		if rest, is := axis(ch, "latitude", "lat"); is {
			lats[pair{bareGroup(ch.group), rest}] = ch
		}
	}
	for _, ch := range list {
		rest, is := axis(ch, "longitude", "lon", "lng", "long")
		if !is {
			continue
		}
		if l := lats[pair{bareGroup(ch.group), rest}]; l != nil && (lat == nil || l.id < lat.id) {
			lat, lon = l, ch
		}
	}
	return lat, lon
}

func bareGroup(g string) string { return strings.TrimPrefix(g, previewPrefix) }

// axis returns what stands around a word in a channel's name, if the word is there
// and the channel is in degrees.
func axis(ch *channel, words ...string) (rest string, ok bool) {
	switch strings.ToLower(ch.unit) {
	case "deg", "°", "degree", "degrees":
	default:
		return "", false
	}
	parts := strings.FieldsFunc(strings.ToLower(ch.name), func(r rune) bool { return r == '_' || r == '.' || r == ' ' || r == '-' })
	for i, p := range parts {
		if slices.Contains(words, p) {
			return strings.Join(append(parts[:i:i], parts[i+1:]...), "_"), true
		}
	}
	return "", false
}

// speedRank says how likely a channel is the car's speed; 0: it is not.
func speedRank(ch *channel) int {
	switch strings.ToLower(ch.unit) {
	case "km/h", "kph", "kmh", "m/s", "mph":
	default:
		return 0
	}
	name := strings.ToLower(ch.name)
	switch {
	case name == "speed" || name == "vehicle_speed":
		return 4
	case !strings.Contains(name, "speed") || strings.Contains(name, "wheel") || strings.Contains(name, "wind"):
		return 0
	case strings.Contains(name, "vehicle") || strings.Contains(name, "car"):
		return 3
	case strings.Contains(name, "gnss") || strings.Contains(name, "gps") || strings.Contains(name, "ground"):
		return 2
	}
	return 1
}

// note takes the position from the last values, when both are of this row.
func (p *place) note(c *car, a arrival) {
	if p.lat == nil || p.lat.version != c.version || p.lon.version != c.version {
		return
	}
	p.add(point{a.chartMS, p.lat.value, p.lon.value})
}

// table takes the positions of a table that has both.
func (p *place) table(c *car, t *columns.Table, ms []int64) {
	if p.stale {
		p.choose(c)
	}
	if p.lat == nil {
		return
	}
	var lat, lon *columns.Column
	for i := range t.Columns {
		switch t.Columns[i].Channel.Field {
		case p.lat.name:
			lat = &t.Columns[i]
		case p.lon.name:
			lon = &t.Columns[i]
		}
	}
	if lat == nil || lon == nil || lat.Len() != lon.Len() || !slices.Equal(lat.Rows, lon.Rows) {
		return
	}
	a, b := floats(nil, lat), floats(nil, lon)
	for k := range a {
		row := k
		if lat.Rows != nil {
			row = int(lat.Rows[k])
		}
		p.add(point{ms[row], a[k], b[k]})
	}
}

// add keeps a point if it is far enough after the last one.
func (p *place) add(x point) {
	if !(math.Abs(x.lat) <= 90 && math.Abs(x.lon) <= 180) || x.lat == 0 && x.lon == 0 {
		return // a receiver without a fix
	}
	if n := len(p.at); n > 0 {
		last := &p.at[(p.next+n-1)%n]
		if x.ms-last.ms < placeEveryMS {
			return
		}
	}
	if len(p.at) < maxPlaces {
		p.at = append(p.at, x)
		return
	}
	p.at[p.next] = x
	p.next = (p.next + 1) % maxPlaces
}

// since returns the points between two instants, oldest first.
func (p *place) between(fromMS, toMS int64) []point {
	var out []point
	for i := range p.at {
		if x := p.at[(p.next+i)%len(p.at)]; x.ms >= fromMS && x.ms <= toMS {
			out = append(out, x)
		}
	}
	return out
}

// Track is the answer to /api/v1/cars/{car}/track. While no channels look like a
// position, as at the begin of a replay, it has neither ids nor a line.
type Track struct {
	LatID  *int         `json:"lat_id"`
	LonID  *int         `json:"lon_id"`
	Lap    int          `json:"lap,omitempty"` // that the line is of; 0: none
	Line   [][2]float64 `json:"line"`          // lat, lon
	Bounds [4]float64   `json:"bounds"`        // least and greatest lat, then lon; of the line
}

// track returns a car's way: its newest complete lap of those that are kept, else
// the last minutes. known: the car is.
func (s *store) track(name string, wallMS int64) (t Track, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.cars[name]
	if c == nil {
		return t, false
	}
	c.lookedMS = wallMS
	if c.place.stale {
		c.place.choose(c)
	}
	t.Line = [][2]float64{}
	p := &c.place
	if p.lat == nil {
		return t, true
	}
	lat, lon := p.lat.id, p.lon.id
	t.LatID, t.LonID = &lat, &lon
	now := c.nowMS(wallMS)
	points := p.between(now-lineMS, now+aheadMS)
	if len(p.at) > 0 {
		oldest := p.at[p.next%len(p.at)].ms
		if l := s.sessions[name].lapWithin(oldest, now); l != nil {
			t.Lap, points = l.N, p.between(*l.StartMS, *l.EndMS+placeEveryMS)
		}
	}
	every := max(1, (len(points)+maxLinePoints-1)/maxLinePoints)
	for i, x := range points {
		if i == 0 {
			t.Bounds = [4]float64{x.lat, x.lat, x.lon, x.lon}
		}
		t.Bounds[0], t.Bounds[1] = min(t.Bounds[0], x.lat), max(t.Bounds[1], x.lat)
		t.Bounds[2], t.Bounds[3] = min(t.Bounds[2], x.lon), max(t.Bounds[3], x.lon)
		if i%every == 0 {
			t.Line = append(t.Line, [2]float64{x.lat, x.lon})
		}
	}
	return t, true
}
