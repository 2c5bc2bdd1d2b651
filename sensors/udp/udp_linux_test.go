package udp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"telemetry/sensors"
	"telemetry/sensors/packed"
	"telemetry/wire"
)

type bootClock struct{ begin time.Time }

func (c bootClock) BootNS() int64 { return int64(time.Hour) + int64(time.Since(c.begin)) }

// book counts rows by their first value; it may be told to wait.
type book struct {
	t      *testing.T
	groups []wire.Group
	gate   chan struct{} // not nil: Append waits until it is closed
	mu     sync.Mutex
	seen   map[string]int
	events []wire.Event
}

func (b *book) Append(r sensors.Rows) error {
	if b.gate != nil {
		<-b.gate
	}
	if err := r.Check(b.groups); err != nil {
		b.t.Error(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	width := len(b.groups[r.Group].Channels)
	for i := range r.Ticks {
		b.seen[fmt.Sprintf("%s %d", b.groups[r.Group].Name, r.Values[i*width])]++
	}
	return nil
}

func (b *book) Event(e wire.Event) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, e)
	return nil
}

func (b *book) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.seen)
}

// told counts the events of a name.
func (b *book) told(name string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.events {
		if e.Name == name {
			n++
		}
	}
	return n
}

func newPacket(t testing.TB, id uint16, channels int) *packed.Packet {
	t.Helper()
	l, err := packed.NewLayout([]packed.Field{{Name: "n", Kind: packed.I32}, {Name: "v", Kind: packed.I16, Count: channels}})
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewPacket(id, l)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func newStream(t testing.TB, id uint16, channels int) Stream {
	t.Helper()
	s, err := packed.NewStream(packed.StreamConfig{
		Name: fmt.Sprintf("s%d", id), Packet: newPacket(t, id, channels), Group: int(id) - 1, RateMilliHz: 1_500_000, TickNS: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	return Stream{ID: id, Rows: s}
}

// datagram makes number seq of a stream: rows rows whose first value counts.
func makeDatagram(t testing.TB, id uint16, channels, rows int, seq uint32) []byte {
	t.Helper()
	words := make([]int64, rows*(channels+1))
	for i := range rows {
		words[i*(channels+1)] = int64(seq)*int64(rows) + int64(i)
	}
	return newPacket(t, id, channels).Append(nil, uint64(seq), uint64(seq)*uint64(rows)*1_000_000/1500*1000, words)
}

// start runs a source on a free port of the loopback until the test ends and
// returns a connection to it.
func start(t *testing.T, cfg Config, gate chan struct{}) (*Source, *book, net.Conn) {
	t.Helper()
	if !cfg.Listen.IsValid() {
		cfg.Listen = netip.MustParseAddrPort(freePort(t))
	}
	cfg.Clock = bootClock{time.Now()}
	src, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b := &book{t: t, groups: src.Groups(), seen: map[string]int{}, gate: gate}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- src.Run(ctx, b) }() // ends with cancel
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	eventually(t, "the socket is open", func() bool {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("ended: %v", err)
		default:
		}
		return counter(src, "opens") > 0
	})
	to := cfg.Listen.String()
	if cfg.Group.IsValid() {
		to = netip.AddrPortFrom(cfg.Group.WithZone(cfg.Interface), cfg.Listen.Port()).String()
	}
	c, err := net.Dial("udp", to)
	if err != nil {
		t.Skipf("no way to %s here: %v", to, err)
	}
	t.Cleanup(func() { c.Close() })
	return src, b, c
}

func freePort(t *testing.T) string {
	t.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().String()
}

func counter(s *Source, name string) uint64 {
	for _, c := range s.Counters() {
		if c.Name == name {
			return c.Value
		}
	}
	return 1 << 63
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

func send(t *testing.T, c net.Conn, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}

func TestStreamsAreTakenWhole(t *testing.T) {
	src, b, c := start(t, Config{Streams: []Stream{newStream(t, 1, 10), newStream(t, 2, 700)}}, nil)
	const n = 500
	for i := range uint32(n) {
		send(t, c, makeDatagram(t, 1, 10, 15, i))
		send(t, c, makeDatagram(t, 2, 700, 2, i))
		if i%20 == 19 { // no more on the way than a receive buffer of 208 KiB holds
			eventually(t, "all rows so far", func() bool { return b.count() == int(i+1)*(15+2) })
		}
	}
	if counter(src, "datagrams") != 2*n || counter(src, "datagrams_lost") != 0 || counter(src, "datagrams_dropped") != 0 || len(b.events) != 0 {
		t.Errorf("%+v, events %v", src.Counters(), b.events)
	}
}

func TestWhatIsNotTakenIsCounted(t *testing.T) {
	src, b, c := start(t, Config{Streams: []Stream{newStream(t, 1, 3)}}, nil)
	good := func(seq uint32) []byte { return makeDatagram(t, 1, 3, 2, seq) }
	foreign, short, version := good(0), good(0)[:HeadBytes+3], good(0)
	foreign[0] = 'x'
	version[2] = 9
	for _, d := range [][]byte{
		good(0), foreign, version, short, makeDatagram(t, 7, 3, 2, 0),
		{},
		good(1),
		good(4), // 2 and 3 are lost
		good(3), // late
		good(3), // twice
		good(5),
		makeDatagram(t, 1, 3, 2, 1_000_000), // begun anew
		makeDatagram(t, 1, 3, 2, 1_000_001),
	} {
		send(t, c, d)
	}
	eventually(t, "the last one", func() bool { return b.count() == 7*2 })
	for name, want := range map[string]uint64{
		"datagrams": 13, "datagrams_foreign": 3, "datagrams_unknown": 1, "datagrams_misfit": 1, "datagrams_lost": 1,
		"datagrams_late": 1, "datagrams_repeated": 1, "restarts": 1, "rows": 14,
	} {
		eventually(t, fmt.Sprintf("%s is %d: %+v", name, want, src.Counters()), func() bool { return counter(src, name) == want })
	}
	eventually(t, "a loss is told", func() bool { return b.told(lossEvent) > 0 }) // behind its counter
	if n := b.told("device_restart"); n != 1 {
		t.Errorf("%d restarts are told", n)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for row, times := range b.seen {
		if times != 1 {
			t.Errorf("row %s came %d times", row, times)
		}
	}
}

func TestStrangersAreNotTaken(t *testing.T) {
	src, b, c := start(t, Config{Streams: []Stream{newStream(t, 1, 3)}, From: netip.MustParseAddr("127.9.9.9")}, nil)
	send(t, c, makeDatagram(t, 1, 3, 2, 0))
	eventually(t, "a stranger", func() bool { return counter(src, "datagrams_strangers") == 1 })
	friend, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 9, 9, 9)}, c.RemoteAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer friend.Close()
	send(t, friend, makeDatagram(t, 1, 3, 2, 1))
	eventually(t, "a friend", func() bool { return b.count() == 2 })
}

// TestFullBuffer holds the sink until the kernel must drop: what was lost is told
// to the last datagram.
func TestFullBuffer(t *testing.T) {
	gate := make(chan struct{})
	src, b, c := start(t, Config{Streams: []Stream{newStream(t, 1, 700)}, ReceiveBuffer: 64 << 10}, gate)
	const n = 2000
	for i := range uint32(n) {
		send(t, c, makeDatagram(t, 1, 700, 1, i))
	}
	close(gate)
	// What is behind the last number that came is seen with the next one alone.
	extra := uint32(n)
	eventually(t, "the end", func() bool {
		send(t, c, makeDatagram(t, 1, 700, 1, extra))
		extra++
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.seen[fmt.Sprintf("s1 %d", extra-2)] == 1
	})
	eventually(t, "all is told", func() bool {
		sum := uint64(b.count()) + counter(src, "datagrams_lost")
		return sum == uint64(extra) && counter(src, "datagrams_dropped") == counter(src, "datagrams_lost")
	})
	if counter(src, "datagrams_lost") == 0 {
		t.Error("a buffer of 64 KiB held 2.8 MB")
	}
	eventually(t, "an event", func() bool { b.mu.Lock(); defer b.mu.Unlock(); return len(b.events) > 0 })
}

func TestMulticast(t *testing.T) {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Skip(err)
	}
	port := netip.MustParseAddrPort(freePort(t)).Port()
	group := netip.MustParseAddr("239.77.0.1")
	_, b, _ := start(t, Config{
		Listen: netip.AddrPortFrom(netip.IPv4Unspecified(), port), Group: group, Interface: lo.Name, Streams: []Stream{newStream(t, 1, 3)},
	}, nil)
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := sendBy(c, lo.Index); err != nil {
		t.Skipf("no multicast on the loopback: %v", err)
	}
	for i := range uint32(20) {
		if _, err := c.WriteTo(makeDatagram(t, 1, 3, 2, i), &net.UDPAddr{IP: group.AsSlice(), Port: int(port)}); err != nil {
			t.Skipf("no multicast on the loopback: %v", err)
		}
	}
	eventually(t, "all rows", func() bool { return b.count() == 40 })
}

// sender returns a socket on an interface that takes multicast: the loopback for
// IPv4, any with an address for IPv6.
func sender(t *testing.T, six bool) (*net.UDPConn, *net.Interface) {
	t.Helper()
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		if i.Flags&net.FlagUp == 0 || six == (i.Flags&net.FlagLoopback != 0) {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range addrs {
			n, ok := a.(*net.IPNet)
			if !ok || six == (n.IP.To4() != nil) {
				continue
			}
			at := &net.UDPAddr{IP: n.IP}
			if n.IP.IsLinkLocalUnicast() {
				at.Zone = i.Name
			}
			if c, err := net.ListenUDP("udp", at); err == nil {
				t.Cleanup(func() { c.Close() })
				return c, &i
			}
		}
	}
	t.Skip("no interface for it")
	return nil, nil
}

// TestGroupsOfOnePortStayApart: two control units send to two groups on one port;
// each source has its own alone.
func TestGroupsOfOnePortStayApart(t *testing.T) {
	for _, c := range []struct {
		name, listen string
		groups       [2]string // of this machine alone
	}{
		{"IPv4", "0.0.0.0", [2]string{"239.77.0.2", "239.77.0.3"}},
		{"IPv6", "::", [2]string{"ff01::7702", "ff01::7703"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			from, by := sender(t, c.name == "IPv6")
			if err := sendBy(from, by.Index); err != nil {
				t.Skipf("no multicast on %s: %v", by.Name, err)
			}
			port := netip.MustParseAddrPort(freePort(t)).Port()
			listen := netip.AddrPortFrom(netip.MustParseAddr(c.listen), port)
			var sources [2]*Source
			var books [2]*book
			for i, g := range c.groups {
				sources[i], books[i], _ = start(t, Config{Listen: listen, Group: netip.MustParseAddr(g), Interface: by.Name, Streams: []Stream{newStream(t, 1, 3)}}, nil)
			}
			for seq := range uint32(20) {
				for i, g := range c.groups {
					to := &net.UDPAddr{IP: net.ParseIP(g), Port: int(port), Zone: by.Name}
					if _, err := from.WriteTo(makeDatagram(t, 1, 3, 2, seq+uint32(i)*500), to); err != nil {
						t.Skipf("no multicast on %s: %v", by.Name, err)
					}
				}
			}
			for i := range sources {
				eventually(t, "all rows", func() bool { return books[i].count() >= 40 })
				if n := counter(sources[i], "datagrams"); n != 20 || counter(sources[i], "restarts")+counter(sources[i], "datagrams_lost") != 0 {
					t.Errorf("source %d: %+v", i, sources[i].Counters())
				}
			}
		})
	}
}

// TestDropsOfTheEndAreCounted: what found the buffer full before a source ends is
// asked for once more.
func TestDropsOfTheEndAreCounted(t *testing.T) {
	gate := make(chan struct{})
	cfg := Config{Listen: netip.MustParseAddrPort(freePort(t)), Streams: []Stream{newStream(t, 1, 700)}, ReceiveBuffer: 64 << 10, Clock: bootClock{time.Now()}}
	src, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b := &book{t: t, groups: src.Groups(), seen: map[string]int{}, gate: gate}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- src.Run(ctx, b) }() // ends with cancel
	eventually(t, "the socket is open", func() bool { return counter(src, "opens") > 0 })
	c, err := net.Dial("udp", cfg.Listen.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range uint32(1000) {
		send(t, c, makeDatagram(t, 1, 700, 1, i))
	}
	cancel()
	close(gate)
	<-ended
	if counter(src, "datagrams_dropped") == 0 {
		t.Errorf("a buffer of 64 KiB held 1.4 MB: %+v", src.Counters())
	}
}

func TestConfigFaults(t *testing.T) {
	ok := Config{Listen: netip.MustParseAddrPort("127.0.0.1:5600"), Streams: []Stream{newStream(t, 1, 1)}, Clock: bootClock{}}
	if _, err := New(ok); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(c *Config){
		"no address":     func(c *Config) { c.Listen = netip.AddrPort{} },
		"no port":        func(c *Config) { c.Listen = netip.AddrPortFrom(c.Listen.Addr(), 0) },
		"no group":       func(c *Config) { c.Group = netip.MustParseAddr("10.0.0.1") },
		"other kind":     func(c *Config) { c.Group = netip.MustParseAddr("ff02::1") },
		"no stream":      func(c *Config) { c.Streams = nil },
		"twice":          func(c *Config) { c.Streams = append(c.Streams, c.Streams[0]) },
		"long gathering": func(c *Config) { c.Gather = time.Second },
		"no clock":       func(c *Config) { c.Clock = nil },
	} {
		c := ok
		change(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// TestTwoSendersOfOneStream: each datagram counts anew. All rows are taken, and the
// critical lane is not filled with the news.
func TestTwoSendersOfOneStream(t *testing.T) {
	src, err := New(Config{Listen: netip.MustParseAddrPort("127.0.0.1:5600"), Streams: []Stream{newStream(t, 1, 3)}, Clock: bootClock{}})
	if err != nil {
		t.Fatal(err)
	}
	sink := &book{t: t, groups: src.Groups(), seen: map[string]int{}}
	r := &run{Source: src, out: sink, untold: map[string]uint64{}, anew: map[string]*sensors.Burst{}}
	now := int64(time.Hour)
	const pairs = 1500
	for i := range uint32(pairs) { // 3 s
		now += int64(2 * time.Millisecond)
		r.take(makeDatagram(t, 1, 3, 1, i), now)
		r.take(makeDatagram(t, 1, 3, 1, 1<<24+i), now)
		if err := r.flush(now, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.flush(now, true); err != nil {
		t.Fatal(err)
	}
	if rows, anew := counter(src, "rows"), counter(src, "restarts"); rows != 2*pairs || anew < pairs {
		t.Errorf("%d rows, counted anew %d times", rows, anew)
	}
	if n := sink.told(restartEvent); n < 3 || n > 40 {
		t.Errorf("%d events in three seconds", n)
	}
}

func FuzzTake(f *testing.F) {
	f.Add(makeDatagram(f, 1, 3, 2, 0), uint8(24))
	f.Add([]byte("EC\x01\x00\x01\x00"), uint8(3))
	f.Fuzz(func(t *testing.T, b []byte, cut uint8) {
		src, err := New(Config{Listen: netip.MustParseAddrPort("127.0.0.1:5600"), Streams: []Stream{newStream(t, 1, 3)}, Clock: bootClock{}})
		if err != nil {
			t.Fatal(err)
		}
		sink := &book{t: &testing.T{}, groups: src.Groups(), seen: map[string]int{}}
		r := &run{Source: src, out: sink, untold: map[string]uint64{}, anew: map[string]*sensors.Burst{}}
		at := min(int(cut), len(b))
		r.take(b[:at], 1e9)
		r.take(b[at:], 2e9)
		r.take(b, 3e9)
		if err := r.flush(4e9, true); err != nil {
			t.Fatal(err)
		}
		if sink.t.Failed() {
			t.Fatal("rows that are not as their group says")
		}
	})
}
