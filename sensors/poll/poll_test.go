package poll

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"telemetry/sensors"
	"telemetry/wire"
)

// virtual is a clock that moves when somebody sleeps.
type virtual struct {
	now   int64
	until int64 // the context ends
	wake  func(due int64) int64
}

func (v *virtual) sleep(_ context.Context, due int64) bool {
	v.now = due
	if v.wake != nil {
		v.now += v.wake(due)
	}
	return v.now < v.until
}

func newPacer(rate uint64, v *virtual) *pacer {
	return &pacer{rateMilliHz: rate, now: func() int64 { return v.now }, sleep: v.sleep}
}

func TestPacerAddsNothingUp(t *testing.T) {
	for _, rate := range []uint64{1_500_000, 1000, 330, 1_499_990, 7_000_000} {
		v := &virtual{now: 77, until: 100_000_000_077}
		p := newPacer(rate, v)
		n := int64(0)
		err := p.run(context.Background(), func(late int64, missed bool) error {
			n++
			if want := 77 + p.due(n); v.now != want || late != 0 || missed {
				t.Fatalf("rate %d: read %d at %d, want %d", rate, n, v.now, want)
			}
			return nil
		})
		// In 100 s there are a tenth as many as the rate in mHz, but
		// for the one at the very end.
		if want := int64(rate)/10 - 1; err != nil && !errors.Is(err, context.Canceled) || n != want {
			t.Errorf("rate %d: %d reads, want %d (%v)", rate, n, want, err)
		}
	}
}

func TestPacerAfterStalls(t *testing.T) {
	for _, c := range []struct {
		name                          string
		stall                         int64
		missed, skipped, reads, atMax uint64
		until                         int64
	}{
		{"half a period", 300_000, 0, 0, 1500, 300_000, 1_000_500_000},
		{"ten periods", 7_000_000, 10, 0, 1500, 7_000_000, 1_000_500_000},
		{"a tenth of a second", 100_000_000, 150, 0, 1500, 100_000_000, 1_000_500_000},
		{"two seconds", 2_000_000_000, 0, 3000, 1500, 2_000_000_000, 3_000_500_000},
	} {
		v := &virtual{until: c.until}
		v.wake = func(due int64) int64 {
			if due == 400_000_000 {
				return c.stall
			}
			return 0
		}
		p := newPacer(1_500_000, v)
		reads, flagged, most := uint64(0), uint64(0), int64(0)
		_ = p.run(context.Background(), func(late int64, missed bool) error {
			reads++
			most = max(most, late)
			if missed {
				flagged++
			}
			return nil
		})
		if p.missed != c.missed || flagged != c.missed || p.skipped != c.skipped || reads != c.reads || most != int64(c.atMax) {
			t.Errorf("%s: %d missed (%d flagged), %d skipped, %d reads, want %+v", c.name, p.missed, flagged, p.skipped, reads, c)
		}
	}
}

// TestPacerOfASlowDevice stops while every read is late: nothing is slept, and most
// instants are skipped.
func TestPacerOfASlowDevice(t *testing.T) {
	for _, slow := range []int64{3_000_000, 500_000_000, 5_000_000_000} { // ns a read
		v := &virtual{until: 1 << 60}
		ctx, cancel := context.WithCancel(t.Context())
		reads, after := 0, 0
		err := newPacer(1_500_000, v).run(ctx, func(int64, bool) error {
			v.now += slow
			reads++
			if ctx.Err() != nil {
				after++
			}
			if reads == 500 {
				cancel()
			}
			return nil
		})
		if !errors.Is(err, context.Canceled) || after > 0 {
			t.Errorf("%d ns a read: %d reads after the end (%v)", slow, after, err)
		}
	}
}

// TestPacerAfterAVeryLongStall: hours, and the fastest rate for weeks.
func TestPacerAfterAVeryLongStall(t *testing.T) {
	for _, c := range []struct {
		rate  uint64
		stall int64
	}{{MaxRateMilliHz, 460e9}, {MaxRateMilliHz, 3600e9}, {1_500_000, 7 * 3600e9}, {1_500_000, 90 * 86400e9}, {1, 90 * 86400e9}} {
		v := &virtual{until: 1 << 62}
		p := newPacer(c.rate, v)
		reads := int64(0)
		_ = p.run(t.Context(), func(late int64, _ bool) error {
			reads++
			switch reads {
			case 1:
				v.now += c.stall
			case 2, 3:
				if want := p.due(reads + int64(p.skipped)); v.now-want != late && reads == 3 || late < 0 {
					t.Errorf("%d mHz: read %d is %d ns late, want %d", c.rate, reads, late, v.now-want)
				}
			default:
				v.until = 0
				return errDevice
			}
			return nil
		})
		want := int64(float64(c.stall) / milli * float64(c.rate))
		if got := int64(p.skipped); got < want-2 || got > want+2 {
			t.Errorf("%d mHz: %d skipped, want %d", c.rate, got, want)
		}
	}
}

func TestInstantsOfEveryRate(t *testing.T) {
	for _, rate := range []uint64{1, 999, 1_500_000, 9_300_000, 19_999_999, MaxRateMilliHz} {
		p := &pacer{rateMilliHz: rate}
		for _, n := range []int64{1, 2, 1000, int64(rate) - 1, int64(rate), 3*int64(rate) + 1, 1000*int64(rate) + 7} {
			if n < 1 {
				continue
			}
			due := p.due(n)
			if due < 0 || due < p.due(n-1) || math.Abs(float64(due)-float64(n)*milli/float64(rate)) > 1+float64(due)*1e-12 {
				t.Fatalf("%d mHz: instant %d is %d", rate, n, due)
			}
			if p.latest(due) != n || due > 0 && p.latest(due-1) != n-1 {
				t.Fatalf("%d mHz: at %d the latest is %d, a ns before %d, want %d", rate, due, p.latest(due), p.latest(due-1), n)
			}
		}
	}
}

func TestPacerEndsWithItsReader(t *testing.T) {
	failed := errors.New("device is gone")
	v := &virtual{until: 1e12}
	if err := newPacer(1000, v).run(context.Background(), func(int64, bool) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("got %v", err)
	}
}

func TestHistogram(t *testing.T) {
	var h histogram
	last := -1
	for ns := int64(0); ns < 3_000_000_000; ns += 1 + ns/50 {
		b := bucket(ns)
		if b < last || b >= buckets {
			t.Fatalf("%d ns is in bucket %d after %d", ns, b, last)
		}
		if up := upper(b); b < buckets-1 && (ns > up || b > 0 && ns < upper(b-1)) {
			t.Fatalf("%d ns is in bucket %d up to %d", ns, b, up)
		}
		last = b
	}
	for range 98 {
		h.add(5_000)
	}
	h.add(100_000)
	h.add(3_210_000)
	l := h.read()
	if l.Count != 100 || l.MaxNS != 3_210_000 || len(l.Buckets) != 3 {
		t.Errorf("%+v", l)
	}
	for share, want := range map[float64][2]int64{0.5: {5_000, 6_000}, 0.99: {100_000, 125_000}, 1: {3_210_000, 3_210_000}} {
		if got := l.Quantile(share); got < want[0] || got > want[1] {
			t.Errorf("quantile %v: %d, want %v", share, got, want)
		}
	}
	if (sensors.Lateness{}).Quantile(0.5) != 0 {
		t.Error("a quantile of nothing")
	}
}

// counter is a device of one channel that counts its reads.
type counter struct {
	mu           sync.Mutex
	n            int64
	failAt       int64
	opens, shuts int
}

var errDevice = errors.New("no acknowledge")

func (*counter) Group() wire.Group {
	return wire.Group{Name: "dev", Channels: []wire.Channel{{Name: "n", Type: wire.TypeInt}, {Name: "twice", Type: wire.TypeInt}}}
}
func (c *counter) Open() error  { c.opens++; return nil }
func (c *counter) Close() error { c.shuts++; return nil }

func (c *counter) Read(row []int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n++; c.n == c.failAt {
		return errDevice
	}
	row[0], row[1] = c.n, 2*c.n
	return nil
}

type bootClock struct{ begin time.Time }

func (c bootClock) BootNS() int64 { return int64(time.Hour) + int64(time.Since(c.begin)) }

// book keeps rows until it has enough.
type book struct {
	groups []wire.Group
	stop   context.CancelFunc
	most   int
	gate   chan struct{}
	values []int64
	ticks  []int64
	events []wire.Event
	err    error
}

func (b *book) Append(r sensors.Rows) error {
	if b.gate != nil {
		<-b.gate
	}
	if err := r.Check(b.groups); err != nil {
		return err
	}
	b.ticks, b.values = append(b.ticks, r.Ticks...), append(b.values, r.Values...)
	if len(b.ticks) >= b.most {
		b.stop()
	}
	return b.err
}

func (b *book) Event(e wire.Event) error { b.events = append(b.events, e); return nil }

func newSource(t *testing.T, d Device, rate uint64) *Source {
	t.Helper()
	s, err := New(Config{Device: d, RateMilliHz: rate, Clock: bootClock{time.Now()}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEveryReadArrives(t *testing.T) {
	d := &counter{}
	s := newSource(t, d, 2_000_000)
	ctx, stop := context.WithCancel(t.Context())
	b := &book{groups: s.Groups(), stop: stop, most: 600}
	if err := s.Run(ctx, b); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if dropped := s.count.dropped.Load(); uint64(len(b.ticks))+dropped != s.count.reads.Load() || len(b.ticks) < 600 {
		t.Errorf("%d rows, %d dropped of %d reads", len(b.ticks), dropped, s.count.reads.Load())
	}
	if !slices.IsSorted(b.ticks) || s.Lateness().Count != s.count.reads.Load() || d.opens != 1 || d.shuts != 1 {
		t.Errorf("ticks sorted %t, %d latenesses, %d opens, %d closes", slices.IsSorted(b.ticks), s.Lateness().Count, d.opens, d.shuts)
	}
	if s.count.dropped.Load() == 0 {
		for i := 0; i < len(b.values); i += 2 {
			if want := int64(i/2 + 1); b.values[i] != want || b.values[i+1] != 2*want {
				t.Fatalf("row %d is %v", i/2, b.values[i:i+2])
			}
		}
	}
}

func TestSlowSinkIsTold(t *testing.T) {
	d := &counter{}
	s := newSource(t, d, 2_000_000)
	ctx, stop := context.WithCancel(t.Context())
	b := &book{groups: s.Groups(), stop: stop, most: 1 << 30, gate: make(chan struct{})}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, b) }() // ends with stop
	for end := time.Now().Add(20 * time.Second); s.count.dropped.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nothing was dropped")
		}
	}
	close(b.gate)
	reads := s.count.reads.Load()
	for end := time.Now().Add(20 * time.Second); s.count.reads.Load() < reads+500; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the clock stands")
		}
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if got := uint64(len(b.ticks)) + s.count.dropped.Load(); got != s.count.reads.Load() {
		t.Errorf("%d rows and drops of %d reads", got, s.count.reads.Load())
	}
	if len(b.events) == 0 {
		t.Error("no event tells of it")
	}
}

// TestTheEndTellsWhatIsLeft: an event a second is the most while a source runs; at
// its end nothing stays untold.
func TestTheEndTellsWhatIsLeft(t *testing.T) {
	d := &sleeper{counter: counter{failAt: 12}}
	s := newSource(t, d, 1_000_000)
	b := &book{groups: s.Groups(), stop: func() {}, most: 1 << 30}
	if err := s.Run(t.Context(), b); !errors.Is(err, errDevice) {
		t.Fatal(err)
	}
	var missed, skipped, dropped, sum uint64
	for _, e := range b.events {
		if _, err := fmt.Sscanf(e.Detail, "dev: %d reads late, %d skipped, %d rows dropped", &missed, &skipped, &dropped); err != nil {
			t.Fatalf("%q: %v", e.Detail, err)
		}
		sum += missed + skipped + dropped
	}
	if want := s.troubles().sum(); sum != want || want < 5 {
		t.Errorf("%d were told of %d", sum, want)
	}
}

// sleeper takes several periods for each read.
type sleeper struct{ counter }

func (d *sleeper) Read(row []int64) error {
	time.Sleep(5 * time.Millisecond) // this is the device's own slowness
	return d.counter.Read(row)
}

func (*sleeper) FastestMilliHz() uint64 { return 200_000 }

func TestDeviceThatIsSlowerThanItsRateIsNamed(t *testing.T) {
	var log bytes.Buffer
	for _, rate := range []uint64{200_000, 200_001} {
		s, err := New(Config{Device: &sleeper{counter{failAt: 1}}, RateMilliHz: rate, Clock: bootClock{time.Now()}, Log: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Run(t.Context(), &book{groups: s.Groups(), stop: func() {}, most: 1 << 30}); !errors.Is(err, errDevice) {
			t.Fatal(err)
		}
		if got := strings.Contains(log.String(), "fastest_mhz=200000"); got != (rate > 200_000) {
			t.Errorf("%d mHz: %q", rate, log.String())
		}
	}
}

func TestDeviceThatFails(t *testing.T) {
	d := &counter{failAt: 40}
	s := newSource(t, d, 2_000_000)
	b := &book{groups: s.Groups(), stop: func() {}, most: 1 << 30}
	if err := s.Run(t.Context(), b); !errors.Is(err, errDevice) {
		t.Fatalf("got %v", err)
	}
	if len(b.ticks) != 39 || d.shuts != 1 {
		t.Errorf("%d rows before the failure, %d closes", len(b.ticks), d.shuts)
	}
}

func TestSinkThatStops(t *testing.T) {
	s := newSource(t, &counter{}, 2_000_000)
	stopping := errors.New("stopping")
	if err := s.Run(t.Context(), &book{groups: s.Groups(), stop: func() {}, err: stopping}); !errors.Is(err, stopping) {
		t.Errorf("got %v", err)
	}
}

func TestConfigFaults(t *testing.T) {
	for name, c := range map[string]Config{
		"no device": {Clock: bootClock{}, RateMilliHz: 1},
		"no rate":   {Device: &counter{}, Clock: bootClock{}},
		"fast":      {Device: &counter{}, Clock: bootClock{}, RateMilliHz: MaxRateMilliHz + 1},
		"priority":  {Device: &counter{}, Clock: bootClock{}, RateMilliHz: 1, Thread: Thread{Realtime: 100}},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
