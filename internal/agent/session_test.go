package agent

import (
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"telemetry/internal/config"
	"telemetry/sensors"
	"telemetry/wire"
)

// pit is a session under test: its events and the boot clock are the test's.
type pit struct {
	*sessions
	events []wire.Event
	now    int64
	fail   error
}

// detail is what events say.
type detail struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Track    string `json:"track"`
	Text     string `json:"text"`
	N        int    `json:"n"`
	Lap      int    `json:"lap"`
	Sector   int    `json:"sector"`
	TimeNS   int64  `json:"time_ns"`
	BestNS   int64  `json:"best_ns"`
	Laps     int    `json:"laps"`
	Complete bool   `json:"complete"`
}

func (p *pit) put(e wire.Event) error {
	p.events = append(p.events, e)
	return p.fail
}

// last returns the latest event of a name.
func (p *pit) last(t *testing.T, name string) (wire.Event, detail) {
	t.Helper()
	for i := len(p.events) - 1; i >= 0; i-- {
		if p.events[i].Name == name {
			var d detail
			if err := json.Unmarshal([]byte(p.events[i].Detail), &d); err != nil {
				t.Fatal(err)
			}
			return p.events[i], d
		}
	}
	t.Fatalf("no event %s in %v", name, p.events)
	return wire.Event{}, detail{}
}

func openPit(t *testing.T, cfg config.Session, dir string, boot byte) *pit {
	t.Helper()
	p := &pit{now: 100e9}
	s, err := newSessions(cfg, dir, [16]byte{boot}, 57, func() int64 { return p.now }, p.put, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	p.sessions = s
	if err := s.continued(); err != nil {
		t.Fatal(err)
	}
	p.saved(t)
	return p
}

// saved waits for what Run does in the car: the file is up to date.
func (p *pit) saved(t *testing.T) {
	t.Helper()
	if err := p.keep(); err != nil {
		t.Fatal(err)
	}
}

// taps plans the sources and returns the sink of each.
func (p *pit) taps(t *testing.T, sources ...namedSource) []sensors.Sink {
	t.Helper()
	pl, err := newPlan("car", sources, config.Preview{Off: true})
	if err != nil {
		t.Fatal(err)
	}
	p.wanted, _ = seek(p.cfg, sources, pl)
	var out []sensors.Sink
	for i, s := range sources {
		out = append(out, p.tapped(i, s.source, &sink{routes: make([]route, len(s.source.Groups()))}))
	}
	return out
}

// ringTrack is a start line in the east and a sector line in the west of a ring of
// 500 m around 50 N 6 E.
func ringTrack() config.Session {
	return config.Session{
		Track: "Ring", Latitude: "gnss_lat", Longitude: "gnss_lon", ShortestLap: config.Duration(10e9),
		Start:   &config.Gate{A: ringAt(480, 0), B: ringAt(520, 0), Direction: "left"},
		Sectors: []config.Gate{{A: ringAt(480, math.Pi), B: ringAt(520, math.Pi)}},
	}
}

func ringAt(radius, angle float64) config.Position {
	const perLat = 111_194.93
	perLon := perLat * math.Cos(50*math.Pi/180)
	return config.Position{Lat: 50 + radius*math.Sin(angle)/perLat, Lon: 6 + radius*math.Cos(angle)/perLon}
}

// driver hands positions to a tap as a receiver at 10 Hz does.
type driver struct {
	out   sensors.Sink
	angle float64
	tick  int64
}

func (p *pit) driver(t *testing.T) *driver {
	t.Helper()
	g := wire.Group{Name: "gnss", Channels: []wire.Channel{
		{Name: "gnss_lat", Type: wire.TypeInt, Scale: 1e-9}, {Name: "gnss_lon", Type: wire.TypeInt, Scale: 1e-9}, {Name: "other", Type: wire.TypeInt},
	}}
	src := namedSource{name: "gps", source: &script{groups: []wire.Group{g}}}
	return &driver{out: p.taps(t, src)[0], angle: -0.5, tick: 200e9}
}

// drive goes some seconds at 40 s a lap.
func (d *driver) drive(t *testing.T, seconds float64) {
	t.Helper()
	for range int(seconds * 10) {
		at := ringAt(500, d.angle)
		row := []int64{int64(at.Lat * 1e9), int64(at.Lon * 1e9), 7}
		if err := d.out.Append(sensors.Rows{Ticks: []int64{d.tick}, Values: row, Present: []uint64{7}}); err != nil {
			t.Fatal(err)
		}
		d.angle += 2 * math.Pi / 400
		d.tick += 100_000_000
	}
}

func TestLapsOfASessionGoOnAfterARestart(t *testing.T) {
	dir := t.TempDir()
	p := openPit(t, ringTrack(), dir, 1)
	car := p.driver(t)
	car.drive(t, 50) // without a session nothing is timed
	if len(p.events) != 0 {
		t.Fatalf("events without a session: %v", p.events)
	}
	on, err := p.start("Q1")
	if err != nil {
		t.Fatal(err)
	}
	if _, d := p.last(t, eventSessionStart); d.ID != on.ID || d.Name != "Q1" || d.Track != "Ring" || !strings.HasPrefix(on.ID, "57-") {
		t.Errorf("%+v %+v", d, on)
	}
	if _, err := p.start("Q2"); !errors.Is(err, errSessionOn) {
		t.Errorf("a second session: %v", err)
	}
	car.drive(t, 120)
	_, d := p.last(t, eventLap)
	if d.ID != on.ID || d.Lap != 2 || math.Abs(float64(d.TimeNS)/1e9-40) > 0.01 || !d.Complete {
		t.Errorf("lap %+v", d)
	}
	if _, d = p.last(t, eventSector); d.Sector < 1 || math.Abs(float64(d.TimeNS)/1e9-20) > 0.01 {
		t.Errorf("sector %+v", d)
	}
	if _, err := p.mark("new tyres"); err != nil {
		t.Fatal(err)
	}

	// The process is killed in the middle of lap 3 and comes back.
	p.saved(t)
	q := openPit(t, ringTrack(), dir, 1)
	if _, d := q.last(t, eventSessionContinue); d.ID != on.ID || d.Name != "Q1" {
		t.Errorf("%+v", d)
	}
	next := q.driver(t)
	next.angle, next.tick = car.angle, car.tick
	next.drive(t, 40)
	if _, d := q.last(t, eventLap); d.Lap != 3 || math.Abs(float64(d.TimeNS)/1e9-40) > 0.01 {
		t.Errorf("the lap that was under way: %+v", d)
	}

	// The machine is started anew: its boot clock begins at 0.
	q.saved(t)
	r := openPit(t, ringTrack(), dir, 2)
	last := r.driver(t)
	last.angle, last.tick = next.angle, 5e9
	last.drive(t, 80)
	var laps []detail
	for _, e := range r.events {
		var d detail
		if err := json.Unmarshal([]byte(e.Detail), &d); err == nil && e.Name == eventLap {
			laps = append(laps, d)
		}
	}
	if len(laps) != 2 || laps[0].Lap != 4 || laps[0].TimeNS != 0 || laps[1].Lap != 5 || math.Abs(float64(laps[1].TimeNS)/1e9-40) > 0.01 {
		t.Errorf("after a boot: %+v", laps)
	}
	over, err := r.stop()
	if err != nil || over.Laps != 4 || over.Marks != 1 {
		t.Errorf("%+v %v", over, err)
	}
	if _, d := r.last(t, eventSessionStop); d.Laps != 4 || d.BestNS != over.BestNS || d.Name != "Q1" {
		t.Errorf("%+v", d)
	}
	if s := openPit(t, ringTrack(), dir, 2); s.sessions.now() != nil || len(s.events) != 0 {
		t.Error("a session that has ended goes on")
	}
}

func TestLapChannelAndAutostart(t *testing.T) {
	p := openPit(t, config.Session{LapChannel: "ecu.LapCount", ShortestLap: config.Duration(5e9), Autostart: true}, t.TempDir(), 1)
	g := wire.Group{Name: "Dash", Channels: []wire.Channel{{Name: "Speed"}, {Name: "LapCount", Type: wire.TypeUint}}}
	out := p.taps(t, namedSource{name: "ecu", source: &script{groups: []wire.Group{{Name: "x", Channels: g.Channels[:1]}, g}}})[0]
	for i, v := range []int64{7, 7, 8, 8, 9, 9, 9, 10} {
		rows := sensors.Rows{Group: 1, Ticks: []int64{int64(i) * 10e9}, Values: []int64{0, v}}
		if i == 5 {
			rows.Present, rows.Values[1] = []uint64{1}, 99 // absent
		}
		if err := out.Append(rows); err != nil {
			t.Fatal(err)
		}
	}
	start, d := p.last(t, eventSessionStart)
	if start.BootNS != 20e9 || d.Name != "auto" {
		t.Errorf("begun at %d: %+v", start.BootNS, d)
	}
	if on := p.sessions.now(); on.Laps != 2 || on.BestNS != 20e9 || on.LastNS != 30e9 {
		t.Errorf("%+v", on)
	}
}

func TestSessionFaults(t *testing.T) {
	dir := t.TempDir()
	p := openPit(t, config.Session{}, dir, 1)
	if _, err := p.stop(); !errors.Is(err, errNoSession) {
		t.Errorf("stop: %v", err)
	}
	if _, err := p.mark("x"); !errors.Is(err, errNoSession) {
		t.Errorf("mark: %v", err)
	}
	for _, name := range []string{strings.Repeat("x", maxSessionName+1), `a"b`, "a\nb", "\xff"} {
		if _, err := p.start(name); !errors.Is(err, errText) {
			t.Errorf("name %q: %v", name, err)
		}
	}
	p.cfg.Track = strings.Repeat("t", 24)
	if _, err := p.start(strings.Repeat("n", maxSessionName)); err != nil {
		t.Fatal(err)
	}
	if _, err := p.mark(strings.Repeat("m", maxMarkText)); err != nil {
		t.Error(err)
	}
	p.current.Laps, p.current.BestNS = 9999, 3_599_999_999_999
	p.fail = errStopping
	if _, err := p.stop(); !errors.Is(err, errStopping) || p.sessions.now() == nil {
		t.Errorf("an end that nobody could be told: %v", err)
	}
	p.fail = nil
	if _, err := p.stop(); err != nil {
		t.Error(err)
	}
	for _, e := range p.events {
		if len(e.Detail) > wire.MaxEventDetail {
			t.Errorf("%s has %d bytes", e.Name, len(e.Detail))
		}
	}
	if err := os.WriteFile(filepath.Join(dir, sessionFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if q := openPit(t, config.Session{}, dir, 1); q.sessions.now() != nil {
		t.Error("a damaged file is a session")
	}
	if _, err := gatesOf(config.Session{Start: &config.Gate{A: config.Position{Lat: 1}, B: config.Position{Lat: 2}}}); err == nil {
		t.Error("a line of 111 km was taken")
	}
}
