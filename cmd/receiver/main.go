// Command receiver is the binary in the cloud: it takes batches from cars,
// stores them in Kafka and writes them out in order.
package main

import (
	"os"

	"telemetry/internal/cli"
	"telemetry/receiver/receivercmd"
)

func main() {
	os.Exit(cli.Main(receivercmd.New(), os.Args[1:], os.Stderr))
}
