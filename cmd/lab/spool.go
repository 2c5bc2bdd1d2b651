package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"telemetry/internal/cli"
	labspool "telemetry/lab/spool"
)

func spoolCommand() *cobra.Command {
	var crash labspool.CrashConfig
	var bench labspool.BenchConfig
	var asJSON, measure bool
	c := &cobra.Command{
		Use:   "spool",
		Short: "Break the spool on purpose, or measure it (powercut, enospc and the bench need root)",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if measure {
				if !asJSON {
					bench.Progress = c.ErrOrStderr()
				}
				bench.Dir, bench.Encrypt = crash.Dir, crash.Encrypt
				rows, err := labspool.Bench(c.Context(), bench)
				return errors.Join(err, say(c.OutOrStdout(), asJSON, rows))
			}
			if crash.Mode == "" {
				return cli.Usage(fmt.Errorf("want --crash %s, or --bench", strings.Join(labspool.Modes(), "|")))
			}
			if !asJSON {
				crash.Progress = c.ErrOrStderr()
			}
			res, err := labspool.Crash(c.Context(), crash)
			if res == nil {
				return err
			}
			return errors.Join(err, say(c.OutOrStdout(), asJSON, res), res.Err())
		},
	}
	f := c.Flags()
	f.StringVar(&crash.Mode, "crash", "", "what happens to it: "+strings.Join(labspool.Modes(), ", "))
	f.IntVar(&crash.Runs, "runs", 0, "how often; 0: every place where they are finite, else a few dozen")
	f.Uint64Var(&crash.Seed, "seed", 1, "of everything that is random")
	f.StringVar(&crash.Dir, "dir", "", "folder for the spools under test (default in memory where that is possible)")
	f.StringVar(&crash.Keep, "keep", "", "folder that gets the spools of runs that went wrong")
	f.BoolVar(&crash.Encrypt, "encrypt", false, "with encryption at rest")
	f.BoolVar(&measure, "bench", false, "measure speed, wear, memory and recovery beside a raw writer")
	f.IntVar(&bench.Pairs, "pairs", 0, "interleaved pairs of spool and raw (default 9)")
	f.BoolVar(&asJSON, "json", false, "print one JSON object")
	c.AddCommand(&cobra.Command{
		Use: "child SPEC", Hidden: true, Args: cobra.ExactArgs(1),
		Short: "What the laboratory starts as fresh processes",
		RunE: func(c *cobra.Command, args []string) error {
			return labspool.Child(c.Context(), args[0], c.OutOrStdout())
		},
	})
	return c
}

// say prints a result as one line of JSON, or indented for people.
func say(out io.Writer, asJSON bool, v any) error {
	b, err := json.Marshal(v)
	if !asJSON {
		b, err = json.MarshalIndent(v, "", "  ")
	}
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	_, err = fmt.Fprintf(out, "%s\n", b)
	return err
}
