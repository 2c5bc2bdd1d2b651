// Command lab runs the real binaries in a laboratory: with bad links between
// them, against real logs, to the end. It is for developers and never installed.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"telemetry/internal/cli"
)

func main() {
	root := &cobra.Command{Use: "lab", Short: "Run edgeagent and receiver with bad links between them"}
	root.AddCommand(e2eCommand(), fireCommand(), linkCommand(), linksCommand(), spoolCommand(), codecCommand(), headlineCommand())
	root.AddCommand(gnssCommand(), sensorsCommand(), vmCommand(), dbcCommand(), kafkafireCommand(), imagefireCommand(), clientsCommand(), benchReceiverCommand(), replayCommand())
	root.AddCommand(simCommand(), mutantsCommand(), pageCommand())
	os.Exit(cli.Main(cli.Command(root), os.Args[1:], os.Stderr))
}

// printFound prints what a run found as one line of JSON, if it found anything,
// and returns the run's error with its own.
func printFound[T any](c *cobra.Command, res *T, err error) error {
	if res == nil {
		return err
	}
	line, jsonErr := json.Marshal(res)
	if jsonErr == nil {
		_, jsonErr = fmt.Fprintf(c.OutOrStdout(), "%s\n", line)
	}
	return errors.Join(err, jsonErr)
}
