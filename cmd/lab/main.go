// Command lab runs the real binaries in a laboratory: with bad links between
// them, against real logs, to the end. It is for developers and never installed.
package main

import (
	"os"

	"github.com/spf13/cobra"

	"telemetry/internal/cli"
)

func main() {
	root := &cobra.Command{Use: "lab", Short: "Run edgeagent and receiver with bad links between them"}
	root.AddCommand(e2eCommand(), fireCommand(), linkCommand(), linksCommand(), spoolCommand(), codecCommand(), headlineCommand())
	root.AddCommand(vmCommand(), dbcCommand())
	os.Exit(cli.Main(cli.Command(root), os.Args[1:], os.Stderr))
}
