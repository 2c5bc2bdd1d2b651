package socketcan

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"telemetry/sensors"
	"telemetry/sensors/can"
	"telemetry/wire"
)

func parseLine(t testing.TB, line string) can.Frame {
	t.Helper()
	var f can.Frame
	if err := can.ParseLine([]byte("(1.000000) can0 "+line), &f); err != nil {
		t.Fatal(err)
	}
	return f
}

// pair returns a socket that takes frames and the end that gives them.
func pair(t testing.TB) (open func() (int, error), write func(f *can.Frame)) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0) // its queue is as long as the send buffer
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fds[1]) })
	if err := unix.SetNonblock(fds[0], true); err != nil {
		t.Fatal(err)
	}
	var b []byte
	return func() (int, error) { return fds[0], nil }, func(f *can.Frame) {
		b = AppendFrame(b[:0], f)
		if _, err := unix.Write(fds[1], b); err != nil {
			t.Error(err)
		}
	}
}

// listing is a sink that writes down what it takes.
type listing struct{ lines []string }

func (l *listing) Append(r sensors.Rows) error {
	for i := range r.Ticks {
		w := len(r.Values) / len(r.Ticks)
		line := fmt.Sprint(r.Group, r.Values[i*w:(i+1)*w])
		for k := range w {
			if !sensors.Bit(r.Present, i*w+k) {
				line += fmt.Sprint(" no ", k)
			}
		}
		l.lines = append(l.lines, line)
	}
	return nil
}

func (l *listing) Event(e wire.Event) error {
	l.lines = append(l.lines, e.Name+" "+e.Detail)
	return nil
}

func TestFramesOfASocketBecomeTheRowsOfALog(t *testing.T) {
	open, write := pair(t)
	s, err := New(Config{Interface: "can0", Databases: database(t), Clock: machineClock{}, Filter: FilterNone, open: open})
	if err != nil {
		t.Fatal(err)
	}
	dec, err := can.NewDecoder([]can.Bus{{Name: "can0", Databases: database(t)}})
	if err != nil {
		t.Fatal(err)
	}
	var got, want listing
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, &got) }()
	for n, line := range []string{
		"123#1122334455667788", "18FEF107#55", "123#11", "124#00", "123#R", "18EA2233#0102030405060708", "123##1AABBCCDDEEFF0011",
		"7FF#", "123#FFFFFFFFFFFFFFFF",
	} {
		f := parseLine(t, line)
		write(&f)
		dec.Add(&f, int64(n))
	}
	await(t, "all frames decoded", func() bool { return counter(t, s, "frames") == 9 })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("run: %v", err)
	}
	if err := dec.Flush(&want); err != nil {
		t.Fatal(err)
	}
	got.lines = slices.DeleteFunc(got.lines, func(l string) bool { return strings.HasPrefix(l, stampEvent) })
	slices.Sort(got.lines)
	slices.Sort(want.lines)
	if !reflect.DeepEqual(got.lines, want.lines) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got.lines, "\n"), strings.Join(want.lines, "\n"))
	}
	if n := counter(t, s, "frames_unknown"); n != 2 {
		t.Errorf("%d unknown frames, want 2", n)
	}
}

func TestErrorFramesOfASocketBecomeEvents(t *testing.T) {
	open, write := pair(t)
	s, err := New(Config{Interface: "can0", Raw: true, Clock: machineClock{}, open: open})
	if err != nil {
		t.Fatal(err)
	}
	sink := &rawSink{t: t, source: s}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, sink) }()
	for _, line := range []string{"20000004#0010000000000000", "20000040#0000000000000000", "20000002#0300000000000000"} {
		f := parseLine(t, line)
		write(&f)
	}
	await(t, "all rows", func() bool { return sink.taken() == 3 })
	cancel()
	<-done
	for name, part := range map[string]string{stateEvent: "can0: bus off", errorEvent: "can0: arbitration lost"} {
		if !sink.hears(name, part) {
			t.Errorf("no event %s of %q: %v", name, part, sink.events)
		}
	}
	if counter(t, s, "bus_off") != 1 || counter(t, s, "bus_passive") != 1 || counter(t, s, "errors_arbitration") != 1 {
		t.Errorf("counters: %v", s.Counters())
	}
}

func TestASinkThatStopsEndsTheRun(t *testing.T) {
	open, write := pair(t)
	s, err := New(Config{Interface: "can0", Raw: true, Clock: machineClock{}, open: open})
	if err != nil {
		t.Fatal(err)
	}
	f := parseLine(t, "123#01")
	write(&f)
	if err := s.Run(context.Background(), refusing{}); !errors.Is(err, errRefused) {
		t.Errorf("got %v", err)
	}
}

var errRefused = errors.New("refused")

type refusing struct{}

func (refusing) Append(sensors.Rows) error { return errRefused }
func (refusing) Event(wire.Event) error    { return nil }

func TestConfigFaults(t *testing.T) {
	for name, c := range map[string]Config{
		"no interface":             {Clock: machineClock{}},
		"a path":                   {Interface: "../can0", Clock: machineClock{}},
		"name too long":            {Interface: "a-very-long-name-of-a-bus", Clock: machineClock{}},
		"no clock":                 {Interface: "can0"},
		"raw and filtered":         {Interface: "can0", Clock: machineClock{}, Raw: true, Filter: FilterKnown},
		"bitrate too high":         {Interface: "can0", Clock: machineClock{}, Bitrate: 2_000_000},
		"data rate alone":          {Interface: "can0", Clock: machineClock{}, DataBitrate: 2_000_000},
		"data rate below bit rate": {Interface: "can0", Clock: machineClock{}, Bitrate: 500_000, DataBitrate: 250_000},
		"negative buffer":          {Interface: "can0", Clock: machineClock{}, ReceiveBuffer: -1},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestControlMessages(t *testing.T) {
	cmsg := func(level, kind uint32, body []byte) []byte {
		b := make([]byte, unix.SizeofCmsghdr, 128)
		if wordBytes == 8 {
			binary.NativeEndian.PutUint64(b, uint64(len(b)+len(body)))
		} else {
			binary.NativeEndian.PutUint32(b, uint32(len(b)+len(body)))
		}
		binary.NativeEndian.PutUint32(b[wordBytes:], level)
		binary.NativeEndian.PutUint32(b[wordBytes+4:], kind)
		b = append(b, body...)
		return append(b, make([]byte, -len(b)&(wordBytes-1))...)
	}
	times := func(v ...uint64) (b []byte) {
		for _, x := range v {
			b = binary.NativeEndian.AppendUint64(b, x)
		}
		return b
	}
	drops := binary.NativeEndian.AppendUint32(nil, 17)
	stamps := times(5, 6, 0, 0, 7, 8)
	for _, tc := range []struct {
		name string
		b    []byte
		want received
	}{
		{"nothing", nil, received{}},
		{
			"stamps and drops", slices.Concat(cmsg(unix.SOL_SOCKET, unix.SO_TIMESTAMPING_NEW, stamps), cmsg(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, drops)),
			received{utc: 5e9 + 6, hard: 7e9 + 8, drops: 17, hasDrops: true},
		},
		{"another level before", slices.Concat(cmsg(unix.SOL_IP, unix.SO_RXQ_OVFL, drops), cmsg(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, drops)), received{drops: 17, hasDrops: true}},
		{"stamps cut", cmsg(unix.SOL_SOCKET, unix.SO_TIMESTAMPING_NEW, stamps[:40]), received{}},
		{"no time of day", cmsg(unix.SOL_SOCKET, unix.SO_TIMESTAMPING_NEW, times(5, 2e9, 0, 0, 1<<60, 0)), received{}},
	} {
		var got received
		parseControl(tc.b, &got)
		if !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: got %+v, want %+v", tc.name, got, tc.want)
		}
	}
}

func FuzzParseControl(f *testing.F) {
	f.Add(make([]byte, 64))
	f.Add([]byte{20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 40, 0, 0, 0, 9, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var r received
		parseControl(b, &r)
		if r.utc < 0 || r.hard < 0 {
			t.Fatalf("%x: %+v", b, r)
		}
	})
}

func FuzzParseLink(f *testing.F) {
	data := attribute(nil, canState, binary.NativeEndian.AppendUint32(nil, 3))
	info := attribute(attribute(nil, infoKind, []byte("can\x00")), infoData, data)
	f.Add(attribute(make([]byte, infoBytes), unix.IFLA_LINKINFO, info))
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := parseLink(b); err == nil && l.state > stateUnknown {
			t.Fatalf("%x: %+v", b, l)
		}
	})
}

func TestLinkOfAController(t *testing.T) {
	word := func(v ...uint32) (b []byte) {
		for _, x := range v {
			b = binary.NativeEndian.AppendUint32(b, x)
		}
		return b
	}
	data := attribute(nil, canTiming, word(500_000, 875, 0, 0, 0, 0, 0, 0))
	data = attribute(data, canDataTiming, word(2_000_000, 875, 0, 0, 0, 0, 0, 0))
	data = attribute(data, canState, word(2))
	data = attribute(data, canControl, word(controlFD|controlListen, controlFD))
	data = attribute(data, canCounters, binary.NativeEndian.AppendUint16(binary.NativeEndian.AppendUint16(nil, 128), 3))
	info := attribute(nil, infoKind, []byte("can\x00"))
	info = attribute(info, infoData|nestedAttr, data)
	info = attribute(info, infoStats, word(0, 0, 0, 0, 9, 0))
	head := word(0, 7, unix.IFF_UP|unix.IFF_RUNNING, 0)
	stats := make([]byte, 8*24)
	binary.NativeEndian.PutUint64(stats[8*statDropped:], 11)
	binary.NativeEndian.PutUint64(stats[8*statOverErrors:], 12)
	got, err := parseLink(attribute(attribute(head, unix.IFLA_STATS64, stats), unix.IFLA_LINKINFO, info))
	want := link{
		index: 7, up: true, carrier: true, controller: true, state: statePassive, mode: controlFD, bitrate: 500_000, dataRate: 2_000_000,
		txErrors: 128, rxErrors: 3, dropped: 11, overrun: 12, lost: 9,
	}
	if err != nil || got != want {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
}

// discard takes rows and forgets them.
type discard struct{ rows int }

func (d *discard) Append(r sensors.Rows) error { d.rows += len(r.Ticks); return nil }
func (*discard) Event(wire.Event) error        { return nil }

const (
	feedRate  = 8000 // frames/s: a loaded bus of 1 Mbit/s
	feedEnv   = "SOCKETCAN_TEST_FEED"
	feedBurst = time.Millisecond
)

// TestFeedProcess is no test: it is the other end of the bus of
// [BenchmarkLoadedBus], in a process of its own.
func TestFeedProcess(t *testing.T) {
	seconds, err := strconv.Atoi(os.Getenv(feedEnv))
	if err != nil {
		t.Skip("it is run by BenchmarkLoadedBus")
	}
	_, ids := fiveHundred(t)
	frames := make([][]byte, 1000)
	for i := range frames {
		f := can.Frame{ID: ids[i%len(ids)], Len: 8}
		binary.LittleEndian.PutUint64(f.Bytes[:], rand.Uint64())
		frames[i] = AppendFrame(nil, &f)
	}
	const inherited = 3
	for begun, sent := time.Now(), 0; sent < seconds*feedRate; time.Sleep(feedBurst) {
		for due := int(time.Since(begun).Seconds() * feedRate); sent < min(due, seconds*feedRate); sent++ {
			if _, err := unix.Write(inherited, frames[sent%len(frames)]); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// The CPU time, of user and kernel, that a loaded bus costs when it is decoded
// with a database of 500 signals, in percent of one core.
func BenchmarkLoadedBus(b *testing.B) {
	db, _ := fiveHundred(b)
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0) // its queue is as long as the send buffer
	if err != nil {
		b.Fatal(err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		b.Fatal(err)
	}
	if err := unix.SetsockoptInt(fds[1], unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, DefaultReceiveBuffer); err != nil {
		b.Skipf("needs root for a queue as long as that of a bus: %v", err)
	}
	s, err := New(Config{
		Interface: "can0", Databases: db, Filter: FilterNone, Clock: machineClock{}, open: func() (int, error) { return fds[0], nil },
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, &discard{}) }()
	feed := exec.Command(os.Args[0], "-test.run=^TestFeedProcess$")
	feed.Env = append(os.Environ(), feedEnv+"="+strconv.Itoa(b.N))
	other := os.NewFile(uintptr(fds[1]), "bus")
	feed.ExtraFiles = []*os.File{other}
	before, begun := cpu(), time.Now()
	if out, err := feed.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	spent, elapsed := cpu()-before, time.Since(begun)
	sent := uint64(b.N * feedRate)
	await(b, "all frames", func() bool { return s.count.frames.Load() == sent })
	cancel()
	<-done
	_ = other.Close()
	b.ReportMetric(100*spent.Seconds()/elapsed.Seconds(), "%core")
	b.ReportMetric(float64(sent)/elapsed.Seconds(), "frames/s")
	b.ReportMetric(float64(sent)/float64(s.count.reads.Load()), "frames/read")
	b.ReportMetric(float64(spent.Nanoseconds())/float64(sent), "ns-cpu/frame")
}

func cpu() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
