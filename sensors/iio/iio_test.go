package iio

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"telemetry/sensors"
	"telemetry/wire"
)

// tree is a device in a folder: attributes are files, the buffer is a FIFO.
type tree struct{ sys, dev, dir string }

func newTree(t *testing.T) *tree {
	t.Helper()
	root := t.TempDir()
	tr := &tree{sys: filepath.Join(root, "sys"), dev: filepath.Join(root, "dev")}
	tr.dir = filepath.Join(tr.sys, "iio:device3")
	for _, d := range []string{filepath.Join(tr.dir, "scan_elements"), filepath.Join(tr.dir, "buffer"), filepath.Join(tr.dir, "trigger"), tr.dev} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, value := range map[string]string{
		"name": "lsm6dsl_accel", "sampling_frequency": "833", "in_accel_scale": "0.000598", "in_temp_scale": "3.90625", "in_temp_offset": "6400",
		"in_voltage2_scale": "0.5", "current_timestamp_clock": "realtime",
		"buffer/enable": "1", "buffer/length": "2", "buffer/watermark": "1", "trigger/current_trigger": "",
	} {
		tr.put(t, name, value)
	}
	for i, e := range [][2]string{
		{"in_accel_x", "le:s16/16>>0"}, {"in_accel_y", "be:s12/16>>4"}, {"in_temp", "le:u24/32>>8"}, {"in_voltage2", "le:s8/8>>0"}, {"in_timestamp", "le:s64/64>>0"},
	} {
		tr.put(t, "scan_elements/"+e[0]+"_en", "0")
		tr.put(t, "scan_elements/"+e[0]+"_type", e[1])
		tr.put(t, "scan_elements/"+e[0]+"_index", string(rune('0'+i)))
	}
	if err := syscall.Mkfifo(filepath.Join(tr.dev, "iio:device3"), 0o600); err != nil {
		t.Skipf("no FIFO here: %v", err)
	}
	return tr
}

func (tr *tree) put(t *testing.T, name, value string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(tr.dir, name), []byte(value+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (tr *tree) get(t *testing.T, name string) string {
	t.Helper()
	v, err := read(tr.dir, name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// sample is what the driver puts into the buffer: 24 bytes.
func sample(i int, stamp int64) []byte {
	b := binary.LittleEndian.AppendUint16(nil, uint16(-i))
	b = binary.BigEndian.AppendUint16(b, uint16(i)<<4|0xF)
	b = binary.LittleEndian.AppendUint32(b, uint32(i)<<8|0x7F)
	b = append(b, 0xFB, 0xEE, 0xEE, 0xEE, 0xEE, 0xEE, 0xEE, 0xEE) // to the next multiple of eight
	return binary.LittleEndian.AppendUint64(b, uint64(stamp))
}

type bootClock struct{ begin time.Time }

func (c bootClock) BootNS() int64 { return int64(time.Hour) + int64(time.Since(c.begin)) }

type book struct {
	t      *testing.T
	groups []wire.Group
	mu     sync.Mutex
	ticks  []int64
	values []int64
	events []wire.Event
}

func (b *book) Append(r sensors.Rows) error {
	if err := r.Check(b.groups); err != nil {
		b.t.Error(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ticks, b.values = append(b.ticks, r.Ticks...), append(b.values, r.Values...)
	return nil
}

func (b *book) Event(e wire.Event) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, e)
	return nil
}

func (b *book) rows() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.ticks)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestCapture(t *testing.T) {
	tr := newTree(t)
	clk := bootClock{time.Now()}
	src, err := New(Config{Name: "imu", Device: "lsm6dsl_accel", Sys: tr.sys, Dev: tr.dev, RateHz: 1000, Trigger: "sysfstrig0", Clock: clk})
	if err != nil {
		t.Fatal(err)
	}
	b := &book{t: t, groups: src.Groups()}
	w, err := os.OpenFile(filepath.Join(tr.dev, "iio:device3"), os.O_RDWR, 0) // both, so that it has no end
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- src.Run(ctx, b) }() // ends with cancel
	eventually(t, "the buffer is open", func() bool { return src.count.opens.Load() == 1 })
	begin := clk.BootNS() - int64(time.Second)
	var stream []byte
	for i := range 500 {
		if i != 300 && i != 301 && i != 302 { // the buffer was full
			stream = append(stream, sample(i, begin+int64(i)*1_000_000)...)
		}
	}
	for from := 0; from < len(stream); from += 1000 { // cuts samples
		if _, err := w.Write(stream[from:min(from+1000, len(stream))]); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all samples", func() bool { return b.rows() == 497 })
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	for row, i := range []int{0, 1, 299, 303, 499} {
		row = map[int]int{0: 0, 1: 1, 2: 299, 3: 300, 4: 496}[row]
		if b.ticks[row] != begin+int64(i)*1_000_000 || b.values[row*4] != int64(-i) || b.values[row*4+1] != int64(i) || b.values[row*4+2] != int64(i) || b.values[row*4+3] != -5 {
			t.Errorf("row %d: %d %v", row, b.ticks[row]-begin, b.values[row*4:row*4+4])
		}
	}
	if src.count.lost.Load() != 3 || src.count.gaps.Load() != 1 || len(b.events) != 1 || src.count.stamps.Load() != 497 {
		t.Errorf("%+v %v", src.Counters(), b.events)
	}
	for name, want := range map[string]string{
		"scan_elements/in_accel_x_en": "1", "scan_elements/in_timestamp_en": "1", "current_timestamp_clock": "boottime", "sampling_frequency": "1000",
		"trigger/current_trigger": "sysfstrig0", "buffer/length": "500", "buffer/watermark": "10", "buffer/enable": "0",
	} {
		if got := tr.get(t, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// TestLossWithoutStamps: a driver that gives no time stamps says nothing of what its
// buffer had no room for; the time that has passed does.
func TestLossWithoutStamps(t *testing.T) {
	tr := newTree(t)
	for _, what := range []string{"_en", "_type", "_index"} {
		if err := os.Remove(filepath.Join(tr.dir, "scan_elements/in_timestamp"+what)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name    string
		rate    float64 // real, of 1000 nominal
		stall   int64   // ms
		kept    int     // samples of it that the buffer held
		want    float64 // samples
		between int     // error
	}{
		{"no stall", 985, 0, 0, 0, 0},
		{"a stall that fits", 985, 450, 443, 0, 0},
		{"a stall of two buffers", 985, 1000, 500, 485, 25},
		{"a long stall", 1030, 20_000, 500, 20_100, 420},
		{"a stall at the begin of the run", 1000, -700, 500, 200, 20},
	} {
		src, err := New(Config{Name: "imu", Device: "iio:device3", Sys: tr.sys, Dev: tr.dev, RateHz: 1000, Clock: bootClock{}})
		if err != nil {
			t.Fatal(err)
		}
		b := &book{t: t, groups: src.Groups()}
		r := src.newRun(b)
		now, made, came := 5e9, 0.0, 0
		read := func(n int) {
			b := make([]byte, n*src.size)
			if err := r.take(b, int64(now)); err != nil {
				t.Fatal(err)
			}
			came += n
		}
		step := func(ms float64) { now, made = now+ms*1e6, made+ms*c.rate/1000 }
		calm := func(reads int) {
			for range reads {
				step(10)
				read(int(made) - came)
			}
		}
		calm(100)
		if c.stall > 0 {
			calm(3000) // the rate is measured
		}
		if stall := max(c.stall, -c.stall); stall > 0 {
			step(float64(stall))
			read(c.kept)
			came = int(made)
		}
		calm(3000)
		got := float64(src.count.lost.Load())
		if math.Abs(got-c.want) > float64(c.between) || (got > 0) != (len(b.events) == 1) || src.count.gaps.Load() != uint64(len(b.events)) {
			t.Errorf("%s: %v lost, want %v; events %v", c.name, got, c.want, b.events)
		}
	}
}

func TestDescription(t *testing.T) {
	tr := newTree(t)
	src, err := New(Config{Name: "imu", Device: "iio:device3", Channels: []string{"accel_y", "temp", "voltage2"}, Sys: tr.sys, Dev: tr.dev, Clock: bootClock{}})
	if err != nil {
		t.Fatal(err)
	}
	g := src.Groups()[0]
	if g.RateMilliHz != 833_000 || src.size != 24 || len(g.Channels) != 3 {
		t.Fatalf("%d mHz, %d bytes, %+v", g.RateMilliHz, src.size, g.Channels)
	}
	for i, want := range []wire.Channel{
		{Name: "imu_accel_y", Unit: "m/s2", Type: wire.TypeInt, Bits: 12, Scale: 0.000598},
		{Name: "imu_temp", Unit: "degC", Type: wire.TypeUint, Bits: 24, Scale: 3.90625 * 1e-3, Offset: 6400 * 3.90625 * 1e-3},
		{Name: "imu_voltage2", Unit: "V", Type: wire.TypeInt, Bits: 8, Scale: 0.5 * 1e-3},
	} {
		got := g.Channels[i]
		if got.Name != want.Name || got.Unit != want.Unit || got.Type != want.Type || got.Bits != want.Bits || got.Scale != want.Scale || got.Offset-want.Offset > 1e-9 || want.Offset-got.Offset > 1e-9 {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
}

func TestFaults(t *testing.T) {
	tr := newTree(t)
	for name, c := range map[string]struct {
		cfg  Config
		want string
	}{
		"device":  {Config{Device: "bmi160"}, "lsm6dsl_accel"},
		"channel": {Config{Device: "iio:device3", Channels: []string{"accel_z"}}, "accel_z"},
	} {
		c.cfg.Name, c.cfg.Sys, c.cfg.Dev, c.cfg.Clock = "imu", tr.sys, tr.dev, bootClock{}
		if _, err := New(c.cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	tr.put(t, "scan_elements/in_accel_x_type", "le:s16/16X3>>0")
	if _, err := New(Config{Name: "imu", Device: "iio:device3", Sys: tr.sys, Dev: tr.dev, Clock: bootClock{}}); !errors.Is(err, errType) {
		t.Errorf("got %v", err)
	}
	if _, err := New(Config{}); err == nil {
		t.Error("nothing was taken")
	}
}

func FuzzType(f *testing.F) {
	f.Add("le:s16/16>>0", []byte{1, 2, 3, 4, 5, 6, 7, 8})
	f.Add("be:u24/32>>8", []byte{0xff, 0xff, 0xff, 0xff, 5, 6, 7, 8})
	f.Add("le:s12/16X3>>4", []byte{})
	f.Fuzz(func(t *testing.T, s string, b []byte) {
		e, err := parseType(s)
		if err != nil || len(b) < 8 {
			return
		}
		if n := place([]element{e}); n != e.storage/8 {
			t.Fatalf("%q: a sample of %d bytes", s, n)
		}
		v := e.word(b)
		if e.bits < 64 && (e.signed && (v >= 1<<(e.bits-1) || v < -1<<(e.bits-1)) || !e.signed && (v < 0 || v >= 1<<e.bits)) {
			t.Fatalf("%q: %d is no value of %d bits", s, v, e.bits)
		}
	})
}
