package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"telemetry/lab/codec"
)

// errLossy is a codec that changed a value.
var errLossy = errors.New("lab: a subject did not give back what it was given")

func codecCommand() *cobra.Command {
	var cfg codec.Config
	var asJSON bool
	c := &cobra.Command{
		Use:     "codec",
		Short:   "Measure the column codec, and general compressors beside it, on recorded columns",
		Args:    cobra.NoArgs,
		Example: `  lab codec --columns recording.json --n 15,150,1500 --peers`,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg.Log = c.ErrOrStderr()
			results, err := codec.Run(c.Context(), cfg)
			if err != nil {
				return err
			}
			if asJSON {
				for _, r := range results {
					line, err := json.Marshal(r)
					if err != nil {
						return fmt.Errorf("lab: result: %w", err)
					}
					if _, err := fmt.Fprintf(c.OutOrStdout(), "%s\n", line); err != nil {
						return err
					}
				}
			} else if err := codec.WriteTable(c.OutOrStdout(), results); err != nil {
				return err
			}
			for _, r := range results {
				if r.Lossless != nil && !*r.Lossless {
					return errLossy
				}
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&cfg.Columns, "columns", "", "FILE.json that describes the columns of FILE.bin.gz or FILE.bin beside it")
	f.IntSliceVar(&cfg.N, "n", []int{15, 150, 1500}, "samples per channel and batch")
	f.Float64Var(&cfg.MinRate, "min-rate", 0, "leave out channels below this rate, Hz (default an eighth of the highest)")
	f.BoolVar(&cfg.Peers, "peers", false, "measure zstd, s2, gzip and Pco too")
	f.BoolVar(&asJSON, "json", false, "one JSON object per line")
	_ = c.MarkFlagRequired("columns")
	return c
}
