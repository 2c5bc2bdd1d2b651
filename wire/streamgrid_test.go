package wire

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestGridSizes fixes that floats made from raw integers take about the bits of
// these, with any step and offset.
func TestGridSizes(t *testing.T) {
	cases := []struct {
		name  string
		make  func(k int64) float64
		twice bool // rounded twice, so that some values lie beside their points
	}{
		{"CAN signal", func(k int64) float64 { return float64(k) * 0.0155168902 }, false},
		{"with an offset", func(k int64) float64 { return float64(float64(k)*1.9885) - 98.85 }, false},
		{"step that is no decimal", func(k int64) float64 { return float64(k) * 0.00016243512974051897 }, false},
		{"offset beside the step", func(k int64) float64 { return float64(k)/3 + math.Pi }, false},
		{"negative step", func(k int64) float64 { return 7 - float64(float64(k)*0.3) }, false},
		{"float32 arithmetic", func(k int64) float64 { return float64(float32(float32(k)*float32(0.0123)) + 1.5) }, true},
		{"sums of a decimal", func(k int64) float64 { return (float64(k) + 40) * 0.025 }, false},
	}
	for _, c := range cases {
		for _, typ := range floats {
			for _, n := range []int{20, 150, 1500} {
				rng := rand.New(rand.NewPCG(61, 62))
				raw := each(n, func(int) int64 { return int64(400 * rng.NormFloat64()) })
				_, want := encodeColumn(t, Column{Type: TypeInt, Values: raw})
				_, got := encodeColumn(t, Column{Type: typ, Values: each(n, func(i int) int64 { return asFloat(typ, c.make(raw[i])) })})
				// Step and offset, and a number of the first value.
				most := len(want) + 30 + n/10
				switch {
				case typ == TypeF64 && c.twice:
					continue // far from any grid for float64
				case c.twice:
					most += n / 5
				case typ == TypeF64:
					most += n * 5 / 8 // the last places are noise
				}
				if len(got) > most {
					t.Errorf("%s, type %d, %d values: %d bytes, as integers %d", c.name, typ, n, len(got), len(want))
				}
			}
		}
	}
}

// gridColumns calls fn with columns of floats on all kinds of grids, with values
// beside them.
func gridColumns(rng *rand.Rand, rounds int, fn func(c Column)) {
	for range rounds {
		typ := floats[rng.IntN(2)]
		n := 2 + rng.IntN(300)
		step := math.Ldexp(1+rng.Float64(), rng.IntN(60)-30) * float64(1-2*rng.IntN(2))
		offset := 0.0
		if rng.IntN(2) > 0 {
			offset = math.Ldexp(rng.NormFloat64(), rng.IntN(40)-20)
		}
		if rng.IntN(3) == 0 {
			step = math.Round(step*1000) / 1000
		}
		size := math.Ldexp(1, rng.IntN(25))
		strange := rng.IntN(40)
		single := rng.IntN(4) == 0
		c := Column{Type: typ, Values: each(n, func(int) int64 {
			k := math.Round(size * rng.NormFloat64())
			switch {
			case strange > 20 && rng.IntN(strange) == 0:
				return oddFloats[typ][rng.IntN(len(oddFloats[typ]))]
			case strange < 4 && rng.IntN(10) == 0:
				k += 0.3
			case single:
				return asFloat(typ, float64(float32(k)*float32(step)+float32(offset)))
			}
			return asFloat(typ, k*step+offset)
		})}
		fn(c)
	}
}

func TestGridsComeBack(t *testing.T) {
	rng := rand.New(rand.NewPCG(63, 64))
	var got Block
	found := 0
	gridColumns(rng, 6000, func(c Column) {
		b := &Block{Ticks: each(len(c.Values), func(i int) int64 { return int64(i) }), Columns: []Column{c}}
		full := BlockEncoder{Speed: Full}
		out, err := full.Append(nil, b)
		if err != nil {
			t.Fatal(err)
		}
		if err := ParseBlock(sectionBody(t, out), &got); err != nil {
			t.Fatal(err)
		}
		if err := diffBlocks(b, &got); err != nil {
			t.Fatal(err)
		}
		if g := full.stream.finder; g != nil && len(g.k) == len(c.Values) {
			found++
		}
	})
	if found < 2500 {
		t.Fatalf("%d of 6000 columns were on a grid", found)
	}
}

// TestGridWithLowZeros has floats whose low bits are 0 in all values, which are
// no part of the ordered integers otherwise, on a grid and beside it.
func TestGridWithLowZeros(t *testing.T) {
	rng := rand.New(rand.NewPCG(67, 68))
	var got Block
	for round := range 6000 {
		typ := floats[round%2]
		zeros := uint(1 + rng.IntN(20))
		if typ == TypeF64 {
			zeros += 25
		}
		most, sparse := 1+rng.IntN(2000), rng.IntN(3) == 0
		step := math.Ldexp(1+rng.Float64(), rng.IntN(20)-10)
		c := Column{Type: typ, Values: each(2+rng.IntN(40), func(i int) int64 {
			if sparse && rng.IntN(12) > 0 {
				return 0
			}
			return asFloat(typ, float64(rng.IntN(most))*step) >> zeros << zeros
		})}
		b := &Block{Ticks: each(len(c.Values), func(i int) int64 { return int64(i) }), Columns: []Column{c}}
		full := BlockEncoder{Speed: Full}
		out, err := full.Append(nil, b)
		if err != nil {
			t.Fatal(err)
		}
		if err := ParseBlock(sectionBody(t, out), &got); err != nil {
			t.Fatal(err)
		}
		if err := diffBlocks(b, &got); err != nil {
			t.Fatalf("%v: %v", c.Values, err)
		}
	}
}

// TestGridRefuses puts numbers into a grid that no writer does.
func TestGridRefuses(t *testing.T) {
	const further = 0b11111 | specialFlat<<5 | 0b11111<<7 | furtherGrid<<12
	column := func(typ ValueType, fields ...uint64) []byte {
		var w bitWriter
		w.reserve(200)
		for i := 0; i < len(fields); i += 2 {
			w.put(fields[i], uint(fields[i+1]))
		}
		w.put(0, 50)
		w.put(0, 50)
		return append([]byte{0, 0, 20, 1, ticksPeriodic | (byte(typ)+1)<<4, 0, 1}, w.finish()...)
	}
	cases := []struct {
		name string
		body []byte
	}{
		{"integers", column(TypeInt, 0, 1, further, 14)},
		{"shifted floats", column(TypeF32, 3, 5, 0, 1, further, 14)},
		{"decimals", column(TypeF32, 31, 5, 2, 4, 0, 1, further, 14)},
		{"infinite step", column(TypeF32, 0, 5, 0, 1, further, 14, 0x7ff, 12, 0, 6)},
		{"step that is no number", column(TypeF64, 0, 6, 0, 1, further, 14, 0x7ff, 12, 1, 6, 1, 1)},
		{"mantissa of 53 bits", column(TypeF64, 0, 6, 0, 1, further, 14, 0x3ff, 12, 53, 6)},
		{"infinite offset", column(TypeF64, 0, 6, 0, 1, further, 14, 0x3ff, 12, 0, 6, 1, 1, 0xfff, 12, 0, 6)},
		{"grid in a factor", column(TypeF32, 0, 5, 0, 1, 0b11111|specialFactor<<5, 7, 0, 6, 0, 7, further, 14)},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var b Block
			if err := ParseBlock(c.body, &b); err == nil {
				t.Fatalf("parsed as %v", b.Columns[0].Values)
			}
		})
	}
}

// TestGridOfLargeNumbers decodes a grid whose points are beyond all floats: they
// are infinite, and never no number.
func TestGridOfLargeNumbers(t *testing.T) {
	for _, typ := range floats {
		for _, k := range []int64{0, 1, -1, math.MaxInt64, math.MinInt64} {
			for _, step := range []float64{0, math.MaxFloat64, -math.MaxFloat64, 5e-324} {
				for _, offset := range []float64{0, math.MaxFloat64, -math.MaxFloat64} {
					if f := onGrid(k, step, offset); math.IsNaN(f) {
						t.Fatalf("%d·%g + %g is no number", k, step, offset)
					}
					_ = ordered(onGrid(k, step, offset), typ)
				}
			}
		}
	}
}

// TestGridSearchRests has floats on no grid: they are hardly searched after a
// while, and one on a grid is found again.
func TestGridSearchRests(t *testing.T) {
	rng := rand.New(rand.NewPCG(65, 66))
	full := BlockEncoder{Speed: Full}
	block := func(make func(i int) float64) int {
		b := &Block{Ticks: each(40, func(i int) int64 { return int64(i) })}
		b.Columns = []Column{{Type: TypeF32, Values: each(40, func(i int) int64 { return asFloat(TypeF32, make(i)) })}}
		out, err := full.Append(nil, b)
		if err != nil {
			t.Fatal(err)
		}
		return len(out)
	}
	noise := func(int) float64 { return rng.NormFloat64() }
	grid := func(int) float64 { return float64(rng.IntN(4096)) * 0.0155168902 }
	first := block(grid)
	for range 200 {
		block(noise)
	}
	if g := full.stream.finder; g.lost < 4*gridPatience || g.lost > 60 {
		t.Errorf("%d searches in 200 columns of noise", g.lost)
	}
	if again := block(grid); again > first+8 {
		t.Errorf("%d bytes on a grid that is known, %d before", again, first)
	}
	other := func(int) float64 { return float64(rng.IntN(4096))*0.0071 - 0.123456 }
	most := block(other)
	for range gridPause {
		most = min(most, block(other))
	}
	if most > first+16 {
		t.Errorf("%d bytes on another grid, %d on the first", most, first)
	}
}
