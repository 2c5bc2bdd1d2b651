package spoolcmd

import (
	"fmt"

	"github.com/spf13/cobra"

	"telemetry/spool/atrest"
)

func keygenCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "keygen FILE",
		Short: "Make the identity that opens this box's encrypted spool, and print its recipient",
		Long: "FILE must not exist; only its owner may read it. It must not stand on the card that it protects. The recipient\n" +
			"(age1…) is no secret: the pit's goes into spool.encrypt.recipients of every car.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			recipient, err := atrest.Generate(args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), recipient)
			return err
		},
	}
}
