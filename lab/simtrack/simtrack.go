// Package simtrack knows where the simulated car drives: it lays the lines of a
// track across its way, so that the real agent times laps and sectors.
//
// The entry point is [Session]. The package reads positions from the model like
// any other channel and never looks behind it.
package simtrack

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"telemetry/sensors/sim"
	"telemetry/wire"
)

// Names of the channels of the position.
const (
	Latitude  = "gnss_latitude"
	Longitude = "gnss_longitude"
)

// Share of a lap where the start line is: a little behind the place where the car
// begins, so that it crosses the line soon, and surely.
const startShare = 0.01

const (
	halfWidth       = 8.0  // m of a line to each side of the car
	leaveM          = 50.0 // what the agent wants between a car and a line, before it can cross that again
	metresPerDegree = 111_194.93
)

// ErrNoPosition says that a car is too small to have a position.
var ErrNoPosition = errors.New("simtrack: the car has no satellite position (it needs 39 channels or more)")

// Session returns the agent's configuration of sessions for a simulated car, as
// YAML: the first crossing of the line begins a session, and sectors of equal time
// follow.
func Session(cfg sim.Config, name string, sectors int) (string, error) {
	m, err := sim.NewModel(cfg)
	if err != nil {
		return "", fmt.Errorf("simtrack: %w", err)
	}
	w, err := find(m)
	if err != nil {
		return "", err
	}
	if far := w.far(); far < leaveM+2*halfWidth {
		return "", fmt.Errorf("simtrack: the track of a lap of %v is only %.0f m across: the car never leaves its lines (want a longer lap)", cfg.LapTime, far)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "session:\n  track: %q\n  latitude: %s\n  longitude: %s\n  autostart: true\n  shortest_lap: %s\n", name, Latitude, Longitude, time.Duration(m.LapStartNS(1)/2))
	fmt.Fprintf(&b, "  start: %s\n", w.line(startShare))
	for i := 1; i < sectors; i++ {
		if i == 1 {
			b.WriteString("  sectors:\n")
		}
		fmt.Fprintf(&b, "    - %s\n", w.line(startShare+float64(i)/float64(sectors)))
	}
	return b.String(), nil
}

// StartNS returns when the car crosses the start line for time n, from 0, in ns
// since its first tick.
func StartNS(m *sim.Model, n int64) int64 {
	return m.LapStartNS(n) + int64(startShare*float64(m.LapStartNS(1)))
}

// way is where a model drives.
type way struct {
	model           *sim.Model
	group, lat, lon int
	latUnit         wire.Channel
	lonUnit         wire.Channel
}

func find(m *sim.Model) (*way, error) {
	for g, group := range m.Groups() {
		w := &way{model: m, group: g, lat: -1, lon: -1}
		for i, c := range group.Channels {
			switch c.Name {
			case Latitude:
				w.lat, w.latUnit = i, c
			case Longitude:
				w.lon, w.lonUnit = i, c
			}
		}
		if w.lat >= 0 && w.lon >= 0 {
			return w, nil
		}
	}
	return nil, ErrNoPosition
}

// at returns the position at a time since the first tick, in degrees: on the
// straight way between two ticks.
func (w *way) at(ns int64) (lat, lon float64) {
	next := max(1, w.model.TickAt(w.group, ns))
	t0, t1 := w.model.TickNS(w.group, next-1), w.model.TickNS(w.group, next)
	f := float64(ns-t0) / float64(t1-t0)
	mix := func(channel int, c wire.Channel) float64 {
		a := float64(w.model.Value(w.group, channel, next-1))
		b := float64(w.model.Value(w.group, channel, next))
		return (a+f*(b-a))*c.Scale + c.Offset
	}
	return mix(w.lat, w.latUnit), mix(w.lon, w.lonUnit)
}

// far returns how far the car gets from where its first lap begins, in metres.
func (w *way) far() float64 {
	const points = 64
	lap := w.model.LapStartNS(1)
	lat0, lon0 := w.at(0)
	most := 0.0
	for i := range int64(points) {
		lat, lon := w.at(i * lap / points)
		most = max(most, metresPerDegree*math.Hypot(lat-lat0, (lon-lon0)*math.Cos(lat*math.Pi/180)))
	}
	return most
}

// line lays a line across the way at a share of the first lap.
func (w *way) line(share float64) string {
	lap := float64(w.model.LapStartNS(1))
	here := int64(share * lap)
	reach := max(int64(lap/500), w.model.TickNS(w.group, 1))
	lat, lon := w.at(here)
	lat0, lon0 := w.at(max(0, here-reach))
	lat1, lon1 := w.at(here + reach)
	perLon := metresPerDegree * math.Cos(lat*math.Pi/180)
	east, north := (lon1-lon0)*perLon, (lat1-lat0)*metresPerDegree
	n := math.Hypot(east, north)
	// From the left end to the right one: ahead of the car is left of that.
	east, north = east/n*halfWidth, north/n*halfWidth
	point := func(side float64) string {
		return fmt.Sprintf("%.7f, %.7f", lat+side*east/metresPerDegree, lon-side*north/perLon)
	}
	return fmt.Sprintf("{a: %q, b: %q, direction: left}", point(1), point(-1))
}
