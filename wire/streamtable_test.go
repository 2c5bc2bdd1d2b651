package wire

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// isCoded reports that a column of integers stands in the stream with a table.
func isCoded(out []byte) bool {
	r := bitReader{b: out}
	return r.take(1) == 0 && r.take(14) == 0b11111|specialFlat<<5|0b11111<<7|furtherCoded<<12
}

// TestTableSizes compares columns that have a table with their entropy.
func TestTableSizes(t *testing.T) {
	rng := rand.New(rand.NewPCG(51, 52))
	walk := int64(0)
	cases := []struct {
		name    string
		make    func(i int) int64
		entropy float64 // bits of a value
	}{
		{"five values far apart", func(int) int64 { return []int64{-70_000, 3, 4, 1 << 20, 1 << 40}[rng.IntN(5)] }, math.Log2(5)},
		{"one in ten moves", func(int) int64 { walk += rng.Int64N(10) / 9 * (1000 + rng.Int64N(2)); return walk }, 0.569},
		{"exponential", func(int) int64 { walk += int64(300 * rng.ExpFloat64()); return walk }, math.Log2(300 * math.E)},
		{"even, no power of two", func(int) int64 { return rng.Int64N(5000) - 2500 }, math.Log2(5000)},
		{"normal", func(int) int64 { return int64(50 * rng.NormFloat64()) }, math.Log2(50) + 2.05},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			const n = 6000
			_, out := encodeColumn(t, Column{Type: TypeInt, Values: each(n, c.make)})
			if !isCoded(out) {
				t.Fatal("no table")
			}
			got := float64(8*len(out)) / n
			if most := c.entropy*1.015 + 300.0/n; got > most || got < c.entropy*0.97 {
				t.Errorf("%.3f bits a value, entropy %.3f, want at most %.3f", got, c.entropy, most)
			}
		})
	}
}

// TestTableOnlyWherePays fixes where there is none.
func TestTableOnlyWherePays(t *testing.T) {
	rng := rand.New(rand.NewPCG(53, 54))
	laplace := func(size float64) int64 { return int64(size * (rng.ExpFloat64() - rng.ExpFloat64())) }
	cases := []struct {
		name  string
		rows  int
		make  func(i int) int64
		coded bool
	}{
		{"few values, short", 15, func(int) int64 { return rng.Int64N(2) * 70_000 }, false},
		{"few values, of medium length", 150, func(int) int64 { return []int64{-7, 977, 40_000, 1 << 30}[rng.IntN(4)] }, true},
		{"noise of medium length", 150, func(int) int64 { return laplace(30) }, false},
		{"wide noise", 1500, func(int) int64 { return int64(rng.Uint64()) }, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if _, out := encodeColumn(t, Column{Type: TypeInt, Values: each(c.rows, c.make)}); isCoded(out) != c.coded {
				t.Fatalf("coded %v, want %v", !c.coded, c.coded)
			}
		})
	}
}

// longShapes calls fn with a block of a column for every shape, some widths and
// lengths from where tables begin on.
func longShapes(rng *rand.Rand, fn func(name string, b *Block)) {
	rows := []int{codedLeast - 1, codedLeast, codedLeast + 1, codedLeast + 15, 250, codedLong - 1, codedLong, codedLong + 17, 1500, 4099}
	next := 0
	block := func(name string, t ValueType, make func(n int) []int64) {
		n := rows[next%len(rows)]
		next++
		fn(fmt.Sprintf("%s, type %d, %d rows", name, t, n),
			&Block{Ticks: each(n, func(i int) int64 { return int64(i) }), Columns: []Column{{Type: t, Values: make(n)}, {Type: t, Values: make(n)}}})
	}
	for _, s := range shapes {
		for bits := uint(1); bits <= 64; bits += 3 {
			for _, t := range s.types {
				block(fmt.Sprintf("%s of %d bits", s.name, bits), t, func(n int) []int64 { return s.make(rng, n, bits) })
			}
		}
	}
	for _, s := range floatShapes {
		for _, t := range floats {
			for round := range 2 * len(rows) {
				block(s.name, t, func(n int) []int64 {
					return each(n, func(i int) int64 {
						if round%2 > 0 && rng.IntN(40) == 0 {
							return oddFloats[t][rng.IntN(len(oddFloats[t]))]
						}
						return asFloat(t, s.make(rng, i))
					})
				})
			}
		}
	}
}

func TestLongColumns(t *testing.T) {
	rng := rand.New(rand.NewPCG(55, 56))
	full := BlockEncoder{Speed: Full}
	var got Block
	longShapes(rng, func(name string, b *Block) {
		out, err := full.Append(nil, b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := ParseBlock(sectionBody(t, out), &got); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := diffBlocks(b, &got); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if fast := len(mustAppendBlock(t, b)); len(b.Ticks) >= codedLong && len(out) > fast+len(b.Columns)+fast/25 {
			t.Errorf("%s: full %d bytes, fast %d", name, len(out), fast)
		}
	})
}

// TestLargestTable has residuals of all lengths in the longest column.
func TestLargestTable(t *testing.T) {
	rng := rand.New(rand.NewPCG(57, 58))
	b := &Block{Ticks: each(MaxBlockRows, func(i int) int64 { return int64(i) })}
	b.Columns = []Column{{Type: TypeInt, Values: each(MaxBlockRows, func(int) int64 { return rng.Int64() >> rng.IntN(64) })}}
	full := BlockEncoder{Speed: Full}
	out, err := full.Append(nil, b)
	if err != nil {
		t.Fatal(err)
	}
	var got Block
	if err := ParseBlock(sectionBody(t, out), &got); err != nil {
		t.Fatal(err)
	}
	if err := diffBlocks(b, &got); err != nil {
		t.Fatal(err)
	}
	if c := full.stream.table; c == nil || len(c.bins) < 40 {
		t.Fatal("no large table was made")
	}
}

// tableColumn writes a column of n values with prediction zero and the bits of a
// table as pairs of value and length.
func tableColumn(n uint64, fields ...uint64) []byte {
	var w bitWriter
	w.reserve(100 + 8*len(fields))
	w.put(0, 1)
	w.put(0b11111|specialFlat<<5|0b11111<<7|furtherCoded<<12, 14)
	w.put(0b011, 3)
	for i := 0; i < len(fields); i += 2 {
		w.put(fields[i], uint(fields[i+1]))
	}
	body := appendUvarint([]byte{0, 0}, n)
	return append(append(body, 1, ticksPeriodic|2<<4, 0, 1), w.finish()...)
}

func TestTableRefuses(t *testing.T) {
	many := []uint64{0, 1, 9, 4}
	for i := range uint64(300) { // bins of weight 1 each
		many = append(many, 0, 1)
		if i == 0 {
			many = append(many, 0, 5, 0, 5)
		} else {
			many = append(many, 0, 1, 0, 1)
		}
	}
	cases := []struct {
		name string
		body []byte
	}{
		{"4096 states", tableColumn(5000, 0, 1, 12, 4)},
		{"more than two states a value", tableColumn(20, 0, 1, 6, 4)},
		{"weights beyond the states", tableColumn(20, 0, 1, 4, 4, 0, 1, 0, 5, 4, 5, 1, 4)},
		{"weight of 12 bits", tableColumn(5000, 0, 1, 11, 4, 0, 1, 0, 5, 12, 5)},
		{"bin of 65 bits", tableColumn(20, 0, 1, 4, 4, 0, 1, 31|65<<5, 12)},
		{"257 bins", tableColumn(5000, many...)},
		{"a special way of its own", tableColumn(20)[:8]},
		{"nothing behind the table", tableColumn(20, 0, 1, 0, 4, 0, 1, 8, 5, 0, 5)},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var b Block
			if err := ParseBlock(c.body, &b); err == nil {
				t.Fatalf("parsed as %v", b.Columns[0].Values[:5])
			}
		})
	}
	// The same with nothing wrong: one bin of one value.
	var b Block
	if err := ParseBlock(tableColumn(20, 0, 1, 0, 4, 0, 1, 0, 5, 0, 5), &b); err != nil || len(b.Columns[0].Values) != 20 {
		t.Fatalf("got %v", err)
	}
	if err := ParseBlock(tableColumn(20, 0, 1, 12, 4), &b); !errors.Is(err, errRange) {
		t.Fatalf("got %v, want errRange", err)
	}
}

// TestTableInEveryColumn decodes as many tables as a block can have, each of as
// many states as its values allow: what they take is bounded by the values.
func TestTableInEveryColumn(t *testing.T) {
	const columns, rows = MaxBlockColumns, 16
	var w bitWriter
	for range columns {
		w.reserve(100)
		w.put(0, 1)
		w.put(0b11111|specialFlat<<5|0b11111<<7|furtherCoded<<12, 14)
		w.put(0b011, 3)
		w.put(0, 1)
		w.put(5, 4) // 32 states
		w.put(0, 1)
		w.put(0, 5) // width 0
		w.put(5, 5) // weight 32
		w.put(0, 5)
		w.put(0, 10) // states
	}
	body := appendUvarint([]byte{0, 0, rows}, columns)
	body = append(append(body, ticksPeriodic|2<<4, 0, 1), w.finish()...)
	var b Block
	if err := ParseBlock(body, &b); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(2, func() {
		if err := ParseBlock(body, &b); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

// TestLongAllocs asks for no allocation once memory has grown.
func TestLongAllocs(t *testing.T) {
	if testing.Short() {
		t.Skip("long under emulation; nothing in it depends on the machine")
	}
	rng := rand.New(rand.NewPCG(59, 60))
	var blocks []*Block
	var bodies [][]byte
	e := BlockEncoder{Speed: Full}
	longShapes(rng, func(_ string, b *Block) {
		if rng.IntN(6) > 0 {
			return
		}
		out, err := e.Append(nil, b)
		if err != nil {
			t.Fatal(err)
		}
		blocks, bodies = append(blocks, b), append(bodies, sectionBody(t, out))
	})
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
	if n := testing.AllocsPerRun(3, encode); n != 0 {
		t.Errorf("Append: %v allocations in %d blocks", n, len(blocks))
	}
	if n := testing.AllocsPerRun(3, decode); n != 0 {
		t.Errorf("ParseBlock: %v allocations in %d blocks", n, len(blocks))
	}
}
