package slcan_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	lab "telemetry/lab/slcan"
	"telemetry/sensors"
	"telemetry/sensors/can"
	"telemetry/sensors/can/slcan"
	"telemetry/sensors/dbc"
	"telemetry/wire"
)

// realClock is a boot clock that runs.
type realClock struct{ begin time.Time }

func (c realClock) BootNS() int64 { return 5e9 + int64(time.Since(c.begin)) }

// stepClock is a boot clock that the test moves.
type stepClock struct{ ns atomic.Int64 }

func (c *stepClock) BootNS() int64 { return c.ns.Load() }

// byteDBC describes ids with one signal per byte, so that rows hold payloads.
func byteDBC(t *testing.T, size int, ids ...uint32) *dbc.Database {
	t.Helper()
	var b strings.Builder
	for _, id := range ids {
		fmt.Fprintf(&b, "BO_ %d M%x: %d X\n", id, id, size)
		for i := range size {
			fmt.Fprintf(&b, " SG_ B%x_%d : %d|8@1+ (1,0) [0|0] \"\" X\n", id, i, i*8)
		}
	}
	file, _, err := dbc.Parse(strings.NewReader(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	db, _ := dbc.Compile(file)
	return db
}

// row is what a frame became.
type row struct {
	id   uint32 // with bit 31 for extended
	tick int64
	data string
}

func (r row) String() string { return fmt.Sprintf("%x#%x at %d", r.id, r.data, r.tick) }

// rows collects what a source delivers.
type rows struct {
	mu     sync.Mutex
	groups []wire.Group
	all    []row
	events []wire.Event
	hold   chan struct{} // if set, Append waits until it is closed
}

func (s *rows) Append(r sensors.Rows) error {
	s.mu.Lock()
	hold := s.hold
	s.mu.Unlock()
	if hold != nil {
		<-hold
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var id uint32
	if _, err := fmt.Sscanf(s.groups[r.Group].Name, "M%x", &id); err != nil {
		return err
	}
	width := len(s.groups[r.Group].Channels)
	for i, tick := range r.Ticks {
		var data []byte
		for k := range width {
			if sensors.Bit(r.Present, i*width+k) {
				data = append(data, byte(r.Values[i*width+k]))
			}
		}
		s.all = append(s.all, row{id: id, tick: tick, data: string(data)})
	}
	return nil
}

func (s *rows) Event(e wire.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
	return nil
}

func (s *rows) take() []row {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.all)
}

func (s *rows) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}

func frameID(f *can.Frame) uint32 {
	if f.Extended {
		return f.ID | 1<<31
	}
	return f.ID
}

// want is what a frame should become.
func want(s lab.Sent) row {
	return row{id: frameID(&s.Frame), tick: s.BootNS, data: string(s.Frame.Data())}
}

// byID splits rows, which come group by group, into one run for each id.
func byID(all []row) map[uint32][]row {
	out := map[uint32][]row{}
	for _, r := range all {
		out[r.id] = append(out[r.id], r)
	}
	return out
}

// until polls a condition.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !cond(); {
		if time.Now().After(end) {
			t.Fatalf("timed out waiting for %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// bench is a source under a supervisor, with an emulated adapter.
type bench struct {
	adapter *lab.Adapter
	source  *slcan.Source
	sup     *sensors.Supervisor
	out     *rows
	stop    func()
}

// start plugs an adapter in and runs a source on it until the test ends or stop
// is called.
func start(t *testing.T, acfg lab.Config, scfg slcan.Config) *bench {
	t.Helper()
	if acfg.Clock == nil {
		acfg.Clock = realClock{time.Now()}
	}
	if acfg.Link == "" {
		acfg.Link = filepath.Join(t.TempDir(), "usb-Emulated_CANUSB-if00")
	}
	a, err := lab.New(acfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Plug(); err != nil {
		t.Skipf("no pseudo terminal here: %v", err)
	}
	scfg.Port, scfg.Clock = a.Path(), acfg.Clock
	if scfg.Bitrate == 0 {
		scfg.Bitrate = 500_000
	}
	src, err := slcan.New(scfg)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{adapter: a, source: src, out: &rows{groups: src.Groups()}}
	b.sup = sensors.NewSupervisor(sensors.SupervisorConfig{Jitter: func() float64 { return 0 }})
	if err := b.sup.Add("can", src, b.out); err != nil {
		t.Fatal(err)
	}
	stopAdapter, stopSource := runs(t, a.Run), runs(t, b.sup.Run)
	b.stop = sync.OnceFunc(func() {
		stopSource()
		stopAdapter()
	})
	t.Cleanup(b.stop)
	return b
}

// runs starts fn and returns what stops it.
func runs(t *testing.T, fn func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- fn(ctx) }() // ends with ctx: stop waits for it
	return func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("run: %v", err)
		}
	}
}

func (b *bench) counter(name string) uint64 {
	for _, c := range b.source.Counters() {
		if c.Name == name {
			return c.Value
		}
	}
	panic("no counter " + name)
}

// list is a feed of frames.
func list(frames []can.Frame) lab.Feed {
	c := make(chan can.Frame, len(frames))
	for _, f := range frames {
		c <- f
	}
	close(c)
	return lab.Channel(c)
}

// frames makes n frames with a running number, a millisecond apart.
func frames(n int) []can.Frame {
	out := make([]can.Frame, n)
	for i := range out {
		out[i] = can.Frame{StampNS: int64(i) * 1e6, ID: 0x123, Len: 8}
		copy(out[i].Bytes[:], fmt.Sprintf("%08d", i))
	}
	return out
}

// compare checks that rows are the frames that the host has read, in order, and
// none else. It returns the errors of the ticks in ns.
func compare(t *testing.T, got []row, truth []lab.Sent) (errs []int64) {
	t.Helper()
	var wanted []row
	for _, s := range truth {
		if s.Fate == lab.Read {
			wanted = append(wanted, want(s))
		}
	}
	g, w := byID(got), byID(wanted)
	if len(got) != len(wanted) || len(g) != len(w) {
		t.Errorf("got %d rows of %d ids, want %d of %d", len(got), len(g), len(wanted), len(w))
	}
	for id, wr := range w {
		for i := range min(len(wr), len(g[id])) {
			if g[id][i].data != wr[i].data {
				t.Errorf("row %d of id %x: got %v, want %v", i, id, g[id][i], wr[i])
				break
			}
			errs = append(errs, g[id][i].tick-wr[i].tick)
		}
	}
	return errs
}

// realLog writes the first frames of the real log, which make about seconds of
// it, and describes their ids.
func realLog(t *testing.T, seconds float64) (path string, db *dbc.Database, n int) {
	t.Helper()
	f, err := os.Open("../../../../shared/data/can_subaru_candump.log.gz")
	if err != nil {
		t.Skip("no recorded log here: ../shared/data/can_subaru_candump.log.gz is absent")
	}
	defer f.Close()
	r, err := can.NewReader(f, can.StampAuto)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var out []byte
	var ids []uint32
	var fr can.Frame
	for first := int64(0); ; n++ {
		if err := r.Next(&fr); err != nil {
			break
		}
		if first == 0 {
			first = fr.StampNS
		}
		if float64(fr.StampNS-first) > seconds*1e9 {
			break
		}
		if !slices.Contains(ids, frameID(&fr)) {
			ids = append(ids, frameID(&fr))
		}
		out = can.AppendLine(out, &fr)
	}
	path = filepath.Join(t.TempDir(), "real.log")
	if err := os.WriteFile(path, out, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, byteDBC(t, 8, ids...), n
}

func openLog(t *testing.T, path string) *lab.Log {
	t.Helper()
	l, err := lab.OpenLog(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestAllFramesOfALogArrive(t *testing.T) {
	cases := map[string]struct {
		speed    float64
		firmware lab.Firmware
		dialect  slcan.Dialect
		unitNS   int64
		seconds  float64 // of the log
	}{
		"as recorded, ms":            {1, lab.Lawicel, slcan.Lawicel, 1e6, 3},
		"four times, µs":             {4, lab.LawicelFD, slcan.LawicelFD, 1e3, 3},
		"all, as fast as it is read": {0, lab.Lawicel, slcan.Lawicel, 1e6, 1000},
		"host stamps, no reply":      {8, lab.CANable, slcan.CANable, 0, 3},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			path, db, n := realLog(t, c.seconds)
			b := start(t, lab.Config{Feed: openLog(t, path), Firmware: c.firmware, Speed: c.speed, StartNS: 57e9, DriftPPM: 40},
				slcan.Config{Dialect: c.dialect, Databases: []*dbc.Database{db}})
			begin := time.Now()
			until(t, "all frames", func() bool { return b.out.count() >= n && b.adapter.Done() })
			rate := float64(n) / time.Since(begin).Seconds()
			truth := b.adapter.Truth()
			b.stop()
			errs := compare(t, b.out.take(), truth)
			slices.Sort(errs)
			t.Logf("%d frames, tick errors min %d median %d p99 %d max %d ns, emulator late by at most %d ns, %.0f frames/s",
				n, errs[0], errs[n/2], errs[n*99/100], errs[n-1], b.adapter.Stats().MaxLatenessNS, rate)
			if bad := b.counter("lines_bad"); bad != 0 {
				t.Errorf("%d bad lines: %v", bad, b.source.BadLines())
			}
			// However late the host is, a tick is never before its frame by more than
			// the stamp's resolution: a frame can't come before it was sent.
			if c.speed > 0 && errs[0] < -c.unitNS {
				t.Errorf("a tick is %d ns before its frame", -errs[0])
			}
		})
	}
}

func writeFile(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestStampsTurnOverAndDriftThroughAPlug(t *testing.T) {
	cases := map[string]struct {
		firmware lab.Firmware
		dialect  slcan.Dialect
		startNS  int64
		stepNS   int64
		driftPPM float64
		unitNS   int64
	}{
		"ms, at 60 s": {lab.Lawicel, slcan.Lawicel, 59_400e6, 7_000_300_000, 30, 1e6},
		"ms, at rest": {lab.Lawicel, slcan.Lawicel, 30_000e6, 59_999_700_000, -10, 1e6},
		"µs, at 1 h":  {lab.LawicelFD, slcan.LawicelFD, 3_599_500e6, 251_000_300, 3, 1e3},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			const n = 200
			clock := &stepClock{}
			clock.ns.Store(4_321_987_654_321)
			feed := make(chan can.Frame)
			b := start(t, lab.Config{Feed: lab.Channel(feed), Firmware: c.firmware, StartNS: c.startNS, DriftPPM: c.driftPPM, Clock: clock},
				slcan.Config{Dialect: c.dialect, Databases: oneID(t), StatusEvery: -1})
			until(t, "the channel to open", func() bool { return b.adapter.Stats().Open })
			for i, f := range frames(n) {
				if i == n/2 { // the adapter loses power: its clock begins anew
					if err := errors.Join(b.adapter.Unplug(), b.adapter.Plug()); err != nil {
						t.Fatal(err)
					}
					until(t, "the channel to open again", func() bool { return b.adapter.Stats().Open })
				}
				clock.ns.Add(c.stepNS)
				feed <- f
				until(t, "the frame", func() bool { return b.counter("frames_read") == uint64(i+1) })
			}
			clock.ns.Add(c.stepNS)
			until(t, "the rows", func() bool { return b.out.count() == n })
			errs := compare(t, b.out.take(), b.adapter.Truth())
			for i, e := range errs {
				if e > c.unitNS || e < -c.unitNS {
					t.Fatalf("frame %d: tick is off by %d ns, want at most %d", i, e, c.unitNS)
				}
			}
			if n := b.counter("stamps_host") + b.counter("stamps_strange") + b.counter("stamp_restarts"); n != 0 {
				t.Errorf("%d stamps were not used", n)
			}
		})
	}
}

// rawRows collects the frames of raw rows.
type rawRows struct {
	mu     sync.Mutex
	groups []wire.Group
	frames []can.Frame
}

func (s *rawRows) Append(r sensors.Rows) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.groups[r.Group].Name != "can7.raw" {
		return nil
	}
	width := len(s.groups[r.Group].Channels)
	for i, tick := range r.Ticks {
		row := make([]int64, width)
		for k := range row {
			if sensors.Bit(r.Present, i*width+k) {
				row[k] = r.Values[i*width+k]
			}
		}
		f, err := can.RawFrame(row)
		if err != nil {
			return err
		}
		f.StampNS = tick
		s.frames = append(s.frames, f)
	}
	return nil
}

func (s *rawRows) Event(wire.Event) error { return nil }

func (s *rawRows) take() []can.Frame {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.frames)
}

func TestRawFramesAreRecordedWithoutADatabase(t *testing.T) {
	all := frames(300)
	for i := range all { // of all kinds, of ids that nobody knows
		f := &all[i]
		switch i % 4 {
		case 1:
			f.ID, f.Extended = 0x18fef100+uint32(i), true
		case 2:
			f.RTR, f.Len, f.Bytes = true, 3, [64]byte{}
		case 3:
			f.FD, f.BRS, f.Len, f.Bytes[47] = true, true, 48, 1
		}
	}
	clock := realClock{time.Now()}
	a, err := lab.New(lab.Config{Feed: list(all), Firmware: lab.LawicelFD, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Plug(); err != nil {
		t.Skipf("no pseudo terminal here: %v", err)
	}
	t.Cleanup(runs(t, a.Run))
	src, err := slcan.New(slcan.Config{Port: a.Path(), Interface: "can7", Dialect: slcan.LawicelFD, Bitrate: 500_000, Raw: true, Databases: oneID(t), Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	out := &rawRows{groups: src.Groups()}
	stop := runs(t, func(ctx context.Context) error { return src.Run(ctx, out) })
	until(t, "the frames", func() bool { return len(out.take()) == len(all) })
	stop()
	for i, f := range out.take() {
		f.StampNS = all[i].StampNS
		if f != all[i] {
			t.Fatalf("frame %d: got %+v, want %+v", i, f, all[i])
		}
	}
}
