package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"telemetry/internal/cli"
	"telemetry/lab/simulate/drive"
)

func simCommand() *cobra.Command {
	var cfg drive.Config
	var known string
	c := &cobra.Command{
		Use:   "sim",
		Short: "Run the whole system under seeds, with faults, in virtual time (needs the sources and go)",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if cfg.Seeds < 0 {
				return cli.Usage(fmt.Errorf("%d seeds (want 0 or more)", cfg.Seeds))
			}
			if known != "" {
				list, err := seedList(known)
				if err != nil {
					return err
				}
				cfg.List = list
			}
			cfg.Out = c.OutOrStdout()
			_, err := drive.Run(c.Context(), cfg)
			return err
		},
	}
	f := c.Flags()
	f.Uint64Var(&cfg.First, "first", 1, "first seed")
	f.IntVar(&cfg.Seeds, "seeds", 1000, "how many seeds from there on")
	f.StringVar(&known, "known", "", "file with seeds to run as well, one a line, with a remark")
	f.IntSliceVar(&cfg.Drop, "drop", nil, "faults of the plan to leave out, by number")
	f.BoolVar(&cfg.Trace, "trace", false, "print every event (for one seed)")
	f.BoolVar(&cfg.Fast, "fast", false, "end at the first seed that fails")
	f.IntVar(&cfg.Workers, "workers", 0, "processes at once (default one for each processor)")
	return c
}

// seedList reads the first number of each line; lines that begin with # are remarks.
func seedList(name string) ([]uint64, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	defer f.Close()
	var out []uint64
	for in := bufio.NewScanner(f); in.Scan(); {
		field, _, _ := strings.Cut(strings.TrimSpace(in.Text()), " ")
		if field == "" || strings.HasPrefix(field, "#") {
			continue
		}
		n, err := strconv.ParseUint(field, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("lab: %s: %q is no seed", name, in.Text())
		}
		out = append(out, n)
	}
	return out, nil
}
