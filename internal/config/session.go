package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// Session says where laps begin and sectors end, and what begins a session. Its
// zero value has no laps: sessions are begun and ended by command.
type Session struct {
	Track       string   `yaml:"track"`        // its name, in every session
	Latitude    string   `yaml:"latitude"`     // channel of the position; default gnss_lat
	Longitude   string   `yaml:"longitude"`    // default gnss_lon
	Start       *Gate    `yaml:"start"`        // the start and finish line
	Sectors     []Gate   `yaml:"sectors"`      // where sectors end, in driving order; the last one ends at the line
	LapChannel  string   `yaml:"lap_channel"`  // instead of start: a channel that changes at the line
	ShortestLap Duration `yaml:"shortest_lap"` // crossings that come sooner are none; default 10s
	Autostart   bool     `yaml:"autostart"`    // the first crossing begins a session, if none is under way
}

// Gate is a line between two points of the ground.
type Gate struct {
	A         Position `yaml:"a"`
	B         Position `yaml:"b"`
	Direction string   `yaml:"direction"` // of the car as seen from a to b: left, right or any; default any
}

func (g *Gate) preset() { g.Direction = "any" }

func (s *Session) preset() {
	*s = Session{Latitude: "gnss_lat", Longitude: "gnss_lon", ShortestLap: Duration(10 * time.Second)}
}

// Limits of a session's configuration.
const (
	maxSectors = 32 // no track has more; each is looked at for each fix
	maxTrack   = 24 // bytes of its name
)

func (s *Session) validate(at string, report reporter) {
	if s.Start != nil && s.LapChannel != "" {
		report(at+".lap_channel", "stands beside start (want one of them)")
	}
	if s.Start == nil && len(s.Sectors) > 0 {
		report(at+".sectors", "need start")
	}
	if s.Autostart && s.Start == nil && s.LapChannel == "" {
		report(at+".autostart", "needs start or lap_channel")
	}
	if len(s.Sectors) > maxSectors {
		report(at+".sectors", "has %d entries (want at most %d)", len(s.Sectors), maxSectors)
	}
	if len(s.Track) > maxTrack {
		report(at+".track", "has %d bytes (want at most %d)", len(s.Track), maxTrack)
	}
	if s.ShortestLap.D() < 0 || s.ShortestLap.D() > time.Hour {
		report(at+".shortest_lap", "is %v (want 0s to 1h)", s.ShortestLap.D())
	}
	if s.Start != nil {
		s.Start.validate(at+".start", report)
	}
	for i := range s.Sectors {
		s.Sectors[i].validate(fmt.Sprintf("%s.sectors[%d]", at, i), report)
	}
}

func (g *Gate) validate(at string, report reporter) {
	if g.A == g.B {
		report(at, `has no length (want two points a and b, as "47.33280, 7.82082")`)
	}
	switch g.Direction {
	case "any", "left", "right":
	default:
		report(at+".direction", "%q is no direction (want left, right or any, as seen from a to b)", g.Direction)
	}
}

// Position is a point of the ground in degrees.
type Position struct{ Lat, Lon float64 }

func (*Position) want() string { return `latitude and longitude in degrees, as "47.33280, 7.82082"` }

// UnmarshalYAML reads two numbers with a comma between.
func (p *Position) UnmarshalYAML(n ast.Node) error {
	a, b, ok := strings.Cut(text(n), ",")
	lat, err1 := strconv.ParseFloat(strings.TrimSpace(a), 64)
	lon, err2 := strconv.ParseFloat(strings.TrimSpace(b), 64)
	if !ok || err1 != nil || err2 != nil || !(lat >= -90 && lat <= 90) || !(lon >= -180 && lon <= 180) {
		return badValue(n, p, "is no position")
	}
	*p = Position{Lat: lat, Lon: lon}
	return nil
}
