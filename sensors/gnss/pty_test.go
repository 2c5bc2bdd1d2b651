package gnss_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	sensorlab "telemetry/lab/sensors"
	"telemetry/sensors/gnss"
	"telemetry/sensors/nmea"
	"telemetry/sensors/ubx"
)

// talk sends sentences whenever the host has the right bit rate, and what a line
// makes of them at any other until then. It returns the first that was sent whole.
func talk(t *testing.T, p *sensorlab.PTY, baud func() int, sentences [][]byte, stop chan struct{}) (first int) {
	t.Helper()
	first = -1
	for next := 0; next < len(sentences); {
		out := []byte{0x80, 0xff, 0x00, 0xfe, 0xf8, '$', 0xe0, '*', '\n', 0xb5, 0x62, 0x07}
		if p.Baud() == baud() {
			if first < 0 {
				first = next
			}
			out = sentences[next]
			next++
		}
		if _, err := p.Write(out); err != nil {
			return first
		}
		select {
		case <-stop:
			return first
		case <-time.After(5 * time.Millisecond):
		}
	}
	return first
}

// TestUsualBitRatesAreFound with no list of them given: the first and the last that
// are tried, and the fastest.
func TestUsualBitRatesAreFound(t *testing.T) {
	for _, baud := range []int{9600, 4800, 921600} {
		t.Run(fmt.Sprint(baud), func(t *testing.T) {
			t.Parallel()
			p := openPTY(t, "")
			defer p.Close()
			src, b := start(t, gnss.Config{Port: p.Path})
			sentences, utcs := drive(100)
			stop, ended := make(chan struct{}), make(chan struct{})
			go func() { // ends with stop
				defer close(ended)
				talk(t, p, func() int { return baud }, sentences, stop)
			}()
			defer func() { close(stop); <-ended }()
			eventually(t, "the bit rate", func() bool { return src.Baud() == baud })
			eventually(t, "the last instant", func() bool { return b.has(utcs[99]) })
			if n := b.count(); n != 100 {
				t.Errorf("%d instants, want 100: the first is lost with the bit rate before", n)
			}
		})
	}
}

// TestBitRateThatChanges: a receiver that was set to another rate falls back when its
// power fails.
func TestBitRateThatChanges(t *testing.T) {
	t.Parallel()
	p := openPTY(t, "")
	defer p.Close()
	src, b := start(t, gnss.Config{Port: p.Path, Bauds: []int{115200, 9600}})
	sentences, utcs := drive(120)
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() { // ends with stop
		defer close(ended)
		talk(t, p, func() int { return 115200 }, sentences[:60], stop)
		talk(t, p, func() int { return 9600 }, sentences[60:], stop)
	}()
	defer func() { close(stop); <-ended }()
	eventually(t, "the last instant", func() bool { return b.has(utcs[119]) })
	if n := b.count(); n != 120 || src.Baud() != 9600 {
		t.Errorf("%d instants, want 120; %d baud", n, src.Baud())
	}
}

// TestHangUpInASentence: the line is cut in the middle of one. The half is no part
// of what comes when it is back, whichever way the stable name leads.
func TestHangUpInASentence(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	byID, byPath := filepath.Join(dir, "by-id"), filepath.Join(dir, "by-path")
	if err := os.Symlink(byPath, byID); err != nil {
		t.Fatal(err)
	}
	p := openPTY(t, byPath)
	src, b := start(t, gnss.Config{Port: byID, Bauds: []int{9600}})
	sentences, utcs := drive(80)
	for round := range 4 {
		eventually(t, "the port is open", func() bool { return src.Counters()[0].Value == uint64(round+1) })
		part := sentences[round*20 : round*20+20]
		for i, s := range part {
			if round > 0 && i == 0 {
				s = append([]byte("4,N,00749.2639,E,1,07,1.6,533.4,M,48.0,M,,*5A\r\n"), s...) // the rest of it
			}
			if _, err := p.Write(s); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := p.Write([]byte("$GNGGA,120000.00,4719.973")); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the instants of this time", func() bool { return b.has(utcs[round*20+19]) })
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		if round < 3 {
			p = openPTY(t, byPath)
		}
	}
	if n := b.count(); n != 80 {
		t.Errorf("%d instants, want 80", n)
	}
}

// TestSolutionsAt25HzBesideSentences: both protocols tell the same instants; each is
// one row, from the solution.
func TestSolutionsAt25HzBesideSentences(t *testing.T) {
	t.Parallel()
	const n = 250
	p := openPTY(t, "")
	defer p.Close()
	src, b := start(t, gnss.Config{Port: p.Path})
	eventually(t, "the port is open", func() bool { return src.Counters()[0].Value > 0 })
	begin := time.Date(2026, 12, 31, 23, 59, 55, 0, time.UTC)
	var utcs []int64
	for i := range n {
		at := begin.Add(time.Duration(i) * 40 * time.Millisecond)
		utcs = append(utcs, at.UnixNano())
		out := ubx.Append(nil, ubx.NavPVT, ubx.AppendPVT(nil, &ubx.PVT{
			TowMS: uint32(40 * i), Valid: 7, Time: at, AccuracyNS: 30, FixType: 3, Flags: 1, Satellites: 12, Lat: 470_000_000, Lon: 80_000_000 + int32(i),
		}))
		out = nmea.Append(out, []byte("GNRMC,"+at.Format("150405.00")+",A,4700.0000,N,00800.0000,E,10.00,90.0,"+at.Format("020106")+",,,A"))
		if i%10 == 3 {
			out = append(out, ubx.Append(nil, ubx.MonVer, bytes.Repeat([]byte{ubx.Sync1, ubx.Sync2}, 80))...)
		}
		if i%10 == 7 {
			out = append(out, 0xb5, 0x62, 0x01, 0x07, 92, 0, '$', 'G') // a frame that was cut
		}
		if _, err := p.Write(out); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the last instant", func() bool { return b.has(utcs[n-1]) })
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, utc := range utcs {
		if b.utcs[utc] != 1 {
			t.Errorf("instant %d came %d times", i, b.utcs[utc])
		}
	}
	if b.rows != n {
		t.Errorf("%d rows, want %d", b.rows, n)
	}
}
