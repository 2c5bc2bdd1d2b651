package main

import (
	"github.com/spf13/cobra"

	"telemetry/lab/mutants"
)

func mutantsCommand() *cobra.Command {
	var cfg mutants.Config
	c := &cobra.Command{
		Use:   "mutants",
		Short: "Break the code on purpose and see whether simulation or tests notice (needs the sources and go)",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			root, err := mutants.Root()
			if err != nil {
				return err
			}
			cfg.Root, cfg.Out = root, c.OutOrStdout()
			_, err = mutants.Run(c.Context(), cfg)
			return err
		},
	}
	c.Flags().IntVar(&cfg.Seeds, "seeds", 1500, "seeds that each fault gets at most")
	c.Flags().StringVar(&cfg.Only, "only", "", "only faults whose name has this in it")
	return c
}
