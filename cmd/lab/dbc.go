package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"telemetry/lab/dbc"
)

// errDiffers is a comparison with cantools that found something.
var errDiffers = errors.New("lab: not all files load, or values differ from those of cantools")

func dbcCommand() *cobra.Command {
	cfg := dbc.Config{Seed: 1}
	var asJSON bool
	c := &cobra.Command{
		Use:   "dbc DIR",
		Short: "Compare how DBC files are decoded with how cantools decodes them",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cfg.Dir = args[0]
			cfg.Progress = c.ErrOrStderr()
			if err := findOracle(&cfg); err != nil {
				return err
			}
			out := json.NewEncoder(c.OutOrStdout())
			var outErr error
			cfg.OnMismatch = func(m dbc.Mismatch) {
				if asJSON {
					outErr = errors.Join(outErr, out.Encode(m))
					return
				}
				fmt.Fprintf(c.OutOrStdout(), "%s: %s (0x%X) %s, payload %s: ours %s, cantools %s\n", m.File, m.Message, m.ID, m.Signal, m.Payload, m.Ours, m.Theirs)
			}
			if !asJSON {
				cfg.OnFile = func(f dbc.FileState) { printFile(c, f) }
			}
			sum, err := dbc.Run(cfg)
			if err != nil {
				return err
			}
			if asJSON {
				outErr = errors.Join(outErr, out.Encode(sum))
			} else {
				fmt.Fprintf(c.OutOrStdout(), "%d files, %d loaded, %d by cantools; %d values compared, %d differ\n",
					sum.Files, sum.Loaded, sum.LoadedByCantools, sum.Values, sum.Mismatches)
			}
			if sum.Mismatches > 0 || sum.Loaded < sum.Files {
				return errors.Join(outErr, errDiffers)
			}
			return outErr
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "a JSON object for each mismatch, then the summary")
	c.Flags().StringVar(&cfg.Python, "python", "", "Python with cantools (default that of scripts/python.sh)")
	c.Flags().Uint64Var(&cfg.Seed, "seed", cfg.Seed, "of the random payloads")
	return c
}

func printFile(c *cobra.Command, f dbc.FileState) {
	switch {
	case f.Error != "":
		fmt.Fprintf(c.OutOrStdout(), "%s: does not load: %s\n", f.File, f.Error)
	case f.Theirs != "":
		fmt.Fprintf(c.OutOrStdout(), "%s: %d warnings; cantools does not load it: %.100s\n", f.File, f.Warnings, f.Theirs)
	default:
		fmt.Fprintf(c.OutOrStdout(), "%s: %d warnings, %d values\n", f.File, f.Warnings, f.Values)
	}
}

// findOracle fills in where cantools and its script are: in the tree that this
// command is run in.
func findOracle(cfg *dbc.Config) error {
	root, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	for {
		cfg.Script = filepath.Join(root, "lab", "dbc", "oracle.py")
		if _, err := os.Stat(cfg.Script); err == nil {
			break
		}
		if root == filepath.Dir(root) {
			return errors.New("lab: lab/dbc/oracle.py is in no folder above: run this inside the source tree")
		}
		root = filepath.Dir(root)
	}
	if cfg.Python != "" {
		return nil
	}
	cmd := exec.Command(filepath.Join(root, "scripts", "python.sh"))
	cmd.Stderr = cfg.Progress
	path, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("lab: make a Python with cantools: %w", err)
	}
	cfg.Python = strings.TrimSpace(string(path))
	return nil
}
