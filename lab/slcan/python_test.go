//go:build foreign

package slcan_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"telemetry/lab/slcan"
	"telemetry/sensors"
	"telemetry/sensors/can"
	source "telemetry/sensors/can/slcan"
	"telemetry/sensors/dbc"
	"telemetry/wire"
)

// python returns the interpreter that check_python.sh makes.
func python(t *testing.T) string {
	t.Helper()
	p, err := filepath.Abs("../../.cache/slcan-venv/bin/python")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(p); err != nil {
		t.Fatal("no python-can here: lab/slcan/check_python.sh installs it below .cache")
	}
	return p
}

// mixed makes frames of all kinds that python-can's client knows.
func mixed(n int, fd bool) []can.Frame {
	rng := rand.New(rand.NewPCG(1, 2))
	out := make([]can.Frame, n)
	for i := range out {
		f := can.Frame{StampNS: int64(i) * 1e6, Bus: "can0", ID: rng.Uint32() % 0x800, Len: uint8(rng.IntN(9))}
		if rng.IntN(2) == 0 {
			f.Extended, f.ID = true, rng.Uint32()%(1<<29)
		}
		switch kind := rng.IntN(10); {
		case kind == 0:
			f.RTR = true
		case kind < 5 && fd:
			f.FD, f.BRS = true, rng.IntN(2) == 0
			f.Len = []uint8{0, 3, 8, 12, 16, 20, 24, 32, 48, 64}[rng.IntN(10)]
		}
		for k := range f.Data() {
			f.Bytes[k] = byte(rng.Uint32())
		}
		out[i] = f
	}
	return out
}

// lines writes frames as python prints them.
func lines(frames []can.Frame) []string {
	out := make([]string, len(frames))
	for i, f := range frames {
		f.StampNS, f.Bus, f.TX = 0, "can0", false
		_, rest, _ := strings.Cut(string(can.AppendLine(nil, &f)), " ")
		out[i] = strings.TrimSpace(rest)
	}
	return out
}

func pythonCases(t *testing.T) map[string]struct {
	firmware slcan.Firmware
	dialect  source.Dialect
	frames   func(t *testing.T) []can.Frame
} {
	t.Helper()
	return map[string]struct {
		firmware slcan.Firmware
		dialect  source.Dialect
		frames   func(t *testing.T) []can.Frame
	}{
		"recorded log":    {slcan.Lawicel, source.Lawicel, func(t *testing.T) []can.Frame { return recorded(t, 10_000) }},
		"all kinds":       {slcan.Lawicel, source.Lawicel, func(*testing.T) []can.Frame { return mixed(3000, false) }},
		"all kinds, fd":   {slcan.LawicelFD, source.LawicelFD, func(*testing.T) []can.Frame { return mixed(3000, true) }},
		"silent firmware": {slcan.CANable, source.CANable, func(*testing.T) []can.Frame { return mixed(1000, true) }},
	}
}

func TestPythonCANReadsWhatIsOnTheBus(t *testing.T) {
	py := python(t)
	for name, c := range pythonCases(t) {
		if c.firmware == slcan.CANable {
			continue // it has no L and no serial number, which python-can would wait for
		}
		t.Run(name, func(t *testing.T) {
			frames := c.frames(t)
			a := plugIn(t, slcan.Config{Firmware: c.firmware, Feed: feed(frames)})
			cmd := exec.CommandContext(t.Context(), py, "check_python.py", "read", a.Path(), strconv.Itoa(len(frames)))
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("python: %v\n%s", err, stderr(err))
			}
			got := strings.Split(strings.TrimSpace(string(out)), "\n")
			t.Log(got[0])
			for i, l := range got[1:] {
				_, got[i+1], _ = strings.Cut(l, " ")
			}
			sameLines(t, got[1:], lines(frames))
		})
	}
}

func stderr(err error) []byte {
	var ee *exec.ExitError
	if errors.As(err, &ee) {
		return ee.Stderr
	}
	return nil
}

func sameLines(t *testing.T, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("got %d frames, want %d", len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("frame %d: got %s, want %s", i, got[i], want[i])
		}
	}
	t.Logf("%d frames are the same", len(want))
}

// TestPythonCANSendsAndTheSourceReads puts python-can's frames on the bus by one
// adapter and reads them with the source by another, so that the source meets
// lines of which a foreign program chose the form.
func TestPythonCANSendsAndTheSourceReads(t *testing.T) {
	py := python(t)
	for name, c := range pythonCases(t) {
		t.Run(name, func(t *testing.T) {
			frames := c.frames(t)
			path := filepath.Join(t.TempDir(), "frames.log")
			var log bytes.Buffer
			for i := range frames {
				log.Write(can.AppendLine(nil, &frames[i]))
			}
			if err := os.WriteFile(path, log.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			bus := make(chan can.Frame, len(frames))
			sender := plugIn(t, slcan.Config{Firmware: c.firmware, Transmitted: func(f can.Frame) { bus <- f }})
			hearer := plugIn(t, slcan.Config{Firmware: c.firmware, Feed: slcan.Channel(bus)})
			src, err := source.New(source.Config{
				Port: hearer.Path(), Dialect: c.dialect, Bitrate: 500_000, Clock: clock{time.Now()},
				Databases: []*dbc.Database{describe(t, frames)},
			})
			if err != nil {
				t.Fatal(err)
			}
			sink := &payloads{groups: src.Groups()}
			run(t, func(ctx context.Context) error { return src.Run(ctx, sink) })
			if out, err := exec.CommandContext(t.Context(), py, "check_python.py", "write", sender.Path(), path).CombinedOutput(); err != nil {
				t.Fatalf("python: %v\n%s", err, out)
			}
			if n := sender.Stats().Transmitted; n != len(frames) {
				t.Fatalf("the adapter sent %d frames, python-can %d", n, len(frames))
			}
			want := map[string][]string{}
			count := 0
			for i := range frames {
				if f := &frames[i]; !f.RTR && f.Len > 0 {
					want[key(f)] = append(want[key(f)], string(f.Data()))
					count++
				}
			}
			for end := time.Now().Add(30 * time.Second); sink.count() < count; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("timed out with %d of %d rows; heard %v; %+v; %v", sink.count(), count, fates(hearer.Truth()), src.Counters(), src.BadLines())
				}
			}
			for k, w := range want {
				if !slices.Equal(sink.all[k], w) {
					t.Errorf("id %s: got %x, want %x", k, sink.all[k], w)
				}
			}
			t.Logf("%d rows of %d frames are the same", count, len(frames))
		})
	}
}

func key(f *can.Frame) string { return fmt.Sprintf("M%x_%v", f.ID, f.Extended) }

// describe makes a database with one signal per byte for all ids.
func describe(t *testing.T, frames []can.Frame) *dbc.Database {
	t.Helper()
	var b strings.Builder
	seen := map[string]bool{}
	for i := range frames {
		f := &frames[i]
		if seen[key(f)] {
			continue
		}
		seen[key(f)] = true
		id := uint64(f.ID)
		if f.Extended {
			id |= 1 << 31
		}
		fmt.Fprintf(&b, "BO_ %d %s: 64 X\n", id, key(f))
		for k := range 64 {
			fmt.Fprintf(&b, " SG_ B%d : %d|8@1+ (1,0) [0|0] \"\" X\n", k, k*8)
		}
	}
	file, _, err := dbc.Parse(strings.NewReader(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	db, _ := dbc.Compile(file)
	return db
}

// payloads collects the bytes of rows by group.
type payloads struct {
	groups []wire.Group
	mu     sync.Mutex
	n      int
	all    map[string][]string
}

func (p *payloads) Append(r sensors.Rows) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all == nil {
		p.all = map[string][]string{}
	}
	g := p.groups[r.Group]
	width := len(g.Channels)
	for i := range r.Ticks {
		var data []byte
		for k := range width {
			if sensors.Bit(r.Present, i*width+k) {
				data = append(data, byte(r.Values[i*width+k]))
			}
		}
		p.all[g.Name] = append(p.all[g.Name], string(data))
		p.n++
	}
	return nil
}

func (p *payloads) Event(wire.Event) error { return nil }

func (p *payloads) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n
}

// recorded returns the real log's first frames, or none.
func recorded(t *testing.T, n int) []can.Frame {
	t.Helper()
	log, err := slcan.OpenLog("../../../shared/data/can_subaru_candump.log.gz")
	if err != nil {
		t.Skip("no recorded log here: ../shared/data/can_subaru_candump.log.gz is absent")
	}
	defer log.Close()
	var out []can.Frame
	for range n {
		var f can.Frame
		if err := log.Next(t.Context(), &f); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		out = append(out, f)
	}
	return out
}
