package slcan_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"telemetry/lab/slcan"
	"telemetry/sensors/can"
)

// host is a program that has the port open.
type host struct {
	t    *testing.T
	file *os.File
	in   *bufio.Reader
}

func openHost(t *testing.T, a *slcan.Adapter) *host {
	t.Helper()
	f, err := os.OpenFile(a.Path(), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return &host{t: t, file: f, in: bufio.NewReaderSize(f, 16)} // reads little ahead
}

// say sends commands.
func (h *host) say(commands string) {
	h.t.Helper()
	if _, err := h.file.WriteString(commands); err != nil {
		h.t.Fatal(err)
	}
}

// line reads up to the next CR or BEL.
func (h *host) line() string {
	h.t.Helper()
	var b strings.Builder
	for {
		c, err := h.in.ReadByte()
		if err != nil {
			h.t.Fatalf("after %q: %v", b.String(), err)
		}
		b.WriteByte(c)
		if c == '\r' || c == '\a' {
			return b.String()
		}
	}
}

func (h *host) open() {
	h.t.Helper()
	h.say("S6\rO\r")
	if got := h.line() + h.line(); got != "\r\r" {
		h.t.Fatalf("got %q, want two CR", got)
	}
}

func (h *host) close() {
	h.t.Helper()
	if err := h.file.Close(); err != nil {
		h.t.Error(err)
	}
}

func numbered(n int) []can.Frame {
	out := make([]can.Frame, n)
	for i := range out {
		out[i] = can.Frame{StampNS: int64(i) * 1e6, Bus: "can0", ID: uint32(i), Len: 1}
		out[i].Bytes[0] = byte(i)
	}
	return out
}

func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("timed out waiting for %s", what)
		}
	}
}

func fates(truth []slcan.Sent) map[slcan.Fate]int {
	out := map[slcan.Fate]int{}
	for _, s := range truth {
		out[s.Fate]++
	}
	return out
}

func TestTheBusWaitsForItsHostAndRepeatsWhatWasNotRead(t *testing.T) {
	const n = 1500 // more than all buffers hold
	a := plugIn(t, slcan.Config{Feed: feed(numbered(n))})
	if got := a.Stats(); got.Frames != 0 || got.Reading {
		t.Fatalf("without a host: %+v, want nothing on the bus", got)
	}
	next := 0
	read := func(h *host, count int) {
		t.Helper()
		for ; count > 0; count-- {
			if got, want := h.line(), fmt.Sprintf("t%03X1%02X\r", next, next&255); got != want {
				t.Fatalf("got %q, want %q", got, want)
			}
			next++
		}
	}
	h := openHost(t, a)
	h.open()
	read(h, 100)
	ahead := h.in.Buffered() / len("t000100\r")
	torn := h.in.Buffered() % len("t000100\r")
	h.close()
	waitFor(t, "the adapter to notice", func() bool { return !a.Stats().Reading })
	got := fates(a.Truth())
	if got[slcan.Read] != 100+ahead || got[slcan.Repeated] == 0 || got[slcan.Buffered] != 0 {
		t.Errorf("after the host has read %d lines and %d bytes: %v", 100+ahead, torn, got)
	}
	if a.Stats().Open {
		t.Error("the channel is open without a host")
	}
	next += ahead
	h = openHost(t, a)
	h.open()
	read(h, n-next)
	waitFor(t, "the end", a.Done)
	if got := fates(a.Truth()); got[slcan.Read] != n {
		t.Errorf("got %v, want %d frames read", got, n)
	}
	h.close()
}

func TestTheBusThatRunsLosesWhatNobodyHears(t *testing.T) {
	frames := make(chan can.Frame)
	a := plugIn(t, slcan.Config{Feed: slcan.Channel(frames), BusRuns: true, StaysOpen: true, Buffer: 200})
	all := numbered(3000)
	put := func(n int) {
		for _, f := range all[:n] {
			frames <- f
		}
		all = all[n:]
	}
	put(10)
	waitFor(t, "the bus", func() bool { return a.Stats().Frames == 10 })
	if got := fates(a.Truth()); got[slcan.Unheard] != 10 {
		t.Errorf("channel closed: got %v, want 10 unheard", got)
	}
	h := openHost(t, a)
	h.open()
	put(2990)
	waitFor(t, "the bus", func() bool { return a.Stats().Frames == 3000 })
	if got := fates(a.Truth()); got[slcan.Dropped] == 0 {
		t.Errorf("host does not read: got %v, want some dropped", got)
	}
	h.say("F\r")
	for {
		if l := h.line(); l[0] == 'F' {
			if l != "F09\r" {
				t.Errorf("got status %q, want F09", l)
			}
			break
		}
	}
	h.close()
	waitFor(t, "the adapter to notice", func() bool { return !a.Stats().Reading })
	if got := fates(a.Truth()); got[slcan.Repeated] != 0 || got[slcan.Buffered] != 0 {
		t.Errorf("got %v, want nothing repeated", got)
	}
	if !a.Stats().Open {
		t.Error("the channel is closed: it should stay open")
	}
}

func TestPluggingMovesTheLink(t *testing.T) {
	link := filepath.Join(t.TempDir(), "usb-Emulated-if00")
	a := plugIn(t, slcan.Config{Link: link})
	if _, err := os.Stat(link); err != nil {
		t.Fatal(err)
	}
	h := openHost(t, a)
	if err := a.UnplugInLine(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(link); !os.IsNotExist(err) {
		t.Errorf("the link is there without the adapter: %v", err)
	}
	if n, err := h.file.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("read %d bytes, %v, from a port that is gone", n, err)
	}
	h.close()
	if err := a.Plug(); err != nil {
		t.Fatal(err)
	}
	h = openHost(t, a)
	h.say("V\r")
	if got := h.line(); got != "V1013\r" {
		t.Errorf("got %q, want the version", got)
	}
	h.close()
}

func TestLogsOfAnyPackingAreFeeds(t *testing.T) {
	var text []byte
	for _, f := range numbered(10) {
		text = can.AppendLine(text, &f)
	}
	for _, name := range []string{"plain.log", "packed.log.gz"} {
		path := filepath.Join(t.TempDir(), name)
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, ".gz") {
			z := gzip.NewWriter(f)
			if _, err := z.Write(text); err != nil {
				t.Fatal(err)
			}
			if err := z.Close(); err != nil {
				t.Fatal(err)
			}
		} else if _, err := f.Write(text); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		log, err := slcan.OpenLog(path)
		if err != nil {
			t.Fatal(err)
		}
		a := plugIn(t, slcan.Config{Feed: log, Speed: 10})
		h := openHost(t, a)
		h.open()
		for i := range 10 {
			if got, want := h.line(), fmt.Sprintf("t%03X1%02X\r", i, i); got != want {
				t.Errorf("%s: got %q, want %q", name, got, want)
			}
		}
		truth := a.Truth()
		if d := truth[9].BootNS - truth[0].BootNS; d != 900_000 {
			t.Errorf("%s: the last frame was on the bus %d ns after the first, want 900000 at ten times the speed", name, d)
		}
		h.close()
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	}
}

func plugIn(t *testing.T, cfg slcan.Config) *slcan.Adapter {
	t.Helper()
	cfg.Clock = clock{time.Now()}
	a, err := slcan.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Plug(); err != nil {
		t.Skipf("no pseudo terminal here: %v", err)
	}
	run(t, a.Run)
	return a
}

// run starts fn and stops it at the test's end.
func run(t *testing.T, fn func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- fn(ctx) }() // ends with ctx: the cleanup waits for it
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("run: %v", err)
		}
	})
}

type clock struct{ begin time.Time }

func (c clock) BootNS() int64 { return int64(time.Since(c.begin)) }

func feed(frames []can.Frame) slcan.Feed {
	c := make(chan can.Frame, len(frames))
	for _, f := range frames {
		c <- f
	}
	close(c)
	return slcan.Channel(c)
}
