package wire

import (
	"math/rand/v2"
	"testing"
)

// TestBuilder feeds random rows, compares the block with what went in, and
// checks the bound against the section's true size after every row.
func TestBuilder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 3))
	for range 300 {
		want := randomBlock(rng)
		want.FirstColumn = 0
		types := make([]ValueType, len(want.Columns))
		for i, c := range want.Columns {
			types[i] = c.Type
		}
		b := NewBuilder(want.Group, types)
		for range 2 { // the second time with memory that was used
			feed(t, b, want, rng)
			if err := diffBlocks(want, b.Block()); err != nil {
				t.Fatal(err)
			}
			if b.Rows() != want.Rows() || int(b.Samples()) != want.Samples() {
				t.Fatalf("%d rows, %d samples; want %d, %d", b.Rows(), b.Samples(), want.Rows(), want.Samples())
			}
			size := len(mustAppendBlock(t, b.Block()))
			bound := b.SizeBound()
			if bound < size {
				t.Fatalf("bound of %d for %d bytes", bound, size)
			}
			b.Reset()
			if b.Rows() != 0 || b.Samples() != 0 || b.SizeBound() != 0 {
				t.Fatal("not empty after Reset")
			}
		}
	}
}

// feed appends want's rows to b, now and then asking for the bound.
func feed(t *testing.T, b *Builder, want *Block, rng *rand.Rand) {
	t.Helper()
	at := make([]int, len(want.Columns))
	values := make([]int64, len(want.Columns))
	offset := rng.IntN(100)
	for row, tick := range want.Ticks {
		present := make([]uint64, (offset+len(values)+63)/64)
		all := true
		for c := range want.Columns {
			col := &want.Columns[c]
			if col.Present != nil && col.Present[row/64]>>(row%64)&1 == 0 {
				all = false
				values[c] = -12345 // must not be looked at
				continue
			}
			present[(offset+c)/64] |= 1 << ((offset + c) % 64)
			values[c] = col.Values[at[c]]
			at[c]++
		}
		if all && rng.IntN(2) == 0 {
			b.Append(tick, values, nil, 0)
		} else {
			b.Append(tick, values, present, offset)
		}
		if rng.IntN(8) == 0 {
			bound := b.SizeBound()
			if size := len(mustAppendBlock(t, b.Block())); bound < size {
				t.Fatalf("row %d: bound of %d for %d bytes", row, bound, size)
			}
		}
	}
}

// TestBuilderBoundIsTight keeps the bound useful: dense columns of integers.
func TestBuilderBoundIsTight(t *testing.T) {
	block := benchBlock(150)
	b := builderOf(block)
	row := make([]int64, len(block.Columns))
	appendRows(b, block, row)
	size := len(mustAppendBlock(t, b.Block()))
	if bound := b.SizeBound(); bound < size || bound > size+size/50+16 {
		t.Fatalf("bound of %d for %d bytes", bound, size)
	}
}

func builderOf(block *Block) *Builder {
	types := make([]ValueType, len(block.Columns))
	for i, c := range block.Columns {
		types[i] = c.Type
	}
	return NewBuilder(block.Group, types)
}

func appendRows(b *Builder, block *Block, row []int64) {
	for r, tick := range block.Ticks {
		for c := range row {
			row[c] = block.Columns[c].Values[r]
		}
		b.Append(tick, row, nil, 0)
	}
}

func TestBuilderAllocs(t *testing.T) {
	block := benchBlock(150)
	b := builderOf(block)
	row := make([]int64, len(block.Columns))
	var buf []byte
	present := []uint64{1<<50 - 1, 1<<36 - 1}
	use := func() {
		b.Reset()
		appendRows(b, block, row)
		b.Append(block.Ticks[149], row, present, 0)
		b.SizeBound()
		buf, _ = AppendBlock(buf[:0], b.Block())
	}
	use()
	if n := testing.AllocsPerRun(20, use); n != 0 {
		t.Errorf("%v allocations a block", n)
	}
}

// TestSplitBlock halves blocks down to one value and puts the values together
// again.
func TestSplitBlock(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 3))
	for range 300 {
		want := randomBlock(rng)
		seen := map[[2]int64]int64{} // row and column -> value; rows by index
		var walk func(b *Block, row int)
		walk = func(b *Block, row int) {
			mustAppendBlock(t, b)
			x, y, ok := SplitBlock(b)
			if !ok {
				if len(b.Ticks) != 1 || len(b.Columns) != 1 {
					t.Fatalf("no split of %d rows, %d columns", len(b.Ticks), len(b.Columns))
				}
				if b.Ticks[0] != want.Ticks[row] {
					t.Fatalf("row %d has tick %d", row, b.Ticks[0])
				}
				for _, v := range b.Columns[0].Values {
					seen[[2]int64{int64(row), int64(b.FirstColumn)}] = v
				}
				return
			}
			next := row
			if x.FirstColumn == y.FirstColumn {
				next += x.Rows()
			}
			walk(&x, row)
			walk(&y, next)
		}
		walk(want, 0)
		if len(seen) != want.Samples() {
			t.Fatalf("%d values, want %d", len(seen), want.Samples())
		}
		for i, c := range want.Columns {
			at := 0
			for row := range want.Ticks {
				if c.Present != nil && c.Present[row/64]>>(row%64)&1 == 0 {
					continue
				}
				if v, ok := seen[[2]int64{int64(row), int64(want.FirstColumn) + int64(i)}]; !ok || v != c.Values[at] {
					t.Fatalf("row %d column %d: got %d %v, want %d", row, i, v, ok, c.Values[at])
				}
				at++
			}
		}
	}
}

func BenchmarkBuilder(b *testing.B) {
	block := benchBlock(150)
	rows := make([][]int64, block.Rows())
	for r := range rows {
		for _, c := range block.Columns {
			rows[r] = append(rows[r], c.Values[r])
		}
	}
	run := func(b *testing.B, size bool) {
		bd := builderOf(block)
		b.ReportAllocs()
		b.SetBytes(int64(8 * block.Samples()))
		for b.Loop() {
			bd.Reset()
			for r, row := range rows {
				bd.Append(block.Ticks[r], row, nil, 0)
				if size && r%10 == 0 {
					bd.SizeBound()
				}
			}
			bd.Block()
		}
		b.ReportMetric(float64(block.Samples())*float64(b.N)/1e6/b.Elapsed().Seconds(), "Msamples/s")
	}
	b.Run("append", func(b *testing.B) { run(b, false) })
	b.Run("bound each 10 rows", func(b *testing.B) { run(b, true) })
}
