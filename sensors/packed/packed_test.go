package packed

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"telemetry/wire"
)

func newLayout(t testing.TB, fields ...Field) *Layout {
	t.Helper()
	l, err := NewLayout(fields)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestRowOfEveryKind(t *testing.T) {
	for _, big := range []bool{false, true} {
		l := newLayout(t,
			Field{Name: "a", Kind: U8}, Field{Name: "b", Kind: I8}, Field{Kind: Pad, Count: 2}, Field{Name: "c", Kind: U16, Big: big, Count: 11},
			Field{Name: "d", Kind: I16, Big: big, Count: 19}, Field{Name: "e", Kind: U24, Big: big}, Field{Name: "f", Kind: I24, Big: big},
			Field{Name: "g", Kind: U32, Big: big, Count: 2}, Field{Name: "h", Kind: I32, Big: big}, Field{Name: "i", Kind: U64, Big: big},
			Field{Name: "j", Kind: I64, Big: big}, Field{Name: "k", Kind: F32, Big: big}, Field{Name: "l", Kind: F64, Big: big},
		)
		if l.Bytes() != 1+1+2+22+38+3+3+8+4+8+8+4+8 || len(l.Channels()) != 41 {
			t.Fatalf("%d bytes, %d channels", l.Bytes(), len(l.Channels()))
		}
		rnd := rand.New(rand.NewPCG(1, 2))
		for range 200 {
			want := make([]int64, len(l.Channels()))
			for i, c := range l.Channels() {
				bits := int(c.Bits)
				switch c.Type {
				case wire.TypeF32:
					want[i] = int64(rnd.Uint32())
				case wire.TypeUint:
					want[i] = int64(rnd.Uint64() >> (64 - bits))
				case wire.TypeInt:
					want[i] = int64(rnd.Uint64()) >> (64 - bits)
				default:
					want[i] = int64(rnd.Uint64())
				}
			}
			b := l.AppendRow(nil, want)
			got := make([]int64, len(want))
			l.Row(b, got)
			if len(b) != l.Bytes() || !slices.Equal(got, want) {
				t.Fatalf("got %x\nwant %x", got, want)
			}
		}
	}
}

func TestByteOrder(t *testing.T) {
	b := []byte{0x01, 0x02, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88}
	for _, c := range []struct {
		kind Kind
		big  bool
		want int64
	}{
		{I16, false, 0x0201},
		{U16, true, 0x0102},
		{I24, false, 0x830201 - 1<<24},
		{U24, true, 0x010283},
		{I32, false, 0x84830201 - 1<<32},
		{U32, true, 0x01028384},
		{U64, true, 0x0102838485868788},
		{F32, false, 0x84830201},
	} {
		if got := Word(b, c.kind, c.big); got != c.want {
			t.Errorf("%s, big %t: %x, want %x", c.kind, c.big, got, c.want)
		}
	}
	if Float(int64(math.Float32bits(1.5)), F32) != 1.5 || Float(int64(math.Float64bits(-2)), F64) != -2 || Float(-1, I16) != -1 || Float(-1, U64) != math.MaxUint64 {
		t.Error("Float reads the wrong value")
	}
}

func TestNamesAndFaults(t *testing.T) {
	l := newLayout(t, Field{Name: "x", Kind: I16, Count: 2}, Field{Name: "y", Kind: U8, Scale: 0.5})
	if c := l.Channels(); c[0].Name != "x_000" || c[1].Name != "x_001" || c[2].Name != "y" || c[0].Scale != 1 || c[2].Scale != 0.5 || c[0].Bits != 16 {
		t.Errorf("%+v", c)
	}
	for name, f := range map[string][]Field{
		"nothing":    nil,
		"pad alone":  {{Kind: Pad}},
		"kind":       {{Name: "a", Kind: "u12"}},
		"no name":    {{Kind: U8}},
		"many bytes": {{Name: "a", Kind: U64, Count: 10_000}},
		"many":       {{Name: "a", Kind: U8, Count: MaxChannels + 1}},
		"negative":   {{Name: "a", Kind: U8, Count: -1}},
	} {
		if _, err := NewLayout(f); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func newPacket(t testing.TB, head ...Head) *Packet {
	t.Helper()
	p, err := NewPacket(head, newLayout(t, Field{Name: "a", Kind: I16}, Field{Name: "b", Kind: U8}))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPacket(t *testing.T) {
	p := newPacket(t, Head{Kind: U8, Role: Match, Value: 7}, Head{Kind: U16, Big: true, Role: Sequence}, Head{Kind: U32, Role: Tick}, Head{Kind: U8}, Head{Kind: U8, Role: Count})
	words := []int64{-1, 2, -3, 4}
	b := p.Append(nil, 0x1234, 0xfedcba98, words)
	info, ok := p.Read(b)
	if !ok || info.Sequence != 0x1234 || info.Tick != 0xfedcba98 || info.Rows != 2 {
		t.Fatalf("%+v %t of %x", info, ok, b)
	}
	row := make([]int64, 2)
	p.Rows.Row(info.Body[p.Rows.Bytes():], row)
	if !slices.Equal(row, words[2:]) {
		t.Errorf("row %v", row)
	}
	for name, change := range map[string]func(b []byte) []byte{
		"another kind":    func(b []byte) []byte { b[0] = 8; return b },
		"count too high":  func(b []byte) []byte { b[8] = 3; return b },
		"a byte short":    func(b []byte) []byte { return b[:len(b)-1] },
		"a byte too long": func(b []byte) []byte { return append(b, 0) },
		"head alone":      func(b []byte) []byte { return b[:9] },
		"nothing":         func([]byte) []byte { return nil },
	} {
		if _, ok := p.Read(change(slices.Clone(b))); ok {
			t.Errorf("%s: taken", name)
		}
	}
	if !p.Has(Tick) || p.Bits(Sequence) != 16 || p.Bits("other") != 0 {
		t.Error("the head is described wrongly")
	}
	l := newLayout(t, Field{Name: "a", Kind: U8})
	for name, h := range map[string][]Head{
		"twice":     {{Kind: U8, Role: Tick}, {Kind: U8, Role: Tick}},
		"a float":   {{Kind: F32, Role: Sequence}},
		"role":      {{Kind: U8, Role: "other"}},
		"kind":      {{Kind: "u7"}},
		"match pad": {{Kind: Pad, Role: Match}},
	} {
		if _, err := NewPacket(h, l); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestNumbers(t *testing.T) {
	type add struct {
		n    uint64
		want Verdict
		lost uint64
	}
	for _, c := range []struct {
		name                           string
		bits                           int
		adds                           []add
		lost, late, repeated, restarts uint64
	}{
		{"in order over the turn", 8, []add{{254, InOrder, 0}, {255, InOrder, 0}, {0, InOrder, 0}, {1, InOrder, 0}}, 0, 0, 0, 0},
		{"a gap over the turn", 16, []add{{65534, InOrder, 0}, {2, AfterGap, 3}}, 3, 0, 0, 0},
		{"changed places", 32, []add{{1, InOrder, 0}, {3, AfterGap, 1}, {2, LateOne, 0}, {4, InOrder, 0}}, 0, 1, 0, 0},
		{"twice", 32, []add{{1, InOrder, 0}, {2, InOrder, 0}, {2, Repeat, 0}, {1, Repeat, 0}, {3, InOrder, 0}}, 0, 0, 2, 0},
		{"late twice", 32, []add{{1, InOrder, 0}, {4, AfterGap, 2}, {3, LateOne, 0}, {3, Repeat, 0}}, 1, 1, 1, 0},
		{"begun anew", 32, []add{{100_000, InOrder, 0}, {0, Restart, 0}, {1, InOrder, 0}}, 0, 0, 0, 1},
		{"far ahead", 32, []add{{1, InOrder, 0}, {1 << 20, Restart, 0}, {1<<20 + 1, InOrder, 0}}, 0, 0, 0, 1},
		{"64 bits", 64, []add{{math.MaxUint64, InOrder, 0}, {0, InOrder, 0}, {5, AfterGap, 4}}, 4, 0, 0, 0},
		{
			"begun anew soon after it began", 8,
			[]add{{0, InOrder, 0}, {1, InOrder, 0}, {2, InOrder, 0}, {3, InOrder, 0}, {4, InOrder, 0}, {5, InOrder, 0}, {0, Repeat, 0}, {1, Repeat, 0}, {2, Repeat, 0}, {3, Restart, 0}, {4, InOrder, 0}, {6, AfterGap, 1}},
			1, 0, 3, 1,
		},
		{
			"every one twice, the second later", 16,
			[]add{{1, InOrder, 0}, {2, InOrder, 0}, {3, InOrder, 0}, {1, Repeat, 0}, {4, InOrder, 0}, {2, Repeat, 0}, {5, InOrder, 0}, {3, Repeat, 0}, {6, InOrder, 0}, {4, Repeat, 0}, {7, InOrder, 0}, {5, Repeat, 0}},
			0, 0, 5, 0,
		},
		{
			"the latest again and again", 16,
			[]add{{1, InOrder, 0}, {1, Repeat, 0}, {1, Repeat, 0}, {1, Repeat, 0}, {1, Repeat, 0}, {2, InOrder, 0}},
			0, 0, 4, 0,
		},
		{"a long gap, then late", 32, []add{{1, InOrder, 0}, {200, AfterGap, 198}, {150, LateOne, 0}}, 197, 1, 0, 0},
	} {
		s := Numbers{Bits: c.bits}
		for i, a := range c.adds {
			if got, lost := s.Add(a.n); got != a.want || lost != a.lost {
				t.Errorf("%s: %d: verdict %d with %d lost, want %d and %d", c.name, i, got, lost, a.want, a.lost)
			}
		}
		if s.Lost != c.lost || s.Late != c.late || s.Repeated != c.repeated || s.Restarts != c.restarts {
			t.Errorf("%s: %+v", c.name, s)
		}
	}
}

func TestTickClock(t *testing.T) {
	const period = 10_000_000 // ns between packets
	for _, c := range []struct {
		name string
		bits int
		ns   float64
		ppm  float64 // of the device's crystal
	}{
		{"32 bits of µs, slow crystal", 32, 1000, -80},
		{"16 bits of µs: turns over every 66 ms", 16, 1000, 60},
		{"64 bits of ns", 64, 1, 30},
		{"24 bits of 1/48 MHz", 24, 1e9 / 48e6, 100},
	} {
		clk := TickClock{Bits: c.bits, NS: c.ns}
		rnd := rand.New(rand.NewPCG(3, 4))
		worst, last := 0.0, int64(0)
		for i := range 20_000 {
			truth := 5e9 + float64(i)*period
			raw := uint64((1e8+truth*(1+c.ppm/1e6))/c.ns) & (^uint64(0) >> (64 - c.bits))
			arrival := int64(truth) + 300_000 + rnd.Int64N(4_000_000)
			got := clk.Boot(raw, arrival, Passage{})
			if got > arrival {
				t.Fatalf("%s: packet %d is stamped %d ns after it came", c.name, i, got-arrival)
			}
			if i > 200 {
				worst = max(worst, math.Abs(float64(got)-truth))
				if d := got - last; math.Abs(float64(d-period)) > 1_000_000 {
					t.Fatalf("%s: packets %d ns apart", c.name, d)
				}
			}
			last = got
		}
		if worst > 1_000_000 || clk.Restarts+clk.Strange > 0 {
			t.Errorf("%s: up to %.0f ns off, %+v", c.name, worst, clk)
		}
	}
}

func TestTickClockOfADeviceThatRestarts(t *testing.T) {
	clk := TickClock{Bits: 32, NS: 1000}
	now := int64(9e9)
	for i := range 100 {
		now += 1e7
		clk.Boot(uint64(5_000_000+i*10_000), now, Passage{})
	}
	for i := range 5 {
		now += 1e7
		if got := clk.Boot(uint64(100+i*10_000), now, Passage{}); got > now || now-got > 1e6 {
			t.Errorf("packet %d after the restart is stamped %d ns before it came", i, now-got)
		}
	}
	if clk.Restarts != 1 || clk.Strange != 3 {
		t.Errorf("%+v", clk)
	}
	late := clk.Boot(uint64(100+3*10_000), now+1000, Passage{Verdict: LateOne}) // the one before once more: a late packet
	if d := now - late; d < 9e6 || d > 11e6 {
		t.Errorf("a late packet is stamped %d ns before the latest", d)
	}
}

func BenchmarkRowI16(b *testing.B) {
	l := newLayout(b, Field{Name: "a", Kind: I16, Count: 700})
	row, words := make([]byte, l.Bytes()), make([]int64, 700)
	b.ReportAllocs()
	for b.Loop() {
		l.Row(row, words)
	}
	b.ReportMetric(float64(b.N)*700/b.Elapsed().Seconds()/1e6, "Mvalues/s")
}

func FuzzRead(f *testing.F) {
	p := newPacket(f, Head{Kind: U8, Role: Match, Value: 7}, Head{Kind: U16, Role: Sequence}, Head{Kind: U32, Role: Tick}, Head{Kind: U8, Role: Count})
	f.Add(p.Append(nil, 1, 2, []int64{-1, 2, -3, 4}))
	f.Add([]byte{7, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		info, ok := p.Read(b)
		if !ok {
			return
		}
		words := make([]int64, 0, 2*info.Rows)
		for i := range info.Rows {
			row := make([]int64, 2)
			p.Rows.Row(info.Body[i*p.Rows.Bytes():], row)
			words = append(words, row...)
		}
		if again := p.Append(nil, info.Sequence, info.Tick, words); !slices.Equal(again, b) {
			t.Fatalf("%x became %x", b, again)
		}
	})
}
