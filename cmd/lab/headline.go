package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"telemetry/lab/headline"
)

func headlineCommand() *cobra.Command {
	var cfg headline.Config
	var asJSON bool
	c := &cobra.Command{
		Use:   "headline",
		Short: "Push a simulated car's rows through encoder and spool, as fast as they go",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			out := c.OutOrStdout()
			if !asJSON {
				fmt.Fprintf(out, "%5s %5s %5s %12s %14s %12s %18s\n", "cores", "spool", "speed", "M samples/s", "car-s per s", "bits/sample", "CPU-s per car-s")
			}
			var printErr error
			err := headline.Run(c.Context(), cfg, func(r headline.Result) {
				if !asJSON {
					_, err := fmt.Fprintf(out, "%5d %5t %5s %12.1f %14.2f %12.2f %18.3f\n", r.Cores, r.Spool, r.Speed,
						r.SamplesPerSecond/1e6, r.CarSecondsPerSecond, r.BitsPerSample, r.CPU.Seconds()/r.CarSeconds)
					printErr = errors.Join(printErr, err)
					return
				}
				line, err := json.Marshal(r)
				if err == nil {
					_, err = fmt.Fprintf(out, "%s\n", line)
				}
				printErr = errors.Join(printErr, err)
			})
			return errors.Join(err, printErr)
		},
	}
	f := c.Flags()
	f.IntVar(&cfg.Channels, "channels", 50_000, "channels of the car")
	f.IntVar(&cfg.RateHz, "rate", 1500, "ticks per second of car time")
	f.IntVar(&cfg.Seconds, "seconds", 20, "car time to push in each case")
	f.IntVar(&cfg.Rows, "rows", 15, "ticks in one block")
	f.StringSliceVar(&cfg.Speeds, "speed", []string{"fast", "full"}, "fast, full or both")
	f.StringVar(&cfg.Dir, "dir", os.TempDir(), "folder for the spool")
	f.BoolVar(&asJSON, "json", false, "one JSON object per line")
	return c
}
