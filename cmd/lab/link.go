package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"telemetry/lab/link"
	"telemetry/lab/netns"
)

// errDisturbed is a measurement that the machine did not leave alone in any try.
var errDisturbed = errors.New("lab: the machine disturbed every try: the figures say nothing, measure again when it is idle")

func linkCommand() *cobra.Command {
	var m netns.Measurement
	var ups, downs []string
	c := &cobra.Command{
		Use:   "link",
		Short: "Measure how well emulated links keep to their specs, with kernel TCP (needs root)",
		Args:  cobra.NoArgs,
		Example: `  lab link --up rate=10M,delay=20ms --up rate=6M,delay=30ms,loss=0.1%
  lab link --up trace=drive.up.gz,from=90s,delay=30ms,queue=512K --down delay=30ms`,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := addLinks(&m.Config, ups, downs); err != nil {
				return err
			}
			res, err := m.Run(c.Context())
			if err != nil {
				return err
			}
			line, err := json.Marshal(res)
			if err != nil {
				return fmt.Errorf("lab: result: %w", err)
			}
			if res.Disturbed {
				err = errDisturbed
			}
			_, printErr := fmt.Fprintf(c.OutOrStdout(), "%s\n", line)
			return errors.Join(err, printErr)
		},
	}
	f := c.Flags()
	f.StringArrayVar(&ups, "up", []string{"rate=10M,delay=20ms"}, "a link from the car: rate=BIT/S or trace=FILE[,from=TIME], delay, jitter, wait=TIME, loss=SHARE, queue=BYTES, packets=N")
	f.StringArrayVar(&downs, "down", nil, "its way back (default the same delay and nothing else)")
	f.Uint64Var(&m.Config.Seed, "seed", 1, "of loss and jitter")
	f.DurationVar(&m.Settle, "settle", 0, "fill the links so long before it counts (default 2s)")
	f.DurationVar(&m.Fill, "fill", 0, "and so long while it counts (default 5s)")
	f.IntVar(&m.Tries, "tries", 0, "repeat a disturbed measurement so often (default 3)")
	f.StringVar(&m.Congestion, "congestion", "", "TCP congestion control of the sender (default the kernel's)")
	return c
}

func addLinks(cfg *netns.Config, ups, downs []string) error {
	if len(downs) > len(ups) {
		return fmt.Errorf("lab: %d ways back for %d links", len(downs), len(ups))
	}
	for i, text := range ups {
		up, err := link.ParseSpec(text)
		if err != nil {
			return fmt.Errorf("lab: --up: %w", err)
		}
		down := link.Spec{Delay: up.Delay}
		if i < len(downs) && strings.TrimSpace(downs[i]) != "" {
			if down, err = link.ParseSpec(downs[i]); err != nil {
				return fmt.Errorf("lab: --down: %w", err)
			}
		}
		cfg.Links = append(cfg.Links, netns.Link{Device: fmt.Sprintf("wwan%d", i), Up: up, Down: down})
	}
	return nil
}
