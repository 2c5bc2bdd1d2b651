package codec

import (
	"context"
	"errors"
	"fmt"
	"io"

	"telemetry/wire"
)

// Result is one line of the output. A figure that does not apply is null.
type Result struct {
	File          string   `json:"file"`
	N             int      `json:"n"`
	Subject       string   `json:"subject"`
	BitsPerSample *float64 `json:"bits_per_sample"`       // column payload; null = no cut has so many samples
	BatchBits     *float64 `json:"batch_bits_per_sample"` // of sealed batches: own subjects only
	EncodeMSps    *float64 `json:"encode_msps"`           // millions of samples per second of CPU
	DecodeMSps    *float64 `json:"decode_msps"`
	Lossless      *bool    `json:"lossless"`

	Cuts int `json:"-"`
}

// count adds up what a subject makes of all cuts.
type count struct {
	result           Result
	cuts, samples    int
	columns, batches int // bytes
}

func (c *count) finish() Result {
	r := c.result
	r.Cuts = c.cuts
	if c.samples > 0 {
		bits := 8 * float64(c.columns) / float64(c.samples)
		r.BitsPerSample = &bits
		if c.batches > 0 {
			all := 8 * float64(c.batches) / float64(c.samples)
			r.BatchBits = &all
		}
	}
	return r
}

// Config says what to measure.
type Config struct {
	Columns string  // FILE.json beside FILE.bin.gz or FILE.bin
	N       []int   // samples per channel and cut
	MinRate float64 // Hz; 0 = an eighth of the highest rate in the file
	Peers   bool
	Tile    int       // channels that speed is measured on, the recording's ones repeated; 0 = 50,000
	Log     io.Writer // of what the tool installs
}

// Validate reports all faults.
func (c *Config) Validate() error {
	var errs []error
	if c.Columns == "" {
		errs = append(errs, errors.New("no file of columns"))
	}
	if len(c.N) == 0 {
		errs = append(errs, errors.New("no n"))
	}
	for _, n := range c.N {
		if n < 1 || n > wire.MaxBlockRows {
			errs = append(errs, fmt.Errorf("n %d (want 1 to %d)", n, wire.MaxBlockRows))
		}
	}
	if c.Tile < 0 {
		errs = append(errs, fmt.Errorf("tile of %d channels", c.Tile))
	}
	if !(c.MinRate >= 0) {
		errs = append(errs, fmt.Errorf("lowest rate %g Hz", c.MinRate))
	}
	return errors.Join(errs...)
}

// Run measures one recording: for each n wire's speeds, then the peers.
func Run(ctx context.Context, cfg Config) ([]Result, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("codec: %w", err)
	}
	if cfg.Tile == 0 {
		cfg.Tile = tileChannels
	}
	set, err := Load(cfg.Columns, cfg.MinRate)
	if err != nil {
		return nil, fmt.Errorf("codec: %w", err)
	}
	var peers map[int][]Result
	if cfg.Peers {
		if peers, err = foreign(ctx, set, cfg); err != nil {
			return nil, fmt.Errorf("codec: peers: %w", err)
		}
	}
	var out []Result
	for _, n := range cfg.N {
		for _, s := range []struct {
			name  string
			speed wire.Speed
		}{{"fast", wire.Fast}, {"full", wire.Full}} {
			r, err := own(set, n, s.speed, s.name, cfg.Tile)
			if err != nil {
				return nil, fmt.Errorf("codec: %w", err)
			}
			out = append(out, r)
		}
		out = append(out, peers[n]...)
		if cfg.Peers {
			for _, p := range goPeers() {
				r, err := p.measure(set, n)
				if err != nil {
					return nil, fmt.Errorf("codec: %s: %w", p.name, err)
				}
				out = append(out, r)
			}
		}
	}
	return out, nil
}
