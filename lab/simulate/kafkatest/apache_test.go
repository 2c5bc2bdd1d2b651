//go:build foreign

package kafkatest_test

import (
	"os"
	"strings"
	"testing"

	"telemetry/lab/simulate/kafkatest"
)

// TestApache: a real Apache Kafka, which scripts/kafka.sh starts.
func TestApache(t *testing.T) {
	list := os.Getenv("TELEMETRY_KAFKA")
	if list == "" {
		t.Fatal("needs a real Apache Kafka: TELEMETRY_KAFKA=host:port (see scripts/kafka-test.sh)")
	}
	for _, k := range kafkatest.Cases() {
		t.Run(k.Name, func(t *testing.T) { k.Run(t, open(t, clusterOf(strings.Split(list, ",")))) })
	}
}
