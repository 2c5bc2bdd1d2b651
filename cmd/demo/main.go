// Command demo shows the whole path on one machine and proves by a tally that
// nothing is missing. It is no part of a deployment.
package main

import (
	"os"

	"telemetry/internal/cli"
	"telemetry/lab/demo"
)

func main() {
	os.Exit(cli.Main(demo.New(), os.Args[1:], os.Stderr))
}
