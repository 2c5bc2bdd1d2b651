package clients

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"time"

	"telemetry/internal/clock"
	"telemetry/lab/simcar"
	"telemetry/wire"
)

// catalogue holds a channel of every kind that readers have got wrong elsewhere.
func catalogue(car string) *wire.Catalogue {
	gears := []wire.EnumValue{{Raw: -1, Name: "reverse"}, {Raw: 0, Name: "neutral"}, {Raw: 1, Name: "first"}, {Raw: 2, Name: "second"}, {Raw: 3, Name: "third"}}
	return &wire.Catalogue{Car: car, Groups: []wire.Group{
		{Name: "engine", Source: "sim", Lane: wire.LaneFull, RateMilliHz: 100_000, Channels: []wire.Channel{
			{Name: "rpm", Unit: "1/min", Type: wire.TypeUint, Bits: 16, Scale: 0.25},
			{Name: "gear", Type: wire.TypeInt, Bits: 8, Scale: 1, Enum: gears},
			{Name: "counter", Type: wire.TypeInt, Bits: 64, Scale: 1},
			{Name: "serial", Type: wire.TypeUint, Bits: 64, Scale: 1},
			{Name: "oil", Unit: "bar", Type: wire.TypeF32, Scale: 1},
			{Name: "load", Type: wire.TypeF64, Scale: 1},
			{Name: "t_oil", Unit: "°C", Type: wire.TypeInt, Bits: 32, Scale: 3, Offset: -40},
			{Name: "lambda", Type: wire.TypeInt, Bits: 16, Scale: 0.001, Offset: 0.5},
		}},
		{Name: "wheels", Source: "sim", Lane: wire.LaneFull, Channels: []wire.Channel{
			{Name: "fl", Unit: "km/h", Type: wire.TypeUint, Bits: 16, Scale: 0.01},
			{Name: "fr", Unit: "km/h", Type: wire.TypeUint, Bits: 16, Scale: 0.01},
		}},
	}}
}

// Load of a car.
const (
	blockEvery = 100 * time.Millisecond
	engineRows = 10
	eventEvery = 5 // blocks
)

// car is one simulated car, and the file of what it has sent.
type car struct {
	*simcar.Car
	cat  *wire.Catalogue
	hash wire.CatalogueHash
	rng  *rand.Rand
	file *os.File
	out  *bufio.Writer
	enc  *json.Encoder
	last int64 // tick of the newest row, ns since boot

	Values, Events, Blocks int
}

// column is one line of the truth: the raw values of one channel, which whoever
// reads it turns into physical ones by himself.
type column struct {
	Group   string   `json:"group"`
	Channel string   `json:"channel"`
	Type    string   `json:"type"` // int, uint, f32 or f64
	Scale   float64  `json:"scale"`
	Offset  float64  `json:"offset"`
	BootNS  []int64  `json:"boot_ns"`
	Raw     []string `json:"raw"` // 64 bits each, as an unsigned decimal number
}

type event struct {
	Event  string `json:"event"`
	Detail string `json:"detail"`
	BootNS int64  `json:"boot_ns"`
}

type anchor struct {
	Car    string `json:"car"`
	BootNS int64  `json:"anchor_boot_ns"`
	UTCNS  int64  `json:"anchor_utc_ns"`
}

func openCar(name, dir, truth string, seed uint64) (*car, error) {
	sc, err := simcar.Open(simcar.Config{Name: name, Dir: dir, Links: 2})
	if err != nil {
		return nil, err
	}
	c := &car{Car: sc, cat: catalogue(name), rng: rand.New(rand.NewPCG(seed, 13))}
	if c.hash, err = sc.Spool.PutCatalogue(c.cat.Append(nil)); err != nil {
		return nil, fmt.Errorf("clients: catalogue: %w", err)
	}
	if c.file, err = os.Create(truth); err != nil {
		return nil, fmt.Errorf("clients: truth: %w", err)
	}
	c.out = bufio.NewWriter(c.file)
	c.enc = json.NewEncoder(c.out)
	return c, c.enc.Encode(anchor{name, sc.Anchor.BootNS, sc.Anchor.UTCNS})
}

// finish makes the truth complete.
func (c *car) finish() error {
	if err := c.out.Flush(); err != nil {
		return err
	}
	return c.file.Close()
}

// drive sends until ctx ends.
func (c *car) drive(ctx context.Context) error {
	t := time.NewTicker(blockEvery)
	defer t.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		now := clock.System{}.BootNS()
		if err := c.engine(now); err != nil {
			return err
		}
		if err := c.wheels(now); err != nil {
			return err
		}
		c.last = now
		if n%eventEvery != 0 {
			continue
		}
		if err := c.event(now, "mark", fmt.Sprintf(`n=%d "quoted" \ é`, n)); err != nil {
			return err
		}
	}
}

// engine sends rows 10 ms apart, the newest now, later than the newest before.
func (c *car) engine(now int64) error {
	first := max(now-int64(engineRows-1)*1e7, c.last+1)
	ticks := make([]int64, engineRows)
	for i := range ticks {
		ticks[i] = first + int64(i)*(now-first)/(engineRows-1)
	}
	cols := make([]wire.Column, len(c.cat.Groups[0].Channels))
	for i := range engineRows {
		r := c.rng
		for k, raw := range []int64{
			int64(r.Uint32N(1 << 16)), int64(r.IntN(5)) - 1, hugeInt(r), int64(r.Uint64() | 1<<63>>r.IntN(20)),
			int64(math.Float32bits(oddFloat32(r))), int64(math.Float64bits(oddFloat64(r))), int64(r.Int32()) - 1<<30, int64(r.IntN(1<<16)) - 1<<15,
		} {
			col := &cols[k]
			if k == 6 && i%3 != 0 { // one that is there now and then
				continue
			}
			if k == 6 && col.Present == nil {
				col.Present = make([]uint64, 1)
			}
			if col.Present != nil {
				col.Present[0] |= 1 << i
			}
			col.Values = append(col.Values, raw)
		}
	}
	return c.block(0, ticks, cols)
}

// hugeInt returns an integer that a float64 often cannot hold.
func hugeInt(r *rand.Rand) int64 {
	switch r.IntN(6) {
	case 0:
		return math.MaxInt64
	case 1:
		return math.MinInt64
	case 2:
		return 1<<53 + 1
	}
	return int64(r.Uint64())
}

func oddFloat32(r *rand.Rand) float32 {
	switch r.IntN(8) {
	case 0:
		return float32(math.NaN())
	case 1:
		return float32(math.Inf(1 - 2*r.IntN(2)))
	}
	return r.Float32()*10 - 1
}

func oddFloat64(r *rand.Rand) float64 {
	switch r.IntN(10) {
	case 0:
		return math.NaN()
	case 1:
		return math.Inf(1 - 2*r.IntN(2))
	case 2:
		return math.MaxFloat64
	case 3:
		return math.SmallestNonzeroFloat64
	case 4:
		return -0.1
	}
	return r.NormFloat64() * 1e6
}

// wheels sends a few rows on arrival, at no fixed rate.
func (c *car) wheels(now int64) error {
	first := max(now-int64(blockEvery)+1, c.last+1)
	var ticks []int64
	for at := first + c.rng.Int64N(1e7); at <= now; at += 1 + c.rng.Int64N(4e7) {
		ticks = append(ticks, at)
	}
	if len(ticks) == 0 {
		return nil
	}
	cols := make([]wire.Column, 2)
	for range ticks {
		for k := range cols {
			cols[k].Values = append(cols[k].Values, int64(c.rng.Uint32N(30_000)))
		}
	}
	return c.block(1, ticks, cols)
}

func (c *car) block(group uint32, ticks []int64, cols []wire.Column) error {
	g := &c.cat.Groups[group]
	samples := 0
	for i := range cols {
		cols[i].Type = g.Channels[i].Type
		samples += len(cols[i].Values)
	}
	payload, err := wire.AppendBlock(nil, &wire.Block{Group: group, Ticks: ticks, Columns: cols})
	if err != nil {
		return fmt.Errorf("clients: block: %w", err)
	}
	_, err = c.Spool.Append(wire.Body{
		Lane: wire.LaneFull, Catalogue: c.hash, FirstNS: ticks[0], LastNS: ticks[len(ticks)-1], Samples: uint32(samples), Payload: payload,
	})
	if err != nil {
		return fmt.Errorf("clients: append: %w", err)
	}
	c.Values += samples
	c.Blocks++
	for i := range cols {
		if err := c.enc.Encode(truthOf(g.Name, &g.Channels[i], ticks, &cols[i])); err != nil {
			return err
		}
	}
	return nil
}

func truthOf(group string, ch *wire.Channel, ticks []int64, col *wire.Column) column {
	t := column{
		Group: group, Channel: ch.Name, Scale: ch.Scale, Offset: ch.Offset,
		Type: map[wire.ValueType]string{wire.TypeInt: "int", wire.TypeUint: "uint", wire.TypeF32: "f32", wire.TypeF64: "f64"}[ch.Type],
	}
	for i, tick := range ticks {
		if col.Present == nil || col.Present[i/64]>>(i%64)&1 == 1 {
			t.BootNS = append(t.BootNS, tick)
		}
	}
	for _, v := range col.Values {
		t.Raw = append(t.Raw, strconv.FormatUint(uint64(v), 10))
	}
	return t
}

func (c *car) event(now int64, name, detail string) error {
	_, err := c.Spool.Append(wire.Body{
		Lane: wire.LaneCritical, FirstNS: now, LastNS: now, Samples: 1,
		Payload: wire.AppendEvent(nil, &wire.Event{BootNS: now, Name: name, Detail: detail}),
	})
	if err != nil {
		return fmt.Errorf("clients: event: %w", err)
	}
	c.Events++
	return c.enc.Encode(event{name, detail, now})
}
