package wire

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// randomBlock makes a block of any shape: types, widths, presence and ticks.
func randomBlock(rng *rand.Rand) *Block {
	rows := 1 + rng.IntN(200)
	switch rng.IntN(8) {
	case 0:
		rows = 1 + rng.IntN(3)
	case 1:
		rows = 1 + 32*rng.IntN(5) + rng.IntN(3)
	}
	b := &Block{Group: rng.Uint32() >> rng.IntN(32), FirstColumn: rng.Uint32N(60000), Ticks: randomTicks(rng, rows)}
	for range 1 + rng.IntN(8) {
		b.Columns = append(b.Columns, randomColumn(rng, rows, b.Columns))
	}
	return b
}

func randomTicks(rng *rand.Rand, rows int) []int64 {
	ticks := make([]int64, rows)
	kind := rng.IntN(6)
	t := rng.Int64() >> rng.IntN(63)
	period := rng.Int64N(1e9)
	if kind == 5 {
		t = math.MinInt64
	}
	ramp := int64(0)
	for i := range ticks {
		ticks[i] = t
		var d int64
		switch kind {
		case 0: // periodic
			d = period
		case 1: // jitter
			d = period + rng.Int64N(1000)
		case 2: // all at once
		case 3: // on arrival
			d = rng.Int64() >> (1 + rng.IntN(62))
		case 4: // a clock that drifts
			ramp += 1e6 + rng.Int64N(2)
			d = ramp
		case 5: // from one end to the other
			if i == rows/2 {
				t = math.MaxInt64
			}
		}
		if t > math.MaxInt64-d {
			d = math.MaxInt64 - t
		}
		t += d
	}
	return ticks
}

var extremes = []int64{
	0, 1, -1, math.MinInt64, math.MaxInt64, math.MinInt64 + 1, math.MaxInt32, math.MinInt32,
	int64(math.Float64bits(math.Inf(1))), int64(math.Float64bits(math.NaN())), 0x7ff0000000000001,
	-0x7fffffffffffff, // a negative NaN with a payload
}

var extremesF32 = []int64{
	0, 1, 0x80000000, 0x80000001, 0x7f800000, 0xff800000, 0x7fc00001, 0xffc12345, 0x7f800001, 0xffffffff, 0x7fffffff, 0x3f800000,
}

func randomColumn(rng *rand.Rand, rows int, before []Column) Column {
	c := Column{Type: ValueType(1 + rng.IntN(4))}
	count := rows
	switch rng.IntN(6) {
	case 0, 1:
		c.Present = make([]uint64, (rows+63)/64)
		share := rng.IntN(101)
		for i := range rows {
			if rng.IntN(100) < share {
				c.Present[i/64] |= 1 << (i % 64)
			}
		}
		count = countPresent(c.Present, rows)
	case 2:
		if len(before) > 0 {
			last := before[len(before)-1]
			c.Present, count = last.Present, len(last.Values)
		}
	case 3:
		c.Present = make([]uint64, (rows+63)/64)
		count = 0
	}
	kind := rng.IntN(6)
	bits := rng.IntN(64)
	v := rng.Int64() >> bits
	for range count {
		switch kind {
		case 0: // constant
		case 1: // a walk
			v += rng.Int64N(201) - 100
		case 2: // noise of some width
			v = rng.Int64() >> bits
		case 3:
			v = extremes[rng.IntN(len(extremes))]
			if c.Type == TypeF32 {
				v = extremesF32[rng.IntN(len(extremesF32))]
			}
		case 4: // a smooth float
			v = int64(math.Float64bits(math.Sin(float64(len(c.Values)) / 50)))
			if c.Type == TypeF32 {
				v = int64(math.Float32bits(float32(math.Sin(float64(len(c.Values)) / 50))))
			}
		case 5: // a step with spikes
			if rng.IntN(40) == 0 {
				v = rng.Int64() >> rng.IntN(64)
			}
		}
		if c.Type == TypeF32 {
			v = int64(uint32(v))
		}
		c.Values = append(c.Values, v)
	}
	return c
}

// diffBlocks says where two blocks do not hold the same values.
func diffBlocks(a, b *Block) error {
	switch {
	case a.Group != b.Group || a.FirstColumn != b.FirstColumn:
		return fmt.Errorf("group %d column %d, %d and %d", a.Group, a.FirstColumn, b.Group, b.FirstColumn)
	case !slices.Equal(a.Ticks, b.Ticks):
		return fmt.Errorf("ticks %v, %v", a.Ticks, b.Ticks)
	case len(a.Columns) != len(b.Columns):
		return fmt.Errorf("%d columns, %d", len(a.Columns), len(b.Columns))
	}
	rows := len(a.Ticks)
	all := slices.Repeat([]uint64{math.MaxUint64}, (rows+63)/64)
	for i := range a.Columns {
		x, y := a.Columns[i], b.Columns[i]
		if x.Type != y.Type || !slices.Equal(x.Values, y.Values) {
			return fmt.Errorf("column %d: %v, %v", i, x, y)
		}
		if x.Present == nil {
			x.Present = all
		}
		if y.Present == nil {
			y.Present = all
		}
		if !samePresence(x.Present, y.Present, rows) {
			return fmt.Errorf("column %d: presence %x, %x", i, x.Present, y.Present)
		}
	}
	return nil
}

// sectionBody cuts the one section of a payload.
func sectionBody(t testing.TB, b []byte) []byte {
	t.Helper()
	s, n, err := NextSection(b)
	if err != nil || n != len(b) || s.Type != SectionBlock {
		t.Fatalf("NextSection: type %d, %d of %d bytes, %v", s.Type, n, len(b), err)
	}
	return s.Body
}

func mustAppendBlock(t testing.TB, b *Block) []byte {
	t.Helper()
	out, err := AppendBlock(nil, b)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestBlockRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var got Block
	prefix := []byte("before")
	full := BlockEncoder{Speed: Full}
	for i := range 10_000 {
		want := randomBlock(rng)
		encode := AppendBlock
		if i%2 == 1 {
			encode = full.Append
		}
		b, err := encode(slices.Clone(prefix), want)
		if err != nil {
			t.Fatalf("block %d: %v", i, err)
		}
		if string(b[:len(prefix)]) != string(prefix) {
			t.Fatalf("block %d: overwrote what was there", i)
		}
		if err := ParseBlock(sectionBody(t, b[len(prefix):]), &got); err != nil {
			t.Fatalf("block %d: %v", i, err)
		}
		if err := diffBlocks(want, &got); err != nil {
			t.Fatalf("block %d: %v", i, err)
		}
	}
}

func TestBlockExtremes(t *testing.T) {
	all := func(t ValueType, vals ...int64) *Block {
		return &Block{Ticks: make([]int64, len(vals)), Columns: []Column{{Type: t, Values: vals}}}
	}
	long := make([]int64, MaxBlockRows)
	for i := range long {
		long[i] = int64(i * i)
	}
	wide := &Block{Ticks: []int64{7}, Columns: make([]Column, MaxBlockColumns)}
	for i := range wide.Columns {
		wide.Columns[i] = Column{Type: TypeUint, Values: long[i : i+1]}
	}
	cases := []struct {
		name string
		b    *Block
	}{
		{"int", all(TypeInt, extremes...)},
		{"uint", all(TypeUint, -1, 0, math.MinInt64, math.MaxInt64, -1)},
		{"float64", all(TypeF64, extremes...)},
		{"float32", all(TypeF32, extremesF32...)},
		{"minus zero", all(TypeF64, math.MinInt64, math.MinInt64)},
		{"minus zero float32", all(TypeF32, 0x80000000, 0, 0x80000000)},
		{"most rows", all(TypeInt, long...)},
		{"most columns", wide},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var got Block
			full := BlockEncoder{Speed: Full}
			b, err := full.Append(nil, c.b)
			if err != nil {
				t.Fatal(err)
			}
			if err := ParseBlock(sectionBody(t, b), &got); err != nil {
				t.Fatalf("full: %v", err)
			}
			if err := diffBlocks(c.b, &got); err != nil {
				t.Fatalf("full: %v", err)
			}
			if err := ParseBlock(sectionBody(t, mustAppendBlock(t, c.b)), &got); err != nil {
				t.Fatal(err)
			}
			if err := diffBlocks(c.b, &got); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestAppendBlockRefuses(t *testing.T) {
	col := func(vals ...int64) Column { return Column{Type: TypeInt, Values: vals} }
	cases := []struct {
		name string
		b    Block
	}{
		{"no rows", Block{Columns: []Column{col()}}},
		{"no columns", Block{Ticks: []int64{1}}},
		{"short column", Block{Ticks: []int64{1, 2}, Columns: []Column{col(1)}}},
		{"long column", Block{Ticks: []int64{1}, Columns: []Column{col(1, 2)}}},
		{"decreasing ticks", Block{Ticks: []int64{2, 1}, Columns: []Column{col(1, 2)}}},
		{"decreasing far", Block{Ticks: []int64{math.MaxInt64, math.MinInt64}, Columns: []Column{col(1, 2)}}},
		{"type 0", Block{Ticks: []int64{1}, Columns: []Column{{Values: []int64{1}}}}},
		{"type 5", Block{Ticks: []int64{1}, Columns: []Column{{Type: 5, Values: []int64{1}}}}},
		{"wide float32", Block{Ticks: []int64{1}, Columns: []Column{{Type: TypeF32, Values: []int64{1 << 32}}}}},
		{"negative float32", Block{Ticks: []int64{1}, Columns: []Column{{Type: TypeF32, Values: []int64{-1}}}}},
		{"short presence", Block{Ticks: make([]int64, 65), Columns: []Column{{Type: TypeInt, Present: []uint64{1}, Values: []int64{1}}}}},
		{"more present than values", Block{Ticks: []int64{1, 2}, Columns: []Column{{Type: TypeInt, Present: []uint64{3}, Values: []int64{1}}}}},
		{"more values than present", Block{Ticks: []int64{1, 2}, Columns: []Column{{Type: TypeInt, Present: []uint64{1}, Values: []int64{1, 2}}}}},
		{"too many rows", Block{Ticks: make([]int64, MaxBlockRows+1), Columns: []Column{col(make([]int64, MaxBlockRows+1)...)}}},
		{"too many values", Block{Ticks: make([]int64, 1<<14), Columns: make([]Column, 65)}},
		{"columns beyond the last", Block{FirstColumn: math.MaxUint32, Ticks: []int64{1}, Columns: []Column{col(1), col(1)}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := AppendBlock([]byte("x"), &c.b)
			if err == nil || string(got) != "x" {
				t.Fatalf("got %x, %v", got, err)
			}
		})
	}
}

// TestBlockTruncated cuts blocks at every byte.
func TestBlockTruncated(t *testing.T) {
	if testing.Short() {
		t.Skip("long under emulation; nothing in it depends on the machine")
	}
	rng := rand.New(rand.NewPCG(3, 4))
	var got Block
	for range 200 {
		body := sectionBody(t, mustAppendBlock(t, randomBlock(rng)))
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

func TestParseBlockRefuses(t *testing.T) {
	cases := []struct {
		name string
		body []byte
	}{
		{"no rows", []byte{0, 0, 0, 1, 0, 0, 1, 0}},
		{"no columns", []byte{0, 0, 1, 0, 0, 0}},
		{"rows over the limit", []byte{0, 0, 0x81, 0x80, 0x04, 1, 1, 0, 0, 1, 0}},
		{"values over the limit", []byte{0, 0, 0x80, 0x80, 0x04, 17, 1, 0, 0, 1, 0}},
		{"more columns than bytes", []byte{0, 0, 1, 3, 0, 0, 1, 0}},
		{"unknown layout", []byte{0, 0, 1, 1, 0x10, 0, 1, 0}},
		{"unknown tick mode", []byte{0, 0, 1, 1, 4, 0, 1, 0}},
		{"single tick for two rows", []byte{0, 0, 2, 1, 0, 0, 1, 0}},
		{"period for one row", []byte{0, 0, 1, 1, 1, 0, 1, 1, 0}},
		{"period past the end", append([]byte{0, 0, 3, 1, 1, 0}, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 1, 0)},
		{"tick width 65", []byte{0, 0, 2, 1, 2, 0, 0, 65, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0}},
		{"type 0", []byte{0, 0, 1, 1, 0, 0, 0, 0}},
		{"type 5", []byte{0, 0, 1, 1, 0, 0, 5, 0}},
		{"delta of delta", []byte{0, 0, 1, 1, 0, 0, 1 | modeDelta2<<5, 0}},
		{"rice", []byte{0, 0, 1, 1, 0, 0, 1 | modeRice<<5, 0}},
		{"entropy", []byte{0, 0, 1, 1, 0, 0, 1 | modeEntropy<<5, 0}},
		{"mode 7", []byte{0, 0, 1, 1, 0, 0, 1 | 7<<5, 0}},
		{"width 65", []byte{0, 0, 1, 1, 0, 0, 1 | modePacked<<5, 65, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
		{"mode of nothing", []byte{0, 0, 1, 1, 0, 0, 1 | presentNone | modeDelta<<5}},
		{"presence as before", []byte{0, 0, 1, 1, 0, 0, 1 | presentSame, 0}},
		{"presence of all", []byte{0, 0, 1, 1, 0, 0, 1 | presentBitmap, 1, 0}},
		{"presence of none", []byte{0, 0, 1, 1, 0, 0, 1 | presentBitmap, 0, 0}},
		{"presence of rows beyond", []byte{0, 0, 2, 1, 1, 0, 0, 1 | presentBitmap, 5, 0}},
		{"long number", []byte{0x80, 0, 0, 1, 1, 0, 0, 1, 0}},
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
	if err := ParseBlock([]byte{0, 0, 1, 1, 0, 0}, &b); !errors.Is(err, ErrShort) {
		t.Errorf("got %v, want ErrShort", err)
	}
}

// TestBlockModes fixes which mode wins, by size.
func TestBlockModes(t *testing.T) {
	ramp := make([]int64, 150)
	noise := make([]int64, 150)
	rng := rand.New(rand.NewPCG(5, 6))
	for i := range ramp {
		ramp[i] = int64(1000 + 3*i)
		noise[i] = rng.Int64N(256)
	}
	cases := []struct {
		name string
		vals []int64
		mode byte
		size int // section less the 8 + 3 bytes of block head and ticks
	}{
		{"constant", make([]int64, 150), modeConstant, 2},
		{"ramp", ramp, modeDelta, 1 + 2 + 5 + (149*3+7)/8},
		{"noise", noise, modePacked, 1 + 1 + 1 + 150},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := Block{Ticks: make([]int64, 150), Columns: []Column{{Type: TypeInt, Values: c.vals}}}
			got := sectionBody(t, mustAppendBlock(t, &b))[8:]
			if got[0]>>headModeBits != c.mode || len(got) != c.size {
				t.Fatalf("mode %d in %d bytes, want %d in %d", got[0]>>headModeBits, len(got), c.mode, c.size)
			}
		})
	}
}

func TestBlockAllocs(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	blocks := make([]*Block, 50)
	var bodies [][]byte
	for i := range blocks {
		blocks[i] = randomBlock(rng)
		blocks[i].Columns = append(blocks[i].Columns, Column{Type: TypeInt, Present: make([]uint64, 4)})
		bodies = append(bodies, sectionBody(t, mustAppendBlock(t, blocks[i])))
	}
	var buf []byte
	var got Block
	encode := func() {
		for _, b := range blocks {
			buf, _ = AppendBlock(buf[:0], b)
		}
	}
	decode := func() {
		for _, body := range bodies {
			if err := ParseBlock(body, &got); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Twice: memory for bitmaps grows as blocks with more of them come.
	encode()
	decode()
	decode()
	if n := testing.AllocsPerRun(10, encode); n != 0 {
		t.Errorf("AppendBlock: %v allocations in %d blocks", n, len(blocks))
	}
	if n := testing.AllocsPerRun(10, decode); n != 0 {
		t.Errorf("ParseBlock: %v allocations in %d blocks", n, len(blocks))
	}
}

func FuzzParseBlock(f *testing.F) {
	rng := rand.New(rand.NewPCG(9, 10))
	full := BlockEncoder{Speed: Full}
	for range 50 {
		block := randomBlock(rng)
		f.Add(sectionBody(f, mustAppendBlock(f, block)))
		out, err := full.Append(nil, block)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(sectionBody(f, out))
	}
	for _, name := range []string{"block_stream", "block_stream_special", "block_dense", "block_dense_special", "block_dense_table", "block_dense_grid"} {
		f.Add(sectionBody(f, readHex(f, name)))
	}
	var a, b Block
	f.Fuzz(func(t *testing.T, body []byte) {
		if err := ParseBlock(body, &a); err != nil {
			return
		}
		for _, encode := range []func([]byte, *Block) ([]byte, error){AppendBlock, full.Append} {
			out, err := encode(nil, &a)
			if err != nil {
				t.Fatalf("a parsed block does not append: %v", err)
			}
			if err := ParseBlock(sectionBody(t, out), &b); err != nil {
				t.Fatal(err)
			}
			if err := diffBlocks(&a, &b); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// benchBlock is 100 int columns as of a sensor: walks of different steps.
func benchBlock(rows int) *Block {
	rng := rand.New(rand.NewPCG(11, 12))
	b := &Block{Ticks: make([]int64, rows)}
	for i := range b.Ticks {
		b.Ticks[i] = 5e12 + int64(i)*1e9/1500
	}
	for c := range 100 {
		vals := make([]int64, rows)
		v := rng.Int64N(10000)
		for i := range vals {
			v += rng.Int64N(2<<(c%9)) - 1<<(c%9)
			vals[i] = v
		}
		b.Columns = append(b.Columns, Column{Type: TypeInt, Values: vals})
	}
	return b
}

func benchRows(b *testing.B, fn func(b *testing.B, block *Block)) {
	for _, rows := range []int{15, 150, 1500} {
		b.Run(fmt.Sprint(rows), func(b *testing.B) {
			block := benchBlock(rows)
			b.ReportAllocs()
			b.SetBytes(int64(8 * block.Samples()))
			fn(b, block)
			b.ReportMetric(float64(block.Samples())*float64(b.N)/1e6/b.Elapsed().Seconds(), "Msamples/s")
		})
	}
}

func BenchmarkAppendBlock(b *testing.B) {
	for name, speed := range map[string]Speed{"fast": Fast, "full": Full} {
		b.Run(name, func(b *testing.B) {
			benchRows(b, func(b *testing.B, block *Block) {
				e := BlockEncoder{Speed: speed}
				var buf []byte
				for b.Loop() {
					buf, _ = e.Append(buf[:0], block)
				}
				b.ReportMetric(8*float64(len(buf))/float64(block.Samples()), "bits/sample")
			})
		})
	}
}

func BenchmarkParseBlock(b *testing.B) {
	for name, speed := range map[string]Speed{"fast": Fast, "full": Full} {
		b.Run(name, func(b *testing.B) {
			benchRows(b, func(b *testing.B, block *Block) {
				e := BlockEncoder{Speed: speed}
				buf, err := e.Append(nil, block)
				if err != nil {
					b.Fatal(err)
				}
				body := sectionBody(b, buf)
				var out Block
				for b.Loop() {
					if err := ParseBlock(body, &out); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}
