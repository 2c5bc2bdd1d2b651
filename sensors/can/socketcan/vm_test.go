//go:build vm && linux

package socketcan

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"telemetry/lab/slcan"
	"telemetry/sensors/can"
)

// ip runs the guest's ip command.
func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// bus makes a virtual bus that is gone after the test.
func bus(t *testing.T, name string) {
	t.Helper()
	ip(t, "link", "add", name, "type", "vcan")
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", name).Run() })
	ip(t, "link", "set", name, "up")
}

// peer is another program on a bus.
type peer struct {
	t  *testing.T
	fd int
}

func newPeer(t *testing.T, name string) *peer {
	t.Helper()
	fd, err := unix.Socket(unix.AF_CAN, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.CAN_RAW)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	iface, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_CAN_RAW, unix.CAN_RAW_FD_FRAMES, 1),
		unix.SetsockoptCanRawFilter(fd, unix.SOL_CAN_RAW, unix.CAN_RAW_FILTER, nil), // only sends
		unix.Bind(fd, &unix.SockaddrCAN{Ifindex: iface.Index}),
	); err != nil {
		t.Fatal(err)
	}
	return &peer{t, fd}
}

func (p *peer) send(f *can.Frame) {
	p.t.Helper()
	for b := AppendFrame(nil, f); ; {
		_, err := unix.Write(p.fd, b)
		switch {
		case err == nil:
			return
		case !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR):
			p.t.Fatal(err)
		}
	}
}

// numbered is frame n of a run: its id and length vary, its payload tells n.
func numbered(n uint32, fd bool) can.Frame {
	f := can.Frame{ID: 0x100 + n%64, Len: 4 + uint8(n%5), FD: fd, BRS: fd && n%2 == 0}
	if n%3 == 0 {
		f.Extended, f.ID = true, 0x18FEF100+n%64
	}
	if fd {
		f.Len = [...]uint8{8, 12, 16, 20, 24, 32, 48, 64}[n%8]
	}
	binary.LittleEndian.PutUint32(f.Bytes[:], n)
	f.Bytes[f.Len-1] |= 0
	return f
}

// start runs a source until the test ends, or the returned function is called.
func start(t *testing.T, s *Source, sink *rawSink) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, sink) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("run: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

func newSource(t *testing.T, cfg Config) *Source {
	t.Helper()
	cfg.Clock = machineClock{}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func opened(s *Source, n uint64) func() bool { return func() bool { return s.count.opens.Load() >= n } }

// Two buses, one of CAN FD, for VM_SECONDS (60) seconds.
func TestEveryFrameOfTwoBusesIsTakenOrReported(t *testing.T) {
	seconds, err := strconv.Atoi(os.Getenv("VM_SECONDS"))
	if err != nil {
		seconds = 60
	}
	for _, tc := range []struct {
		name      string
		fd        bool
		perSecond int
	}{{"vcan0", false, 4000}, {"vcan1", true, 2000}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			bus(t, tc.name)
			s := newSource(t, Config{Interface: tc.name, Raw: true})
			var next uint32
			missing := 0
			sink := &rawSink{t: t, source: s}
			sink.onFrame = func(f *can.Frame, tick int64) {
				n := binary.LittleEndian.Uint32(f.Bytes[:])
				if n < next {
					t.Fatalf("frame %d after %d", n, next)
				}
				missing += int(n - next)
				next = n + 1
				want := numbered(n, tc.fd)
				want.TX = true
				if *f != want {
					t.Fatalf("frame %d: got %+v, want %+v", n, *f, want)
				}
			}
			stop := start(t, s, sink)
			await(t, "socket open", opened(s, 1))
			p := newPeer(t, tc.name)
			begun, sent := time.Now(), uint32(0)
			for end := time.Duration(seconds) * time.Second; time.Since(begun) < end; time.Sleep(5 * time.Millisecond) {
				due := uint32(time.Since(begun).Seconds() * float64(tc.perSecond))
				for ; sent < due; sent++ {
					f := numbered(sent, tc.fd)
					p.send(&f)
				}
			}
			sentEnd := machineClock{}.BootNS()
			lost := func() int { return int(counter(t, s, "frames_lost") + counter(t, s, "frames_lost_kernel")) }
			await(t, "all frames", func() bool { return sink.taken()+lost() >= int(sent) })
			stop()
			if sink.taken()+lost() != int(sent) {
				t.Errorf("sent %d, took %d, reported %d as lost", sent, sink.taken(), lost())
			}
			if n := int(sent-next) + missing; n != lost() {
				t.Errorf("%d frames are missing, %d were reported", n, lost())
			}
			if sink.tick > sentEnd+int64(time.Second) || sink.tick < sentEnd-int64(time.Second) {
				t.Errorf("last tick %d, sent at %d", sink.tick, sentEnd)
			}
			if n := counter(t, s, "stamps_kernel"); n != uint64(sink.taken()) {
				t.Errorf("%d of %d frames stamped by the kernel", n, sink.taken())
			}
			t.Logf("%s: %d frames sent in %d s, %d taken in %d reads, %d lost and reported", tc.name, sent, seconds, sink.taken(), counter(t, s, "reads"), lost())
		})
	}
}

func TestStampsAreThoseOfTheKernel(t *testing.T) {
	bus(t, "vcan0")
	s := newSource(t, Config{Interface: "vcan0", Raw: true})
	sink := &rawSink{t: t, source: s, gate: make(chan struct{})}
	var ticks []int64
	sink.onFrame = func(_ *can.Frame, tick int64) { ticks = append(ticks, tick) }
	stop := start(t, s, sink)
	await(t, "socket open", opened(s, 1))
	p := newPeer(t, "vcan0")
	var sent []int64
	for n := range uint32(20) { // the sink takes nothing meanwhile
		f := numbered(n, false)
		sent = append(sent, machineClock{}.BootNS())
		p.send(&f)
		time.Sleep(20 * time.Millisecond)
	}
	sent = append(sent, machineClock{}.BootNS())
	close(sink.gate)
	await(t, "all frames", func() bool { return sink.taken() == len(sent)-1 })
	stop()
	for i, tick := range ticks {
		if tick < sent[i] || tick > sent[i+1] {
			t.Errorf("frame %d has tick %d; it was sent after %d, and the next one after %d", i, tick, sent[i], sent[i+1])
		}
	}
	if !sink.hears(stampEvent, "kernel") {
		t.Errorf("events about stamps: %q", sink.heard(stampEvent))
	}
}

func TestOverflowIsReportedToTheFrame(t *testing.T) {
	for _, tc := range []struct {
		name  string
		after int // frames once the sink takes rows again
	}{
		{"and more frames follow", 50},
		{"and no frame follows", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bus(t, "vcan0")
			s := newSource(t, Config{Interface: "vcan0", Raw: true, ReceiveBuffer: 64 << 10})
			sink := &rawSink{t: t, source: s, gate: make(chan struct{})}
			stop := start(t, s, sink)
			await(t, "socket open", opened(s, 1))
			p := newPeer(t, "vcan0")
			const burst = 5000
			for n := range uint32(burst) {
				f := numbered(n, false)
				p.send(&f)
			}
			close(sink.gate)
			await(t, "the rest of the buffer and the loss", func() bool {
				return sink.taken()+int(counter(t, s, "frames_lost")) >= burst
			})
			for n := range tc.after {
				f := numbered(uint32(burst+n), false)
				p.send(&f)
			}
			total := burst + tc.after
			await(t, "all frames", func() bool { return sink.taken()+int(counter(t, s, "frames_lost")) >= total })
			stop()
			lost := int(counter(t, s, "frames_lost"))
			if lost == 0 || sink.taken()+lost != total {
				t.Errorf("sent %d, took %d, reported %d as lost", total, sink.taken(), lost)
			}
			told := 0
			for _, d := range sink.heard(lossEvent) {
				var n int
				if _, err := fmt.Sscanf(d, "vcan0: %d frames lost in the receive buffer", &n); err != nil {
					t.Errorf("event %q: %v", d, err)
				}
				told += n
			}
			if told != lost {
				t.Errorf("events tell of %d lost frames, the counter of %d: %q", told, lost, sink.heard(lossEvent))
			}
			t.Logf("sent %d, took %d, lost and reported %d", total, sink.taken(), lost)
		})
	}
}

func TestErrorFramesBecomeHealth(t *testing.T) {
	bus(t, "vcan0")
	s := newSource(t, Config{Interface: "vcan0", Raw: true})
	sink := &rawSink{t: t, source: s}
	start(t, s, sink)
	await(t, "socket open", opened(s, 1))
	p := newPeer(t, "vcan0")
	fail := func(class uint32, data ...byte) {
		f := can.Frame{ID: class, Err: true, Len: 8}
		copy(f.Bytes[:], data)
		p.send(&f)
	}
	fail(errController, 0, controllerTXWarning)
	fail(errController, 0, controllerTXPassive)
	fail(errArbitration, 3)
	fail(errNoAck)
	fail(errBusOff)
	fail(errRestarted)
	fail(errController, 0, controllerRXFull)
	await(t, "all of them", func() bool { return counter(t, s, "frames_error") == 7 })
	for name, want := range map[string]uint64{
		"bus_warning": 1, "bus_passive": 1, "bus_off": 1, "errors_arbitration": 1, "errors_no_ack": 1, "errors_controller": 3, "controller_overflows": 1,
	} {
		if got := counter(t, s, name); got != want {
			t.Errorf("%s: got %d, want %d", name, got, want)
		}
	}
	for _, part := range []string{"error warning", "error passive", "bus off", "error active"} {
		if !sink.hears(stateEvent, part) {
			t.Errorf("no event tells of %s: %q", part, sink.heard(stateEvent))
		}
	}
	if !sink.hears(errorEvent, "arbitration lost") {
		t.Errorf("events: %q", sink.heard(errorEvent))
	}
}

func TestInterfaceGoesDownAndAwayAndComesBack(t *testing.T) {
	bus(t, "vcan0")
	s := newSource(t, Config{Interface: "vcan0", Raw: true})
	sink := &rawSink{t: t, source: s}
	start(t, s, sink)
	await(t, "socket open", opened(s, 1))
	some := func(n int) {
		t.Helper()
		p, before := newPeer(t, "vcan0"), sink.taken()
		for i := range uint32(n) {
			f := numbered(i, false)
			p.send(&f)
		}
		await(t, "frames", func() bool { return sink.taken() == before+n })
	}
	some(10)
	ip(t, "link", "set", "vcan0", "down")
	await(t, "down noticed", func() bool { return sink.hears(linkEvent, "down") })
	ip(t, "link", "set", "vcan0", "up")
	some(10)
	await(t, "up noticed", func() bool { return sink.hears(linkEvent, "up") })

	// Frames that are still queued when the interface goes away.
	p, before := newPeer(t, "vcan0"), sink.taken()
	for i := range uint32(100) {
		f := numbered(i, false)
		p.send(&f)
	}
	ip(t, "link", "del", "vcan0")
	await(t, "loss of the interface noticed", func() bool { return sink.hears(linkEvent, "gone") })
	if got := sink.taken() - before; got != 100 {
		t.Errorf("%d of 100 frames from before the interface went away", got)
	}
	for round := range 3 {
		ip(t, "link", "add", "vcan0", "type", "vcan")
		ip(t, "link", "set", "vcan0", "up")
		await(t, "opened again", opened(s, uint64(2+round)))
		some(10)
		ip(t, "link", "del", "vcan0")
		await(t, "gone again", func() bool { return counter(t, s, "interface_gone") == uint64(2+round) })
	}
}

func TestFiltersLetKnownFramesPass(t *testing.T) {
	bus(t, "vcan0")
	s := newSource(t, Config{Interface: "vcan0", Databases: database(t)})
	if len(s.cfg.filters()) != 3 {
		t.Fatalf("filters: %v", s.cfg.filters())
	}
	sink := &rawSink{t: t, source: s}
	start(t, s, sink)
	await(t, "socket open", opened(s, 1))
	p := newPeer(t, "vcan0")
	for _, f := range []can.Frame{
		{ID: 0x123, Len: 8},
		{ID: 0x124, Len: 8},
		{ID: 0x123, Extended: true, Len: 8},
		{ID: 0x18FEF1AA, Extended: true, Len: 8}, // PDU2 from another node
		{ID: 0x0CFEF101, Extended: true, Len: 8}, // and of another priority
		{ID: 0x18EA2233, Extended: true, Len: 8}, // PDU1 to another node
		{ID: 0x18EB2233, Extended: true, Len: 8},
		{ID: 0x7FF, Len: 8},
	} {
		p.send(&f)
	}
	await(t, "the known ones", func() bool { return sink.taken() == 4 })
	if n := counter(t, s, "frames_read"); n != 4 {
		t.Errorf("%d frames passed", n)
	}
}

func TestKernelSlcanOnAnAdapter(t *testing.T) {
	feed := make(chan can.Frame)
	adapter, err := slcan.New(slcan.Config{Feed: slcan.Channel(feed), Rate: 500_000, Clock: machineClock{}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- adapter.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	if err := adapter.Plug(); err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(adapter.Path(), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	const disciplineSlcan = 17
	if err := unix.IoctlSetPointerInt(int(tty.Fd()), unix.TIOCSETD, disciplineSlcan); err != nil {
		t.Fatal(err)
	}
	name := ""
	await(t, "the kernel's interface", func() bool {
		all, _ := net.Interfaces()
		for _, i := range all {
			if strings.HasPrefix(i.Name, "can") || strings.HasPrefix(i.Name, "slcan") {
				name = i.Name
			}
		}
		return name != ""
	})
	s := newSource(t, Config{Interface: name, Raw: true, Bitrate: 500_000})
	sink := &rawSink{t: t, source: s}
	var got []can.Frame
	sink.onFrame = func(f *can.Frame, _ int64) { got = append(got, *f) }
	stop := start(t, s, sink)
	await(t, "socket open", opened(s, 1))
	var want []can.Frame
	for n := range uint32(500) {
		f := numbered(n, false)
		want = append(want, f)
		feed <- f
	}
	await(t, "all frames", func() bool { return sink.taken() == len(want) })
	stop()
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("frame %d: got %+v, want %+v", i, got[i], want[i])
		}
	}
	nl, err := openNetlink()
	if err != nil {
		t.Fatal(err)
	}
	defer nl.close()
	l, err := nl.get(name)
	if err != nil || !l.up || !l.controller || l.bitrate != 500_000 || l.mode&controlListen == 0 {
		t.Errorf("the interface was not set up to listen: %+v, %v", l, err)
	}
}
