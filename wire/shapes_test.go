package wire

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// shape makes n values of a channel whose numbers have about so many bits.
type shape struct {
	name  string
	types []ValueType
	make  func(rng *rand.Rand, n int, bits uint) []int64
}

var integers, floats = []ValueType{TypeInt, TypeUint}, []ValueType{TypeF32, TypeF64}

// each makes n values by a function of their number.
func each(n int, fn func(i int) int64) []int64 {
	out := make([]int64, n)
	for i := range out {
		out[i] = fn(i)
	}
	return out
}

// noiseBits is a random number of so many bits, with a sign.
func noiseBits(rng *rand.Rand, bits uint) int64 {
	return rng.Int64() >> (64 - bits) * (1 - 2*rng.Int64N(2))
}

// walk sums up noise.
func walk(rng *rand.Rand, n int, bits uint) []int64 {
	v := noiseBits(rng, bits)
	return each(n, func(int) int64 { v += noiseBits(rng, max(bits/2, 1)); return v })
}

// asFloat turns a number into the bits of a float of either type.
func asFloat(t ValueType, f float64) int64 {
	if t == TypeF32 {
		return int64(math.Float32bits(float32(f)))
	}
	return int64(math.Float64bits(f))
}

// shapes are those of recordings, and some that nobody wants. Floats are made
// from their numbers by asFloat.
var shapes = []shape{
	{"noise", integers, func(rng *rand.Rand, n int, bits uint) []int64 {
		return each(n, func(int) int64 { return noiseBits(rng, bits) })
	}},
	{"even noise above zero", integers, func(rng *rand.Rand, n int, bits uint) []int64 {
		return each(n, func(int) int64 { return int64(rng.Uint64() >> (64 - bits)) })
	}},
	{"even noise far from zero", integers, func(rng *rand.Rand, n int, bits uint) []int64 {
		base := noiseBits(rng, 50)
		return each(n, func(int) int64 { return base + int64(rng.Uint64()>>(64-bits)) })
	}},
	{"walk", integers, walk},
	{"smooth", integers, func(rng *rand.Rand, n int, bits uint) []int64 {
		phase, size := rng.Float64(), math.Ldexp(1, int(bits)-1)
		return each(n, func(i int) int64 { return int64(size * math.Sin(phase+float64(i)/40)) })
	}},
	{"ramp", integers, func(rng *rand.Rand, n int, bits uint) []int64 {
		step := noiseBits(rng, bits)
		return each(n, func(i int) int64 { return int64(i) * step })
	}},
	{"time stamps", integers, func(rng *rand.Rand, n int, bits uint) []int64 {
		t := rng.Int64N(1 << 40)
		return each(n, func(int) int64 { t += 1_000_000 + rng.Int64N(1<<(bits%20)); return t })
	}},
	{"sawtooth", integers, func(rng *rand.Rand, n int, bits uint) []int64 {
		period := 3 + rng.IntN(60)
		return each(n, func(i int) int64 { return int64(i%period) << (bits / 2) })
	}},
	{"counter that wraps", integers, func(rng *rand.Rand, n int, bits uint) []int64 {
		at := rng.Uint64()
		return each(n, func(i int) int64 { return int64((at + uint64(i)) & (1<<bits - 1)) })
	}},
	{"saturated", integers, func(rng *rand.Rand, n int, bits uint) []int64 {
		most := int64(1) << (bits - 1) >> 1
		v := int64(0)
		return each(n, func(int) int64 { v += noiseBits(rng, max(bits-2, 1)); v = max(min(v, most), -most); return v })
	}},
	{"steps", integers, func(rng *rand.Rand, n int, bits uint) []int64 {
		v := noiseBits(rng, bits)
		return each(n, func(int) int64 {
			if rng.IntN(25) == 0 {
				v = noiseBits(rng, bits)
			}
			return v
		})
	}},
	{"spikes", integers, func(rng *rand.Rand, n int, bits uint) []int64 {
		return each(n, func(int) int64 {
			if rng.IntN(20) == 0 {
				return noiseBits(rng, bits)
			}
			return 7
		})
	}},
	{"switch", integers, func(rng *rand.Rand, n int, bits uint) []int64 {
		on := int64(0)
		return each(n, func(int) int64 { on ^= rng.Int64N(30) / 29; return on << (bits - 1) })
	}},
	{"enum", integers, func(rng *rand.Rand, n int, bits uint) []int64 {
		return each(n, func(int) int64 { return rng.Int64N(5) })
	}},
	{"multiples", integers, func(rng *rand.Rand, n int, bits uint) []int64 {
		v := walk(rng, n, bits)
		return each(n, func(i int) int64 { return 3 + 25*v[i] })
	}},
	{"extremes", integers, func(rng *rand.Rand, n int, bits uint) []int64 {
		return each(n, func(int) int64 { return extremes[rng.IntN(len(extremes))] })
	}},
}

// floatShapes make numbers.
var floatShapes = []struct {
	name string
	make func(rng *rand.Rand, i int) float64
}{
	{"sine", func(_ *rand.Rand, i int) float64 { return 3 * math.Sin(float64(i)/30) }},
	{"decimals", func(rng *rand.Rand, i int) float64 { return float64(2000+10*i+rng.IntN(20)) / 100 }},
	{"eighths", func(rng *rand.Rand, i int) float64 { return float64(300+i-rng.IntN(9)) / 8 }},
	{"physical", func(rng *rand.Rand, i int) float64 { return float64(900+rng.IntN(40)+i)*0.0078125*9.81 - 40 }},
	{"noise", func(rng *rand.Rand, _ int) float64 { return rng.NormFloat64() * 1e-3 }},
	{"signs", func(rng *rand.Rand, _ int) float64 { return math.Copysign(0.5, rng.NormFloat64()) }},
	{"all magnitudes", func(rng *rand.Rand, _ int) float64 { return math.Ldexp(rng.NormFloat64(), rng.IntN(250)-125) }},
	{"negative zeros", func(rng *rand.Rand, _ int) float64 { return math.Copysign(0, rng.NormFloat64()) }},
	{"whole and negative zeros", func(rng *rand.Rand, _ int) float64 { return math.Copysign(float64(rng.IntN(3)), rng.NormFloat64()) }},
}

// oddFloats are put among other values: NaNs with payloads, infinities, -0, the
// smallest and the largest numbers.
var oddFloats = map[ValueType][]int64{
	TypeF32: extremesF32,
	TypeF64: append([]int64{int64(math.Float64bits(math.Inf(-1))), 1, math.MaxInt64, 0x7ff8_0000_0000_0001}, extremes...),
}

// shapedBlocks calls fn with a block of eight columns for every shape, width and
// type, and for one number of rows after another.
func shapedBlocks(rng *rand.Rand, fn func(name string, b *Block)) {
	rows := []int{1, 2, 3, 4, 5, 14, 15, 16, 17, 18, 19, 20, 31, 32, 33, 34, 35, 36, 66, 150, 151}
	next := 0
	block := func(name string, t ValueType, make func(n int) []int64) {
		n := rows[next%len(rows)]
		next++
		b := &Block{Ticks: each(n, func(i int) int64 { return int64(i) * 1000 })}
		for range 8 {
			b.Columns = append(b.Columns, Column{Type: t, Values: make(n)})
		}
		fn(fmt.Sprintf("%s, type %d, %d rows", name, t, n), b)
	}
	for _, s := range shapes {
		for bits := uint(1); bits <= 64; bits++ {
			for _, t := range s.types {
				block(fmt.Sprintf("%s of %d bits", s.name, bits), t, func(n int) []int64 { return s.make(rng, n, bits) })
			}
		}
	}
	for _, s := range floatShapes {
		for _, t := range floats {
			for round := range 2 * len(rows) {
				odd := round % 2
				block(fmt.Sprintf("%s, odd ones 1/%d", s.name, odd), t, func(n int) []int64 {
					return each(n, func(i int) int64 {
						if odd > 0 && rng.IntN(12) == 0 {
							return oddFloats[t][rng.IntN(len(oddFloats[t]))]
						}
						return asFloat(t, s.make(rng, i))
					})
				})
			}
		}
	}
}

func TestEveryShapeAndWidth(t *testing.T) {
	rng := rand.New(rand.NewPCG(31, 32))
	full := BlockEncoder{Speed: Full}
	var got Block
	shapedBlocks(rng, func(name string, b *Block) {
		for _, encode := range []func([]byte, *Block) ([]byte, error){AppendBlock, full.Append} {
			out, err := encode(nil, b)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if err := ParseBlock(sectionBody(t, out), &got); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if err := diffBlocks(b, &got); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	})
}

// TestFullIsNotLarger compares the two speeds: full may lose a few bits a column
// where nothing can be won.
func TestFullIsNotLarger(t *testing.T) {
	rng := rand.New(rand.NewPCG(33, 34))
	full := BlockEncoder{Speed: Full}
	group := uint32(0)
	shapedBlocks(rng, func(name string, b *Block) {
		b.Group = group // other columns each time, of which nothing is known
		group++
		out, err := full.Append(nil, b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if fast := len(mustAppendBlock(t, b)); len(out) > fast+len(b.Columns)+fast/25 {
			t.Errorf("%s: full %d bytes, fast %d", name, len(out), fast)
		}
	})
}

// FuzzAppendBlock makes columns of any bytes and asks both speeds to give them
// back.
func FuzzAppendBlock(f *testing.F) {
	f.Add(byte(0), byte(3), []byte("values of eight bytes each, as they come"))
	f.Add(byte(2), byte(15), []byte{0, 0, 0x80, 0x7f, 1, 0, 0xc0, 0xff})
	f.Add(byte(7), byte(40), []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10})
	f.Add(byte(4), byte(220), []byte{0, 9, 0, 9, 0, 9, 0, 0, 200, 9, 0, 0, 0, 0, 9, 9, 0}) // worth a table
	full := BlockEncoder{Speed: Full}
	var got Block
	f.Fuzz(func(t *testing.T, kind, rows byte, data []byte) {
		if len(data) == 0 || len(data) > 1<<12 {
			return
		}
		n := 2*int(rows) + 1
		typ := ValueType(kind%4) + TypeInt
		width := 1 + int(kind>>2)%8 // bytes a value
		b := &Block{Ticks: make([]int64, n)}
		for at := 0; at < len(data); at += n * width {
			col := Column{Type: typ}
			for i := range n {
				var v uint64
				for j := range width {
					v |= uint64(data[(at+i*width+j)%len(data)]) << (8 * j)
				}
				if typ == TypeF32 {
					v &= math.MaxUint32
				}
				col.Values = append(col.Values, int64(v))
			}
			b.Columns = append(b.Columns, col)
		}
		for _, encode := range []func([]byte, *Block) ([]byte, error){AppendBlock, full.Append} {
			out, err := encode(nil, b)
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
	})
}

// TestSmallBodiesClaimBoundedMemory parses bodies of a few bytes that promise as
// much as the limits let them.
func TestSmallBodiesClaimBoundedMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("long under emulation; nothing in it depends on the machine")
	}
	for layout := byte(0); layout < 16; layout++ {
		for _, size := range []struct{ rows, columns uint64 }{{1, MaxBlockColumns}, {16, MaxBlockColumns}, {MaxBlockRows, 16}, {MaxBlockRows, 1}, {MaxBlockRows, 17}} {
			body := appendUvarint(appendUvarint([]byte{0, 0}, size.rows), size.columns)
			mode := byte(ticksPeriodic)
			if size.rows == 1 {
				mode = ticksSingle
			}
			body = append(body, mode|layout<<4, 0)
			for _, fill := range []byte{0x00, 0x55, 0xaa, 0xff} {
				var b Block
				_ = ParseBlock(append(body[:len(body):len(body)], fill, fill, fill, fill, fill, fill, fill, fill), &b)
				if n := cap(b.Columns); n > 2*MaxBlockColumns {
					t.Fatalf("layout %d: room for %d columns", layout, n)
				}
				if len(b.Columns) > 0 && cap(b.Columns[0].Values) > 2*MaxBlockValues {
					t.Fatalf("layout %d: room for %d values", layout, cap(b.Columns[0].Values))
				}
			}
		}
	}
}
