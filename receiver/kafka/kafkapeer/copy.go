package kafkapeer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Copied is what one transaction has copied.
type Copied struct {
	At      time.Time // after its commit
	Records int
	Bytes   int
}

// Copy reads a topic from its start and writes every record, with its headers, to
// another one, in one transaction per poll together with the group's offsets,
// until n records are copied.
func Copy(ctx context.Context, brokers []string, from, to, group string, n int) ([]Copied, error) {
	s, err := kgo.NewGroupTransactSession(
		kgo.SeedBrokers(brokers...), kgo.DisableClientMetrics(), kgo.TransactionalID(group+"-copy"),
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(from), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ProducerBatchCompression(kgo.Lz4Compression(), kgo.NoCompression()), kgo.ProducerLinger(0),
	)
	if err != nil {
		return nil, fmt.Errorf("kafkapeer: session: %w", err)
	}
	defer s.Close()
	var out []Copied
	for total := 0; total < n; {
		fetches := s.PollFetches(ctx)
		if err := errors.Join(ctx.Err(), fetches.Err()); err != nil {
			return out, fmt.Errorf("kafkapeer: fetch: %w", err)
		}
		if fetches.NumRecords() == 0 {
			continue
		}
		if err := s.Begin(); err != nil {
			return out, fmt.Errorf("kafkapeer: begin: %w", err)
		}
		var failed kgo.FirstErrPromise
		var c Copied
		fetches.EachRecord(func(r *kgo.Record) {
			c.Records++
			c.Bytes += len(r.Value)
			s.Produce(ctx, &kgo.Record{Topic: to, Key: r.Key, Value: r.Value, Headers: r.Headers}, failed.Promise())
		})
		ok, err := s.End(ctx, failed.Err() == nil)
		if err = errors.Join(failed.Err(), err); err != nil {
			return out, fmt.Errorf("kafkapeer: transaction: %w", err)
		}
		if !ok {
			continue // aborted by a rebalance: the same records come again
		}
		c.At = time.Now()
		out = append(out, c)
		total += c.Records
	}
	return out, nil
}
