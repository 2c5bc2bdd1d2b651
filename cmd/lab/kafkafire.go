package main

import (
	"github.com/spf13/cobra"

	"telemetry/lab/kafkafire"
)

func kafkafireCommand() *cobra.Command {
	var cfg kafkafire.Config
	c := &cobra.Command{
		Use:   "kafkafire",
		Short: "Cars through two receivers into three brokers while all of them are killed, and compare",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg.Progress = c.ErrOrStderr()
			res, err := kafkafire.Run(c.Context(), cfg)
			return printFound(c, res, err)
		},
	}
	f := c.Flags()
	f.StringVar(&cfg.Bin, "bin", "bin", "folder of receiver")
	f.StringVar(&cfg.Dir, "dir", "", "folder for state and logs")
	f.StringVar(&cfg.Kafka, "kafka", "scripts/kafka.sh", "script that starts brokers")
	f.StringVar(&cfg.KafkaDir, "kafka-dir", "", "folder in which it has started three")
	f.IntVar(&cfg.Port, "port", 0, "port of the first broker")
	f.StringVar(&cfg.Python, "python", "python3", "Python with confluent-kafka")
	f.StringVar(&cfg.Scripts, "scripts", "lab/kafkafire", "folder of check_kafka.py")
	f.StringVar(&cfg.Prefix, "prefix", "fire", "of the topics")
	f.DurationVar(&cfg.Window, "window", 0, "reorder window of all lanes (default none)")
	f.StringVar(&cfg.Memory, "memory", "", "sequence.memory of the receivers (default theirs); with it, batches must have been read again")
	f.IntVar(&cfg.Cars, "cars", 20, "how many cars send 200 kbit/s each")
	f.DurationVar(&cfg.Length, "length", 0, "of the load")
	f.Uint64Var(&cfg.Seed, "seed", 1, "of the moments of all that happens")
	return c
}
