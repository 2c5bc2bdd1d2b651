package sensors

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"telemetry/sensors/gnss"
	"telemetry/sensors/nmea"
)

// TestPollAccountsForEveryRead asks for no punctuality, which a busy machine has
// not, but that each instant is a row or told.
func TestPollAccountsForEveryRead(t *testing.T) {
	r, err := Poll(t.Context(), PollConfig{RateHz: 500, Channels: 20, Seconds: 2})
	if err != nil {
		t.Fatal(err)
	}
	if r.Unreported < -1 || r.Unreported > 1 || r.Rows == 0 || r.Reads < r.Rows || r.BitsSample <= 0 || r.CPUCores <= 0 || r.JitterMaxUS < r.JitterP50US {
		t.Errorf("%+v", r)
	}
	if math.IsNaN(r.RateHz) || r.RateHz <= 0 || r.RateHz > 600 {
		t.Errorf("%v Hz", r.RateHz)
	}
	if _, err := Poll(t.Context(), PollConfig{RateHz: 0, Channels: 1, Seconds: 1}); err == nil {
		t.Error("a rate of 0 was taken")
	}
}

func TestReportsOfGPSD(t *testing.T) {
	got, err := parseTPV(strings.NewReader(`{"class":"VERSION"}
{"class":"TPV","mode":1}
{"class":"TPV","mode":3,"time":"2026-07-18T00:00:01.500Z","lat":-33.860159000,"lon":-151.210858000}
{"class":"TPV","mode":3,"time":"2026-07-18T00:00:01.500Z","lat":-33.860159001,"lon":-151.210858000}
`))
	want := place{-33_860_159_001, -151_210_858_000}
	at := time.Date(2026, 7, 18, 0, 0, 1, 500e6, time.UTC).UnixMilli()
	if err != nil || len(got) != 1 || len(got[at]) != 2 || got[at][1] != want {
		t.Errorf("%v %v", got, err)
	}
	if _, err := parseTPV(strings.NewReader(`{"class":"TPV","lat":"north"`)); err == nil {
		t.Error("a broken report was taken")
	}
}

func TestDifferencesAreSeen(t *testing.T) {
	dir := t.TempDir()
	for name, body := range map[string]string{
		"drive.nmea": string(nmea.Append(nil, []byte("GPRMC,120000.00,A,4719.9737,N,00749.2639,E,10.00,90.0,170726,,,A"))),
		"other.json": `{"class":"TPV","time":"2026-07-17T12:00:00Z","lat":47.332895000,"lon":7.821066000}` + "\n" + `{"class":"TPV","time":"2026-07-17T12:00:01Z","lat":47.3,"lon":7.8}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a, err := CompareReports(t.Context(), filepath.Join(dir, "drive.nmea"), filepath.Join(dir, "other.json"))
	if err != nil || a.Fixes != 1 || a.Differing != 1 || a.Missing != 1 || a.Equal != 0 || a.FirstOff == "" {
		t.Errorf("%+v %v", a, err)
	}
}

// TestGPSFake plays gpsd's own player: what it puts out goes over a pseudo
// terminal into the source.
func TestGPSFake(t *testing.T) {
	fake, err := exec.LookPath("gpsfake")
	if err != nil {
		t.Skip("gpsfake is not installed (package gpsd-clients)")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	file, err := filepath.Abs("../../sensors/gnss/testdata/drive.nmea")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(ctx, fake, "-1", "-q", "-n", "-p", "-c", "0.002", file).Output()
	if err != nil || !bytes.Contains(out, []byte("$GNRMC")) {
		t.Skipf("gpsfake does not run here: %v", err)
	}
	pty, err := OpenPTY("")
	if err != nil {
		t.Skip(err)
	}
	defer pty.Close()
	src, err := gnss.New(gnss.Config{Port: pty.Path, Bauds: []int{9600}, Clock: systemClock{}})
	if err != nil {
		t.Fatal(err)
	}
	sink := &fixSink{col: map[string]int{}, places: map[int64]place{}}
	for i, c := range src.Groups()[0].Channels {
		sink.col[c.Name] = i
	}
	runCtx, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- src.Run(runCtx, sink) }() // ends with stop
	for src.Counters()[0].Value == 0 && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	if _, err := pty.Write(out); err != nil {
		t.Fatal(err)
	}
	fixes := func() uint64 {
		for _, c := range src.Counters() {
			if c.Name == "fixes" {
				return c.Value
			}
		}
		return 0
	}
	for fixes() < 20 && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) || len(sink.places) < 20 {
		t.Errorf("%d fixes, %v", len(sink.places), err)
	}
}

// TestRateIsThatOfAllRows: a single late row at the end is jitter, and no rate.
func TestRateIsThatOfAllRows(t *testing.T) {
	var s slope
	for i := range int64(90_000) {
		ns := i * 2_000_000 / 3
		if i == 89_999 {
			ns += 30_000_000
		}
		s.add(ns)
	}
	if hz := 1e9 / s.perRow(); math.Abs(hz/1500-1) > 1e-6 {
		t.Errorf("%v Hz", hz)
	}
}
