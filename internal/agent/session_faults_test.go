package agent

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"telemetry/internal/config"
	"telemetry/sensors"
	"telemetry/sensors/lap"
	"telemetry/wire"
)

// laps returns the details of all laps that were told.
func (p *pit) laps(t *testing.T) []detail {
	t.Helper()
	var out []detail
	for _, e := range p.events {
		if e.Name != eventLap {
			continue
		}
		var d detail
		if err := json.Unmarshal([]byte(e.Detail), &d); err != nil {
			t.Fatal(err)
		}
		out = append(out, d)
	}
	return out
}

// TestFullDiskEndsNoSource: at the start line the session's file cannot be written.
// The rows go on, the laps are told, and the file is written once there is room.
func TestFullDiskEndsNoSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := ringTrack()
		cfg.Autostart = true
		p := openPit(t, cfg, t.TempDir(), 1)
		var full atomic.Bool
		full.Store(true)
		p.write = func(path string, b []byte) error {
			if full.Load() {
				return &os.PathError{Op: "write", Path: path, Err: syscall.ENOSPC}
			}
			return writeDurably(path, b)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.Run(ctx) }() // ends with cancel
		car := p.driver(t)
		car.drive(t, 100) // fails the test if a row is refused
		synctest.Wait()
		if n := len(p.laps(t)); n != 2 {
			t.Errorf("%d laps were told, want 2", n)
		}
		if on := p.sessions.now(); on == nil || !strings.Contains(on.Unkept, "no space") {
			t.Errorf("the session does not say that it is not kept: %+v", on)
		}
		full.Store(false)
		time.Sleep(2 * keepAgain) // virtual
		synctest.Wait()
		if on := p.sessions.now(); on.Unkept != "" {
			t.Errorf("there is room again: %+v", on)
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if q := openPit(t, cfg, filepath.Dir(p.path), 1); q.sessions.now() == nil || q.sessions.now().Timer.Lap != 3 {
			t.Errorf("after a restart: %+v", q.sessions.now())
		}
	})
}

// TestSlowDiskHoldsNobodyUp: a source crosses lines and people ask while the disk
// takes minutes for one write.
func TestSlowDiskHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := ringTrack()
		cfg.Autostart = true
		p := openPit(t, cfg, t.TempDir(), 1)
		writes := 0
		p.write = func(path string, b []byte) error {
			writes++
			time.Sleep(5 * time.Minute)
			return writeDurably(path, b)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.Run(ctx) }() // ends with cancel
		begun := time.Now()
		car := p.driver(t)
		car.drive(t, 20)
		synctest.Wait() // the write of the begin hangs
		car.drive(t, 400)
		if on := p.sessions.now(); on == nil || on.Laps != 10 {
			t.Errorf("%+v", on)
		}
		if d := time.Since(begun); d != 0 {
			t.Errorf("the source waited %v for the disk", d)
		}
		cancel()
		<-ended
		if writes > 3 {
			t.Errorf("%d writes, want the begin, the latest state and the end", writes)
		}
		if q := openPit(t, cfg, filepath.Dir(p.path), 1); q.sessions.now().Laps != 10 {
			t.Errorf("%+v", q.sessions.now())
		}
	})
}

// TestFullQueueHoldsOnlyItsSource: while the encoder takes nothing, the source waits
// and everyone else is answered.
func TestFullQueueHoldsOnlyItsSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := openPit(t, ringTrack(), t.TempDir(), 1)
		if _, err := p.start("Q1"); err != nil {
			t.Fatal(err)
		}
		room := make(chan struct{})
		var events atomic.Int64
		p.sessions.put = func(wire.Event) error { <-room; events.Add(1); return nil }
		done := make(chan struct{})
		go func() { // ends when there is room
			defer close(done)
			p.driver(t).drive(t, 20)
		}()
		synctest.Wait()
		if on := p.sessions.now(); on == nil || on.Timer.Lap != 1 {
			t.Errorf("%+v", on)
		}
		if events.Load() != 0 {
			t.Error("nobody waits: the test shows nothing")
		}
		close(room)
		<-done
	})
}

// TestMissedStartLine: the receiver is without positions while the car crosses the
// start line.
func TestMissedStartLine(t *testing.T) {
	p := openPit(t, ringTrack(), t.TempDir(), 1)
	car := p.driver(t)
	if _, err := p.start("Q1"); err != nil {
		t.Fatal(err)
	}
	car.drive(t, 80) // lap 2 nears its end
	const lost = 60  // positions
	car.angle, car.tick = car.angle+lost*2*math.Pi/400, car.tick+lost*100_000_000
	car.drive(t, 120)
	laps := p.laps(t)
	if len(laps) != 5 {
		t.Fatalf("laps %+v", laps)
	}
	for i, l := range laps {
		if l.Lap != i+1 {
			t.Errorf("lap %d is told as %d", i+1, l.Lap)
		}
		if l.TimeNS > 50e9 {
			t.Errorf("a lap of 40 s takes %d s: %+v", l.TimeNS/1e9, l)
		}
		if l.Complete != (l.TimeNS > 0) || l.Complete != (i == 0 || i >= 3) {
			t.Errorf("%+v", l)
		}
	}
	if on := p.sessions.now(); on.BestNS < 39e9 || on.BestNS > 41e9 {
		t.Errorf("best %d", on.BestNS)
	}
}

// lapCounter is a source with a channel that counts laps.
func (p *pit) lapCounter(t *testing.T) func(sec, value int64) {
	t.Helper()
	g := wire.Group{Name: "Dash", Channels: []wire.Channel{{Name: "LapCount", Type: wire.TypeUint}}}
	out := p.taps(t, namedSource{name: "ecu", source: &script{groups: []wire.Group{g}}})[0]
	return func(sec, value int64) {
		t.Helper()
		if err := out.Append(sensors.Rows{Ticks: []int64{sec * 1e9}, Values: []int64{value}}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLapChannelThatChangedDuringARestart: the lap has ended, and it is not known
// when.
func TestLapChannelThatChangedDuringARestart(t *testing.T) {
	for _, c := range []struct {
		name string
		boot byte  // of the second process: 1 is that of the first
		next int64 // value that it finds
		want []lap.Mark
	}{
		{"changed", 1, 9, []lap.Mark{{Lap: 2}, {Lap: 3}, {Lap: 4, TimeNS: 90e9, Complete: true}}},
		{"unchanged", 1, 8, []lap.Mark{{Lap: 2, TimeNS: 150e9, Complete: true}, {Lap: 3, TimeNS: 90e9, Complete: true}}},
		{"another start of the machine", 2, 0, []lap.Mark{{Lap: 2}, {Lap: 3, TimeNS: 90e9, Complete: true}}},
	} {
		dir := t.TempDir()
		cfg := config.Session{LapChannel: "ecu.LapCount", ShortestLap: config.Duration(5e9)}
		p := openPit(t, cfg, dir, 1)
		if _, err := p.start("R"); err != nil {
			t.Fatal(err)
		}
		row := p.lapCounter(t)
		row(10, 6)
		row(20, 7)
		row(110, 8)
		row(120, 8)
		p.saved(t)
		q := openPit(t, cfg, dir, c.boot)
		row = q.lapCounter(t)
		row(205, c.next)
		row(260, c.next+1)
		row(350, c.next+2)
		var got []lap.Mark
		for _, d := range q.laps(t) {
			got = append(got, lap.Mark{Lap: d.Lap, TimeNS: d.TimeNS, Complete: d.Complete})
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", c.name, got, c.want)
		}
	}
}

// TestRestartOnTheLine: without sectors nothing shows that a line was missed while
// the process did not run.
func TestRestartOnTheLine(t *testing.T) {
	cfg, dir := ringTrack(), t.TempDir()
	cfg.Sectors = nil
	p := openPit(t, cfg, dir, 1)
	if _, err := p.start("R"); err != nil {
		t.Fatal(err)
	}
	car := p.driver(t)
	car.drive(t, 80) // the last position is before the line
	if n := len(p.laps(t)); n != 1 {
		t.Fatalf("%d laps", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = p.Run(ctx) // keeps when the car was seen last
	q := openPit(t, cfg, dir, 1)
	next := q.driver(t)
	next.angle, next.tick = car.angle+0.4, car.tick+2_500_000_000
	next.drive(t, 100)
	laps := q.laps(t)
	if len(laps) < 2 || laps[0].Complete || !laps[1].Complete {
		t.Errorf("%+v", laps)
	}
}

func TestChannelsOfASession(t *testing.T) {
	gps := func(name string) namedSource {
		return namedSource{name: name, source: &script{groups: []wire.Group{{Name: "gnss", Channels: []wire.Channel{{Name: "gnss_lat"}, {Name: "gnss_lon"}}}}}}
	}
	bus := namedSource{name: "can0", source: &script{groups: []wire.Group{
		{Name: "Pos1", Channels: []wire.Channel{{Name: "Lat"}, {Name: "Lap"}}},
		{Name: "Pos2", Channels: []wire.Channel{{Name: "Lon"}, {Name: "Lap"}}},
	}}}
	renamed := gps("front")
	renamed.shape.Rename = map[string]string{"gnss_lat": "car_lat", "gnss_lon": "car_lon"}
	start := &config.Gate{}
	for _, c := range []struct {
		name    string
		cfg     config.Session
		sources []namedSource
		want    string   // source.channel of the latitude or the lap channel; empty: none
		notes   []string // parts of what is warned of
	}{
		{"one receiver", config.Session{Start: start, Latitude: "gnss_lat", Longitude: "gnss_lon"}, []namedSource{bus, gps("gps")}, "gps.gnss_lat", nil},
		{"two receivers", config.Session{Start: start, Latitude: "gnss_lat", Longitude: "gnss_lon"}, []namedSource{gps("gps"), gps("gps2")}, "gps.gnss_lat", []string{"gps.gnss_lat, gps2.gnss_lat", "gps.gnss_lon, gps2.gnss_lon"}},
		{"two, and one is chosen", config.Session{Start: start, Latitude: "gps2.gnss_lat", Longitude: "gps2.gnss_lon"}, []namedSource{gps("gps"), gps("gps2")}, "gps2.gnss_lat", nil},
		{"the first is chosen", config.Session{Start: start, Latitude: "gps.gnss_lat", Longitude: "gps.gnss_lon"}, []namedSource{gps("gps"), gps("gps2")}, "gps.gnss_lat", nil},
		{"with the group", config.Session{LapChannel: "Pos2.Lap"}, []namedSource{bus}, "can0.Lap", nil},
		{"in two groups", config.Session{LapChannel: "Lap"}, []namedSource{bus}, "can0.Lap", []string{"can0.Lap, can0.Lap"}},
		{"a new name", config.Session{Start: start, Latitude: "car_lat", Longitude: "car_lon"}, []namedSource{gps("gps"), renamed}, "front.gnss_lat", nil},
		{"unknown", config.Session{LapChannel: "ecu.Lap"}, []namedSource{bus}, "", []string{`"ecu.Lap"`}},
		{"unknown positions", config.Session{Start: start, Latitude: "gnss_lat", Longitude: "gnss_lon"}, []namedSource{bus}, "", []string{`"gnss_lat"`, `"gnss_lon"`}},
		{"apart", config.Session{Start: start, Latitude: "Lat", Longitude: "Lon"}, []namedSource{bus}, "", []string{"do not come together"}},
		{"nothing wanted", config.Session{Latitude: "gnss_lat", Longitude: "gnss_lon"}, []namedSource{bus}, "", nil},
	} {
		pl, err := newPlan("car", c.sources, config.Preview{Off: true})
		if err != nil {
			t.Fatal(err)
		}
		w, notes := seek(c.cfg, c.sources, pl)
		got := w.lat
		if c.cfg.Start == nil {
			got = w.lap
		}
		if c.want == "" && got != nil || c.want != "" && (got == nil || got.name != c.want) {
			t.Errorf("%s: got %+v, want %q", c.name, got, c.want)
		}
		if len(notes) != len(c.notes) {
			t.Errorf("%s: notes %+v, want %q", c.name, notes, c.notes)
			continue
		}
		for i, part := range c.notes {
			if !strings.Contains(notes[i].text, part) || !strings.HasPrefix(notes[i].path, "session.") {
				t.Errorf("%s: note %+v, want %q", c.name, notes[i], part)
			}
		}
	}
}

// TestPowerFailKeepsTheSession: what the file has not yet is written with the rest
// when power goes.
func TestPowerFailKeepsTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCar(t, 1, nil)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }() // ends with cancel
		time.Sleep(time.Second)
		s, err := c.Agent.sessions()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.start("Q1"); err != nil {
			t.Fatal(err)
		}
		var full atomic.Bool
		full.Store(true)
		s.mu.Lock()
		s.write = func(path string, b []byte) error {
			if full.Load() {
				return syscall.ENOSPC
			}
			return writeDurably(path, b)
		}
		s.mu.Unlock()
		if on, err := s.mark("out of fuel"); err != nil || on.Unkept == "" {
			t.Fatalf("%+v %v", on, err)
		}
		synctest.Wait() // the file will be tried again in two seconds
		full.Store(false)
		if _, err := c.PowerFail(t.Context()); err != nil {
			t.Error(err)
		}
		b, err := os.ReadFile(s.path)
		var on Session
		if err != nil || json.Unmarshal(b, &on) != nil || on.Marks != 1 {
			t.Errorf("the file has %s, %v", b, err)
		}
		cancel()
		<-done // it may say that nothing more is written
	})
}

// TestSessionFileThatCannotBeRead: the car runs without its session, and a new one
// is kept.
func TestSessionFileThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, sessionFile), 0o700); err != nil { // reading it fails
		t.Fatal(err)
	}
	p := openPit(t, config.Session{}, dir, 1)
	if on := p.sessions.now(); on != nil {
		t.Errorf("%+v", on)
	}
	if on, err := p.start("Q1"); err != nil || on.Unkept != "" {
		t.Errorf("%+v, %v", on, err)
	}
}

// TestStoppedSessionStaysStopped: its file is gone for good only once the folder is
// durable, and that is tried again although the file is gone.
func TestStoppedSessionStaysStopped(t *testing.T) {
	p := openPit(t, config.Session{}, t.TempDir(), 1)
	synced, fail := []string(nil), error(syscall.EIO)
	p.remove = remover(func(dir string) error { synced = append(synced, dir); return fail })
	if _, err := p.start("Q1"); err != nil {
		t.Fatal(err)
	}
	if on, err := p.stop(); err != nil || on.Unkept == "" {
		t.Errorf("an end that is not durable is called kept: %+v, %v", on, err)
	}
	fail = nil
	p.saved(t)
	if dir := filepath.Dir(p.path); !slices.Equal(synced, []string{dir, dir}) {
		t.Errorf("made durable: %q", synced)
	}
}

// TestSessionWithoutBootIDs: starts of a machine whose id cannot be read are never
// the same one.
func TestSessionWithoutBootIDs(t *testing.T) {
	dir := t.TempDir()
	p := openPit(t, ringTrack(), dir, 0)
	if _, err := p.start("Q1"); err != nil {
		t.Fatal(err)
	}
	p.driver(t).drive(t, 50)
	p.saved(t)
	q := openPit(t, ringTrack(), dir, 0).sessions.now()
	if q == nil || q.BootNS != 0 || q.SeenNS != 0 || q.Timer.BeginNS != 0 {
		t.Errorf("times of another start count: %+v", q)
	}
}

// TestLapChannelThatIsNone: a channel that changes with every sample was taken for the
// number of the lap. The card is not written for each of them, and the file has the last
// one soon after it.
func TestLapChannelThatIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := openPit(t, config.Session{LapChannel: "speed", ShortestLap: config.Duration(10 * time.Second)}, t.TempDir(), 1)
		var writes atomic.Int64
		p.write = func(path string, b []byte) error {
			writes.Add(1)
			return writeDurably(path, b)
		}
		if _, err := p.sessions.start("stint"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.Run(ctx) }() // ends with cancel
		const seconds, last = 20, 20_000
		for i := range int64(last) {
			if err := p.lapChannel(int64(time.Hour)+i*1e6, i+1); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond) // virtual
		}
		if n := writes.Load(); n < seconds/2 || n > 6*seconds {
			t.Errorf("%d writes in %d s", n, seconds)
		}
		time.Sleep(time.Second) // virtual
		b, err := os.ReadFile(p.path)
		if err != nil {
			t.Fatal(err)
		}
		var on Session
		if err := json.Unmarshal(b, &on); err != nil || on.LapRaw == nil || *on.LapRaw != last {
			t.Errorf("the file has %s (%v)", b, err)
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
