package wire

import (
	"math"
	"math/rand/v2"
	"testing"
)

// memoryShapes are columns of 150 rows, one for each form and table.
func memoryShapes(rng *rand.Rand) []Column {
	const n = 150
	scaled := func(step, offset float32) []int64 {
		return each(n, func(i int) int64 { return int64(math.Float32bits(float32(300+i+rng.IntN(9))*step + offset)) })
	}
	angle := int64(0)
	return []Column{
		{Type: TypeInt, Values: each(n, func(i int) int64 { return int64(i*i) + rng.Int64N(3) })},
		{Type: TypeInt, Values: each(n, func(int) int64 { return rng.Int64N(900) - 450 })},
		{Type: TypeInt, Values: each(n, func(int) int64 { return rng.Int64N(500) * 1000 })},
		{Type: TypeUint, Values: each(n, func(int) int64 { angle = (angle + 900 + rng.Int64N(9)) % 36000; return angle })},
		{Type: TypeInt, Values: each(n, func(int) int64 { return []int64{-7, 977, 40_000, 1 << 30}[rng.IntN(4)] })},
		{Type: TypeF32, Values: each(n, func(i int) int64 { return int64(math.Float32bits(float32(float64(300+i+rng.IntN(9)) / 10))) })},
		{Type: TypeF32, Values: scaled(0.0123, -40)},
		{Type: TypeF32, Values: each(n, func(int) int64 { return int64(rng.Uint32() >> 3) })},
		{Type: TypeInt, Values: each(n, func(int) int64 { return 5 })},
	}
}

// TestMemoryOfOtherColumns gives the encoder other columns at a place each time,
// so that what it knows is wrong: nothing is lost, and little larger.
func TestMemoryOfOtherColumns(t *testing.T) {
	rng := rand.New(rand.NewPCG(91, 92))
	e := BlockEncoder{Speed: Full}
	var got Block
	known, fresh := 0, 0
	for round := range 200 {
		columns := memoryShapes(rng)
		if round%2 > 0 {
			rng.Shuffle(len(columns), func(i, j int) { columns[i], columns[j] = columns[j], columns[i] })
		}
		b := &Block{Ticks: each(150, func(i int) int64 { return int64(i) }), Columns: columns}
		out, err := e.Append(nil, b)
		if err != nil {
			t.Fatal(err)
		}
		if err := ParseBlock(sectionBody(t, out), &got); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if err := diffBlocks(b, &got); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		known += len(out)
		anew := BlockEncoder{Speed: Full}
		if out, err = anew.Append(nil, b); err != nil {
			t.Fatal(err)
		}
		fresh += len(out)
	}
	if known > fresh+fresh/4 {
		t.Errorf("%d bytes with wrong knowledge, %d without", known, fresh)
	}
}

// TestMemoryOfColumns has the same columns in block after block: what was found
// in the first ones serves the others.
func TestMemoryOfColumns(t *testing.T) {
	rng := rand.New(rand.NewPCG(93, 94))
	e := BlockEncoder{Speed: Full}
	known, fresh := 0, 0
	for range 40 {
		b := &Block{Group: 3, FirstColumn: 70, Ticks: each(150, func(i int) int64 { return int64(i) }), Columns: memoryShapes(rng)}
		out, err := e.Append(nil, b)
		if err != nil {
			t.Fatal(err)
		}
		known += len(out)
		anew := BlockEncoder{Speed: Full}
		if out, err = anew.Append(nil, b); err != nil {
			t.Fatal(err)
		}
		fresh += len(out)
	}
	if known > fresh+fresh/50 {
		t.Errorf("%d bytes with knowledge, %d without", known, fresh)
	}
	want := []columnForm{formPlain, formPlain, formFactor, formWrap, formPlain, formDecimal, formGrid, formPlain, formPlain}
	for i, m := range e.memory.columns(3, 70, len(want)) {
		if m.form != want[i] {
			t.Errorf("column %d: form %d, want %d", i, m.form, want[i])
		}
	}
	if m := e.memory.columns(3, 74, 1)[0]; m.table != tableValues && m.table != tableResiduals {
		t.Errorf("column of four values: table %d", m.table)
	}
}

// TestMemoryIsBounded asks for more columns and groups than are remembered.
func TestMemoryIsBounded(t *testing.T) {
	var b blockMemory
	if b.columns(0, 1<<32-1, 1) != nil {
		t.Error("a column far behind all others is remembered")
	}
	if got := len(b.columns(0, 10, memoryMost-10)); got != memoryMost-10 {
		t.Errorf("%d columns, want %d", got, memoryMost-10)
	}
	if b.columns(1, 0, 1) != nil || b.columns(0, 0, memoryMost+1) != nil {
		t.Error("more columns than the limit")
	}
	b = blockMemory{}
	for g := range uint32(memoryGroups + 5) {
		if have := b.columns(g, 0, 1); (have != nil) != (g < memoryGroups) {
			t.Fatalf("group %d: %d columns", g, len(have))
		}
	}
}

// TestMemoryLooksAgain fixes that a column is looked at anew after some blocks.
func TestMemoryLooksAgain(t *testing.T) {
	rng := rand.New(rand.NewPCG(95, 96))
	e := BlockEncoder{Speed: Full}
	looked := 0
	for block := range 3 * (memoryBlocks + memorySpread) {
		b := &Block{Ticks: each(150, func(i int) int64 { return int64(i) }), Columns: []Column{
			{Type: TypeInt, Values: each(150, func(int) int64 { return rng.Int64N(900) })},
		}}
		if _, err := e.Append(nil, b); err != nil {
			t.Fatal(err)
		}
		if left := e.memory.columns(0, 0, 1)[0].left; left == memoryBlocks {
			looked++
		} else if block == 0 {
			t.Fatalf("%d blocks left after the first one", left)
		}
	}
	if want := 3 * (memoryBlocks + memorySpread) / (memoryBlocks + 1); looked < want || looked > want+4 {
		t.Errorf("looked at anew %d times, want %d", looked, want)
	}
}
