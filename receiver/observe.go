package receiver

import (
	"log/slog"

	"telemetry/internal/config"
	"telemetry/receiver/kafka"
)

// KafkaConfig returns how a configuration reaches its cluster, with all outputs,
// for tools. It reads the files of kafka, and none of the cars' side.
func KafkaConfig(c *config.Receiver, log *slog.Logger) (kafka.Config, error) {
	k, err := kafkaConfig(c.Kafka, c.Sequence.Group, log)
	k.Outputs = outputTopics(c)
	return k, err
}
