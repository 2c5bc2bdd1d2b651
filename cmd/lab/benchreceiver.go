package main

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"telemetry/lab/benchreceiver"
)

func benchReceiverCommand() *cobra.Command {
	var cfg benchreceiver.Config
	c := &cobra.Command{
		Use:   "bench-receiver",
		Short: "Measure the receiver beside its peers on a real Kafka; one line of JSON per figure",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg.Progress = c.ErrOrStderr()
			enc := json.NewEncoder(c.OutOrStdout())
			cfg.Print = func(l benchreceiver.Line) error { return enc.Encode(l) }
			return benchreceiver.Run(c.Context(), cfg)
		},
	}
	f := c.Flags()
	f.StringVar(&cfg.Bin, "bin", "bin", "folder of receiver")
	f.StringVar(&cfg.Dir, "dir", "", "folder for state and logs")
	f.StringSliceVar(&cfg.Brokers, "brokers", nil, "of an Apache Kafka")
	f.StringVar(&cfg.Prefix, "prefix", "bench", "of all topics")
	f.IntVar(&cfg.Repeats, "repeats", 3, "how often each side is measured")
	f.StringSliceVar(&cfg.Only, "only", nil, "parts: reorder, windows, ingest, sequence, latency, rss (default all)")
	return c
}
