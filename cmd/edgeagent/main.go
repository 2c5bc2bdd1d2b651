// Command edgeagent is the binary in the car: it reads sensors, spools what they
// give and sends it over several modems.
package main

import (
	"os"

	"telemetry/internal/agent/agentcmd"
	"telemetry/internal/cli"
)

func main() {
	os.Exit(cli.Main(agentcmd.New(), os.Args[1:], os.Stderr))
}
