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
	metresPerDegree = 111_194.93 // of latitude, on a sphere
	maxLineM        = 500.0      // no track is wider
	maxStepNS       = int64(2_000_000_000)
	maxStepM        = 250.0 // between two positions: 450 km/h for the longest step
)

// gate is a line in metres around its middle.
type gate struct {
	lat0, lon0, perLon float64 // origin, and metres in a degree of longitude
	ax, ay, bx, by     float64
	direction          Direction
}

// Gates follows one car. It is owned by one goroutine.
type Gates struct {
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
		if n := math.Hypot(p.bx-p.ax, p.by-p.ay); n < 1 || n > maxLineM {
			return nil, fmt.Errorf("lap: line %d is %.1f m long (want 1 to %v)", i, n, maxLineM)
		}
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
	from := *g
	g.begun, g.tick, g.lat, g.lon = true, tick, lat, lon
	if !from.begun || tick <= from.tick || tick-from.tick > maxStepNS {
		return out
	}
	first := len(out)
	for i := range g.gates {
		p := &g.gates[i]
		x0, y0 := p.metres(from.lat, from.lon)
		x1, y1 := p.metres(lat, lon)
		if math.Hypot(x1-x0, y1-y0) > maxStepM {
			continue
		}
		if share, ok := p.crossed(x0, y0, x1, y1); ok {
			out = append(out, Crossing{Gate: i, TickNS: from.tick + int64(math.Round(share*float64(tick-from.tick)))})
		}
	}
	for i := first + 1; i < len(out); i++ { // few, and mostly one
		for k := i; k > first && out[k].TickNS < out[k-1].TickNS; k-- {
			out[k], out[k-1] = out[k-1], out[k]
		}
	}
	return out
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

// Mark is a lap or sector that has ended.
type Mark struct {
	Lap      int // counts from 1 in a session; 0: the way to the line, which is none
	Sector   int // counts from 1; 0: the whole lap
	TickNS   int64
	TimeNS   int64 // of the lap or sector; 0: not known, as its begin was missed
	Complete bool  // of a lap: every sector was passed, in order
}

// State is what a timer must keep to go on after a restart of the process.
type State struct {
	Lap      int   `json:"lap"`       // under way; 0: the line was not crossed yet
	BeginNS  int64 `json:"begin_ns"`  // of it, boot time; 0: not known
	SectorNS int64 `json:"sector_ns"` // begin of the sector under way; 0: not known
	Sector   int   `json:"sector"`    // under way, from 1
}

// Timer makes laps of crossings. Gate 0 is the start line, 1 and so on end the
// sectors; the last sector ends at the line. The zero value times laps alone.
type Timer struct {
	State      State
	Sectors    int   // lines beside the start line
	ShortestNS int64 // crossings of the start line that come sooner are none

	Ignored uint64 // crossings that were none: too soon, or of a sector out of order
	lastNS  int64  // latest crossing of the line
}

// Cross takes one crossing and appends what has ended.
func (t *Timer) Cross(c Crossing, out []Mark) []Mark {
	s := &t.State
	if c.Gate > 0 {
		if s.Lap == 0 || c.Gate != s.Sector {
			t.Ignored++
			return out
		}
		out = append(out, Mark{Lap: s.Lap, Sector: s.Sector, TickNS: c.TickNS, TimeNS: since(s.SectorNS, c.TickNS)})
		s.Sector++
		s.SectorNS = c.TickNS
		return out
	}
	begin := max(s.BeginNS, t.lastNS)
	if begin != 0 && c.TickNS-begin < t.ShortestNS {
		t.Ignored++
		return out
	}
	t.lastNS = c.TickNS
	if s.Lap > 0 {
		whole := s.Sector == t.Sectors+1
		if t.Sectors > 0 && whole {
			out = append(out, Mark{Lap: s.Lap, Sector: s.Sector, TickNS: c.TickNS, TimeNS: since(s.SectorNS, c.TickNS)})
		}
		out = append(out, Mark{Lap: s.Lap, TickNS: c.TickNS, TimeNS: since(s.BeginNS, c.TickNS), Complete: whole && s.BeginNS != 0})
	}
	*s = State{Lap: s.Lap + 1, BeginNS: c.TickNS, SectorNS: c.TickNS, Sector: 1}
	return out
}

// Unknown forgets when the lap under way began: the clock that counted it is
// another one.
func (t *Timer) Unknown() { t.State.BeginNS, t.State.SectorNS, t.lastNS = 0, 0, 0 }

func since(begin, end int64) int64 {
	if begin == 0 {
		return 0
	}
	return end - begin
}
