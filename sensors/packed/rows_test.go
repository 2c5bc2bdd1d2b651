package packed

import (
	"math"
	"testing"

	"telemetry/sensors"
	"telemetry/wire"
)

// stamped keeps how far rows are from their true time: the first word of a row is
// its number.
type stamped struct {
	t       *testing.T
	truth   func(row int64) int64
	arrival int64 // of the packet at hand
	worst   int64 // error either way
	ahead   int64 // of a row before its packet's arrival
	last    int64
	rows    int64
}

func (s *stamped) Append(r sensors.Rows) error {
	width := len(r.Values) / len(r.Ticks)
	for i, tick := range r.Ticks {
		off := tick - s.truth(r.Values[i*width])
		s.worst, s.ahead = max(s.worst, off, -off), max(s.ahead, tick-s.arrival)
		if tick < s.last {
			s.t.Fatalf("row %d goes back by %d ns", r.Values[i*width], s.last-tick)
		}
		s.last = tick
		s.rows++
	}
	return nil
}

func (s *stamped) Event(wire.Event) error { return nil }

// device sends packets of ten rows at 1 kHz. Its clock runs as ours.
type device struct {
	t        *testing.T
	stream   *Stream
	packet   *Packet
	out      *stamped
	bits     int
	numbered bool
	rowNS    float64 // real
	next     int64   // number of the packet
	slept    int64   // ns that it stood still
}

const (
	deviceBegin = int64(50e9) // boot time of row 0
	perPacket   = 10
	transitNS   = int64(400_000)
)

// newDevice makes one whose head has a tick of so many bits of µs (0: none) and a
// sequence of 16 bits if it is numbered.
func newDevice(t *testing.T, bits int, numbered bool, rateMilliHz uint64) *device {
	t.Helper()
	head := []Head{{Kind: U8, Role: Match, Value: 7}}
	if numbered {
		head = append(head, Head{Kind: U16, Role: Sequence})
	}
	if bits > 0 {
		head = append(head, Head{Kind: map[int]Kind{16: U16, 32: U32, 64: U64}[bits], Role: Tick})
	}
	p, err := NewPacket(head, newLayout(t, Field{Name: "n", Kind: I32}))
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewStream(StreamConfig{Name: "rows", Packet: p, RateMilliHz: rateMilliHz, TickNS: 1000})
	if err != nil {
		t.Fatal(err)
	}
	d := &device{t: t, stream: s, packet: p, bits: bits, numbered: numbered, rowNS: 1e6}
	d.out = &stamped{t: t, truth: d.at}
	return d
}

// at returns the boot time at which a row was sampled.
func (d *device) at(row int64) int64 { return deviceBegin + d.slept + int64(float64(row)*d.rowNS) }

// sent returns when the packet at hand is on its way.
func (d *device) sent() int64 { return d.at((d.next+1)*perPacket - 1) }

// arrive hands the next packet over at a boot time.
func (d *device) arrive(at int64) {
	d.t.Helper()
	words := make([]int64, perPacket)
	for i := range words {
		words[i] = d.next*perPacket + int64(i)
	}
	tick := uint64(123_456 + float64(d.next*perPacket)*d.rowNS/1000)
	info, ok := d.stream.Match(d.packet.Append(nil, uint64(d.next), tick, words))
	if !ok {
		d.t.Fatal("its own packet is not taken")
	}
	d.next++
	d.stream.Add(info, at)
	d.out.arrival = at
	if err := d.stream.Flush(d.out); err != nil {
		d.t.Fatal(err)
	}
}

// run lets n packets arrive as they are sent.
func (d *device) run(n int) {
	d.t.Helper()
	for i := range n {
		d.arrive(d.sent() + transitNS + int64(i%7)*50_000)
	}
}

// stall lets what is sent for ns wait, and arrive at once.
func (d *device) stall(ns int64) {
	d.t.Helper()
	for end := d.sent() + ns; d.sent() <= end; {
		d.arrive(end + transitNS)
	}
}

// TestStallOfTheReaderDoesNotMoveRows stops the reader for as long as disks and
// schedulers do: packets wait in the kernel and come at once.
func TestStallOfTheReaderDoesNotMoveRows(t *testing.T) {
	for _, c := range []struct {
		name     string
		bits     int
		numbered bool
		stall    int64
	}{
		{"64 bits, 0.4 s", 64, true, 400e6},
		{"64 bits, 0.7 s", 64, true, 700e6},
		{"64 bits, 45 s", 64, true, 45e9},
		{"32 bits, 0.7 s", 32, true, 700e6},
		{"32 bits without numbers, 5 s", 32, false, 5e9},
		{"16 bits that turn over every 66 ms, 0.7 s", 16, true, 700e6},
		{"no tick, 0.7 s", 0, true, 700e6},
		{"neither tick nor number, 0.7 s", 0, false, 700e6},
		{"no tick, 1.5 s", 0, true, 1500e6},
		{"no tick, 45 s", 0, true, 45e9},
		{"neither tick nor number, 1.5 s", 0, false, 1500e6},
	} {
		d := newDevice(t, c.bits, c.numbered, 1_000_000)
		d.run(300)
		for range 3 {
			d.stall(c.stall)
			d.run(300)
		}
		limit := int64(1e6)
		if c.bits == 0 {
			limit = 4e6 // a count of rows may be off by as much as the rate is
		}
		if d.out.worst > limit || d.out.ahead > 0 {
			t.Errorf("%s: rows up to %d µs off, up to %d µs after they came", c.name, d.out.worst/1000, d.out.ahead/1000)
		}
		if d.stream.Clock.Restarts != 0 || d.stream.Clock.Strange != 0 {
			t.Errorf("%s: %d restarts, %d strange", c.name, d.stream.Clock.Restarts, d.stream.Clock.Strange)
		}
	}
}

// TestWaitingPacketsThatComeSlowly: what waited is read at ten times the pace at
// which it was sent, which takes longer than the patience with a device that sleeps.
func TestWaitingPacketsThatComeSlowly(t *testing.T) {
	for _, bits := range []int{0, 32} {
		d := newDevice(t, bits, true, 1_000_000)
		d.run(300)
		for at := d.sent() + 5e9; at > d.sent(); at += 1e6 {
			d.arrive(at + transitNS)
		}
		d.run(300)
		if d.out.worst > 4e6 || d.out.ahead > 0 || d.stream.Clock.Restarts != 0 {
			t.Errorf("tick of %d bits: rows up to %d µs off, %d restarts", bits, d.out.worst/1000, d.stream.Clock.Restarts)
		}
	}
}

// TestRowsAreNeverAfterTheirArrival: whatever a device's rate really is, rows that
// are spaced by the configured one never run ahead.
func TestRowsAreNeverAfterTheirArrival(t *testing.T) {
	for _, bits := range []int{0, 32} {
		for _, real := range []float64{0.9, 0.98, 1, 1.02, 1.1} { // of the configured rate
			d := newDevice(t, bits, true, 1_000_000)
			d.rowNS = 1e6 / real
			d.run(2000)
			d.stall(600e6)
			d.run(2000)
			if d.out.ahead > 0 || d.out.rows != d.next*perPacket {
				t.Errorf("tick of %d bits, %v of the rate: rows up to %d µs after they came", bits, real, d.out.ahead/1000)
			}
			// While packets wait, rows are counted at the configured rate.
			if limit := int64(70e6 + 600e6*math.Abs(1/real-1)); d.out.worst > limit {
				t.Errorf("tick of %d bits, %v of the rate: rows up to %d µs off", bits, real, d.out.worst/1000)
			}
		}
	}
}

// TestDeviceThatStoodStill: a count that stops while the device sleeps is right
// again once that is certain.
func TestDeviceThatStoodStill(t *testing.T) {
	for _, c := range []struct {
		bits, settle int // packets
		slept        int64
	}{{64, 3200, 3e9}, {64, 3200, 200e6}, {0, 40, 400e6}, {0, jumpTimes, 3e9}} {
		d := newDevice(t, c.bits, true, 1_000_000)
		d.run(300)
		d.slept += c.slept
		d.run(c.settle)
		d.out.worst = 0
		d.run(300)
		if d.out.worst > 3e6 || d.out.ahead > 0 {
			t.Errorf("%d bits, slept %d ms: rows %d µs off", c.bits, c.slept/1e6, d.out.worst/1000)
		}
		if d.stream.Clock.Restarts != 1 {
			t.Errorf("%d bits, slept %d ms: %d restarts", c.bits, c.slept/1e6, d.stream.Clock.Restarts)
		}
	}
}

// TestCountThatBeginsAnew: numbers that begin anew settle what the tick alone
// leaves open for three packets.
func TestCountThatBeginsAnew(t *testing.T) {
	for _, c := range []struct {
		name string
		raw  uint64
		v    Verdict
		sure bool // at the first packet
	}{
		{"by the numbers", 7, Restart, true},
		{"by the numbers, further on", 90_000_000, Restart, true},
		{"by the tick", 7, InOrder, false},
		{"by the tick, ahead", 90_000_000, InOrder, false},
	} {
		clk := TickClock{Bits: 32, NS: 1000}
		now := int64(9e9)
		for i := range 100 {
			now += 1e7
			clk.Boot(uint64(5_000_000+i*10_000), now, Passage{})
		}
		for i := range 5 {
			now += 1e7
			v := InOrder
			if i == 0 {
				v = c.v
			}
			if got := clk.Boot(c.raw+uint64(i*10_000), now, Passage{Verdict: v}); got > now || now-got > 1e6 {
				t.Errorf("%s: packet %d is stamped %d ns before it came", c.name, i, now-got)
			}
		}
		if strange := clk.Strange == 1; clk.Restarts != 1 || strange != c.sure {
			t.Errorf("%s: %d restarts, %d strange", c.name, clk.Restarts, clk.Strange)
		}
	}
}

// TestLatePacketsNeverMoveTheClock: one that comes long after its turn has its own
// time, and is no reason to count anew.
func TestLatePacketsNeverMoveTheClock(t *testing.T) {
	clk := TickClock{Bits: 64, NS: 1}
	const second = int64(1e9)
	for i := range int64(100) {
		clk.Boot(uint64(i*second), 1000*second+i*second, Passage{})
	}
	for range 10 {
		got := clk.Boot(uint64(80*second), 1099*second, Passage{Verdict: LateOne})
		if d := got - 1080*second; math.Abs(float64(d)) > 1e6 {
			t.Errorf("a late packet is %d ns off", d)
		}
	}
	got := clk.Boot(uint64(100*second), 1100*second, Passage{})
	if d := got - 1100*second; math.Abs(float64(d)) > 1e6 || clk.Restarts != 0 || clk.Strange != 0 {
		t.Errorf("the next packet is %d ns off: %+v", d, clk)
	}
}

// FuzzTimes: whatever numbers and times a device sends, and whenever they come, rows
// are never after their arrival and only go back where a late packet does.
func FuzzTimes(f *testing.F) {
	f.Add([]byte{0, 1, 0, 0, 10, 1, 2, 0, 0, 10, 3, 1, 0, 0, 1, 1, 3, 9, 9, 200}, uint8(1))
	f.Add([]byte{9, 1, 0, 0, 10, 255, 255, 255, 255, 255}, uint8(0))
	f.Fuzz(func(t *testing.T, b []byte, kind uint8) {
		head := []Head{{Kind: U8, Role: Sequence}}
		bits := []int{0, 16, 32, 64}[kind%4]
		if bits > 0 {
			head = append(head, Head{Kind: map[int]Kind{16: U16, 32: U32, 64: U64}[bits], Role: Tick})
		}
		p, err := NewPacket(head, newLayout(t, Field{Name: "n", Kind: U8}))
		if err != nil {
			t.Fatal(err)
		}
		s, err := NewStream(StreamConfig{Name: "rows", Packet: p, RateMilliHz: 1_000_000, TickNS: 1000})
		if err != nil {
			t.Fatal(err)
		}
		arrival, last := int64(1e9), int64(0)
		for ; len(b) >= 5; b = b[5:] {
			arrival += int64(b[4]) * int64(b[4]) * 100_000 // up to 6.5 s
			tick := uint64(b[1]) | uint64(b[2])<<8 | uint64(b[3])<<(8*(kind>>2&7))
			info, ok := s.Match(p.Append(nil, uint64(b[0]), tick, make([]int64, 1+int(b[0])%7)))
			if !ok {
				t.Fatal("its own packet is not taken")
			}
			v, _ := s.Add(info, arrival)
			for _, x := range s.ticks {
				if x > arrival || v != LateOne && x < last {
					t.Fatalf("row at %d, arrival %d, the row before at %d", x, arrival, last)
				}
				if v != LateOne {
					last = x
				}
			}
			s.ticks, s.values = s.ticks[:0], s.values[:0]
		}
	})
}
