package main

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"telemetry/lab/clients"
)

func clientsCommand() *cobra.Command {
	var cfg clients.Config
	c := &cobra.Command{
		Use:   "clients",
		Short: "A car through the receiver into Kafka, read by foreign clients in all formats, and compare",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg.Progress = c.ErrOrStderr()
			enc := json.NewEncoder(c.OutOrStdout())
			return clients.Run(c.Context(), cfg, func(r *clients.Result) error { return enc.Encode(r) })
		},
	}
	f := c.Flags()
	f.StringVar(&cfg.Bin, "bin", "bin", "folder of receiver")
	f.StringVar(&cfg.Dir, "dir", "", "folder for state and logs")
	f.StringVar(&cfg.Broker, "broker", "", "host:port of Kafka")
	f.StringVar(&cfg.Registry, "registry", "", "URL of the schema registry")
	f.StringVar(&cfg.Python, "python", "python3", "Python with the clients")
	f.StringVar(&cfg.Kcat, "kcat", "kcat", "the program kcat")
	f.StringVar(&cfg.Scripts, "scripts", "lab/clients", "folder of the clients' programs")
	f.StringVar(&cfg.Proto, "proto", "receiver/sequence/columnpb/telemetrypb", "folder of batch.proto")
	f.StringVar(&cfg.Prefix, "prefix", "clients", "of the topics")
	f.DurationVar(&cfg.Length, "length", 0, "of the load")
	f.Uint64Var(&cfg.Seed, "seed", 1, "of the values")
	return c
}
