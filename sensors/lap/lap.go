// Package lap tells from a car's positions when it crosses the lines of a track,
// and from those when laps and sectors end.
//
// The entry points are [NewGates], which finds crossings between two positions and
// their moment in between, and [Timer], which makes laps and sectors of them. It
// is pure: no clock, no I/O.
package lap

import (
	"errors"
	"fmt"
	"math"
)

// Direction says from which side a line counts.
type Direction uint8

// Directions of the car as seen from a line's first point to its second.
const (
	Any Direction = iota
	Left
	Right
)

// Line is a line between two points, in degrees.
type Line struct {
	ALat, ALon, BLat, BLon float64
	Direction              Direction
}

// Limits.
const (
	metresPerDegree = 111_194.93           // of latitude, on a sphere
	maxLineM        = 500.0                // no track is wider
	MaxStepNS       = int64(2_000_000_000) // between two positions: after more the way between is not known
	maxStepM        = 250.0                // between two positions: 450 km/h for the longest step
	maxSpeed        = 125.0                // m/s
	leaveM          = 50.0                 // from the end of a line: no lap is so short
)

// gate is a line in metres around its middle.
type gate struct {
	lat0, lon0, perLon float64 // origin, and metres in a degree of longitude
	ax, ay, bx, by     float64
	direction          Direction
	far                float64 // from the middle: beyond this the car has left it
	near               bool    // it was crossed, and the car has not left it since
}

// Gates follows one car. It is owned by one goroutine.
type Gates struct {
	// GapNS is the time before the latest position, if the car may have crossed the
	// first line on its way from the one before, and that is not known; else 0.
	GapNS int64

	gates []gate
	begun bool
	tick  int64
	lat   float64
	lon   float64
}

// Crossing is one line passed.
type Crossing struct {
	Gate   int
	TickNS int64 // boot time
	Near   bool  // the car has stayed at the line since it crossed it before: it turned, or its position trembles
}

// NewGates checks lines.
func NewGates(lines []Line) (*Gates, error) {
	g := &Gates{}
	for i, l := range lines {
		if math.Abs(l.ALat) > 85 || math.Abs(l.BLat) > 85 {
			return nil, fmt.Errorf("lap: line %d is too near to a pole", i)
		}
		p := gate{lat0: (l.ALat + l.BLat) / 2, lon0: (l.ALon + l.BLon) / 2, direction: l.Direction}
		p.perLon = metresPerDegree * math.Cos(p.lat0*math.Pi/180)
		p.ax, p.ay = p.metres(l.ALat, l.ALon)
		p.bx, p.by = p.metres(l.BLat, l.BLon)
		n := math.Hypot(p.bx-p.ax, p.by-p.ay)
		if n < 1 || n > maxLineM {
			return nil, fmt.Errorf("lap: line %d is %.1f m long (want 1 to %v)", i, n, maxLineM)
		}
		p.far = n/2 + leaveM
		g.gates = append(g.gates, p)
	}
	if len(g.gates) == 0 {
		return nil, errors.New("lap: no line")
	}
	return g, nil
}

func (p *gate) metres(lat, lon float64) (x, y float64) {
	return (lon - p.lon0) * p.perLon, (lat - p.lat0) * metresPerDegree
}

// Add takes a position and appends the lines that were crossed since the one
// before, in their order in time. A position that came long after, or from too
// far away, begins anew: where the car went between is not known.
func (g *Gates) Add(tick int64, lat, lon float64, out []Crossing) []Crossing {
	for i := range g.gates {
		p := &g.gates[i]
		p.near = p.near && math.Hypot(p.metres(lat, lon)) <= p.far
	}
	from := *g
	g.begun, g.tick, g.lat, g.lon, g.GapNS = true, tick, lat, lon, 0
	if !from.begun || tick <= from.tick {
		return out
	}
	if gap := tick - from.tick; gap > MaxStepNS {
		if g.gates[0].within(&from, lat, lon, gap) {
			g.GapNS = gap
		}
		return out
	}
	first := len(out)
	for i := range g.gates {
		p := &g.gates[i]
		x0, y0 := p.metres(from.lat, from.lon)
		x1, y1 := p.metres(lat, lon)
		if math.Hypot(x1-x0, y1-y0) > maxStepM {
			g.GapNS = tick - from.tick
			continue
		}
		if share, ok := p.crossed(x0, y0, x1, y1); ok {
			out = append(out, Crossing{Gate: i, TickNS: from.tick + int64(math.Round(share*float64(tick-from.tick))), Near: p.near})
			p.near = true
		}
	}
	for i := first + 1; i < len(out); i++ { // few, and mostly one
		for k := i; k > first && out[k].TickNS < out[k-1].TickNS; k-- {
			out[k], out[k-1] = out[k-1], out[k]
		}
	}
	return out
}

// within reports whether a car can have been at the line between two positions.
func (p *gate) within(from *Gates, lat, lon float64, gap int64) bool {
	way := math.Hypot(p.metres(from.lat, from.lon)) + math.Hypot(p.metres(lat, lon)) - 2*(p.far-leaveM)
	return way <= maxSpeed*float64(gap)/1e9
}

// crossed returns at what share of the way from 0 to 1 the line is met.
func (p *gate) crossed(x0, y0, x1, y1 float64) (share float64, ok bool) {
	dx, dy := p.bx-p.ax, p.by-p.ay
	// Positive: left of the line from a to b.
	s0 := dx*(y0-p.ay) - dy*(x0-p.ax)
	s1 := dx*(y1-p.ay) - dy*(x1-p.ax)
	// A position right on the line belongs to its left side, so that a car that
	// is measured there crosses once.
	left := s0 < 0 && s1 >= 0
	right := s0 >= 0 && s1 < 0
	if !left && !right || p.direction == Left && !left || p.direction == Right && !right {
		return 0, false
	}
	share = s0 / (s0 - s1)
	x, y := x0+share*(x1-x0), y0+share*(y1-y0)
	along := ((x-p.ax)*dx + (y-p.ay)*dy) / (dx*dx + dy*dy)
	return share, along >= 0 && along <= 1
}
