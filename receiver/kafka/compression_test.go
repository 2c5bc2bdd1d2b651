package kafka

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"telemetry/receiver/sequence"
	"telemetry/receiver/topic"
)

// kinds are the codecs' numbers in a record batch.
var kinds = map[string]uint8{"": 3, "none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}

// codecsIn reads n records of a topic and returns the codecs that they had.
func codecsIn(t *testing.T, c *Cluster, name string, n int) map[uint8]int {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers()...), kgo.ConsumeTopics(name), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	seen := map[uint8]int{}
	for read := 0; read < n; {
		f := cl.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatalf("%d of %d records: %v", read, n, err)
		}
		f.EachRecord(func(r *kgo.Record) { seen[r.Attrs.CompressionType()]++; read++ })
	}
	return seen
}

// What is written has the codec that is configured; batches, compressed by the car, none.
func TestCompression(t *testing.T) {
	for codec, kind := range kinds {
		t.Run("codec "+codec, func(t *testing.T) {
			c, err := Open(t.Context(), Config{Embedded: Embedded{Dir: t.TempDir()}, Partitions: 2, Compression: codec, Log: quietLog()})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			part := topic.Partition([]byte("car-1"), 2)
			long := []byte(strings.Repeat("compresses well ", 100))
			batch := batchRecord(c, "car-1", 1)
			batch.Value = long
			produce(t, c, batch)
			take(t, c.Backend(), part, func(ctx context.Context, s sequence.Session) error {
				if _, err := s.Load(ctx); err != nil {
					return err
				}
				row := sampleRecord(c, 1, "1/1")
				row.Value = long
				return s.Commit(ctx, []topic.Record{row}, []topic.Record{stateRecord(c, part, 1)}, 1)
			})
			w, err := OpenWriter(t.Context(), Config{Brokers: c.Brokers(), Prefix: "again", Replication: 1, AllowWeak: true, Compression: codec, Log: quietLog()})
			if err != nil {
				t.Fatal(err)
			}
			copied := topic.Record{Topic: c.names.Late, Partition: -1, Key: []byte("car-1"), Value: long, TimestampMS: 1}
			if err := w.Put(t.Context(), copied, nil); err != nil {
				t.Fatal(err)
			}
			if err := w.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			for name, want := range map[string]uint8{c.names.Samples: kind, c.names.Late: kind, c.names.Batches: 0} {
				if got := codecsIn(t, c, name, 1); got[want] != 1 {
					t.Errorf("%s has codecs %v, want one record of %d", name, got, want)
				}
			}
		})
	}
}

func TestUnknownCompressionIsRefused(t *testing.T) {
	err := Config{Embedded: Embedded{Dir: "x"}, Compression: "brotli", Log: quietLog()}.Validate()
	if err == nil || !strings.Contains(err.Error(), `"brotli" is no compression (want lz4, gzip, snappy, zstd, none)`) {
		t.Errorf("brotli: %v", err)
	}
	for _, codec := range Codecs() {
		if err := (Config{Embedded: Embedded{Dir: "x"}, Compression: codec, Log: quietLog()}).Validate(); err != nil {
			t.Errorf("%s: %v", codec, err)
		}
	}
}

// The admin client of Java, and with it Kafka's tools, Flink and Spark, asks for
// DescribeTopicPartitions where a broker offers it, and ends on null lists in the answer.
func TestEmbeddedOffersNoDescribeTopicPartitions(t *testing.T) {
	c := openEmbedded(t, t.TempDir())
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers()...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "test", "1"
	resp, err := req.RequestWith(t.Context(), cl)
	if err != nil {
		t.Fatal(err)
	}
	offered := map[int16]bool{}
	for _, k := range resp.ApiKeys {
		offered[k.ApiKey] = true
	}
	if !offered[int16(kmsg.Metadata)] || !offered[int16(kmsg.Produce)] {
		t.Fatalf("offered: %s", fmt.Sprint(offered))
	}
	if offered[int16(kmsg.DescribeTopicPartitions)] {
		t.Error("DescribeTopicPartitions is offered")
	}
}
