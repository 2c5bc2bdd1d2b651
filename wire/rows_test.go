package wire

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// randomRows makes rows of walks and noise of all types.
func randomRows(rng *rand.Rand, rows, columns int) *RowBlock {
	b := &RowBlock{Group: 5, FirstColumn: 9, Ticks: make([]int64, rows), Types: make([]ValueType, columns), Values: make([]int64, rows*columns)}
	for i := range b.Ticks {
		b.Ticks[i] = int64(i) * 666_667
	}
	for c := range columns {
		b.Types[c] = ValueType(1 + rng.IntN(4))
		v := rng.Int64() >> rng.IntN(64)
		step := int64(1) << rng.IntN(20)
		for r := range rows {
			v += rng.Int64N(step) - step/2
			if b.Types[c] == TypeF32 {
				v = int64(uint32(v))
			}
			b.Values[r*columns+c] = v
		}
	}
	return b
}

// columnsOf turns rows into a block, the simple way.
func columnsOf(r *RowBlock) *Block {
	b := &Block{Group: r.Group, FirstColumn: r.FirstColumn, Ticks: r.Ticks, Columns: make([]Column, len(r.Types))}
	for c, t := range r.Types {
		b.Columns[c].Type = t
		for row := range r.Ticks {
			b.Columns[c].Values = append(b.Columns[c].Values, r.Values[row*len(r.Types)+c])
		}
	}
	return b
}

var bothSpeeds = []struct {
	name  string
	speed Speed
}{{"fast", Fast}, {"full", Full}}

// TestAppendFit cuts blocks into sections of limited size: none is longer but
// those of one column, and together they hold all columns.
func TestAppendFit(t *testing.T) {
	rng := rand.New(rand.NewPCG(21, 22))
	for _, s := range bothSpeeds {
		t.Run(s.name, func(t *testing.T) {
			e := BlockEncoder{Speed: s.speed}
			for range 300 {
				rows := randomRows(rng, 1+rng.IntN(40), 1+rng.IntN(300))
				whole := columnsOf(rows)
				limit := 50 + rng.IntN(2000)
				fromRows := func(first int) ([]byte, int, error) { return e.AppendRows([]byte("x"), rows, first, limit) }
				fromBlock := func(first int) ([]byte, int, error) { return e.AppendFit([]byte("x"), whole, first, limit) }
				for _, next := range []func(int) ([]byte, int, error){fromRows, fromBlock} {
					checkFit(t, whole, limit, next)
				}
			}
		})
	}
}

func checkFit(t *testing.T, whole *Block, limit int, next func(first int) ([]byte, int, error)) {
	t.Helper()
	var got Block
	for first := 0; first < len(whole.Columns); {
		out, n, err := next(first)
		if err != nil || n < 1 {
			t.Fatalf("column %d: %d columns, %v", first, n, err)
		}
		if len(out)-1 > limit && n > 1 {
			t.Fatalf("%d bytes of %d columns, limit %d", len(out)-1, n, limit)
		}
		if err := ParseBlock(sectionBody(t, out[1:]), &got); err != nil {
			t.Fatal(err)
		}
		want := whole.SliceColumns(first, first+n)
		if err := diffBlocks(&want, &got); err != nil {
			t.Fatal(err)
		}
		first += n
	}
}

// TestAppendFitFills asks that a section is left only when the next column does
// not fit.
func TestAppendFitFills(t *testing.T) {
	block := columnsOf(randomRows(rand.New(rand.NewPCG(23, 24)), 20, 100))
	for _, s := range bothSpeeds {
		t.Run(s.name, func(t *testing.T) {
			e := BlockEncoder{Speed: s.speed}
			_, n, err := e.AppendFit(nil, block, 0, 1000)
			if err != nil {
				t.Fatal(err)
			}
			more := block.SliceColumns(0, n+1)
			out, err := e.Append(nil, &more)
			if err != nil {
				t.Fatal(err)
			}
			if len(out) < 990 {
				t.Fatalf("%d columns were taken, %d would have made %d bytes", n, n+1, len(out))
			}
		})
	}
}

func TestAppendFitRefuses(t *testing.T) {
	rows := randomRows(rand.New(rand.NewPCG(25, 26)), 4, 3)
	short := *rows
	short.Values = short.Values[1:]
	cases := []struct {
		name  string
		rows  *RowBlock
		first int
	}{
		{"behind the last column", rows, 3},
		{"before the first column", rows, -1},
		{"values that are no whole rows", &short, 0},
		{"no rows", &RowBlock{Types: rows.Types}, 0},
		{"no columns", &RowBlock{Ticks: rows.Ticks}, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var e BlockEncoder
			out, n, err := e.AppendRows([]byte("x"), c.rows, c.first, 1000)
			if err == nil || n != 0 || string(out) != "x" {
				t.Fatalf("got %x, %d, %v", out, n, err)
			}
		})
	}
}

func TestAppendRowsAllocs(t *testing.T) {
	rows := randomRows(rand.New(rand.NewPCG(27, 28)), 15, 500)
	for _, s := range bothSpeeds {
		t.Run(s.name, func(t *testing.T) {
			e := BlockEncoder{Speed: s.speed}
			var buf []byte
			encode := func() {
				for first := 0; first < len(rows.Types); {
					var n int
					buf, n, _ = e.AppendRows(buf[:0], rows, first, 4000)
					first += n
				}
			}
			encode()
			if n := testing.AllocsPerRun(10, encode); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

func BenchmarkRows(b *testing.B) {
	const columns, n = 50_000, 15
	rng := rand.New(rand.NewPCG(29, 30))
	rows := &RowBlock{Ticks: make([]int64, n), Types: slices.Repeat([]ValueType{TypeInt}, columns), Values: make([]int64, n*columns)}
	for i := range rows.Ticks {
		rows.Ticks[i] = int64(i) * 666_667
	}
	for c := range columns {
		v := rng.Int64N(10000)
		for r := range n {
			v += rng.Int64N(2<<(c%7)) - 1<<(c%7)
			rows.Values[r*columns+c] = v
		}
	}
	for _, s := range bothSpeeds {
		b.Run(s.name, func(b *testing.B) {
			e := BlockEncoder{Speed: s.speed}
			var buf []byte
			for b.Loop() {
				for first := 0; first < columns; {
					var k int
					buf, k, _ = e.AppendRows(buf[:0], rows, first, MaxFullBytes-150)
					first += k
				}
			}
			b.ReportMetric(float64(columns*n)*float64(b.N)/1e6/b.Elapsed().Seconds(), "Msamples/s")
		})
	}
	b.Run("builder/fast", func(b *testing.B) {
		builder := NewBuilder(0, rows.Types)
		e := BlockEncoder{}
		var buf []byte
		for b.Loop() {
			builder.Reset()
			for r, tick := range rows.Ticks {
				builder.Append(tick, rows.Values[r*columns:][:columns], nil, 0)
			}
			block := builder.Block()
			for first := 0; first < columns; {
				var k int
				buf, k, _ = e.AppendFit(buf[:0], block, first, MaxFullBytes-150)
				first += k
			}
		}
		b.ReportMetric(float64(columns*n)*float64(b.N)/1e6/b.Elapsed().Seconds(), "Msamples/s")
	})
}
