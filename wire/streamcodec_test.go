package wire

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"
)

// encodeColumn returns the stream of one column and the plan of its last way.
func encodeColumn(t *testing.T, c Column) (*streamEncoder, []byte) {
	t.Helper()
	var s streamEncoder
	s.begin(nil)
	if err := s.column(0, &c); err != nil {
		t.Fatal(err)
	}
	return &s, s.w.finish()
}

// TestStreamWays fixes which way wins for what.
func TestStreamWays(t *testing.T) {
	rng := rand.New(rand.NewPCG(41, 42))
	noise := func(n int64) int64 { return rng.Int64N(n) }
	laplace := func(size float64) int64 { return int64(size * (rng.ExpFloat64() - rng.ExpFloat64())) }
	walk := int64(0)
	cases := []struct {
		name string
		make func(i int) int64
		way  uint64 // the bits behind the constant flag
		bits uint
	}{
		{"walk", func(int) int64 { walk += laplace(20); return walk }, 0b0, 1},
		{"sine", func(i int) int64 { return int64(400 * math.Sin(float64(i)/20)) }, 0b01, 2},
		{"noise around zero", func(int) int64 { return laplace(300) }, 0b011, 3},
		{"cubic", func(i int) int64 { return int64(i*i*i) + laplace(2) }, 0b0111, 4},
		{"noise around a value", func(int) int64 { return 100_000 + laplace(300) }, 0b01111, 5},
		{"even noise", func(int) int64 { return 1000 + noise(256) }, 0b11111 | specialPacked<<5, 7},
		{"multiples", func(int) int64 { walk += laplace(20); return 3 + 25*walk }, 0b11111 | specialFactor<<5, 7},
		{"counter", func(i int) int64 { return int64(i+5) & 15 }, 0b11111 | specialWrap<<5, 7},
		{"even steps", func(int) int64 { walk += noise(256) - 128; return walk }, 0b11111 | specialFlat<<5, 7},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, out := encodeColumn(t, Column{Type: TypeInt, Values: each(150, c.make)})
			r := bitReader{b: out}
			if constant, way := r.take(1), r.take(c.bits); constant != 0 || way != c.way {
				t.Fatalf("constant %d, way %b, want %b", constant, way, c.way)
			}
		})
	}
}

func TestUniformLayouts(t *testing.T) {
	rows := func(types ...ValueType) *RowBlock {
		return &RowBlock{Ticks: []int64{1, 2}, Types: types, Values: make([]int64, 2*len(types))}
	}
	cases := []struct {
		name   string
		rows   *RowBlock
		layout byte
	}{
		{"signed", rows(TypeInt, TypeInt), 10},
		{"unsigned", rows(TypeUint), 11},
		{"float32", rows(TypeF32, TypeF32), 12},
		{"float64", rows(TypeF64), 13},
		{"mixed", rows(TypeInt, TypeUint), 9},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			e := BlockEncoder{Speed: Full}
			out, n, err := e.AppendRows(nil, c.rows, 0, 1000)
			if err != nil || n != len(c.rows.Types) {
				t.Fatalf("%d columns, %v", n, err)
			}
			if body := sectionBody(t, out); body[4]>>4 != c.layout {
				t.Fatalf("layout %d, want %d", body[4]>>4, c.layout)
			}
		})
	}
}

func TestStreamTruncated(t *testing.T) {
	if testing.Short() {
		t.Skip("long under emulation; nothing in it depends on the machine")
	}
	rng := rand.New(rand.NewPCG(43, 44))
	e := BlockEncoder{Speed: Full}
	var got Block
	for range 100 {
		out, err := e.Append(nil, randomBlock(rng))
		if err != nil {
			t.Fatal(err)
		}
		body := sectionBody(t, out)
		for n := range body {
			if err := ParseBlock(body[:n:n], &got); err == nil {
				t.Fatalf("%d of %d bytes parsed", n, len(body))
			}
		}
		if err := ParseBlock(append(body[:len(body):len(body)], 0), &got); err == nil {
			t.Fatal("a byte too many parsed")
		}
	}
}

func TestStreamRefuses(t *testing.T) {
	// One column of 20 values, no heads.
	head := []byte{0, 0, 20, 1, ticksPeriodic | 2<<4, 0, 1}
	put := func(fields ...uint64) []byte { // pairs: value, bits
		var w bitWriter
		w.reserve(200)
		for i := 0; i < len(fields); i += 2 {
			w.put(fields[i], uint(fields[i+1]))
		}
		return append(head[:len(head):len(head)], w.finish()...)
	}
	const special = 0b11111
	cases := []struct {
		name string
		body []byte
	}{
		{"modulus 0", put(0, 1, special|specialWrap<<5, 7, 0, 6, 0, 1)},
		{"modulus 2^63", put(0, 1, special|specialWrap<<5, 7, 63|1<<6, 7, 0, 50, 0, 13, 0b011, 3)},
		{"wrap in a factor", put(0, 1, special|specialFactor<<5, 7, 0, 6, 0, 7, special|specialWrap<<5, 7)},
		{"factor in a factor", put(0, 1, special|specialFactor<<5, 7, 0, 6, 0, 7, special|specialFactor<<5, 7)},
		{"flat in flat", put(0, 1, special|specialFlat<<5, 7, special|specialFlat<<5, 7)},
		{"packed in flat", put(0, 1, special|specialFlat<<5, 7, special|specialPacked<<5, 7)},
		{"parameter 65", put(0, 1, 0b011, 3, 31, 5, 65, 7)},
		{"parameter below 0", put(0, 1, 0b011, 3, 0, 5, 0b01, 2)},
		{"13 zeros", put(0, 1, 0b011, 3, 1, 5, 0, 13, 0xffff, 16, 0, 5)},
		{"bits behind the end", append(put(1, 1, 0, 7), 0)},
		{"a bit in the padding", put(1, 1, 0, 7, 1<<7, 8)},
		{"nothing", head},
		{"layout 6", []byte{0, 0, 1, 1, 6 << 4, 0, 0}},
		{"layout 15", []byte{0, 0, 1, 1, 15 << 4, 0, 0}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var b Block
			if err := ParseBlock(c.body, &b); err == nil {
				t.Fatalf("parsed as %+v", b)
			}
		})
	}
	var b Block
	if err := ParseBlock(head, &b); !errors.Is(err, ErrShort) {
		t.Errorf("got %v, want ErrShort", err)
	}
}

// TestStreamAllocs asks for no allocation once memory has grown.
func TestStreamAllocs(t *testing.T) {
	rng := rand.New(rand.NewPCG(45, 46))
	var blocks []*Block
	var bodies [][]byte
	e := BlockEncoder{Speed: Full}
	for range 50 {
		b := randomBlock(rng)
		b.Columns = append(b.Columns, Column{Type: TypeInt, Present: make([]uint64, 4)}) // bitmaps are kept where there is one
		out, err := e.Append(nil, b)
		if err != nil {
			t.Fatal(err)
		}
		blocks, bodies = append(blocks, b), append(bodies, sectionBody(t, out))
	}
	var buf []byte
	var got Block
	encode := func() {
		for _, b := range blocks {
			buf, _ = e.Append(buf[:0], b)
		}
	}
	decode := func() {
		for _, body := range bodies {
			if err := ParseBlock(body, &got); err != nil {
				t.Fatal(err)
			}
		}
	}
	encode()
	decode()
	decode()
	if n := testing.AllocsPerRun(10, encode); n != 0 {
		t.Errorf("Append: %v allocations in %d blocks", n, len(blocks))
	}
	if n := testing.AllocsPerRun(10, decode); n != 0 {
		t.Errorf("ParseBlock: %v allocations in %d blocks", n, len(blocks))
	}
}
