package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	sensorlab "telemetry/lab/sensors"
)

func gnssCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "gnss FILE...",
		Short: "Decode recorded receivers and compare times and positions with gpsd's",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, files []string) error {
			var errs []error
			for _, f := range files {
				a, err := sensorlab.CompareGPSD(c.Context(), f)
				errs = append(errs, printFound(c, a, err))
				if a != nil && a.Differing+a.Missing > 0 {
					errs = append(errs, errors.New("fixes differ from gpsd's"))
				}
			}
			return errors.Join(errs...)
		},
	}
}

func sensorsCommand() *cobra.Command {
	var cfg sensorlab.PollConfig
	var asJSON bool
	c := &cobra.Command{
		Use:   "sensors",
		Short: "Poll a simulated device and measure how its clock is held",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := sensorlab.Poll(c.Context(), cfg)
			if asJSON || r == nil {
				return printFound(c, r, err)
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%.3f Hz (%.4f %% off), %d late, %d skipped, %d dropped, %d unreported; late by %.0f us (half), %.0f us (99 %%), %.0f us at most; %.3f cores\n",
				r.RateHz, 100*r.RateError, r.Missed, r.Skipped, r.Dropped, r.Unreported, r.JitterP50US, r.JitterP99US, r.JitterMaxUS, r.CPUCores)
			return err
		},
	}
	f := c.Flags()
	f.IntVar(&cfg.RateHz, "rate", 1500, "reads a second")
	f.IntVar(&cfg.Channels, "channels", 200, "channels of a row")
	f.IntVar(&cfg.Seconds, "seconds", 60, "how long")
	f.IntVar(&cfg.Realtime, "realtime", 50, "SCHED_FIFO priority of the reading thread, where the kernel gives it; 0: the usual scheduling")
	f.BoolVar(&asJSON, "json", false, "one JSON object")
	return c
}
