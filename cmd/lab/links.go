package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"telemetry/lab/links"
)

func linksCommand() *cobra.Command {
	var cfg links.Config
	var offset float64
	var asJSON bool
	c := &cobra.Command{
		Use:   "links",
		Short: "Measure the agent over bad links, beside MPTCP and TCP (needs root)",
		Args:  cobra.NoArgs,
		Example: `  lab links --links 10mbit/20ms,6mbit/30ms,4mbit/45ms --case saturate --seconds 30 --peers mptcp,tcp
  lab links --links 10mbit/40ms,10mbit/40ms,10mbit/40ms --case kill --seconds 60 --offset 0 --json`,
		RunE: func(c *cobra.Command, _ []string) error {
			if c.Flags().Changed("offset") {
				cfg.Offset = &offset
			}
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("lab: own executable: %w", err)
			}
			for i, p := range cfg.Peers {
				cfg.Peers[i] = strings.TrimSpace(p)
			}
			cfg.Self, cfg.SelfArgs = self, []string{"links", "car"}
			cfg.Progress = c.ErrOrStderr()
			cfg.Print = func(r links.Result) error { return printResult(c.OutOrStdout(), r, asJSON) }
			return links.Run(c.Context(), cfg)
		},
	}
	f := c.Flags()
	f.StringSliceVar(&cfg.Specs, "links", nil, "links from the car, separated by commas: RATEmbit/DELAY or TRACEFILE[.gz]/DELAY; the delay is one way")
	f.StringVar(&cfg.Case, "case", "saturate", "saturate, kill, trace, heal, down or rebind")
	f.IntVar(&cfg.Seconds, "seconds", 30, "of each run, 10 to 600; with troubles long enough for one")
	f.Float64Var(&offset, "offset", 0, "where in the traces, in s, beyond their ends too, since they loop (default: five runs at five offsets)")
	f.Uint64Var(&cfg.Seed, "seed", 1, "of the links")
	f.IntVar(&cfg.Tries, "tries", 3, "repeat a run that the machine disturbed so often")
	f.Float64Var(&cfg.LoadMbit, "load", 0, "Mbit/s in all (default 0: as the case says)")
	f.StringSliceVar(&cfg.Peers, "peers", nil, "mptcp, tcp, srtla")
	f.StringVar(&cfg.Congestion, "congestion", "", "TCP congestion control of the car (default the kernel's)")
	f.StringVar(&cfg.Plot, "plot", os.TempDir(), "folder for an SVG of each of our runs; empty: none")
	f.BoolVar(&asJSON, "json", false, "print JSON objects; of five offsets the median and then the worst of each subject, offset_s null, come last")
	c.AddCommand(&cobra.Command{
		Use: "car", Hidden: true, Args: cobra.ExactArgs(1), Short: "The car's process of a measurement",
		RunE: func(c *cobra.Command, args []string) error {
			return links.RunCar(c.Context(), args[0], c.ErrOrStderr())
		},
	})
	return c
}

// printResult prints one line; figures that there are not are left out for
// people.
func printResult(w io.Writer, r links.Result, asJSON bool) error {
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("lab: result: %w", err)
	}
	if !asJSON {
		line = []byte(r.String())
	}
	_, err = fmt.Fprintf(w, "%s\n", line)
	return err
}
