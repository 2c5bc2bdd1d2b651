package wire

import (
	"math"
	"strings"
)

// Values that stand in the golden vectors and seed the other tests. They must
// not change: encode a new case under a new name instead.

var (
	sampleEpoch = Epoch{Counter: 7, Nonce: 0x0123456789abcdef}
	sampleOld   = Epoch{Counter: 6, Nonce: 0xfedcba9876543210}
	sampleHash  = CatalogueHash{0xde, 0xad, 0xbe, 0xef, 0, 1, 2, 3}
)

func sampleID(lane Lane, seq uint64) ID {
	return ID{Stream: Stream{Car: "car-17", Epoch: sampleEpoch, Lane: lane}, Seq: seq}
}

// sampleSpecial has integer columns for the special ways to write one in the
// stream: packed, a factor,
// flat, wrap.
func sampleSpecial() *Block {
	const rows = 40
	b := &Block{Group: 1, Ticks: make([]int64, rows), Columns: make([]Column, 4)}
	for c := range b.Columns {
		b.Columns[c].Type = TypeInt
	}
	noise, sum := int64(1), int64(0)
	for i := range int64(rows) {
		b.Ticks[i] = 1000 * i
		noise = noise * 48271 % 2147483647
		sum += noise % 128
		b.Columns[0].Values = append(b.Columns[0].Values, 70+noise%16)
		b.Columns[1].Values = append(b.Columns[1].Values, 5+250*(i*i/30+noise%3))
		b.Columns[2].Values = append(b.Columns[2].Values, sum)
		b.Columns[3].Values = append(b.Columns[3].Values, (i*7+3)%256)
	}
	return b
}

// sampleDecimals has floats that are multiples of a hundredth, and others.
func sampleDecimals() *Block {
	const rows = 30
	b := &Block{Ticks: make([]int64, rows), Columns: make([]Column, 2)}
	for c := range b.Columns {
		b.Columns[c].Type = TypeF32
	}
	for i := range rows {
		b.Ticks[i] = int64(i)
		b.Columns[0].Values = append(b.Columns[0].Values, int64(math.Float32bits(float32(float64(2000+7*i*i)/100))))
		b.Columns[1].Values = append(b.Columns[1].Values, int64(math.Float32bits(float32(i)/3)))
	}
	return b
}

// sampleTable has columns that are coded by a table of bins: few values far
// apart, residuals of many sizes, and some beyond all others.
func sampleTable() *Block {
	const rows = 420
	b := &Block{Ticks: make([]int64, rows), Columns: make([]Column, 3)}
	for c := range b.Columns {
		b.Columns[c].Type = TypeInt
	}
	noise, sum := int64(1), int64(0)
	for i := range int64(rows) {
		b.Ticks[i] = 1000 * i
		noise = noise * 48271 % 2147483647
		sum += noise % 37 * (noise % 41) * (noise % 7 / 6)
		b.Columns[0].Values = append(b.Columns[0].Values, noise%5*noise%5*977+40)
		b.Columns[1].Values = append(b.Columns[1].Values, sum)
		b.Columns[2].Values = append(b.Columns[2].Values, noise%97/96<<40-noise%3)
	}
	return b
}

// sampleGrid has floats of both types that are k·step + offset: multiples, with
// an offset, and some that lie beside their points.
func sampleGrid() *Block {
	const rows = 40
	b := &Block{Ticks: make([]int64, rows), Columns: make([]Column, 6)}
	noise := int64(1)
	for i := range int64(rows) {
		b.Ticks[i] = 1000 * i
		noise = noise * 48271 % 2147483647
		k := float64(noise % 4096)
		for c, f := range []float64{k * 0.0155168902, float64(k*0.0078125*9.81) - 40, float64(float32(k)*float32(0.1)) - 98.85} {
			if c == 2 && i%19 == 7 {
				f = math.Copysign(0, -1)
			}
			b.Columns[2*c].Type, b.Columns[2*c+1].Type = TypeF32, TypeF64
			b.Columns[2*c].Values = append(b.Columns[2*c].Values, int64(math.Float32bits(float32(f))))
			b.Columns[2*c+1].Values = append(b.Columns[2*c+1].Values, int64(math.Float64bits(f)))
		}
	}
	return b
}

// samplePredictions has a column for each way to write one in the stream.
func samplePredictions() *Block {
	const rows = 50
	b := &Block{Group: 1, Ticks: make([]int64, rows), Columns: make([]Column, 7)}
	for c := range b.Columns {
		b.Columns[c].Type = TypeInt
	}
	add := func(c int, v int64) { b.Columns[c].Values = append(b.Columns[c].Values, v) }
	noise := int64(1)
	for i := range int64(rows) {
		b.Ticks[i] = 1000 * i
		noise = noise * 48271 % 2147483647
		add(0, 700+noise%3*(i%2))        // delta
		add(1, 5*i*i+noise%3)            // delta of delta
		add(2, noise%64-32)              // nothing
		add(3, i*i*i-40*i*i)             // delta of delta of delta
		add(4, 1_000_000+noise%64)       // base
		add(5, -4)                       // constant
		add(6, (noise%2)<<62|noise%7*-1) // escapes
	}
	return b
}

// sampleBlock has a column of every type, mode and presence.
func sampleBlock() *Block {
	const rows = 40
	b := &Block{Group: 3, FirstColumn: 2, Ticks: make([]int64, rows)}
	var ramp, noise, f32, f64, some, same []int64
	for i := range int64(rows) {
		b.Ticks[i] = 5_000_000_000 + i*10_000_000
		ramp = append(ramp, 100+3*i)
		noise = append(noise, i*i*7919%251)
		f32 = append(f32, int64(math.Float32bits(float32(i)/8-2)))
		f64 = append(f64, int64(math.Float64bits(float64(i-20)*0.5)))
		if i%4 == 1 {
			some = append(some, -i)
			same = append(same, int64(1<<63-1)-i)
		}
	}
	f32[5] = 0x80000000              // minus zero
	f64[6] = 0x7ff0_0000_dead_beef   // a signalling NaN
	bitmap := []uint64{0x2222222222} // rows 1, 5, 9, …
	b.Columns = []Column{
		{Type: TypeInt, Values: ramp},
		{Type: TypeUint, Values: noise},
		{Type: TypeF32, Values: f32},
		{Type: TypeF64, Values: f64},
		{Type: TypeInt, Present: bitmap, Values: some},
		{Type: TypeUint, Present: bitmap, Values: same},
		{Type: TypeInt, Present: []uint64{0}},
		{Type: TypeInt, Values: make([]int64, rows)},
	}
	return b
}

func tickBlock(ticks ...int64) *Block {
	vals := make([]int64, len(ticks))
	for i := range vals {
		vals[i] = 42
	}
	return &Block{Ticks: ticks, Columns: []Column{{Type: TypeInt, Values: vals}}}
}

// sampleDrift has ticks of a period that grows by 1 ms each.
func sampleDrift() *Block {
	ticks := make([]int64, 12)
	for i := range ticks {
		ticks[i] = int64(i) * int64(i+1) / 2 * 1_000_000
	}
	return tickBlock(ticks...)
}

func sampleEpochOpen() *EpochOpen {
	return &EpochOpen{
		Epoch: sampleEpoch, BootID: [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, OpenedNS: 12_345_678_901,
		Predecessors: []Predecessor{
			{Epoch: Epoch{Counter: 5, Nonce: 55}},
			{Epoch: sampleOld, Held: []HeldRanges{
				{Lane: LaneCritical, Ranges: Ranges{{4, 4}}},
				{Lane: LaneFull, Shard: 2, Ranges: Ranges{{10, 20}, {30, 1 << 40}}},
			}},
		},
	}
}

func sampleLoss() *Loss {
	return &Loss{
		Epoch: sampleOld, Lane: LaneFull, Shard: 1, Ranges: Ranges{{100, 199}, {300, 300}},
		Reason: ReasonQuota, FirstNS: 1_000, LastNS: 9_000_000_000,
	}
}

func sampleBase() *Base { return &Base{Epoch: sampleEpoch, Lane: LaneLive, Base: 1234} }

func sampleAnchor() *Anchor {
	return &Anchor{ID: 3, BootNS: 77_000_000_000, UTCNS: 1_790_000_000_123_456_789, UncertaintyNS: 25_000, Source: AnchorGNSS}
}

func sampleEvent() *Event {
	return &Event{BootNS: 78_500_000_000, Name: "button", Detail: "pit confirm"}
}

func sampleSend() Send {
	return Send{Link: 2, Gen: 70_001, SentNS: 81_000_000_000, Base: 900, Pulled: true}
}

func sampledSend() Send {
	return Send{Link: 2, Gen: 70_001, SentNS: 81_000_000_000, Base: 900, SealedNS: 80_900_000_000, DurableNS: 80_912_000_000}
}

func sampleAck() *Ack {
	return &Ack{
		Instance: "ingest-b", Nonce: 0xa1b2c3d4e5f60718, Counter: 99, State: InstanceStalled, Credit: 1 << 20,
		Links: []LinkEcho{
			{Link: 0, Gen: 1, Messages: 500, Bytes: 8_000_000, LastSentNS: 80_900_000_000, HeldNS: 12_000_000},
			{Link: 2, Gen: 70_001},
		},
		Streams: []StreamAck{
			{Epoch: sampleEpoch, Lane: LaneFull, Received: Ranges{{950, 960}}, Durable: Ranges{{1, 940}, {945, 949}}},
			{Epoch: sampleOld, Lane: LaneCritical, Shard: 1, Refused: Ranges{{3, 3}}},
		},
	}
}

func sampleCommand() *Command {
	return &Command{ID: 0x1122334455667788, NotAfterNS: 123_456_789_000_000, Verb: "pull", Args: map[string]string{"from_ns": "1000", "to_ns": "2000"}}
}

func sampleAnswer() *Answer {
	return &Answer{ID: 0x1122334455667788, Error: "expired", Data: map[string]string{"batches": "0"}}
}

func samplePart() *CataloguePart {
	return &CataloguePart{Hash: sampleHash, Index: 1, Count: 3, Data: []byte("not really compressed")}
}

func sampleCatalogue() *Catalogue {
	return &Catalogue{Car: "car-17", Groups: []Group{
		{Name: "imu", Source: "imu0", Lane: LaneFull, RateMilliHz: 1_500_000, Channels: []Channel{
			{Name: "acc_x", Unit: "m/s²", Description: "towards the nose", Type: TypeInt, Bits: 16, Scale: 0.0011970964, Min: -39, Max: 39},
			{Name: "temp", Unit: "°C", Type: TypeF32},
		}},
		{Name: "gear", Source: "can0", Lane: LaneLive, Channels: []Channel{
			{
				Name: "gear", Type: TypeUint, Bits: 4, Scale: 1, Offset: -1, Stat: StatLast,
				Enum: []EnumValue{{Raw: 0, Name: "reverse"}, {Raw: 1, Name: "neutral"}, {Raw: 2, Name: "first"}},
			},
		}},
		{Name: "empty", Source: "none", Lane: LaneCritical},
	}}
}

// sampleBody is a body of two sections, too short for zstd to be tried.
func sampleBody() Body {
	p, err := AppendBlock(nil, tickBlock(5_000_000_000, 5_001_000_003, 5_002_000_001))
	if err != nil {
		panic(err)
	}
	p = AppendEvent(p, sampleEvent())
	return Body{Lane: LaneFull, Catalogue: sampleHash, FirstNS: 5_000_000_000, LastNS: 78_500_000_000, Samples: 4, Payload: p}
}

// sampleControlBody holds one record of each kind.
func sampleControlBody() Body {
	p := AppendEpochOpen(nil, sampleEpochOpen())
	p = AppendLoss(p, sampleLoss())
	p = AppendBase(p, sampleBase())
	p = AppendAnchor(p, sampleAnchor())
	return Body{Lane: LaneCritical, Control: true, FirstNS: 1, LastNS: 1, Payload: p}
}

// sampleTextBody compresses well.
func sampleTextBody() Body {
	var p []byte
	for range 20 {
		p = AppendEvent(p, &Event{BootNS: 1, Name: "mark", Detail: strings.Repeat("over and ", 10)})
	}
	return Body{Lane: LaneCritical, FirstNS: 1, LastNS: 1, Samples: 20, Payload: p}
}

// seal seals b with a sealer that was not used before.
func seal(id ID, b Body) []byte {
	var s Sealer
	out, err := s.Seal(nil, id, b)
	if err != nil {
		panic(err)
	}
	return out
}
