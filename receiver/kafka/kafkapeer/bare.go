package kafkapeer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Bare reads all partitions of a topic from their start and writes every record, with
// its key and headers, to another one, without transactions and without looking at
// anything, until n records are written. It returns how long that took.
func Bare(ctx context.Context, brokers []string, from, to string, partitions int32, n int) (time.Duration, error) {
	at := map[int32]kgo.Offset{}
	for p := range partitions {
		at[p] = kgo.NewOffset().AtStart()
	}
	began := time.Now()
	cl, err := kgo.NewClient(
		kgo.SeedBrokers(brokers...), kgo.DisableClientMetrics(), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{from: at}),
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerLinger(0), kgo.ProducerBatchCompression(kgo.Lz4Compression(), kgo.NoCompression()),
	)
	if err != nil {
		return 0, fmt.Errorf("kafkapeer: client: %w", err)
	}
	defer cl.Close()
	var failed kgo.FirstErrPromise
	for total := 0; total < n; {
		fetches := cl.PollFetches(ctx)
		if err := errors.Join(ctx.Err(), fetches.Err()); err != nil {
			return 0, fmt.Errorf("kafkapeer: fetch: %w", err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			total++
			cl.Produce(ctx, &kgo.Record{Topic: to, Key: r.Key, Value: r.Value, Headers: r.Headers}, failed.Promise())
		})
	}
	if err := errors.Join(cl.Flush(ctx), failed.Err()); err != nil {
		return 0, fmt.Errorf("kafkapeer: copy: %w", err)
	}
	return time.Since(began), nil
}
