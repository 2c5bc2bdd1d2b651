package main

import (
	"github.com/spf13/cobra"

	"telemetry/lab/imagefire"
)

func imagefireCommand() *cobra.Command {
	var cfg imagefire.Config
	c := &cobra.Command{
		Use:   "imagefire",
		Short: "Cars through two containers of the receiver into Kafka while those are killed and drained, and compare",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg.Progress = c.ErrOrStderr()
			res, err := imagefire.Run(c.Context(), cfg)
			return printFound(c, res, err)
		},
	}
	f := c.Flags()
	f.StringSliceVar(&cfg.Engine, "engine", []string{"podman"}, "program that runs containers, with its first arguments")
	f.StringVar(&cfg.Image, "image", "localhost/receiver:test", "of the receiver")
	f.StringVar(&cfg.Dir, "dir", "", "folder for state and logs")
	f.StringVar(&cfg.Broker, "broker", "", "host:port of Kafka")
	f.StringVar(&cfg.Python, "python", "python3", "Python with confluent-kafka")
	f.StringVar(&cfg.Scripts, "scripts", "lab/kafkafire", "folder of check_kafka.py")
	f.StringVar(&cfg.Prefix, "prefix", "image", "of the topics and the containers' names")
	f.IntVar(&cfg.Cars, "cars", 6, "how many cars send 200 kbit/s each")
	f.DurationVar(&cfg.Length, "length", 0, "of the load")
	f.Uint64Var(&cfg.Seed, "seed", 1, "of the moments of all that happens")
	return c
}
