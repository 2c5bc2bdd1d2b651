package wire

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// worked parses a body and fails if the decoder did more than the sizes in its
// head allow.
func worked(t *testing.T, name string, body []byte, b *Block) (work int, err error) {
	t.Helper()
	r := reader{b: body}
	r.uvarint(1<<32-1, "group")
	r.uvarint(1<<32-1, "first column")
	rows, columns := int(r.uvarint(MaxBlockRows, "rows")), int(r.uvarint(MaxBlockColumns, "columns"))
	d := blockDecoder{reader: reader{b: body}}
	err = d.block(b)
	if most := maxWorkValue*rows*columns + maxWorkColumn*columns + 4*rows; r.err == nil && d.work > most {
		t.Fatalf("%s: %d units of work for %d rows of %d columns, most are %d", name, d.work, rows, columns, most)
	} else if r.err != nil && d.work > 0 {
		t.Fatalf("%s: %d units of work without a head", name, d.work)
	}
	return d.work, err
}

// TestDecoderWorkIsBounded counts what decoders do for whole blocks of every
// layout, for such with bytes changed, cut or repeated, and for any bytes behind a
// good head.
func TestDecoderWorkIsBounded(t *testing.T) {
	rng := rand.New(rand.NewPCG(81, 82))
	var bodies [][]byte
	for _, v := range []string{
		"block", "block_stream", "block_stream_special", "block_stream_decimals", "block_dense", "block_dense_special", "block_dense_table",
		"block_dense_grid", "block_dense_decimals", "block_dense_predictions", "block_keyed", "block_ticks_delta", "block_ticks_delta2",
	} {
		bodies = append(bodies, sectionBody(t, readHex(t, v)))
	}
	full := BlockEncoder{Speed: Full}
	longShapes(rng, func(_ string, b *Block) {
		if rng.IntN(40) > 0 {
			return
		}
		out, err := full.Append(nil, b)
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, sectionBody(t, out), sectionBody(t, mustAppendBlock(t, b)))
	})
	var got Block
	for i, body := range bodies {
		work, err := worked(t, "whole", body, &got)
		if err != nil {
			t.Fatalf("body %d: %v", i, err)
		}
		if least := got.Samples(); work < least {
			t.Fatalf("body %d: %d units of work for %d values", i, work, least)
		}
	}
	rounds := 20_000
	if testing.Short() {
		rounds /= 20
	}
	for range rounds {
		body := slices.Clone(bodies[rng.IntN(len(bodies))])
		switch rng.IntN(4) {
		case 0: // any bytes behind the head
			for i := min(len(body), 4+rng.IntN(12)); i < len(body); i++ {
				body[i] = byte(rng.Uint32())
			}
		case 1:
			body = body[:rng.IntN(len(body)+1)]
		case 2: // one byte, over and over
			at := rng.IntN(len(body))
			for i := at; i < len(body); i++ {
				body[i] = body[at]
			}
		}
		for range rng.IntN(4) {
			if len(body) > 0 {
				body[rng.IntN(len(body))] ^= 1 << rng.IntN(8)
			}
		}
		_, _ = worked(t, "changed", body, &got) // what it says does not matter
	}
}

// TestDecoderWorkOfAFewBytes is the worst that a short section asks for: as many
// values as a block may have.
func TestDecoderWorkOfAFewBytes(t *testing.T) {
	var got Block
	for _, layout := range []byte{layoutColumns, layoutUniform, layoutDense + layoutUniform, layoutDense + layoutLast} {
		for _, shape := range [][2]uint64{{MaxBlockRows, 16}, {1, MaxBlockColumns}, {16, MaxBlockColumns}, {1 << 10, 1 << 10}} {
			body := appendUvarint(appendUvarint([]byte{0, 0}, shape[0]), shape[1])
			mode := byte(ticksPeriodic)
			if shape[0] == 1 {
				mode = ticksSingle
			}
			body = append(body, mode|layout<<4, 0)
			if shape[0] > 1 {
				body = append(body, 0)
			}
			body = append(body, make([]byte, 64)...)
			_, _ = worked(t, "few bytes", body, &got)
		}
	}
}

// TestInjectionFlow is a column of a recording: three floats, then nothing.
func TestInjectionFlow(t *testing.T) {
	values := append([]int64{958564180, 953497000, 945337456}, make([]int64, 12)...)
	for _, speed := range []Speed{Fast, Full} {
		e := BlockEncoder{Speed: speed}
		var got Block
		for range 3 { // the second and third time with what is known of the column
			b := &Block{Ticks: each(15, func(i int) int64 { return int64(i) * 10_000_000 }), Columns: []Column{{Type: TypeF32, Values: values}}}
			out, err := e.Append(nil, b)
			if err != nil {
				t.Fatal(err)
			}
			if err := ParseBlock(sectionBody(t, out), &got); err != nil {
				t.Fatal(err)
			}
			if err := diffBlocks(b, &got); err != nil {
				t.Fatalf("speed %d: %v", speed, err)
			}
		}
	}
}
