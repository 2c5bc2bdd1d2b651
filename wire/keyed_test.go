package wire

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// busBlock makes rows as a bus does: keys with a period, payloads of one or two
// words of which few bits change, a counter, ticks in whole microseconds.
func busBlock(r *rand.Rand, rows, streams int) *Block {
	b := &Block{Group: 3, Columns: make([]Column, 5)}
	present := make([][]uint64, 5)
	for i := range b.Columns {
		b.Columns[i].Type = TypeUint
		present[i] = make([]uint64, (rows+63)/64)
	}
	tick := int64(r.Uint32())
	last := make([]uint64, streams)
	for row := range rows {
		s := row % streams
		if r.IntN(10) == 0 {
			s = r.IntN(streams)
		}
		if last[s] == 0 {
			last[s] = r.Uint64()
		}
		last[s] += 1 << 56
		last[s] ^= uint64(r.IntN(4)) << 20
		values := []uint64{uint64(s) * 77, uint64(s & 1), 8, last[s], uint64(row)}
		for c, v := range values {
			if c == 4 && s&1 == 0 || s == 5 && c > 2 {
				continue
			}
			b.Columns[c].Values = append(b.Columns[c].Values, int64(v))
			present[c][row>>6] |= 1 << (row & 63)
		}
		b.Ticks = append(b.Ticks, tick)
		tick += 1000 * int64(r.IntN(300))
	}
	for i := range b.Columns {
		if len(b.Columns[i].Values) < rows {
			b.Columns[i].Present = present[i]
		}
	}
	return b
}

// wildBlock makes rows of anything that a keyed layout can hold.
func wildBlock(r *rand.Rand) (b *Block, keys int) {
	rows, columns := 1+r.IntN(90), 2+r.IntN(9)
	keys = 1 + r.IntN(min(columns-1, maxKeys))
	typ := TypeInt + ValueType(r.IntN(4))
	b = &Block{Group: r.Uint32(), FirstColumn: uint32(r.IntN(1000)), Columns: make([]Column, columns)}
	present := make([][]uint64, columns)
	for i := range b.Columns {
		b.Columns[i].Type = typ
		present[i] = make([]uint64, (rows+63)/64)
	}
	tick := r.Int64() >> 1 * (1 - 2*int64(r.IntN(2)))
	choice := make([]uint64, 1+r.IntN(4))
	for i := range choice {
		choice[i] = r.Uint64() >> r.IntN(64)
	}
	for row := range rows {
		has := uint64(0)
		for c := range columns {
			v := choice[r.IntN(len(choice))]
			if c < keys {
				has += v * uint64(c+1) // the same for the same keys
			} else if r.IntN(3) == 0 {
				v = r.Uint64() >> r.IntN(64)
			}
			if c >= keys && has>>(c%7)&1 != 0 {
				continue
			}
			b.Columns[c].Values = append(b.Columns[c].Values, int64(v))
			present[c][row>>6] |= 1 << (row & 63)
		}
		b.Ticks = append(b.Ticks, tick)
		if r.IntN(4) > 0 {
			tick += r.Int64() >> (12 + r.IntN(50))
		}
	}
	for i := range b.Columns {
		if len(b.Columns[i].Values) < rows || r.IntN(4) == 0 {
			b.Columns[i].Present = present[i]
		}
	}
	return b, keys
}

// sampleKeyed is 40 frames of three ids.
func sampleKeyed() *Block {
	b := &Block{Group: 2, Columns: make([]Column, 5)}
	for i := range b.Columns {
		b.Columns[i].Type = TypeUint
	}
	long := make([]uint64, 1)
	for row := range 40 {
		s := row % 7 % 3
		b.Ticks = append(b.Ticks, 1_000_000_000+int64(row)*250_000+int64(s)*1000)
		values := []int64{int64(0x100 + 0x55*s), 0, int64(8 * (s + 1)), int64(row) << (8 * s), 1 << 62}
		for c, v := range values {
			if c == 4 && s != 1 {
				continue
			}
			b.Columns[c].Values = append(b.Columns[c].Values, v)
			if c == 4 {
				long[0] |= 1 << row
			}
		}
	}
	b.Columns[4].Present = long
	return b
}

func keyedVector(name string, b *Block, keys int) vector {
	v := blockVector(name, b, Fast) // decoded as any block
	v.encode = func() []byte { var e KeyedEncoder; out, _ := e.Append(nil, b, keys); return out }
	return v
}

// keyedAgain encodes and decodes a block and returns the section's bytes.
func keyedAgain(t *testing.T, e *KeyedEncoder, b, into *Block, keys int) []byte {
	t.Helper()
	out, err := e.Append([]byte("before"), b, keys)
	if err != nil {
		t.Fatal(err)
	}
	if string(out[:6]) != "before" {
		t.Fatalf("what was there became %q", out[:6])
	}
	s, n, err := NextSection(out[6:])
	if err != nil || n != len(out)-6 {
		t.Fatalf("section of %d bytes: %v", n, err)
	}
	if err := ParseBlock(s.Body, into); err != nil {
		t.Fatal(err)
	}
	if err := diffBlocks(b, into); err != nil {
		t.Fatal(err)
	}
	return out[6:]
}

func TestKeyedRowsComeBack(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	var e KeyedEncoder
	var into Block
	for i := range 400 {
		b, keys := wildBlock(r)
		keyedAgain(t, &e, b, &into, keys)
		if i%4 == 0 {
			keyedAgain(t, &e, busBlock(r, 1+r.IntN(300), 1+r.IntN(20)), &into, 3)
		}
	}
	edges := &Block{Ticks: []int64{math.MinInt64, math.MinInt64, math.MaxInt64}, Columns: []Column{
		{Type: TypeInt, Values: []int64{math.MinInt64, 0, -1}}, {Type: TypeInt, Values: []int64{math.MaxInt64, math.MinInt64, -1}},
	}}
	keyedAgain(t, &e, edges, &into, 1)
}

// What a bus says over and over is a small part of what the other layouts need.
func TestKeyedIsSmall(t *testing.T) {
	b := busBlock(rand.New(rand.NewPCG(1, 2)), 800, 40)
	var e KeyedEncoder
	keyed := len(keyedAgain(t, &e, b, &Block{}, 3))
	full := BlockEncoder{Speed: Full}
	out, err := full.Append(nil, b)
	if err != nil {
		t.Fatal(err)
	}
	if keyed*3 > len(out) {
		t.Errorf("keyed %d bytes, full %d", keyed, len(out))
	}
}

func TestKeyedEncodingAllocatesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	blocks := []*Block{busBlock(r, 300, 20), busBlock(r, 200, 33)}
	var e KeyedEncoder
	var buf []byte
	i := 0
	round := func() {
		var err error
		if buf, err = e.Append(buf[:0], blocks[i%2], 3); err != nil {
			t.Fatal(err)
		}
		i++
	}
	round()
	round()
	if n := testing.AllocsPerRun(50, round); n > 0 {
		t.Errorf("%v allocations a block", n)
	}
}

func TestNotKeyed(t *testing.T) {
	col := func(typ ValueType, v ...int64) Column { return Column{Type: typ, Values: v} }
	many := &Block{Columns: []Column{{Type: TypeInt}, {Type: TypeInt}}}
	for i := range int64(maxKeyedStreams + 1) {
		many.Ticks = append(many.Ticks, i)
		many.Columns[0].Values, many.Columns[1].Values = append(many.Columns[0].Values, i), append(many.Columns[1].Values, i)
	}
	const long = maxKeyedValues/3 + 1
	big := &Block{Ticks: make([]int64, long), Columns: slices.Repeat([]Column{col(TypeInt, make([]int64, long)...)}, 3)}
	twice := &Block{Columns: make([]Column, 3)}
	for i := range int64(maxKeyedModels + 2) { // each stream has two columns with two values
		twice.Ticks = append(twice.Ticks, i)
		for c := range twice.Columns {
			twice.Columns[c].Type = TypeInt
			twice.Columns[c].Values = append(twice.Columns[c].Values, i/2)
		}
	}
	ok := &Block{Ticks: []int64{1, 2}, Columns: []Column{col(TypeInt, 1, 1), col(TypeInt, 5, 6)}}
	for _, tt := range []struct {
		name  string
		block *Block
		keys  int
		keyed bool
	}{
		{"two types", &Block{Ticks: []int64{1}, Columns: []Column{col(TypeInt, 1), col(TypeUint, 1)}}, 1, false},
		{"absent key", &Block{Ticks: []int64{1, 2}, Columns: []Column{{Type: TypeInt, Present: []uint64{1}, Values: []int64{4}}, col(TypeInt, 1, 2)}}, 1, false},
		{"one stream, other columns", &Block{Ticks: []int64{1, 2}, Columns: []Column{col(TypeInt, 1, 1), {Type: TypeInt, Present: []uint64{2}, Values: []int64{4}}}}, 1, false},
		{"no key", ok, 0, false},
		{"only keys", ok, 2, false},
		{"too many streams", many, 1, false},
		{"too many columns to follow", twice, 1, false},
		{"too many values", big, 1, false},
		{"well", ok, 1, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var e KeyedEncoder
			out, err := e.Append([]byte{9}, tt.block, tt.keys)
			if tt.keyed != (err == nil) || !tt.keyed && (!errors.Is(err, ErrNotKeyed) || len(out) != 1) {
				t.Errorf("got %d bytes and %v", len(out), err)
			}
		})
	}
	for name, b := range map[string]*Block{
		"time goes back":    {Ticks: []int64{2, 1}, Columns: ok.Columns},
		"values missing":    {Ticks: []int64{1, 2, 3}, Columns: ok.Columns},
		"unknown type":      {Ticks: []int64{1}, Columns: []Column{col(9, 1), col(9, 1)}},
		"bitmap cut short":  {Ticks: make([]int64, 65), Columns: []Column{col(TypeInt, make([]int64, 65)...), {Type: TypeInt, Present: []uint64{0}}}},
		"no row":            {Columns: ok.Columns},
		"columns past 2^32": {FirstColumn: math.MaxUint32, Ticks: []int64{1, 2}, Columns: ok.Columns},
	} {
		var e KeyedEncoder
		if out, err := e.Append([]byte{9}, b, 1); err == nil || errors.Is(err, ErrNotKeyed) || len(out) != 1 {
			t.Errorf("%s: got %d bytes and %v", name, len(out), err)
		}
	}
}

func TestKeyedBodiesThatAreCutOrTooLong(t *testing.T) {
	var e KeyedEncoder
	out := keyedAgain(t, &e, busBlock(rand.New(rand.NewPCG(5, 6)), 60, 7), &Block{}, 3)
	s, _, err := NextSection(out)
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(s.Body) - tail {
		var b Block
		if err := ParseBlock(s.Body[:n], &b); err == nil {
			t.Fatalf("cut to %d of %d bytes: no error", n, len(s.Body))
		}
	}
	var b Block
	if err := ParseBlock(append(s.Body[:len(s.Body):len(s.Body)], make([]byte, tail+1)...), &b); !errors.Is(err, errRange) {
		t.Errorf("a byte more: %v", err)
	}
	head := func(keys, typ, unit byte, rows, columns uint64) []byte {
		body := appendUvarint(appendUvarint([]byte{0, 0}, rows), columns)
		return append(body, layoutKeyed<<4, keys, typ, 0, unit, 1, 2, 3, 4, 5, 6)
	}
	for name, body := range map[string][]byte{
		"no keys": head(0, 1, 1, 2, 2), "only keys": head(2, 1, 1, 2, 2), "nine keys": head(9, 1, 1, 2, 12), "type 0": head(1, 0, 1, 2, 2), "type 5": head(1, 5, 1, 2, 2),
		"unit 0": head(1, 1, 0, 2, 2), "65 columns": head(1, 1, 1, 2, 65), "too many values": head(1, 1, 1, maxKeyedValues/3+1, 3),
		"a tick mode": func() []byte { b := head(1, 1, 1, 2, 2); b[4] |= 1; return b }(),
	} {
		if err := ParseBlock(body, &b); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Whatever the bytes, a keyed block that parses is one that can be written again.
func FuzzKeyed(f *testing.F) {
	r := rand.New(rand.NewPCG(9, 9))
	var e KeyedEncoder
	for i := range 8 {
		b, keys := wildBlock(r)
		if i%2 == 0 {
			b, keys = busBlock(r, 30, 6), 3
		}
		out, err := e.Append(nil, b, keys)
		if err != nil {
			f.Fatal(err)
		}
		s, _, err := NextSection(out)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(s.Body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var b, again Block
		if len(body) < 5 || ParseBlock(body, &b) != nil {
			return
		}
		for keys := 1; keys < len(b.Columns) && keys <= maxKeys; keys++ {
			out, err := e.Append(nil, &b, keys)
			if err != nil {
				continue // it need not be keyed by that many columns, or have ticks that do not decrease
			}
			s, _, err := NextSection(out)
			if err != nil {
				t.Fatal(err)
			}
			if err := ParseBlock(s.Body, &again); err != nil {
				t.Fatal(err)
			}
			if err := diffBlocks(&b, &again); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func BenchmarkKeyedEncode(b *testing.B) {
	block := busBlock(rand.New(rand.NewPCG(1, 2)), 800, 60)
	var e KeyedEncoder
	var buf []byte
	for b.Loop() {
		var err error
		if buf, err = e.Append(buf[:0], block, 3); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(block.Ticks)), "ns/row")
	b.ReportMetric(float64(len(buf))/float64(len(block.Ticks)), "B/row")
}
