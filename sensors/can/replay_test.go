package can

import (
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"telemetry/sensors"
	"telemetry/sensors/dbc"
	"telemetry/wire"
)

// virtualClock is a boot clock that follows the clock of a synctest bubble.
type virtualClock struct{ begin time.Time }

const bootStart int64 = 77_000_000_123

func (c virtualClock) BootNS() int64 { return bootStart + int64(time.Since(c.begin)) }

func open(log string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(log)), nil }
}

// counterDBC has one message with one counter, so that rows can be told apart.
const counterDBC = "BO_ 256 Count: 4 X\n SG_ N : 0|32@1+ (1,0) [0|0] \"\" X\nBO_ 512 Other: 4 X\n SG_ O : 0|32@1+ (1,0) [0|0] \"\" X\n"

func countLine(stampNS int64, n int) string {
	f := Frame{StampNS: stampNS, Bus: "can0", ID: 256, Len: 4}
	binary.LittleEndian.PutUint32(f.Bytes[:], uint32(n))
	return string(AppendLine(nil, &f))
}

// arrivals notes when rows came.
type arrivals struct {
	clock   virtualClock
	ticks   []int64
	values  []int64
	lag     []int64 // arrival after the tick, ns
	appends int
	after   func(rows int) error
}

func (a *arrivals) Append(r sensors.Rows) error {
	a.appends++
	for i, tick := range r.Ticks {
		a.ticks = append(a.ticks, tick)
		a.values = append(a.values, r.Values[i])
		a.lag = append(a.lag, a.clock.BootNS()-tick)
	}
	if a.after != nil {
		return a.after(len(a.ticks))
	}
	return nil
}

func (a *arrivals) Event(wire.Event) error { return nil }

func replay(t *testing.T, cfg ReplayConfig) *Replay {
	t.Helper()
	if cfg.Buses == nil {
		cfg.Buses = []Bus{{Databases: []*dbc.Database{database(t, counterDBC)}}}
	}
	r, err := NewReplay(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Stamps must be exact at every speed, and rows must come when they are due, in
// runs and without drift.
func TestReplayTiming(t *testing.T) {
	const first, count = int64(1631416514717133000), 5000
	for _, speed := range []float64{0, 1, 10, 0.5, 3, 7.777, 250} {
		t.Run(fmt.Sprint("speed ", speed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log strings.Builder
				stamps := make([]int64, count)
				for i := range stamps {
					stamps[i] = first + int64(i)*1_093_337 + int64(i*i%997)*1000 // 1.1 ms apart, jittered
					log.WriteString(countLine(stamps[i], i))
				}
				clock := virtualClock{time.Now()}
				r := replay(t, ReplayConfig{Open: open(log.String()), Speed: speed, Clock: clock})
				out := &arrivals{clock: clock}
				if err := r.Run(t.Context(), out); err != nil {
					t.Fatal(err)
				}
				milli := int64(speed * 1000)
				if speed == 0 {
					milli = 1000
				}
				if len(out.ticks) != count {
					t.Fatalf("%d rows, want %d", len(out.ticks), count)
				}
				floor := int64(0)
				for i, tick := range out.ticks {
					want := new(big.Int).Mul(big.NewInt(stamps[i]-first), big.NewInt(1000))
					want.Div(want, big.NewInt(milli))
					floor = max(floor, bootStart+want.Int64()) // rows of a group never go back
					if tick != floor || out.values[i] != int64(i) {
						t.Fatalf("row %d: value %d at %d, want %d", i, out.values[i], tick, floor)
					}
					if out.lag[i] < 0 || out.lag[i] > int64(2*minWake) {
						t.Fatalf("row %d came %v after its time", i, time.Duration(out.lag[i]))
					}
				}
				took := time.Since(clock.begin)
				if most := int(took/minWake) + 3; out.appends > most {
					t.Errorf("%d wake-ups in %v, want at most %d", out.appends, took, most)
				}
				if boot, logNS := r.Origin(); boot != bootStart || logNS != first {
					t.Errorf("origin %d, %d", boot, logNS)
				}
			})
		})
	}
}

func TestReplayClockSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ms := int64(1e6)
		// small fall; clock set back by an hour; forward by 40 years
		stamps := []int64{100e9, 100e9 + 10*ms, 100e9 + 8*ms, 100e9 + 20*ms, 100e9 - 3600e9, 100e9 - 3600e9 + 5*ms, 1_400_000_000e9, 1_400_000_000e9 + 7*ms}
		want := []int64{0, 10, 10, 20, 20, 25, 25, 32}
		var log strings.Builder
		for i, s := range stamps {
			log.WriteString(countLine(s+3600e9, i))
		}
		clock := virtualClock{time.Now()}
		r := replay(t, ReplayConfig{Open: open(log.String()), Clock: clock, Stamps: StampClock})
		out := &arrivals{clock: clock}
		if err := r.Run(t.Context(), out); err != nil {
			t.Fatal(err)
		}
		for i, w := range want {
			if got := out.ticks[i] - bootStart; got != w*ms {
				t.Errorf("row %d is at %v, want %d ms", i, time.Duration(got), w)
			}
		}
		for name, n := range map[string]uint64{"time_backward": 2, "time_steps": 2, "ticks_raised": 1, "passes": 1} {
			if got := counter(t, r, name); got != n {
				t.Errorf("%s is %d, want %d", name, got, n)
			}
		}
	})
}

// Frames of several interfaces may be written out of order: groups of each keep
// their exact times.
func TestReplayInterleavedInterfaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := "(5.000000) can0 100#01000000\n(5.000300) can1 200#02000000\n(5.000200) can0 100#03000000\n(5.000250) can2 100#04000000\n"
		clock := virtualClock{time.Now()}
		r := replay(t, ReplayConfig{
			Open: open(log), Clock: clock, Stamps: StampClock, Interfaces: []string{"can0", "can1"},
			Buses: []Bus{{Databases: []*dbc.Database{database(t, counterDBC)}}, {Name: "can1", Databases: []*dbc.Database{database(t, counterDBC)}}},
		})
		out := &table{groups: r.Groups()}
		if err := r.Run(t.Context(), out); err != nil {
			t.Fatal(err)
		}
		want := []string{
			fmt.Sprintf("Count %d 1", bootStart), fmt.Sprintf("Count %d 3", bootStart+200_000),
			fmt.Sprintf("can1.Other %d 2", bootStart+300_000),
		}
		slices.Sort(out.lines) // the order of groups in a wake-up does not matter
		if strings.Join(out.lines, "\n") != strings.Join(want, "\n") {
			t.Errorf("got  %q\nwant %q", out.lines, want)
		}
		if counter(t, r, "frames_skipped") != 1 || counter(t, r, "time_backward") != 1 {
			t.Errorf("counters %+v", r.Counters())
		}
	})
}

func TestReplayFaultyLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := countLine(100e9, 1) + "(100.1) can0 10" + "\n" + countLine(101e9, 2) + "(101.2) can0 999#00\n(101.5) can0 100#0300"
		clock := virtualClock{time.Now()}
		r := replay(t, ReplayConfig{Open: open(log), Clock: clock})
		out := &arrivals{clock: clock}
		if err := r.Run(t.Context(), out); err != nil {
			t.Fatal(err)
		}
		if len(out.values) != 2 || out.values[1] != 2 {
			t.Errorf("values %v", out.values)
		}
		for name, n := range map[string]uint64{"lines": 5, "lines_bad": 2, "frames": 3, "frames_cut": 1, "frames_unknown": 0} {
			if got := counter(t, r, name); got != n {
				t.Errorf("%s is %d, want %d", name, got, n)
			}
		}
		if bad := r.BadLines(); len(bad) != 2 || bad[0].Line != 2 || bad[1].Line != 4 {
			t.Errorf("bad lines %+v", bad)
		}
	})
}

func TestReplayLoops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := countLine(100e9, 0) + countLine(100e9+4e6, 1) + countLine(100e9+9e6, 2)
		clock := virtualClock{time.Now()}
		r := replay(t, ReplayConfig{Open: open(log), Clock: clock, Loop: true, Speed: 2})
		ctx, cancel := context.WithCancel(t.Context())
		out := &arrivals{clock: clock, after: func(rows int) error {
			if rows >= 3000 {
				cancel()
			}
			return nil
		}}
		if err := r.Run(ctx, out); !errors.Is(err, context.Canceled) {
			t.Fatalf("ended with %v", err)
		}
		for i, tick := range out.ticks {
			log := int64(i/3)*10e6 + []int64{0, 4e6, 9e6}[i%3]
			if tick != bootStart+log/2 {
				t.Fatalf("row %d is at %d, want %d", i, tick-bootStart, log/2)
			}
		}
		if n := counter(t, r, "passes"); n < 999 {
			t.Errorf("%d passes", n)
		}
	})
}

// What a log that is played in a loop lacks is said once, not once in a pass.
func TestALoopSaysItOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		unknown := Frame{StampNS: 100e9 + 5e6, Bus: "can0", ID: 0x7FF}
		log := countLine(100e9, 0) + string(AppendLine(nil, &unknown)) + "(oops) can0 1#\n" + countLine(100e9+9e6, 2)
		ctx, cancel := context.WithCancel(t.Context())
		var said strings.Builder
		clock := virtualClock{time.Now()}
		r := replay(t, ReplayConfig{Open: open(log), Clock: clock, Loop: true, Log: slog.New(slog.NewTextHandler(&said, nil))})
		if err := r.Run(ctx, &arrivals{clock: clock, after: func(rows int) error {
			if rows >= 100 {
				cancel()
			}
			return nil
		}}); !errors.Is(err, context.Canceled) {
			t.Fatalf("ended with %v", err)
		}
		if n := counter(t, r, "passes"); n < 10 {
			t.Fatalf("%d passes", n)
		}
		for _, line := range []string{`msg="bad line in log" log=log line=3`, `msg="frames with ids that no database knows" log=log frames=1 most="[can0 7FF]"`} {
			if strings.Count(said.String(), line) != 1 {
				t.Errorf("not once: %s\n%s", line, said.String())
			}
		}
		if n := strings.Count(said.String(), "\n"); n != 3 { // with the start
			t.Errorf("%d lines:\n%s", n, said.String())
		}
	})
}

func TestReplayUnpaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		for i := range 20_000 {
			log.WriteString(countLine(100e9+int64(i)*1e9, i))
		}
		clock := virtualClock{time.Now()}
		r := replay(t, ReplayConfig{Open: open(log.String()), Clock: clock, Unpaced: true})
		for run := range 2 {
			out := &arrivals{clock: clock}
			if err := r.Run(t.Context(), out); err != nil {
				t.Fatal(err)
			}
			begin := bootStart + int64(run)*19_999e9 // a second run goes on behind the first
			for i, tick := range out.ticks {
				if tick != begin+int64(i)*1e9 {
					t.Fatalf("run %d row %d is at %d", run, i, tick)
				}
			}
			if len(out.ticks) != 20_000 {
				t.Errorf("run %d: %d rows", run, len(out.ticks))
			}
		}
		if time.Since(clock.begin) != 0 {
			t.Error("an unpaced replay slept")
		}
	})
}

func TestReplayEnds(t *testing.T) {
	stopping := errors.New("stopping")
	missing := func() (io.ReadCloser, error) { return nil, os.ErrNotExist }
	for _, tc := range []struct {
		name string
		open func() (io.ReadCloser, error)
		sink error
		want error
	}{
		{"no file", missing, nil, os.ErrNotExist},
		{"sink stops", open(countLine(1e9, 1)), stopping, stopping},
		{"no frame", open("rubbish\n"), nil, nil},
	} {
		r := replay(t, ReplayConfig{Open: tc.open, Clock: virtualClock{time.Now()}})
		err := r.Run(t.Context(), &table{groups: r.Groups(), err: tc.sink})
		if err == nil || tc.want != nil && !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

func TestReplayConfigFaults(t *testing.T) {
	for name, cfg := range map[string]ReplayConfig{
		"no log":   {Clock: virtualClock{}},
		"no clock": {Path: "x.log"},
		"speed":    {Path: "x.log", Clock: virtualClock{}, Speed: -1},
		"gap":      {Path: "x.log", Clock: virtualClock{}, MaxGap: -1},
	} {
		if _, err := NewReplay(cfg); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// shared returns a file of the shared data folder beside the module, or skips.
func shared(t testing.TB, name string) string {
	t.Helper()
	dirs := []string{os.Getenv("SHARED_DIR")}
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for dir := wd; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		dirs = append(dirs, filepath.Join(dir, "shared"))
	}
	for _, dir := range dirs {
		path := filepath.Join(dir, "data", name)
		if _, err := os.Stat(path); dir != "" && err == nil {
			return path
		}
	}
	t.Skipf("no shared/data/%s above the module and no SHARED_DIR", name)
	return ""
}

func subaru(t testing.TB) *dbc.Database {
	t.Helper()
	text, err := os.ReadFile(shared(t, "can_subaru.dbc"))
	if err != nil {
		t.Fatal(err)
	}
	return database(t, string(text))
}

// columns collects the present values of each channel.
type columns struct {
	groups []wire.Group
	byName map[string][]int64
}

func (c *columns) Append(r sensors.Rows) error {
	g := c.groups[r.Group]
	for i := range r.Ticks {
		for k := range g.Channels {
			if at := i*len(g.Channels) + k; sensors.Bit(r.Present, at) {
				name := g.Name + "." + g.Channels[k].Name
				c.byName[name] = append(c.byName[name], r.Values[at])
			}
		}
	}
	return nil
}

func (c *columns) Event(wire.Event) error { return nil }

// A real log of a road car must give the values that were decoded from it
// elsewhere.
func TestSubaruLog(t *testing.T) {
	r := replay(t, ReplayConfig{
		Path: shared(t, "can_subaru_candump.log.gz"), Clock: virtualClock{time.Now()}, Unpaced: true,
		Buses: []Bus{{Databases: []*dbc.Database{subaru(t)}}},
	})
	out := &columns{groups: r.Groups(), byName: map[string][]int64{}}
	if err := r.Run(t.Context(), out); err != nil {
		t.Fatal(err)
	}
	var want struct {
		Channels []struct {
			Name       string `json:"name"`
			Samples    int    `json:"samples"`
			ByteOffset int    `json:"byte_offset"`
		} `json:"channels"`
	}
	text, err := os.ReadFile(shared(t, "can_subaru_signals.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	raw := gunzip(t, shared(t, "can_subaru_signals.bin.gz"))
	total := 0
	for _, c := range want.Channels {
		got := out.byName[c.Name]
		if len(got) != c.Samples {
			t.Errorf("%s: %d values, want %d", c.Name, len(got), c.Samples)
			continue
		}
		for i, v := range got {
			if w := int32(binary.LittleEndian.Uint32(raw[c.ByteOffset+4*i:])); v != int64(w) {
				t.Fatalf("%s value %d: %d, want %d", c.Name, i, v, w)
			}
		}
		total += len(got)
		delete(out.byName, c.Name)
	}
	if len(out.byName) != 0 {
		t.Errorf("channels that nobody expects: %d", len(out.byName))
	}
	if total != 91_381 || counter(t, r, "frames") != 82_558 || counter(t, r, "lines_bad") != 0 {
		t.Errorf("%d values, counters %+v", total, r.Counters())
	}
}

func gunzip(t testing.TB, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func BenchmarkSubaruLog(b *testing.B) {
	path, db := shared(b, "can_subaru_candump.log.gz"), subaru(b)
	b.ReportAllocs()
	for b.Loop() {
		r, err := NewReplay(ReplayConfig{Path: path, Clock: virtualClock{time.Now()}, Unpaced: true, Buses: []Bus{{Databases: []*dbc.Database{db}}}})
		if err != nil {
			b.Fatal(err)
		}
		if err := r.Run(b.Context(), &discard{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*82_558/b.Elapsed().Seconds()/1e6, "Mframes/s")
}

// Raw frames stand beside their signals, each interface for itself, also those
// that no database knows; another interface's frames are in neither.
func TestReplayRecordsRawFrames(t *testing.T) {
	log := countLine(5e9, 1) + "(5.5) can1 123#11\n(6.0) can0 7FF#2233\n(6.1) can2 100#01020304\n" + countLine(7e9, 2)
	synctest.Test(t, func(t *testing.T) {
		s := replay(t, ReplayConfig{Open: open(log), Buses: []Bus{{Name: "can0", Databases: []*dbc.Database{database(t, counterDBC)}}}, Interfaces: []string{"can0", "can1"}, Raw: true, Clock: virtualClock{time.Now()}})
		groups := s.Groups()
		if len(groups) != 4 || groups[2].Name != "can0.raw" || groups[3].Name != "can1.raw" {
			t.Fatalf("groups: %+v", groups)
		}
		got := map[string][]string{}
		err := s.Run(t.Context(), collect{func(r sensors.Rows) {
			if err := r.Check(groups); err != nil {
				t.Error(err)
			}
			for i, tick := range r.Ticks {
				text := fmt.Sprint(tick-bootStart, " ", r.Values[i*len(groups[r.Group].Channels)])
				got[groups[r.Group].Name] = append(got[groups[r.Group].Name], text)
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		want := map[string][]string{
			"Count": {"0 1", "2000000000 2"}, "can0.raw": {"0 256", "1000000000 2047", "2000000000 256"}, "can1.raw": {"500000000 291"},
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
	})
	if _, err := NewReplay(ReplayConfig{Path: "x", Raw: true, Clock: virtualClock{}}); err == nil || !strings.Contains(err.Error(), "none is named") {
		t.Errorf("raw frames of no interface: %v", err)
	}
}

// collect hands rows to a function.
type collect struct{ give func(sensors.Rows) }

func (c collect) Append(r sensors.Rows) error { c.give(r); return nil }
func (c collect) Event(wire.Event) error      { return nil }
