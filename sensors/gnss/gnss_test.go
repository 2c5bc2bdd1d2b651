package gnss_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	sensorlab "telemetry/lab/sensors"
	"telemetry/sensors"
	"telemetry/sensors/gnss"
	"telemetry/sensors/nmea"
	"telemetry/sensors/serialport"
	"telemetry/sensors/ubx"
	"telemetry/wire"
)

// bootClock is boot time that begins at an hour, beside the system's UTC.
type bootClock struct{ begin time.Time }

func newClock() bootClock { return bootClock{time.Now()} }

func (c bootClock) BootNS() int64 { return int64(time.Hour) + int64(time.Since(c.begin)) }

func (c bootClock) Pair() (bootNS, utcNS int64) { return c.BootNS(), time.Now().UnixNano() }

// book is a sink that keeps everything.
type book struct {
	t      *testing.T
	groups []wire.Group
	mu     sync.Mutex
	utcs   map[int64]int // rows by UTC
	rows   int
	ticks  []int64
	events []wire.Event
	anchor []wire.Anchor
}

func (b *book) Append(r sensors.Rows) error {
	if err := r.Check(b.groups); err != nil {
		b.t.Error(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rows += len(r.Ticks)
	b.ticks = append(b.ticks, r.Ticks...)
	if sensors.Bit(r.Present, 0) {
		b.utcs[r.Values[0]]++
	}
	return nil
}

func (b *book) Event(e wire.Event) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, e)
	return nil
}

func (b *book) Anchor(a wire.Anchor) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.anchor = append(b.anchor, a)
	return nil
}

func (b *book) has(utc int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.utcs[utc] > 0
}

func (b *book) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.utcs)
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// start runs a source until the test ends.
func start(t *testing.T, cfg gnss.Config) (*gnss.Source, *book) {
	t.Helper()
	if cfg.Clock == nil {
		cfg.Clock = newClock()
	}
	src, err := gnss.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b := &book{t: t, groups: src.Groups(), utcs: map[int64]int{}}
	super := sensors.NewSupervisor(sensors.SupervisorConfig{})
	if err := super.Add("gnss", src, b); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { // ends with cancel
		defer close(ended)
		_ = super.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return src, b
}

func openPTY(t *testing.T, link string) *sensorlab.PTY {
	t.Helper()
	p, err := sensorlab.OpenPTY(link)
	if err != nil {
		t.Skipf("no pseudo terminal here: %v", err)
	}
	return p
}

func TestGolden(t *testing.T) {
	a, err := sensorlab.CompareReports(t.Context(), "testdata/drive.nmea", "testdata/drive.gpsd.json")
	if err != nil {
		t.Fatal(err)
	}
	if a.Equal != 20 || a.Foreign != 20 || a.Fixes != 21 || a.Differing != 0 || a.Missing != 0 {
		t.Errorf("%+v", a)
	}
}

func TestRealDrivesAgainstGPSD(t *testing.T) {
	for name, least := range map[string]int{"gps_drive_switzerland.nmea.gz": 10_000, "gps_l76k_5hz.nmea.gz": 140} {
		file := filepath.Join("..", "..", "..", "shared", "data", name)
		if _, err := os.Stat(file); err != nil {
			t.Skipf("the recorded drives are not here: %v", err)
		}
		a, err := sensorlab.CompareGPSD(t.Context(), file)
		if errors.Is(err, sensorlab.ErrNoGPSD) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		if a.Equal < least || a.Differing != 0 || a.Missing != 0 || a.Fixes-a.Equal > 2 {
			t.Errorf("%+v", a)
		}
	}
}

// drive returns n instants at 5 Hz as RMC and GGA.
func drive(n int) (sentences [][]byte, utcs []int64) {
	begin := time.Date(2026, 7, 17, 12, 0, 0, 0, time.UTC)
	for i := range n {
		at := begin.Add(time.Duration(i) * 200 * time.Millisecond)
		tod := at.Format("150405.00")
		s := nmea.Append(nil, []byte("GNRMC,"+tod+",A,4719.9737,N,00749.2639,E,10.00,90.0,170726,,,A"))
		s = nmea.Append(s, []byte("GNGGA,"+tod+",4719.9737,N,00749.2639,E,1,07,1.6,533.4,M,48.0,M,,"))
		sentences, utcs = append(sentences, s), append(utcs, at.UnixNano())
	}
	return sentences, utcs
}

// TestMatrix sends good sentences with all kinds of damage between and around
// them: every good one arrives, once.
func TestMatrix(t *testing.T) {
	const n = 40
	for name, spoil := range map[string]func(p *sensorlab.PTY, i int, s []byte) error{
		"whole": func(p *sensorlab.PTY, _ int, s []byte) error { _, err := p.Write(s); return err },
		"byte by byte": func(p *sensorlab.PTY, _ int, s []byte) error {
			for i := range s {
				if _, err := p.Write(s[i : i+1]); err != nil {
					return err
				}
			}
			return nil
		},
		"cut lines before": func(p *sensorlab.PTY, i int, s []byte) error {
			_, err := p.Write(append(append([]byte{}, s[:5+i]...), s...))
			return err
		},
		"garbage around": func(p *sensorlab.PTY, i int, s []byte) error {
			_, err := p.Write(append(append([]byte{0xff, 0, 0xb5, 0x62, 1, 7, byte(i), '*', 0x80}, s...), "\x00\x13\x11$!$"...))
			return err
		},
		"damaged copies before": func(p *sensorlab.PTY, i int, s []byte) error {
			bad := append([]byte{}, s...)
			bad[10+i] ^= 1
			bad[len(bad)-20] ^= 2
			_, err := p.Write(append(bad, s...))
			return err
		},
		"binary frames between": func(p *sensorlab.PTY, _ int, s []byte) error {
			_, err := p.Write(append(ubx.Append(nil, ubx.MonVer, []byte("$GNRMC,120000.00,A,*00\r\n")), s...))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := openPTY(t, "")
			defer p.Close()
			clock := newByHand() // an instant is never cut by a pause, however slowly it is written
			src, b := start(t, gnss.Config{Port: p.Path, Clock: clock})
			eventually(t, "the port is open", func() bool { return src.Counters()[0].Value > 0 })
			sentences, utcs := drive(n)
			for i, s := range sentences {
				if err := spoil(p, i, s); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "every sentence", func() bool { return counted(src, "sentences") == 2*n })
			eventually(t, "the last instant", func() bool { clock.add(time.Millisecond); return b.has(utcs[n-1]) })
			for i, utc := range utcs {
				if b.utcs[utc] != 1 {
					t.Errorf("instant %d came %d times", i, b.utcs[utc])
				}
			}
			if b.rows != n {
				t.Errorf("%d rows, want %d", b.rows, n)
			}
			if len(b.events) != 1 || b.events[0].Name != "gnss_fix" {
				t.Errorf("events %+v", b.events)
			}
		})
	}
}

func TestBitRateIsFound(t *testing.T) {
	p := openPTY(t, "")
	defer p.Close()
	src, b := start(t, gnss.Config{Port: p.Path, Bauds: []int{9600, 38400, 115200}})
	sentences, utcs := drive(400)
	stop := make(chan struct{})
	defer close(stop)
	go func() { // ends with stop
		for next := 0; next < len(sentences); {
			out := []byte{0x80, 0xff, 0x00, 0xfe, 0xf8, '$', 0xe0, '*'}
			if p.Baud() == 38400 {
				out = sentences[next]
				next++
			}
			if _, err := p.Write(out); err != nil {
				return
			}
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	eventually(t, "the bit rate", func() bool { return src.Baud() == 38400 })
	eventually(t, "the last instant", func() bool { return b.has(utcs[399]) })
}

func TestUnplugAndReplug(t *testing.T) {
	link := filepath.Join(t.TempDir(), "usb-receiver")
	p := openPTY(t, link)
	src, b := start(t, gnss.Config{Port: link})
	sentences, utcs := drive(60)
	for round := range 3 {
		eventually(t, "the port is open", func() bool { return src.Counters()[0].Value == uint64(round+1) })
		part := utcs[round*20 : round*20+20]
		for _, s := range sentences[round*20 : round*20+20] {
			if _, err := p.Write(s); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "the instants of this time", func() bool { return b.has(part[19]) })
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		if round < 2 {
			p = openPTY(t, link)
		}
	}
	if n := b.count(); n != 60 {
		t.Errorf("%d instants, want 60", n)
	}
}

func TestPortIsOurs(t *testing.T) {
	p := openPTY(t, "")
	defer p.Close()
	other, err := serialport.Open(p.Path, 9600)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	src, err := gnss.New(gnss.Config{Port: p.Path, Clock: newClock()})
	if err != nil {
		t.Fatal(err)
	}
	if err := src.Run(t.Context(), &book{t: t}); !errors.Is(err, serialport.ErrBusy) {
		t.Errorf("got %v, want %v", err, serialport.ErrBusy)
	}
}

// TestReceiverIsSetUp answers commands as a receiver does.
func TestReceiverIsSetUp(t *testing.T) {
	for name, yes := range map[string]bool{"generation 9": true, "before it": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := openPTY(t, "")
			_, b := start(t, gnss.Config{Port: p.Path, Protocol: gnss.UBX, RateHz: 25, Bauds: []int{115200}})
			receiver := &receiver{pty: p, modern: yes}
			ended := make(chan struct{})
			go func() { defer close(ended); receiver.run(t) }() // ends when the device is unplugged
			defer func() { p.Close(); <-ended }()
			eventually(t, "50 solutions", func() bool { return b.count() >= 50 })
			eventually(t, "an anchor", func() bool { b.mu.Lock(); defer b.mu.Unlock(); return len(b.anchor) > 0 })
			b.mu.Lock()
			defer b.mu.Unlock()
			for i := 1; i < len(b.ticks); i++ {
				if b.ticks[i] < b.ticks[i-1] {
					t.Fatalf("tick %d goes back", i)
				}
			}
			if len(b.anchor) == 0 || b.anchor[0].Source != wire.AnchorGNSS || b.anchor[0].UncertaintyNS < int64(100*time.Millisecond) {
				t.Errorf("anchors %+v", b.anchor)
			}
		})
	}
}

// receiver is a u-blox receiver: it speaks NMEA at 1 Hz until it is told
// otherwise.
type receiver struct {
	pty    *sensorlab.PTY
	modern bool // knows CFG-VALSET
}

func (r *receiver) run(t *testing.T) {
	commands := make(chan ubx.ID, 16)
	go func() { // ends when the device is unplugged
		defer close(commands)
		var buf []byte
		b := make([]byte, 512)
		for {
			n, err := r.pty.Read(b)
			if err != nil {
				return
			}
			buf = append(buf, b[:n]...)
			for len(buf) > 0 {
				tok, id, _, n := ubx.Next(buf)
				if tok == ubx.NeedMore {
					break
				}
				buf = buf[n:]
				if tok == ubx.Good {
					commands <- id
				}
			}
		}
	}()
	every := time.NewTicker(10 * time.Millisecond)
	defer every.Stop()
	begin, set := time.Date(2026, 7, 17, 12, 0, 0, 0, time.UTC), map[ubx.ID]bool{}
	for i := 0; ; i++ {
		select {
		case id, ok := <-commands:
			if !ok {
				return
			}
			answer := ubx.AckAck
			if id == ubx.CfgValset && !r.modern {
				answer = ubx.AckNak
			}
			set[id] = answer == ubx.AckAck
			if _, err := r.pty.Write(ubx.Append(nil, answer, []byte{byte(id >> 8), byte(id)})); err != nil {
				return
			}
			continue
		case <-every.C:
		}
		at := begin.Add(time.Duration(i) * 10 * time.Millisecond)
		out := nmea.Append(nil, []byte("GNRMC,"+at.Format("150405.00")+",A,4719.9737,N,00749.2639,E,10.00,90.0,170726,,,A"))
		if set[ubx.CfgValset] || set[ubx.CfgRate] && set[ubx.CfgMsg] {
			out = ubx.Append(nil, ubx.NavPVT, ubx.AppendPVT(nil, &ubx.PVT{Valid: 7, Time: at, AccuracyNS: 30, FixType: 3, Flags: 1, Satellites: 12, Lat: 1, Lon: 2}))
		}
		if _, err := r.pty.Write(out); err != nil {
			return
		}
	}
}
