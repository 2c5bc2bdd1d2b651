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
	var overUDP headline.UDPConfig
	var asJSON, useUDP bool
	c := &cobra.Command{
		Use:   "headline",
		Short: "Push a simulated car's rows through encoder and spool, as fast as they go",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if useUDP {
				overUDP.Config = cfg
				return headlineUDP(c, overUDP)
			}
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
	f.BoolVar(&useUDP, "udp", false, "take the rows in over the loopback, from a sending process, at the car's own pace")
	f.IntVar(&overUDP.StreamChannels, "stream-channels", 2000, "channels of one stream, with --udp")
	f.IntVar(&overUDP.Sockets, "sockets", 2, "sockets, each read by its own thread, with --udp")
	c.AddCommand(headlineSendCommand())
	f.BoolVar(&asJSON, "json", false, "one JSON object per line")
	return c
}

// headlineUDP prints one JSON object; samples that did not come are an error.
func headlineUDP(c *cobra.Command, cfg headline.UDPConfig) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cfg.Sender = []string{self, "headline", "send"}
	res, err := headline.RunUDP(c.Context(), cfg)
	if res != nil && res.Taken != res.Sent {
		err = errors.Join(err, fmt.Errorf("%d of %d samples were not taken in", res.Sent-res.Taken, res.Sent))
	}
	return printFound(c, res, err)
}

// headlineSendCommand is the sending process of headline --udp.
func headlineSendCommand() *cobra.Command {
	return &cobra.Command{
		Use: "send PLAN", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return headline.Send(c.Context(), args[0], c.OutOrStdout())
		},
	}
}
