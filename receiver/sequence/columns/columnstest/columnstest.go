// Package columnstest makes batches for the tests of output formats, and says what
// their readers must find, worked out from the blocks value by value.
//
// The entry points are [Batch], [Random] and [Truth].
package columnstest

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/timemap"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// UTC is where the batches' clocks begin, ns since 1970.
const UTC = int64(1_800_000_000_000_000_000)

// Point is one value of one channel. Value is an int64, a uint64, a float32 or a
// float64.
type Point struct {
	Boot, UTC int64
	Value     any
}

// Series holds all points by "group.channel", each in the order of the batch.
type Series map[string][]Point

// Synced returns a map where UTC = boot + UTC with 1 ms of uncertainty.
func Synced() *timemap.Map {
	var m timemap.Map
	m.Add(wire.Anchor{ID: 4, BootNS: 1e9, UTCNS: UTC + 1e9, UncertaintyNS: 1e6})
	return &m
}

// F32 and F64 make raw values.
func F32(x float32) int64 { return int64(math.Float32bits(x)) }

// F64 makes a raw value.
func F64(x float64) int64 { return int64(math.Float64bits(x)) }

func catalogue() *wire.Catalogue {
	return &wire.Catalogue{Car: "gt3-7", Groups: []wire.Group{
		{Name: "Engine", Lane: wire.LaneFull, Channels: []wire.Channel{
			{Name: "rpm", Unit: "1/min", Type: wire.TypeUint, Scale: 0.25},
			{Name: "gear", Type: wire.TypeInt, Enum: []wire.EnumValue{{Raw: -1, Name: "reverse"}, {Raw: 1, Name: "first"}, {Raw: 2, Name: "second"}}},
			{Name: "t_oil", Unit: "°C", Type: wire.TypeInt, Scale: 1, Offset: -40},
			{Name: `odd "name"` + "\n\x01é", Type: wire.TypeF64},
			{Name: "Tags", Type: wire.TypeF32, Scale: 1},
		}},
		{Name: "Box", Lane: wire.LaneFull, Channels: []wire.Channel{
			{Name: "ts", Type: wire.TypeInt},
			{Name: "serial", Type: wire.TypeUint},
			{Name: "Timestamp", Type: wire.TypeF64, Scale: 2, Offset: 1},
		}},
	}}
}

// Batch returns a batch with everything that is easily lost: NaN and infinities,
// integers beyond 2^53, an enumeration, rows without values, names that formats have
// for themselves, and events.
func Batch() *sequence.Batch {
	ticks := []int64{1e9, 1e9 + 500, 1e9 + 1000}
	return &sequence.Batch{
		ID: wire.ID{
			Stream: wire.Stream{Car: "gt3-7", Epoch: wire.Epoch{Counter: 12, Nonce: 0xabc}, Lane: wire.LaneFull},
			Seq:    99,
		},
		Hash: wire.CatalogueHash{1, 2, 3}, Catalogue: catalogue(), FirstNS: 1e9, LastNS: 1e9 + 1000,
		Blocks: []wire.Block{
			{Group: 0, Ticks: ticks, Columns: []wire.Column{
				{Type: wire.TypeUint, Values: []int64{4001, 4002, 4003}},
				{Type: wire.TypeInt, Present: []uint64{0b110}, Values: []int64{1, -1}},
				{Type: wire.TypeInt, Values: []int64{130, -3, 0}},
			}},
			{Group: 0, FirstColumn: 3, Ticks: ticks, Columns: []wire.Column{
				{Type: wire.TypeF64, Values: []int64{F64(0.1), F64(math.NaN()), F64(math.Inf(-1))}},
				{Type: wire.TypeF32, Present: []uint64{0b101}, Values: []int64{F32(0.1), F32(float32(math.Inf(1)))}},
			}},
			{Group: 1, Ticks: []int64{1e9 + 3, 1e9 + 3, 1e9 + 4}, Columns: []wire.Column{
				{Type: wire.TypeInt, Values: []int64{math.MaxInt64, math.MinInt64, 1<<53 + 1}},
				{Type: wire.TypeUint, Values: []int64{-1, 1<<53 + 1, 0}},
				{Type: wire.TypeF64, Present: []uint64{0}},
			}},
		},
		Events: []wire.Event{{BootNS: 1e9 + 700, Name: "mark", Detail: "pit \\ box"}, {BootNS: 1e9 + 701, Name: "\xff", Detail: ""}},
		Clock:  Synced(), AppendMS: UTC/1e6 + 1250, Link: 2,
		Rows: "t.rows", Event: "t.rows.events", ByGroup: true, BehindMS: 1 << 40,
	}
}

// Random returns a batch of up to a few thousand cells in a few groups, often with
// more columns or rows than one table takes.
func Random(r *rand.Rand) *sequence.Batch {
	b := Batch()
	b.Catalogue, b.Blocks, b.Events = &wire.Catalogue{Car: "gt3-7"}, nil, nil
	_, _ = r.Uint64(), r.Uint64()
	for i := range b.Hash {
		b.Hash[i] = byte(r.Uint32())
	}
	if r.IntN(4) == 0 {
		b.Clock = nil
	}
	for g := range 1 + r.IntN(3) {
		width, rows := 1+r.IntN(8), 1+r.IntN(70)
		switch r.IntN(6) {
		case 0:
			width, rows = 1000+r.IntN(1200), 1+r.IntN(3)
		case 1:
			rows = 3000 + r.IntN(4000)
		}
		group := wire.Group{Name: fmt.Sprintf("G%d", g), Lane: wire.LaneFull}
		for c := range width {
			group.Channels = append(group.Channels, randomChannel(r, c))
		}
		b.Catalogue.Groups = append(b.Catalogue.Groups, group)
		b.Blocks = append(b.Blocks, randomBlock(r, uint32(g), &group, rows))
	}
	for range r.IntN(3) {
		b.Events = append(b.Events, wire.Event{BootNS: r.Int64N(1e12), Name: "e", Detail: fmt.Sprint(r.Uint64())})
	}
	b.LastNS = 1e12
	return b
}

func randomChannel(r *rand.Rand, c int) wire.Channel {
	ch := wire.Channel{Name: fmt.Sprintf("c%d", c), Type: wire.ValueType(1 + r.IntN(4))}
	switch r.IntN(4) {
	case 0:
		ch.Scale = 0.1
	case 1:
		ch.Scale, ch.Offset = -3, 70
	case 2:
		ch.Scale = 1
	}
	return ch
}

func randomBlock(r *rand.Rand, g uint32, group *wire.Group, rows int) wire.Block {
	blk := wire.Block{Group: g}
	tick, step := r.Int64N(1e11), r.Int64N(1e6)
	jitter := r.IntN(2) == 0
	for range rows {
		blk.Ticks = append(blk.Ticks, tick)
		tick += step
		if jitter {
			tick += r.Int64N(1000)
		}
	}
	for c := range group.Channels {
		col := wire.Column{Type: group.Channels[c].Type}
		if r.IntN(3) == 0 {
			col.Present = make([]uint64, (rows+63)/64)
			for i := range rows {
				if r.IntN(3) > 0 {
					col.Present[i/64] |= 1 << (i % 64)
				}
			}
		}
		for i := range rows {
			if col.Present == nil || col.Present[i/64]>>(i%64)&1 == 1 {
				col.Values = append(col.Values, randomRaw(r, &group.Channels[c]))
			}
		}
		blk.Columns = append(blk.Columns, col)
	}
	return blk
}

// randomRaw returns a raw value whose physical value is exact where it can be.
func randomRaw(r *rand.Rand, c *wire.Channel) int64 {
	plain := c.Scale == 0 || c.Scale == 1
	switch c.Type {
	case wire.TypeInt:
		if plain {
			return int64(r.Uint64())
		}
		return int64(r.Uint64()) >> (8 + r.IntN(50))
	case wire.TypeUint:
		if plain {
			return int64(r.Uint64())
		}
		return int64(r.Uint64() >> (8 + r.IntN(50)))
	case wire.TypeF32:
		return int64(r.Uint32())
	default:
		return int64(r.Uint64())
	}
}

// Truth returns what a reader must find of the channels that take selects, nil for
// all.
func Truth(b *sequence.Batch, take func(group, channel string) bool) Series {
	s := Series{}
	for i := range b.Blocks {
		blk := &b.Blocks[i]
		g := &b.Catalogue.Groups[blk.Group]
		for c := range blk.Columns {
			ch, col := &g.Channels[int(blk.FirstColumn)+c], &blk.Columns[c]
			if take != nil && !take(g.Name, ch.Name) {
				continue
			}
			next := 0
			for row, tick := range blk.Ticks {
				if col.Present != nil && col.Present[row/64]>>(row%64)&1 == 0 {
					continue
				}
				name := g.Name + "." + ch.Name
				s[name] = append(s[name], Point{tick, b.Stamp(tick).UTCNS, Physical(ch, col.Type, col.Values[next])})
				next++
			}
		}
	}
	return s
}

// Physical returns a raw value's physical one: an integer as long as scale and
// offset are.
func Physical(c *wire.Channel, t wire.ValueType, raw int64) any {
	scale := c.Scale
	if scale == 0 {
		scale = 1
	}
	plain := scale == 1 && c.Offset == 0
	if whole := scale == math.Trunc(scale) && c.Offset == math.Trunc(c.Offset); whole && (t == wire.TypeInt || t == wire.TypeUint) {
		n := big.NewInt(raw)
		if t == wire.TypeUint {
			n.SetUint64(uint64(raw))
		}
		if plain && t == wire.TypeUint {
			return n.Uint64()
		}
		n.Mul(n, big.NewInt(int64(scale))).Add(n, big.NewInt(int64(c.Offset)))
		return n.Int64()
	}
	var x float64
	switch t {
	case wire.TypeInt:
		x = float64(raw)
	case wire.TypeUint:
		x = float64(uint64(raw))
	case wire.TypeF32:
		if plain {
			return math.Float32frombits(uint32(raw))
		}
		x = float64(math.Float32frombits(uint32(raw)))
	default:
		x = math.Float64frombits(uint64(raw))
	}
	if plain {
		return x
	}
	x *= scale
	return x + c.Offset
}

// Same reports whether two values are the same to the last bit.
func Same(a, b any) bool {
	switch x := a.(type) {
	case float64:
		y, ok := b.(float64)
		return ok && math.Float64bits(x) == math.Float64bits(y)
	case float32:
		y, ok := b.(float32)
		return ok && math.Float32bits(x) == math.Float32bits(y)
	}
	return a == b
}

// Diff says how what a reader found differs from the truth; "" when it does not.
// same compares two values.
func Diff(got, want Series, same func(got, want any) bool) string {
	for name, w := range want {
		g := got[name]
		if len(g) != len(w) {
			return fmt.Sprintf("%q has %d values, want %d", name, len(g), len(w))
		}
		for i := range w {
			if g[i].Boot != w[i].Boot || g[i].UTC != w[i].UTC || !same(g[i].Value, w[i].Value) {
				return fmt.Sprintf("%q value %d is %+v (%T), want %+v (%T)", name, i, g[i], g[i].Value, w[i], w[i].Value)
			}
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			return fmt.Sprintf("%q has values, want none", name)
		}
	}
	return ""
}

// Places checks that the records' part headers are in order and in range; it
// returns what is wrong, or "".
func Places(parts []string) string {
	last, total := 0, 0
	for _, p := range parts {
		var i, n int
		if k, err := fmt.Sscanf(p, "%d/%d", &i, &n); k != 2 || err != nil {
			return fmt.Sprintf("part %q", p)
		}
		if i <= last || i > n || total != 0 && n != total {
			return fmt.Sprintf("parts %v", parts)
		}
		last, total = i, n
	}
	return ""
}

// Half takes every second channel, by the sum of its name's bytes.
func Half(_, channel string) bool {
	sum := 0
	for _, c := range []byte(channel) {
		sum += int(c)
	}
	return sum%2 == 0
}

// Golden compares a value with testdata/name; update writes it instead.
func Golden(t testing.TB, update bool, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if update {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(path, got, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s differs from the golden file: %d bytes, want %d", name, len(got), len(want))
	}
}

// Part returns a record's place in its batch.
func Part(t testing.TB, r *topic.Record) string {
	t.Helper()
	p, ok := r.Get(topic.HeaderPart)
	if !ok {
		t.Fatal("a record without its place")
	}
	return p
}

// Wide returns a batch of rows of integers of four scales.
func Wide(channels, rows int) *sequence.Batch {
	b := Batch()
	g, blk := wire.Group{Name: "Engine"}, wire.Block{}
	for r := range rows {
		blk.Ticks = append(blk.Ticks, int64(r)*1e6)
	}
	for c := range channels {
		g.Channels = append(g.Channels, wire.Channel{Name: fmt.Sprintf("channel_%d", c), Type: wire.TypeInt, Scale: []float64{1, 0.1, 0.25, 10}[c%4]})
		col := wire.Column{Type: wire.TypeInt}
		for r := range rows {
			col.Values = append(col.Values, int64(r*37+c))
		}
		blk.Columns = append(blk.Columns, col)
	}
	b.Catalogue, b.Blocks, b.Events = &wire.Catalogue{Groups: []wire.Group{g}}, []wire.Block{blk}, nil
	return b
}

// Append returns what a format makes of a batch.
func Append(t testing.TB, f sequence.Format, b *sequence.Batch) []topic.Record {
	t.Helper()
	var out sequence.Output
	if err := f.Append(&out, b); err != nil {
		t.Fatal(err)
	}
	return out.Records
}

// Bench measures a format on [Wide].
func Bench(b *testing.B, f sequence.Format, channels, rows int) {
	in := Wide(channels, rows)
	var out sequence.Output
	b.ReportAllocs()
	for b.Loop() {
		out.Reset()
		if err := f.Append(&out, in); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(out.Bytes))
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*channels*rows), "ns/value")
}

// Drop returns the series without values that JSON does not have.
func (s Series) Drop() Series {
	out := Series{}
	for name, ps := range s {
		ps = slices.DeleteFunc(slices.Clone(ps), func(p Point) bool {
			switch x := p.Value.(type) {
			case float64:
				return math.IsNaN(x) || math.IsInf(x, 0)
			case float32:
				return math.IsNaN(float64(x)) || math.IsInf(float64(x), 0)
			}
			return false
		})
		if len(ps) > 0 {
			out[name] = ps
		}
	}
	return out
}
