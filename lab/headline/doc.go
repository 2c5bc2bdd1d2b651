// Package headline measures how fast one car's samples become batches: rows of a
// simulated car, one value per channel and tick, through the block encoder, and
// from there into a spool.
//
// The entry point is [Run]. Rows are computed before the clock starts: windows
// spread over a lap, played again and again. It never talks to a network.
package headline

import (
	"errors"
	"fmt"
	"time"

	"telemetry/sensors/sim"
	"telemetry/wire"
)

// Config says what to push. Zero values are the figures of the largest car.
type Config struct {
	Channels int // 0 means 50,000
	RateHz   int // 0 means 1500
	Seconds  int // of car time for each case; 0 means 20
	Rows     int // ticks of one block; 0 means 15, 10 ms at 1500 Hz
	Dir      string
	Speeds   []string // fast, full; empty means fast
}

// windows is how many runs of rows are prepared, spread over a lap. With 50,000
// channels and 15 rows one takes 6 MB.
const windows = 16

// Result is one case.
type Result struct {
	Cores               int     `json:"cores"`
	Spool               bool    `json:"spool"`
	Speed               string  `json:"speed"`
	SamplesPerSecond    float64 `json:"samples_per_second"`
	CarSecondsPerSecond float64 `json:"car_seconds_per_second"`
	BitsPerSample       float64 `json:"bits_per_sample"` // whole sections, no envelope

	CarSeconds float64       `json:"-"` // pushed
	CPU        time.Duration `json:"-"` // of the whole process
}

func (c Config) withDefaults() Config {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.Channels, sim.MaxChannels)
	def(&c.RateHz, sim.MaxRateMilliHz/1000)
	def(&c.Seconds, 20)
	def(&c.Rows, 15)
	if len(c.Speeds) == 0 {
		c.Speeds = []string{"fast"}
	}
	return c
}

var speeds = map[string]wire.Speed{"fast": wire.Fast, "full": wire.Full}

// Validate reports all faults.
func (c *Config) Validate() error {
	var errs []error
	check := func(what string, v, most int) {
		if v < 1 || v > most {
			errs = append(errs, fmt.Errorf("%s %d (want 1 to %d)", what, v, most))
		}
	}
	check("channels", c.Channels, sim.MaxChannels)
	check("rate", c.RateHz, sim.MaxRateMilliHz/1000)
	check("seconds", c.Seconds, 3600)
	check("rows", c.Rows, 1500)
	for _, s := range c.Speeds {
		if _, ok := speeds[s]; !ok {
			errs = append(errs, fmt.Errorf("speed %q (want fast or full)", s))
		}
	}
	return errors.Join(errs...)
}

// pool prepares the windows. The car is one group, as one unit would deliver it.
func pool(cfg Config) ([]wire.RowBlock, error) {
	model, err := sim.NewModel(sim.Config{Channels: cfg.Channels, RateMilliHz: uint64(cfg.RateHz) * 1000, FullRate: true})
	if err != nil {
		return nil, err
	}
	var types []wire.ValueType
	for _, g := range model.Groups() {
		for _, ch := range g.Channels {
			types = append(types, ch.Type)
		}
	}
	lapTicks := model.LapStartNS(1) / 1_000_000 * int64(cfg.RateHz) / 1000
	out := make([]wire.RowBlock, windows)
	for w := range out {
		b := wire.RowBlock{Types: types, Ticks: make([]int64, cfg.Rows), Values: make([]int64, cfg.Rows*len(types))}
		first := lapTicks * int64(w) / windows
		for r := range b.Ticks {
			tick := first + int64(r)
			b.Ticks[r] = tick * 1_000_000_000 / int64(cfg.RateHz)
			row := b.Values[r*len(types):][:len(types)]
			for g, group := range model.Groups() {
				model.Fill(g, tick, row[:len(group.Channels)])
				row = row[len(group.Channels):]
			}
		}
		out[w] = b
	}
	return out, nil
}
