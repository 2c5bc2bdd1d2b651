package benchreceiver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
)

// Config is one run. All but Only and Progress is needed.
type Config struct {
	Bin      string   // folder of the binary receiver
	Dir      string   // state and logs; it must exist
	Brokers  []string // of an Apache Kafka
	Prefix   string   // of all topics, new for each run
	Repeats  int      // of each side
	Only     []string // parts to run; empty: all
	Progress io.Writer
	Print    func(Line) error
}

// Line is one figure. Peer and Ratio are nil where nothing is compared.
type Line struct {
	Name  string   `json:"name"`
	Value float64  `json:"value"`
	Peer  *float64 `json:"peer"`
	Ratio *float64 `json:"ratio"` // value / peer
}

// bench is one run.
type bench struct {
	Config
	log *slog.Logger
}

// Run measures all parts, one after the other.
func Run(ctx context.Context, cfg Config) error {
	if cfg.Repeats < 1 {
		return errors.New("benchreceiver: no repeats")
	}
	b := &bench{Config: cfg, log: slog.New(slog.DiscardHandler)}
	parts := []struct {
		name string
		run  func(context.Context) error
	}{
		{"reorder", b.reorder},
		{"windows", b.windows},
		{"ingest", b.ingest},
		{"sequence", b.sequence},
		{"latency", b.latency},
		{"rss", b.rss},
	}
	for _, p := range parts {
		if len(cfg.Only) > 0 && !slices.Contains(cfg.Only, p.name) {
			continue
		}
		if err := p.run(ctx); err != nil {
			return fmt.Errorf("benchreceiver: %s: %w", p.name, err)
		}
	}
	return nil
}

func (b *bench) say(format string, args ...any) {
	if b.Progress != nil {
		fmt.Fprintf(b.Progress, "bench-receiver: %s\n", fmt.Sprintf(format, args...))
	}
}

// alone prints a figure without a peer.
func (b *bench) alone(name string, value float64) error {
	return b.Print(Line{Name: name, Value: value})
}

// turns measures both sides in turn, each as often first as the other, after a
// round that does not count: a broker that has just started is slow. It prints
// the medians.
func (b *bench) turns(name string, one, other func(round int) (float64, error)) error {
	var ours, peers []float64
	for i := range b.Repeats + 1 {
		sides := []func(int) (float64, error){one, other}
		results := []*[]float64{&ours, &peers}
		if i%2 == 1 {
			slices.Reverse(sides)
			slices.Reverse(results)
		}
		for k, side := range sides {
			v, err := side(i)
			if err != nil {
				return err
			}
			if i > 0 {
				*results[k] = append(*results[k], v)
			}
		}
	}
	v, p := median(ours), median(peers)
	r := v / p
	b.say("%s: ours %.4g, peer %.4g", name, ours, peers)
	return b.Print(Line{Name: name, Value: v, Peer: &p, Ratio: &r})
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// quantile returns the value below which a share of v lies.
func quantile(v []float64, share float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[min(int(share*float64(len(v))), len(v)-1)]
}
