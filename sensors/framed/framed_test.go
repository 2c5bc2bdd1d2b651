package framed_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	sensorlab "telemetry/lab/sensors"
	"telemetry/sensors"
	"telemetry/sensors/cobs"
	"telemetry/sensors/framed"
	"telemetry/sensors/packed"
	"telemetry/sensors/serialport"
	"telemetry/wire"
)

type bootClock struct{ begin time.Time }

func (c bootClock) BootNS() int64 { return int64(time.Hour) + int64(time.Since(c.begin)) }

// book keeps the rows that came, by their first value.
type book struct {
	t      *testing.T
	groups []wire.Group
	mu     sync.Mutex
	seen   map[int64]int
	last   int64
	back   int
	events []string
}

func (b *book) Append(r sensors.Rows) error {
	if err := r.Check(b.groups); err != nil {
		b.t.Error(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range r.Ticks {
		b.seen[r.Values[i*2]]++
		if r.Ticks[i] < b.last {
			b.back++
		}
		b.last = r.Ticks[i]
	}
	return nil
}

func (b *book) Event(e wire.Event) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, e.Name+": "+e.Detail)
	return nil
}

func (b *book) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.seen)
}

const rowsOfPacket = 10

func packet(t *testing.T) *packed.Packet {
	t.Helper()
	l, err := packed.NewLayout([]packed.Field{{Name: "count", Kind: packed.I32}, {Name: "acc", Kind: packed.I16, Scale: 0.01, Unit: "g"}})
	if err != nil {
		t.Fatal(err)
	}
	p, err := packed.NewPacket([]packed.Head{
		{Kind: packed.U8, Role: packed.Match, Value: 1}, {Kind: packed.U16, Role: packed.Sequence}, {Kind: packed.U32, Role: packed.Tick}, {Kind: packed.U8, Role: packed.Count},
	}, l)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// board makes packet number n, framed: rowsOfPacket rows at 1500 Hz.
func board(t *testing.T, f cobs.Framing, crc *cobs.CRC, n int) []byte {
	t.Helper()
	return f.Encode(nil, seal(packetOf(t, n), crc, true))
}

func newCRC(t *testing.T) *cobs.CRC {
	t.Helper()
	c, err := cobs.NewCRC("ccitt-false")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newSource(t *testing.T, port string, f cobs.Framing) *framed.Source {
	t.Helper()
	st, err := packed.NewStream(packed.StreamConfig{Name: "board", Packet: packet(t), RateMilliHz: 1_500_000, TickNS: 1000})
	if err != nil {
		t.Fatal(err)
	}
	src, err := framed.New(framed.Config{
		Port: port, Baud: 1_000_000, Framing: f, CRC: newCRC(t), CRCBig: true, Streams: []*packed.Stream{st}, Clock: bootClock{time.Now()},
	})
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// start runs a source until the test ends.
func start(t *testing.T, port string, f cobs.Framing) (*framed.Source, *book) {
	t.Helper()
	src := newSource(t, port, f)
	return src, run(t, src)
}

// run runs a source until the test ends.
func run(t *testing.T, src *framed.Source) *book {
	t.Helper()
	b := &book{t: t, groups: src.Groups(), seen: map[int64]int{}}
	super := sensors.NewSupervisor(sensors.SupervisorConfig{})
	if err := super.Add("board", src, b); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { // ends with cancel
		defer close(ended)
		_ = super.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return b
}

func counter(s *framed.Source, name string) uint64 {
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

func openPTY(t *testing.T, link string) *sensorlab.PTY {
	t.Helper()
	p, err := sensorlab.OpenPTY(link)
	if err != nil {
		t.Skipf("no pseudo terminal here: %v", err)
	}
	return p
}

func TestMatrix(t *testing.T) {
	const n = 200
	crc := newCRC(t)
	for _, f := range []cobs.Framing{cobs.COBS, cobs.SLIP} {
		for _, c := range []struct {
			name    string
			send    func(i int, good []byte) []byte
			bad     string // a counter that must have risen
			salvage bool
		}{
			{"whole", func(_ int, good []byte) []byte { return good }, "", false},
			{"garbage with an end", func(i int, good []byte) []byte {
				return append(append([]byte{0xff, byte(i), 0x11, 0x13, 3}, f.Encode(nil, []byte{byte(i), 2})...), good...)
			}, map[cobs.Framing]string{cobs.COBS: "packets_stuffing", cobs.SLIP: "packets_checksum"}[f], false},
			{"cut packets", func(i int, good []byte) []byte { return append(append([]byte{}, good[:7+i%40]...), good...) }, "packets_salvaged", f == cobs.COBS},
			{"damaged copies", func(i int, good []byte) []byte {
				b := append([]byte{}, good...)
				b[3+i%20] ^= 0x40
				return append(b, good...)
			}, "packets_checksum", false},
			{"other kinds", func(i int, good []byte) []byte {
				other := append([]byte{9}, make([]byte, i)...)
				x := crc.Sum(other)
				return append(f.Encode(nil, append(other, byte(x>>8), byte(x))), good...)
			}, "packets_unknown", false},
			{"far too long", func(i int, good []byte) []byte {
				if i%50 != 0 {
					return good
				}
				b := make([]byte, cobs.MaxPacket+100)
				for k := range b {
					b[k] = 0x55
				}
				return append(append(b, f.Encode(nil, nil)...), good...)
			}, "packets_long", false},
		} {
			t.Run(fmt.Sprintf("%s, framing %d", c.name, f), func(t *testing.T) {
				t.Parallel()
				p := openPTY(t, "")
				defer p.Close()
				src, b := start(t, p.Path, f)
				eventually(t, "the port is open", func() bool { return counter(src, "opens") > 0 })
				for i := range n {
					if _, err := p.Write(c.send(i, board(t, f, crc, i))); err != nil {
						t.Fatal(err)
					}
				}
				eventually(t, "all rows", func() bool { return b.count() == n*rowsOfPacket })
				for v, times := range b.seen {
					if times != 1 || v < 0 || v >= n*rowsOfPacket {
						t.Fatalf("row %d came %d times", v, times)
					}
				}
				if b.back != 0 || counter(src, "packets_lost") != 0 || len(b.events) != 0 {
					t.Errorf("%d rows back in time, %d lost, events %v", b.back, counter(src, "packets_lost"), b.events)
				}
				if c.bad != "" && !(c.name == "cut packets" && !c.salvage) && counter(src, c.bad) == 0 {
					t.Errorf("%s is 0: %+v", c.bad, src.Counters())
				}
			})
		}
	}
}

func TestLossIsToldExactly(t *testing.T) {
	p := openPTY(t, "")
	defer p.Close()
	src, b := start(t, p.Path, cobs.COBS)
	eventually(t, "the port is open", func() bool { return counter(src, "opens") > 0 })
	crc := newCRC(t)
	for _, i := range []int{0, 1, 4, 5, 5, 9} {
		if _, err := p.Write(board(t, cobs.COBS, crc, i)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "five packets", func() bool { return b.count() == 5*rowsOfPacket })
	eventually(t, "the counters", func() bool { return counter(src, "packets_lost") == 5 && counter(src, "packets_repeated") == 1 })
	eventually(t, "an event", func() bool { b.mu.Lock(); defer b.mu.Unlock(); return len(b.events) > 0 })
}

func TestUnplugReplugAndLock(t *testing.T) {
	link := filepath.Join(t.TempDir(), "usb-board")
	p := openPTY(t, link)
	src, b := start(t, link, cobs.SLIP)
	crc := newCRC(t)
	for round := range 3 {
		eventually(t, "the port is open", func() bool { return counter(src, "opens") == uint64(round+1) })
		if round == 0 {
			err := newSource(t, p.Path, cobs.SLIP).Run(t.Context(), b)
			if !errors.Is(err, serialport.ErrBusy) {
				t.Errorf("a second one got %v, want %v", err, serialport.ErrBusy)
			}
		}
		for i := range 20 {
			if _, err := p.Write(board(t, cobs.SLIP, crc, round*20+i)); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "the rows of this time", func() bool { return b.count() == (round+1)*20*rowsOfPacket })
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		if round < 2 {
			p = openPTY(t, link)
		}
	}
	if n := counter(src, "packets_lost"); n != 0 {
		t.Errorf("%d packets lost", n)
	}
}

func TestConfigFaults(t *testing.T) {
	if _, err := framed.New(framed.Config{Baud: 100}); err == nil {
		t.Error("taken")
	}
	if _, err := packed.NewStream(packed.StreamConfig{Packet: packet(t)}); err == nil {
		t.Error("a stream without the length of its tick was made")
	}
}
