package receivercmd

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"telemetry/internal/cli"
)

// listCommand returns the command `list`: a table of what rows returns, whose columns
// cells gives for each, or with --json all of it.
func listCommand[T any](short, head string, rows func() ([]T, error), cells func(*T) []string) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: short,
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			list, err := rows()
			if err != nil {
				return err
			}
			if asJSON {
				return cli.WriteJSON(c.OutOrStdout(), list)
			}
			w := tabwriter.NewWriter(c.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, head)
			for i := range list {
				fmt.Fprintln(w, strings.Join(cells(&list[i]), "\t"))
			}
			return w.Flush()
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print everything as JSON")
	return c
}
