package simtrack

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"telemetry/internal/config"
	"telemetry/sensors/lap"
	"telemetry/sensors/sim"
)

// gates reads the lines as the agent does.
func gates(t *testing.T, yaml string) ([]lap.Line, config.Session) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent.yaml")
	text := "version: 1\ncar: c\nspool: {dir: s}\nsources: [{name: car, sim: {channels: 40}}]\n" + yaml
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.ReadAgent(path)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	var lines []lap.Line
	for _, g := range append([]config.Gate{*cfg.Session.Start}, cfg.Session.Sectors...) {
		direction := map[string]lap.Direction{"left": lap.Left, "right": lap.Right}[g.Direction]
		lines = append(lines, lap.Line{ALat: g.A.Lat, ALon: g.A.Lon, BLat: g.B.Lat, BLon: g.B.Lon, Direction: direction})
	}
	return lines, cfg.Session
}

func TestEveryLineIsCrossedOnceInALap(t *testing.T) {
	for _, c := range []struct {
		name    string
		cfg     sim.Config
		sectors int
	}{
		{"three sectors", sim.Config{Channels: 40, RateMilliHz: 1_000_000, LapTime: 25 * time.Second}, 3},
		{"slow positions", sim.Config{Channels: 40, RateMilliHz: 100_000, LapTime: 30 * time.Second, Seed: 7}, 3},
		{"a long lap of one sector", sim.Config{Channels: 60, RateMilliHz: 200_000, LapTime: 95 * time.Second}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			yaml, err := Session(c.cfg, "Ring", c.sectors)
			if err != nil {
				t.Fatal(err)
			}
			lines, session := gates(t, yaml)
			if len(lines) != c.sectors || !session.Autostart || session.Latitude != Latitude {
				t.Fatalf("%d lines, %+v", len(lines), session)
			}
			g, err := lap.NewGates(lines)
			if err != nil {
				t.Fatal(err)
			}
			m, err := sim.NewModel(c.cfg)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("the track is %.0f m long", m.TrackMetres())
			w, err := find(m)
			if err != nil {
				t.Fatal(err)
			}
			const laps = 3
			var got []lap.Crossing
			for tick := int64(0); m.TickNS(w.group, tick) < m.LapStartNS(laps); tick++ {
				lat := float64(m.Value(w.group, w.lat, tick)) * w.latUnit.Scale
				lon := float64(m.Value(w.group, w.lon, tick)) * w.lonUnit.Scale
				got = g.Add(m.TickNS(w.group, tick), lat, lon, got)
			}
			if len(got) != laps*c.sectors {
				t.Fatalf("%d crossings in %d laps of %d sectors: %+v", len(got), laps, c.sectors, got)
			}
			for i, x := range got {
				if x.Gate != i%c.sectors || x.Near {
					t.Errorf("crossing %d is of line %d, the car has stayed near it: %v", i, x.Gate, x.Near)
				}
				want := StartNS(m, int64(i/c.sectors)) + int64(float64(i%c.sectors)/float64(c.sectors)*float64(m.LapStartNS(1)))
				if d := time.Duration(x.TickNS - want).Abs(); d > 20*time.Millisecond {
					t.Errorf("crossing %d comes %v beside its time", i, d)
				}
			}
		})
	}
}

func TestACarWithoutAPosition(t *testing.T) {
	if _, err := Session(sim.Config{Channels: 20}, "Ring", 3); !errors.Is(err, ErrNoPosition) {
		t.Errorf("got %v", err)
	}
	if _, err := Session(sim.Config{Channels: 40, LapTime: 20 * time.Second}, "Ring", 3); err == nil {
		t.Error("a car that never leaves its lines has sessions")
	}
	if _, err := Session(sim.Config{Channels: -1}, "Ring", 3); err == nil || errors.Is(err, ErrNoPosition) {
		t.Errorf("got %v", err)
	}
}
