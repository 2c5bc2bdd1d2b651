package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"telemetry/receiver/topic"
)

// Read calls fn for every committed record of a topic, from given offsets (a
// partition that is not named: from its start) to what is the end at the time
// of the call: partition by partition, in offset order. fn may keep the record; an
// error of fn ends the reading. It returns the ends, from where [Cluster.Follow]
// goes on.
func (c *Cluster) Read(ctx context.Context, name string, from map[int32]int64, fn func(topic.Record) error) (ends map[int32]int64, err error) {
	ends, err = c.EndOffsets(ctx, name)
	if err != nil {
		return nil, err
	}
	for p := range int32(len(ends)) {
		r := c.reader(name, p, from[p])
		if err := r.readTo(ctx, ends[p], func(k *kgo.Record) error { return fn(fromKafka(k)) }); err != nil {
			return nil, err
		}
	}
	return ends, nil
}

// EndOffsets returns, for every partition of a topic, the offset after the last
// committed record.
func (c *Cluster) EndOffsets(ctx context.Context, name string) (map[int32]int64, error) {
	first := c.reader(name, 0, 0)
	if err := first.find(ctx); err != nil {
		return nil, err
	}
	ends := make(map[int32]int64, first.partitions)
	for p := range first.partitions {
		end, err := c.reader(name, p, 0).list(ctx, listEnd)
		if err != nil {
			return nil, err
		}
		ends[p] = end
	}
	return ends, nil
}

// Follow calls fn for every committed record of a topic from given offsets on,
// in offset order within a partition, until ctx ends; then it returns nil. fn is
// called by one goroutine and may keep the record; an error of fn ends the
// following.
func (c *Cluster) Follow(ctx context.Context, name string, from map[int32]int64, fn func(topic.Record) error) error {
	at := map[int32]kgo.Offset{}
	for p, o := range from {
		at[p] = kgo.NewOffset().At(o)
	}
	cl, err := c.newClient(
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{name: at}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
	)
	if err != nil {
		return err
	}
	defer cl.Close()
	for {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		var errs []error
		fetches.EachError(func(t string, p int32, err error) {
			errs = append(errs, fmt.Errorf("kafka: follow %s/%d: %w", t, p, err))
		})
		if len(errs) > 0 {
			return errors.Join(errs...)
		}
		for it := fetches.RecordIter(); !it.Done(); {
			if err := fn(fromKafka(it.Next())); err != nil {
				return err
			}
		}
	}
}
