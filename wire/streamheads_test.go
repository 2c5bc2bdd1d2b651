package wire

import (
	"math/rand/v2"
	"testing"
)

// appendOldLayout appends b, columns of one type and no holes, in the layout of a
// stream whose heads are not dense.
func appendOldLayout(t *testing.T, b *Block) []byte {
	t.Helper()
	var s streamEncoder
	s.begin(nil)
	for i := range b.Columns {
		if err := s.column(i, &b.Columns[i]); err != nil {
			t.Fatal(err)
		}
	}
	out, err := appendBlockHead(nil, b.Group, b.FirstColumn, b.Ticks, len(b.Columns), layoutUniform+byte(b.Columns[0].Type))
	if err != nil {
		t.Fatal(err)
	}
	if out, err = endSection(nil, append(out, s.w.finish()...), 0); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestOldLayouts reads what earlier versions wrote, and compares their sizes:
// dense heads are hardly ever longer.
func TestOldLayouts(t *testing.T) {
	rng := rand.New(rand.NewPCG(71, 72))
	var got Block
	old, dense := 0, 0
	shapedBlocks(rng, func(name string, b *Block) {
		out := appendOldLayout(t, b)
		if err := ParseBlock(sectionBody(t, out), &got); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := diffBlocks(b, &got); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		full := BlockEncoder{Speed: Full} // that remembers nothing
		short, err := full.Append(nil, b)
		if err != nil {
			t.Fatal(err)
		}
		if len(short) > len(out)+len(out)/8+len(b.Columns) {
			t.Errorf("%s: %d bytes with dense heads, %d without", name, len(short), len(out))
		}
		old += len(out)
		dense += len(short)
	})
	if dense >= old {
		t.Errorf("%d bytes with dense heads in all, %d without", dense, old)
	}
}

// TestDenseHeads fixes what stands in place of constant flag, way and first
// parameter.
func TestDenseHeads(t *testing.T) {
	var s streamEncoder
	s.begin(nil)
	s.heads.dense = true
	s.w.reserve(400)
	kinds := []int{predictConstant, predictConstant, predictDelta, predictDelta, predictConstant, predictDelta3, predictDelta3, predictCodes, predictBase}
	for _, k := range kinds {
		s.rank(k)
	}
	params := []int{4, 5, 4, 6, 3, 3, 9, 64, 0, 30, 33}
	for _, p := range params {
		s.firstParam(p, false)
		s.firstParam(p, true)
	}
	r := bitReader{b: s.w.finish()}
	for i, want := range []uint{0, 0, 1, 0, 1, 6, 0, 6, 6} {
		if got := r.ones(denseKinds - 1); got != want {
			t.Fatalf("rank %d of kind %d (%d), want %d", got, i, kinds[i], want)
		}
	}
	d := streamDecoder{bitReader: r, given: none}
	d.heads.begin()
	d.heads.dense = true
	for _, want := range params {
		for _, flat := range []bool{false, true} {
			if got, err := d.nextParam(-1, flat); got != want || err != nil {
				t.Fatalf("parameter %d, %v, want %d", got, err, want)
			}
		}
	}
}

// TestDenseRefuses gives parameters that no column can have.
func TestDenseRefuses(t *testing.T) {
	cases := []struct {
		name string
		bits uint64 // of the first column, of signed integers
	}{
		{"parameter 65", 0b1 | 0b111<<2 | 31<<5 | 65<<10},
		{"parameter of a base 65", 0b1111 | 0b111<<5 | 31<<8 | 65<<13},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			body := []byte{0, 0, 20, 1, ticksPeriodic | (layoutDense+2)<<4, 0, 1}
			body = append(appendU64(body, c.bits), make([]byte, 40)...)
			var b Block
			if err := ParseBlock(body, &b); err == nil {
				t.Fatalf("parsed as %v", b.Columns[0].Values)
			}
		})
	}
}

// TestCoarseBase has noise around values: the base of a short column takes fewer
// bits than a value, and any base comes back.
func TestCoarseBase(t *testing.T) {
	rng := rand.New(rand.NewPCG(73, 74))
	full := BlockEncoder{Speed: Full}
	var got Block
	for range 3000 {
		b := &Block{Ticks: each(2+rng.IntN(2*coarseMost), func(i int) int64 { return int64(i) })}
		for range 3 {
			base, size := noiseBits(rng, uint(1+rng.IntN(64))), uint(1+rng.IntN(60))
			b.Columns = append(b.Columns, Column{Type: TypeInt, Values: each(len(b.Ticks), func(int) int64 { return base + noiseBits(rng, size) })})
		}
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
	}
	noise := Column{Type: TypeInt, Values: each(16, func(int) int64 { return 1<<40 + int64(10_000*rng.NormFloat64()) })}
	var bits [2]uint
	for i, dense := range []bool{false, true} {
		var s streamEncoder
		s.heads.dense = dense
		s.begin(nil)
		s.work(&s.plans[0][0], noise.Values, predictBase)
		bits[i] = s.plans[0][0].bits
	}
	if bits[1] > bits[0]-5 {
		t.Errorf("%d bits with a coarse base, %d without", bits[1], bits[0])
	}
}
