package main

import (
	"os"
	"time"

	"github.com/spf13/cobra"

	"telemetry/lab/e2e"
)

func e2eCommand() *cobra.Command {
	var cfg e2e.Config
	c := &cobra.Command{
		Use:   "e2e",
		Short: "Play a CAN log through three bad links and compare what arrives in Kafka with the log",
		RunE: func(c *cobra.Command, _ []string) error {
			cfg.Progress = c.ErrOrStderr()
			res, err := e2e.Run(c.Context(), cfg)
			return printFound(c, res, err)
		},
	}
	f := c.Flags()
	f.StringVar(&cfg.Bin, "bin", "bin", "folder of edgeagent and receiver")
	f.StringVar(&cfg.Log, "log", "", "candump log, plain, .gz or .zst")
	f.StringVar(&cfg.DBC, "dbc", "", "DBC file for the log's first interface")
	f.StringVar(&cfg.OracleDBC, "oracle-dbc", "", "DBC file for cantools, if it shall read another one")
	f.Float64Var(&cfg.Speed, "speed", 10, "times as fast as recorded")
	f.DurationVar(&cfg.Play, "play", 0, "play no more of the log than fits into this time (default all)")
	f.DurationVar(&cfg.Silence, "silence", 10*time.Second, "how long one link says nothing")
	f.StringVar(&cfg.Kafka, "kafka", "embedded", "name of the Kafka in the result")
	f.StringSliceVar(&cfg.Brokers, "brokers", nil, "brokers of a real cluster (default the embedded Kafka)")
	f.StringVar(&cfg.Python, "python", "python3", "Python with cantools and confluent-kafka")
	f.StringVar(&cfg.Scripts, "scripts", "lab/e2e", "folder of check.py")
	f.StringVar(&cfg.Dir, "dir", "", "folder for state and logs (default a new one, removed when all is well)")
	f.StringVar(&cfg.Cache, "cache", os.TempDir(), "folder for the decoded log")
	return c
}
