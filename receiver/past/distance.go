package past

import (
	"cmp"
	"math"
	"slices"
	"strings"
)

// Ways to know how far the car had come, best first.
const (
	byDistance = iota // a channel of distances
	bySpeed           // the integral of a speed
	byPlace           // the length of the line of positions
)

// Units of length in m, and of speed in m/s.
var (
	lengths = map[string]float64{"m": 1, "km": 1000, "mi": 1609.344, "mile": 1609.344, "miles": 1609.344, "ft": 0.3048}
	speeds  = map[string]float64{
		"km/h": 1 / 3.6, "kph": 1 / 3.6, "kmh": 1 / 3.6, "kmph": 1 / 3.6, "m/s": 1, "mps": 1,
		"mph": 0.44704, "mi/h": 0.44704, "kn": 1852.0 / 3600, "kt": 1852.0 / 3600, "kts": 1852.0 / 3600, "knots": 1852.0 / 3600,
	}
)

func unitOf(units map[string]float64, unit string) float64 {
	return units[strings.ToLower(strings.ReplaceAll(unit, " ", ""))]
}

// way is one way to know the distance.
type way struct {
	kind, rank int
	name       string  // of the channel, or of the one with latitudes
	other      string  // the one with longitudes
	factor     float64 // to m or m/s
}

func (w *way) String() string {
	switch w.kind {
	case byDistance:
		return "distance " + w.name
	case bySpeed:
		return "speed " + w.name
	default:
		return "positions " + w.name + ", " + w.other
	}
}

// mayTell reports whether a channel of that name may tell the distance. Units decide.
func mayTell(channel string) bool {
	n := letters(channel)
	return rankDistance(n) >= 0 || rankSpeed(n) >= 0 || latitude(n) || longitude(n)
}

func rankDistance(n string) int {
	return slices.Index([]string{"lapdistance", "lapdist", "distanceinlap", "distance", "dist", "trackdistance", "sdist"}, n)
}

// rankSpeed tells the car's own speed from that of its parts.
func rankSpeed(n string) int {
	if i := slices.Index([]string{"speed", "vehiclespeed", "carspeed", "groundspeed", "gpsspeed", "speedgps", "vcar", "vgps", "velocity", "v"}, n); i >= 0 {
		return i
	}
	for _, not := range []string{"engine", "wind", "fan", "pump", "turbo", "shaft", "motor", "gear", "limit", "target", "wiper", "yaw"} {
		if strings.Contains(n, not) {
			return -1
		}
	}
	switch {
	case strings.Contains(n, "wheel"):
		return 30
	case strings.Contains(n, "speed"), strings.Contains(n, "velocity"):
		return 20
	}
	return -1
}

func latitude(n string) bool { return n == "lat" || strings.Contains(n, "latitude") || n == "gpslat" }

func longitude(n string) bool {
	return n == "lon" || n == "lng" || n == "long" || strings.Contains(n, "longitude") || n == "gpslon" || n == "gpslng"
}

// ways lists how the distance of a lap can be known, best first.
func ways(l *lap) []way {
	var out []way
	for _, tr := range l.traces {
		ch := channelOf(tr.name)
		n := letters(ch.Name)
		if len(tr.t) < 3 {
			continue
		}
		if f := unitOf(lengths, tr.unit); f > 0 && rankDistance(n) >= 0 {
			out = append(out, way{byDistance, rankDistance(n), tr.name, "", f})
		}
		if f := unitOf(speeds, tr.unit); f > 0 && rankSpeed(n) >= 0 {
			out = append(out, way{bySpeed, rankSpeed(n), tr.name, "", f})
		}
		if !latitude(n) || !degrees(tr.unit) {
			continue
		}
		for _, o := range l.traces {
			if oc := channelOf(o.name); oc.Group == ch.Group && longitude(letters(oc.Name)) && degrees(o.unit) && len(o.t) >= 3 {
				out = append(out, way{byPlace, 0, tr.name, o.name, 1})
			}
		}
	}
	slices.SortFunc(out, func(a, b way) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.rank, b.rank), cmp.Compare(a.name, b.name))
	})
	return out
}

func degrees(unit string) bool {
	u := letters(unit)
	return unit == "" || unit == "°" || u == "deg" || u == "degree" || u == "degrees"
}

// agree returns the best way that both laps know.
func agree(a, b *lap) *way {
	theirs := ways(b)
	for _, w := range ways(a) {
		if slices.Contains(theirs, w) {
			return &w
		}
	}
	return nil
}

// path works out how far the car had come from the lap's start to its end.
func (w *way) path(l *lap) *path {
	var p path
	switch tr := l.trace(w.name); w.kind {
	case byDistance:
		odometer(&p, tr, w.factor)
	case bySpeed:
		integrate(&p, tr, w.factor)
	default:
		line(&p, tr, l.trace(w.other))
	}
	p.close(l.seconds())
	return &p
}

// A channel of distances counts in steps. Its mean over smooth s, taken twice, has
// finer ones, and is off by less than 4 cm when the car brakes with 1 g. A car that does not get on
// for stand s stands; for less, it has not come a step further yet.
const (
	smooth = 0.2
	stand  = 1.0
)

// odometer follows a channel of distances, which may begin anew at a line. Rows that
// bring it no further tell nothing of when it was where.
func odometer(p *path, tr *trace, factor float64) {
	m := make([]float64, len(tr.t))
	for i := 1; i < len(m); i++ {
		m[i] = m[i-1] + max(0, tr.v[i]-tr.v[i-1])*factor
	}
	m = means(tr.t, means(tr.t, m, smooth/2), smooth/2)
	for i, t := range tr.t {
		n := len(p.t)
		switch {
		case n == 0 || m[i] > p.m[n-1] || i == len(m)-1:
		case i+1 < len(m) && m[i+1] > m[i] && t-p.t[n-1] >= stand: // it drives on
		default:
			continue
		}
		p.add(t, m[i])
	}
}

// means are those of the values within a reach of each time, as many before as behind.
func means(t, v []float64, reach float64) []float64 {
	sums := make([]float64, len(v)+1)
	for i, x := range v {
		sums[i+1] = sums[i] + x
	}
	out := make([]float64, len(v))
	for i, from, to := 0, 0, 0; i < len(v); i++ {
		for t[from] < t[i]-reach {
			from++
		}
		for to < len(t) && t[to] <= t[i]+reach {
			to++
		}
		k := min(i-from, to-1-i)
		out[i] = v[i]
		if k > 0 {
			out[i] = (sums[i+k+1] - sums[i-k]) / float64(2*k+1)
		}
	}
	return out
}

// integrate sums a speed. Over a hole it takes the mean of both ends.
func integrate(p *path, tr *trace, factor float64) {
	sum := 0.0
	for i := range tr.t {
		if i > 0 {
			sum += (math.Abs(tr.v[i]) + math.Abs(tr.v[i-1])) / 2 * factor * (tr.t[i] - tr.t[i-1])
		}
		p.add(tr.t[i], sum)
	}
}

// earth is the mean radius, m.
const earth = 6_371_008.8

// line sums the lengths between positions. Less than half a metre is the receiver's
// noise, and waits.
func line(p *path, lat, lon *trace) {
	sum, first := 0.0, true
	var la, lo float64
	for i, t := range lat.t {
		x := lon.value(t)
		if math.IsNaN(x) || lat.v[i] == 0 && x == 0 {
			continue
		}
		if first {
			la, lo, first = lat.v[i], x, false
		}
		if d := between(la, lo, lat.v[i], x); d >= 0.5 {
			sum += d
			la, lo = lat.v[i], x
		}
		p.add(t, sum)
	}
}

// between is the distance of two places near each other, m.
func between(lat1, lon1, lat2, lon2 float64) float64 {
	const rad = math.Pi / 180
	y := (lat2 - lat1) * rad
	x := math.Remainder(lon2-lon1, 360) * rad * math.Cos((lat1+lat2)/2*rad)
	return earth * math.Hypot(x, y)
}

// reach is how far beyond its samples a path is drawn out with the last pace, s.
const reach = 2.0

// close draws the path out to the lap's start and end: the samples nearest to them
// are not on them.
func (p *path) close(end float64) {
	n := len(p.t)
	if n < 2 {
		return
	}
	if t0 := p.t[0]; t0 > 0 && t0 <= reach {
		ahead := pace(p, 0, 1) * t0
		for i := range p.m {
			p.m[i] += ahead
		}
		p.t, p.m = slices.Insert(p.t, 0, 0), slices.Insert(p.m, 0, 0)
		n++
	}
	if rest := end - p.t[n-1]; rest > 0 && rest <= reach {
		p.add(end, p.m[n-1]+pace(p, n-2, n-1)*rest)
	}
}

// pace is the speed between two points, m/s.
func pace(p *path, i, j int) float64 {
	if p.t[j] <= p.t[i] {
		return 0
	}
	return (p.m[j] - p.m[i]) / (p.t[j] - p.t[i])
}
