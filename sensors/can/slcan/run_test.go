package slcan

import (
	"fmt"
	"strings"
	"testing"

	"telemetry/sensors"
	"telemetry/sensors/can"
	"telemetry/sensors/dbc"
	"telemetry/wire"
)

// fixedClock stands still.
type fixedClock struct{}

func (fixedClock) BootNS() int64 { return 5e9 }

type discard struct{ rows int }

func (d *discard) Append(r sensors.Rows) error { d.rows += len(r.Ticks); return nil }
func (d *discard) Event(wire.Event) error      { return nil }

// offline is a run without a port.
func offline(t testing.TB, out sensors.Sink) *run {
	t.Helper()
	var b strings.Builder
	for id := range 8 {
		fmt.Fprintf(&b, "BO_ %d M%d: 8 X\n", 256+id, id)
		for s := range 4 {
			fmt.Fprintf(&b, " SG_ S%d_%d : %d|16@1+ (0.1,0) [0|0] \"\" X\n", id, s, 16*s)
		}
	}
	file, _, err := dbc.Parse(strings.NewReader(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	db, _ := dbc.Compile(file)
	src, err := New(Config{Port: "none", Bitrate: 1_000_000, Clock: fixedClock{}, Databases: []*dbc.Database{db}})
	if err != nil {
		t.Fatal(err)
	}
	r := &run{session: &session{Source: src, traits: src.traits, digits: digitsMilli}, out: out}
	r.frame.Bus = DefaultInterface
	r.clock.reset(digitsMilli)
	r.settled = true
	return r
}

// block is what one read of a full bus gives: 100 frames of 27 bytes.
func block() []byte {
	var out []byte
	for i := range 100 {
		f := can.Frame{ID: uint32(256 + i%8), Len: 8}
		copy(f.Bytes[:], fmt.Sprintf("%08d", i))
		out = AppendLine(out, &f, 1000, digitsMilli)
	}
	return out
}

func TestReadingAllocatesNothing(t *testing.T) {
	out := &discard{}
	r, b := offline(t, out), block()
	take := func() {
		if err := r.take(b, 5e9); err != nil {
			t.Fatal(err)
		}
		if err := r.flush(5e9); err != nil {
			t.Fatal(err)
		}
	}
	take()
	if n := testing.AllocsPerRun(100, take); n != 0 {
		t.Errorf("100 frames make %v allocations, want none", n)
	}
	if out.rows < 100 {
		t.Fatalf("got %d rows, want 100 for each block", out.rows)
	}
}

func BenchmarkRead(b *testing.B) {
	out := &discard{}
	r, block := offline(b, out), block()
	b.SetBytes(int64(len(block)))
	b.ReportAllocs()
	for b.Loop() {
		if err := r.take(block, 5e9); err != nil {
			b.Fatal(err)
		}
		if err := r.flush(5e9); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(100*float64(b.N)/b.Elapsed().Seconds(), "frames/s")
}

func BenchmarkParseLine(b *testing.B) {
	line := []byte("t12381122334455667788EA5F")
	var f can.Frame
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := ParseLine(line, &f); err != nil {
			b.Fatal(err)
		}
	}
}

func TestConfigFaultsAreAllReported(t *testing.T) {
	cases := map[string]struct {
		change func(*Config)
		want   []string // none: it is right
	}{
		"right":                {func(*Config) {}, nil},
		"zero":                 {func(c *Config) { *c = Config{} }, []string{"port is missing", "clock is missing", "bitrate 0 bit/s"}},
		"rate":                 {func(c *Config) { c.Bitrate = 750_000 }, []string{"bitrate 750000 bit/s", "800000"}},
		"rate of CANable":      {func(c *Config) { c.Bitrate, c.Dialect = 750_000, CANable }, nil},
		"rate and timing":      {func(c *Config) { c.Timing = "031C" }, []string{"both set"}},
		"timing":               {func(c *Config) { c.Bitrate, c.Timing = 0, "3G" }, []string{"timing"}},
		"data rate":            {func(c *Config) { c.DataBitrate = 2_000_000 }, []string{"data bitrate 2000000"}},
		"data rate with fd":    {func(c *Config) { c.DataBitrate, c.Dialect = 2_000_000, LawicelFD }, nil},
		"dialect":              {func(c *Config) { c.Dialect = "elm327" }, []string{"dialect", "lawicel-fd"}},
		"stamps of µs":         {func(c *Config) { c.Stamps = StampMicro }, []string{"no such time stamps"}},
		"stamps of CANable":    {func(c *Config) { c.Stamps, c.Dialect = StampMilli, CANable }, []string{"no such time stamps"}},
		"baud and status":      {func(c *Config) { c.Baud, c.StatusEvery = 50, 1 }, []string{"baud is 50", "status interval"}},
		"never look at status": {func(c *Config) { c.StatusEvery = -1 }, nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			cfg := Config{Port: "/dev/serial/by-id/usb-LAWICEL", Bitrate: 500_000, Clock: fixedClock{}}
			c.change(&cfg)
			err := cfg.Validate()
			if (err == nil) != (c.want == nil) {
				t.Fatalf("got %v, want faults %q", err, c.want)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("got %v, want %q in it", err, w)
				}
			}
		})
	}
}

func TestStampDigitsAreLearnedFromLines(t *testing.T) {
	out := &discard{}
	r := offline(t, out)
	r.digits = -1 // the adapter would not say
	feed := func(lines string) {
		t.Helper()
		if err := r.take([]byte(lines), 5e9); err != nil {
			t.Fatal(err)
		}
		if err := r.finish(); err != nil {
			t.Fatal(err)
		}
	}
	feed("t100811223344556677880001\r")
	if r.digits != digitsMilli || out.rows != 1 {
		t.Fatalf("after a line with a stamp: %d digits, %d rows, want 4 and 1", r.digits, out.rows)
	}
	feed("t10081122334455667788\r")
	if out.rows != 1 || r.count.bad.Load() != 1 {
		t.Errorf("a line that has lost its stamp: %d rows, %d bad lines, want 1 and 1", out.rows, r.count.bad.Load())
	}
	feed(strings.Repeat("t10081122334455667788\r", relearnLines))
	if r.digits != digitsNone || out.rows < 2 {
		t.Errorf("after many lines without: %d digits, %d rows, want 0 and some", r.digits, out.rows)
	}
	feed("t100811223344556677880001\rt10081122334455667788\r")
	if r.digits != digitsNone {
		t.Errorf("one line with a stamp changed the digits to %d", r.digits)
	}
}
