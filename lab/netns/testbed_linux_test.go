package netns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"telemetry/lab/link"
)

// bed starts a testbed that runs until the test's end.
func bed(t testing.TB, cfg Config) *Testbed {
	t.Helper()
	if err := Available(); err != nil {
		t.Skip(err)
	}
	b, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, b.Close()); err != nil {
			t.Error(err)
		}
	})
	return b
}

// links returns n links of the same kind.
func links(n int, s link.Spec) (ls []Link) {
	for i := range n {
		ls = append(ls, Link{Device: fmt.Sprintf("wwan%d", i), Up: s, Down: s})
	}
	return ls
}

// serve starts a server at the far end and returns its address.
func serve(t testing.TB, b *Testbed, handle func(net.Conn)) string {
	t.Helper()
	ln, err := b.Far.Listen(netip.AddrPortFrom(b.FarAddr(), 0).String())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { // ends with its connection
				defer c.Close()
				stop := context.AfterFunc(t.Context(), func() { _ = c.Close() })
				defer stop()
				handle(c)
			})
		}
	})
	t.Cleanup(func() { _ = ln.Close(); wg.Wait() })
	return ln.Addr().String()
}

func echo(c net.Conn) { _, _ = io.Copy(c, c) }

func dial(t testing.TB, p *Path, addr string) net.Conn {
	t.Helper()
	c, err := p.bed.Car.Dial(t.Context(), p.Device(), addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// ping sends one byte and waits until it is back.
func ping(t testing.TB, c net.Conn) time.Duration {
	t.Helper()
	begin := time.Now()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return time.Since(begin)
}

// quiet wants that nothing is read from c for a while, and no end either.
func quiet(t testing.TB, c net.Conn, d time.Duration) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(d))
	if n, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %d bytes, %v, want silence", n, err)
	}
	_ = c.SetReadDeadline(time.Time{})
}

// undisturbed repeats a measurement until the machine left it alone.
func undisturbed(t *testing.T, b *Testbed, measure func()) {
	t.Helper()
	var worst time.Duration
	for range 6 {
		b.ResetLateness()
		measure()
		var bad bool
		if worst, bad = b.Disturbed(); !bad {
			l := b.Lateness()
			t.Logf("lateness p50 %v p99 %v max %v, carrier used %v", l.Quantile(0.5), l.Quantile(0.99), worst, b.CPU())
			return
		}
	}
	t.Skipf("this machine disturbs every measurement: %v at worst", worst)
}

func counters(t testing.TB, p *Path) Counters {
	t.Helper()
	c, err := p.Counters()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []link.Counters{c.Up, c.Down} {
		if d.InPackets != d.OutPackets+d.Dropped.Total()+d.Inside {
			t.Errorf("%s: packets are missing: %+v", p.Device(), d)
		}
	}
	return c
}

func TestRoundTripIsTwiceTheDelay(t *testing.T) {
	for _, far := range []bool{false, true} {
		t.Run(fmt.Sprintf("far space=%v", far), func(t *testing.T) {
			const delay = 20 * time.Millisecond
			b := bed(t, Config{Links: links(1, link.Spec{Delay: delay}), FarSpace: far})
			c := dial(t, b.Paths()[0], serve(t, b, echo))
			var fastest time.Duration
			undisturbed(t, b, func() {
				fastest = time.Hour
				for range 10 {
					fastest = min(fastest, ping(t, c))
				}
			})
			if fastest < 2*delay || fastest > 2*delay+5*time.Millisecond {
				t.Errorf("the fastest of ten took %v, want %v", fastest, 2*delay)
			}
			if k := counters(t, b.Paths()[0]); k.Up.Dropped != (link.Drops{}) || k.Up.OutPackets < 10 || k.Unread+k.Failed+k.Stray != 0 {
				t.Errorf("%+v", k)
			}
		})
	}
}

// flood keeps a connection full until the test ends.
func flood(t testing.TB, c net.Conn) {
	t.Helper()
	var wg sync.WaitGroup
	wg.Go(func() {
		b := make([]byte, 64<<10)
		for {
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	})
	t.Cleanup(func() { _ = c.Close(); wg.Wait() })
}

// TestGoodputFillsTheLinks fills three unlike links at once and compares what a
// receiver gets with what the models could carry.
func TestGoodputFillsTheLinks(t *testing.T) {
	spec := func(mbit, delay int) link.Spec {
		return link.Spec{BitRate: int64(mbit) * 1e6, Delay: time.Duration(delay) * time.Millisecond, Queue: 1 << 20}
	}
	steps, err := link.ReadTrace(strings.NewReader(strings.Repeat("0\n", 10) + strings.Repeat("12\n", 5) + "19\n")) // 9.6 Mbit/s
	if err != nil {
		t.Fatal(err)
	}
	traced := link.Spec{Trace: steps, Delay: 30 * time.Millisecond, Queue: 1 << 20}
	cfg := Config{}
	for i, s := range []link.Spec{spec(10, 20), traced, spec(4, 45)} {
		cfg.Links = append(cfg.Links, Link{Device: fmt.Sprintf("wwan%d", i), Up: s, Down: link.Spec{Delay: s.Delay}})
	}
	b := bed(t, cfg)
	// The sender keeps more on its way than the links need and less than their
	// queues take, so that neither idling nor repetition blurs the figures.
	for name, value := range map[string]string{"ipv4.tcp_congestion_control": "reno", "ipv4.tcp_wmem": "4096 65536 524288"} {
		if err := b.Car.Sysctl(name, value); err != nil {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex
	got := map[string]int64{} // by the car's address
	addr := serve(t, b, func(c net.Conn) {
		buf := make([]byte, 64<<10)
		host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
		for {
			n, err := c.Read(buf)
			mu.Lock()
			got[host] += int64(n)
			mu.Unlock()
			if err != nil {
				return
			}
		}
	})
	for _, p := range b.Paths() {
		flood(t, dial(t, p, addr))
	}
	snapshot := func() (payload, capacity, out [3]int64) {
		for i, p := range b.Paths() {
			k := counters(t, p)
			mu.Lock()
			payload[i] = got[p.Addr().String()]
			mu.Unlock()
			capacity[i], out[i] = k.Up.CapacityBytes, k.Up.OutBytes
		}
		return payload, capacity, out
	}
	wait(t, "the slowest link is in full use", func() bool { p, _, _ := snapshot(); return p[2] > 500e3 })
	var wire, payload [3]float64
	undisturbed(t, b, func() {
		p0, c0, o0 := snapshot()
		wait(t, "1 s of capacity", func() bool { _, c, _ := snapshot(); return c[2]-c0[2] >= 500e3 })
		p1, c1, o1 := snapshot()
		for i := range p0 {
			capacity := float64(c1[i] - c0[i])
			wire[i], payload[i] = float64(o1[i]-o0[i])/capacity, float64(p1[i]-p0[i])/capacity
		}
	})
	for i := range wire {
		t.Logf("link %d: %.4f of the capacity in packets, %.4f in payload", i, wire[i], payload[i])
		// Headers take 3.5 %; a burst of the trace at the ends of the window is 1.3 %.
		if wire[i] > 1.015 || wire[i] < 0.985 || payload[i] > 1 || payload[i] < 0.93 {
			t.Errorf("link %d carried %.3f of its capacity, %.3f in payload", i, wire[i], payload[i])
		}
	}
}

func wait(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); {
		if time.Now().After(end) {
			t.Fatal("not within a minute: ", what)
		}
		select {
		case <-t.Context().Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// TestBothCarriersAgree moves the same bytes through a relay and through kernel
// links of the same spec.
func TestBothCarriersAgree(t *testing.T) {
	const size, delay = 1500e3, 10 * time.Millisecond
	up, down := link.Spec{BitRate: 20e6, Delay: delay, Queue: 4 << 20}, link.Spec{Delay: delay}
	ideal := time.Duration(size*8*float64(time.Second)/float64(up.BitRate)) + 2*delay
	b := bed(t, Config{Links: []Link{{Device: "wwan0", Up: up, Down: down}}})
	addr := serve(t, b, func(c net.Conn) {
		for {
			if _, err := io.CopyN(io.Discard, c, size); err != nil {
				return
			}
			if _, err := c.Write([]byte("x")); err != nil {
				return
			}
		}
	})
	r, err := link.NewRelay(addr, up, down, 1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	relayed, err := net.Dial("tcp", r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer relayed.Close()
	conns := map[string]net.Conn{"relay": relayed, "kernel": dial(t, b.Paths()[0], addr)}
	took := map[string]time.Duration{}
	undisturbed(t, b, func() {
		for name, c := range conns {
			took[name] = time.Hour
			for range 3 { // TCP knows the path from the second time on
				begin := time.Now()
				go func() { _, _ = c.Write(make([]byte, size)) }() // ends with the connection
				if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
					t.Fatal(err)
				}
				took[name] = min(took[name], time.Since(begin))
			}
		}
	})
	t.Logf("%v, ideally %v", took, ideal)
	for name, d := range took { // headers cost the kernel's links 3.5 %
		if d < ideal-time.Millisecond || d > ideal+ideal/4 {
			t.Errorf("%s: %v, want %v", name, d, ideal)
		}
	}
}

func TestStatesReachTheKernel(t *testing.T) {
	b := bed(t, Config{Links: links(2, link.Spec{Delay: time.Millisecond})})
	p, other := b.Paths()[0], b.Paths()[1]
	addr := serve(t, b, echo)
	for _, s := range []link.State{link.Silent, link.Drop, link.Hold, link.Down} {
		t.Run(s.String(), func(t *testing.T) {
			c := dial(t, p, addr)
			ping(t, c)
			set(t, p, s)
			before := counters(t, p)
			if _, err := c.Write([]byte("y")); err != nil {
				t.Fatal(err)
			}
			quiet(t, c, 300*time.Millisecond) // long enough for a repetition
			after := counters(t, p)
			flew := before.Up.Inside // Hold and Drop leave that alone
			if s == link.Silent || s == link.Down {
				flew = 0
			}
			if n := after.Up.OutPackets - before.Up.OutPackets; n > flew {
				t.Errorf("%d packets came out, %d flew", n, flew)
			}
			lost := after.Up.Dropped.Total() - before.Up.Dropped.Total()
			switch s {
			case link.Hold:
				if lost != 0 || after.Up.Inside == 0 {
					t.Errorf("lost %d, kept %d", lost, after.Up.Inside)
				}
			case link.Down:
				if _, err := b.Car.Dial(t.Context(), p.Device(), addr); !errors.Is(err, unix.ENETUNREACH) && !errors.Is(err, unix.EHOSTUNREACH) {
					t.Errorf("a dial over a device that is down: %v", err)
				}
			default:
				if lost == 0 {
					t.Error("nothing was lost")
				}
			}
			ping(t, dial(t, other, addr)) // the other link does not notice
			set(t, p, link.Up)
			if _, err := io.ReadFull(c, make([]byte, 1)); err != nil { // TCP comes back by itself
				t.Error(err)
			}
			ping(t, dial(t, p, addr))
		})
	}
}

func set(t testing.TB, p *Path, s link.State) {
	t.Helper()
	if err := p.Set(s); err != nil {
		t.Fatal(err)
	}
	if got := p.State(); got != s {
		t.Errorf("state %v, want %v", got, s)
	}
}

func TestReaddressKillsWithoutAWord(t *testing.T) {
	b := bed(t, Config{Links: links(1, link.Spec{Delay: time.Millisecond})})
	p := b.Paths()[0]
	var mu sync.Mutex
	var from []string
	var far []net.Conn
	addr := serve(t, b, func(c net.Conn) {
		mu.Lock()
		from, far = append(from, c.RemoteAddr().(*net.TCPAddr).IP.String()), append(far, c)
		mu.Unlock()
		echo(c)
	})
	old, was := dial(t, p, addr), p.Addr()
	ping(t, old)
	to, err := p.Readdress(netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	if to == was || p.Addr() != to {
		t.Errorf("address %v after %v, now %v", to, was, p.Addr())
	}
	if _, err := old.Write([]byte("y")); err != nil {
		t.Errorf("the car noticed at once: %v", err)
	}
	mu.Lock()
	_, err = far[0].Write([]byte("z"))
	mu.Unlock()
	if err != nil {
		t.Errorf("the far end noticed at once: %v", err)
	}
	quiet(t, old, 300*time.Millisecond)
	ping(t, dial(t, p, addr))
	mu.Lock()
	if want := []string{was.String(), to.String()}; !strings.Contains(strings.Join(want, " "), strings.Join(from, " ")) || len(from) != 2 {
		t.Errorf("connections came from %v, want %v", from, want)
	}
	mu.Unlock()
	if k := counters(t, p); k.Stray == 0 {
		t.Error("nothing for the old address reached the link: the far end cannot have tried")
	}
	t.Run("refused", func(t *testing.T) {
		for _, a := range []string{to.String(), "10.0.0.1", p.network().Addr().String()} {
			if _, err := p.Readdress(netip.MustParseAddr(a)); !errors.Is(err, ErrAddress) {
				t.Errorf("%s: %v", a, err)
			}
		}
	})
	t.Run("while down", func(t *testing.T) {
		set(t, p, link.Down)
		back, err := p.Readdress(was)
		if err != nil || back != was {
			t.Fatalf("%v, %v", back, err)
		}
		set(t, p, link.Up)
		ping(t, dial(t, p, addr))
	})
}

func TestUnplugAndPlug(t *testing.T) {
	b := bed(t, Config{Links: links(2, link.Spec{Delay: time.Millisecond})})
	p := b.Paths()[0]
	addr := serve(t, b, echo)
	old := dial(t, p, addr)
	ping(t, old)
	index := p.near.index
	if err := p.Unplug(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Car.Dial(t.Context(), p.Device(), addr); !errors.Is(err, unix.ENODEV) {
		t.Errorf("a dial over no device: %v", err)
	}
	for what, err := range map[string]error{"unplug": p.Unplug(), "set": p.Set(link.Up)} {
		if !errors.Is(err, ErrUnplugged) {
			t.Errorf("%s without a device: %v", what, err)
		}
	}
	to, err := p.Readdress(netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	before := counters(t, p)
	ping(t, dial(t, b.Paths()[1], addr))
	if err := p.Plug(); err != nil {
		t.Fatal(err)
	}
	if err := p.Plug(); err == nil {
		t.Error("plugged in twice")
	}
	if p.near.index == index || p.State() != link.Up {
		t.Errorf("index %d after %d, %v", p.near.index, index, p.State())
	}
	c := dial(t, p, addr)
	ping(t, c)
	if got := c.LocalAddr().(*net.TCPAddr).AddrPort().Addr(); got != to {
		t.Errorf("from %v, want %v", got, to)
	}
	_, _ = old.Write([]byte("y")) // may fail: the device it is bound to is no more
	_ = old.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	if n, err := old.Read(make([]byte, 1)); err == nil {
		t.Errorf("%d bytes came over a connection of the old device", n)
	}
	if after := counters(t, p); after.Up.OutPackets <= before.Up.OutPackets {
		t.Error("the counters did not go on")
	}
}

func TestMeasurement(t *testing.T) {
	if err := Available(); err != nil {
		t.Skip(err)
	}
	m := Measurement{
		Config: Config{Links: []Link{
			{Device: "wwan0", Up: link.Spec{BitRate: 8e6, Delay: 5 * time.Millisecond}},
			{Device: "wwan1", Up: link.Spec{BitRate: 4e6}, Down: link.Spec{Delay: 7 * time.Millisecond}},
		}},
		Settle: 300 * time.Millisecond, Fill: 300 * time.Millisecond, Tries: 1,
	}
	res, err := m.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Links) != 2 || res.Tries != 1 || res.Seconds < 0.3 {
		t.Fatalf("%+v", res)
	}
	for i, want := range []LinkResult{{DelaysMS: 5, CapacityMbps: 8}, {DelaysMS: 7, CapacityMbps: 4}} {
		got := res.Links[i]
		// A disturbed machine only makes less come through, later.
		if got.DelaysMS != want.DelaysMS || got.RTTMinMS < want.DelaysMS || got.RTTMedianMS < got.RTTMinMS || got.DeliveredMbps <= 0 {
			t.Errorf("%+v", got)
		}
		if c := got.CapacityMbps; !res.Disturbed && (c < 0.99*want.CapacityMbps || c > 1.01*want.CapacityMbps) {
			t.Errorf("capacity %v Mbit/s, want %v", c, want.CapacityMbps)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestTwoTestbedsSideBySide(t *testing.T) {
	a, b := bed(t, Config{Links: links(2, link.Spec{})}), bed(t, Config{Links: links(2, link.Spec{})})
	if a.FarAddr() == b.FarAddr() {
		t.Fatal("both have ", a.FarAddr())
	}
	for _, x := range []*Testbed{a, b} {
		addr := serve(t, x, echo)
		for _, p := range x.Paths() {
			ping(t, dial(t, p, addr))
		}
	}
}

func TestValidate(t *testing.T) {
	tests := []struct {
		name string
		cfg  Config
		want string
	}{
		{"none", Config{}, "0 links"},
		{"many", Config{Links: links(MaxLinks+1, link.Spec{})}, "9 links"},
		{"no name", Config{Links: []Link{{}}}, "device name"},
		{"same name", Config{Links: append(links(1, link.Spec{}), links(1, link.Spec{})...)}, "link 1 has no device name"},
		{"long name", Config{Links: []Link{{Device: "abcdefghijklmnop"}}}, "device name"},
		{"loopback", Config{Links: []Link{{Device: "lo"}}}, "device name"},
		{"spec", Config{Links: links(1, link.Spec{Loss: -1})}, "loss"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := New(tt.cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
