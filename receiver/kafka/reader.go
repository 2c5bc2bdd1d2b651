package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// reader reads one partition, read_committed, by requests of its own: unlike a
// consumer it knows exactly where it stands, transaction markers and compacted
// records included, and what the end was when a fetch was answered. It is not
// safe for concurrent use. Readers that wait for data at the same time need
// clients of their own, because a broker answers one fetch per connection.
type reader struct {
	cl    *kgo.Client
	topic string
	part  int32
	pos   int64 // next offset to be read

	leader     int32 // -1: not known
	id         [16]byte
	partitions int32
}

// chunk is what one fetch brought.
type chunk struct {
	recs  []*kgo.Record // in offset order, from the position on
	start int64         // first offset that exists
	end   int64         // the offset after the last committed record
}

var (
	// errGone: the position is before the first record that exists.
	errGone = errors.New("kafka: records deleted by retention")
	// errBeyond: the position is after the end: records have vanished.
	errBeyond = errors.New("kafka: offset is beyond the partition's end (has the topic been made anew, or has an unclean leader been elected?)")
)

func newReader(cl *kgo.Client, name string, part int32, pos int64) *reader {
	return &reader{cl: cl, topic: name, part: part, pos: pos, leader: -1}
}

// locate finds the partition's leader and the topic's id.
func (r *reader) locate(ctx context.Context) error {
	if r.leader >= 0 {
		return nil
	}
	req := kmsg.NewPtrMetadataRequest()
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = &r.topic
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, r.cl)
	if err != nil {
		return fmt.Errorf("kafka: metadata of %s: %w", r.topic, withRemedy(err))
	}
	for _, t := range resp.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
			return fmt.Errorf("kafka: metadata of %s: %w", r.topic, withRemedy(err))
		}
		r.id = t.TopicID
		r.partitions = int32(len(t.Partitions))
		for _, p := range t.Partitions {
			if p.Partition == r.part && p.Leader >= 0 {
				r.leader = p.Leader
				return nil
			}
		}
	}
	return fmt.Errorf("kafka: %s/%d has no leader", r.topic, r.part)
}

// fetch reads from the position on, waits at most that long for something, and
// moves the position behind what it returns. It returns errGone and errBeyond
// with the range of offsets in the chunk; other errors mean "try again".
func (r *reader) fetch(ctx context.Context, wait time.Duration, maxBytes int32) (chunk, error) {
	if err := r.locate(ctx); err != nil {
		return chunk{}, err
	}
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis = int32(wait.Milliseconds())
	req.MinBytes = 1
	req.MaxBytes = maxBytes
	req.IsolationLevel = 1
	req.SessionEpoch = -1 // no fetch session
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic, rt.TopicID = r.topic, r.id
	rp := kmsg.NewFetchRequestTopicPartition()
	rp.Partition, rp.FetchOffset, rp.PartitionMaxBytes = r.part, r.pos, maxBytes
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	// Not retried here: the leader may have moved to another broker.
	kresp, err := r.cl.Broker(int(r.leader)).Request(ctx, req)
	if err != nil {
		r.leader = -1
		return chunk{}, fmt.Errorf("kafka: fetch %s/%d at %d: %w", r.topic, r.part, r.pos, err)
	}
	resp := kresp.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return chunk{}, fmt.Errorf("kafka: fetch %s/%d at %d: %w", r.topic, r.part, r.pos, err)
	}
	for i := range resp.Topics {
		for j := range resp.Topics[i].Partitions {
			if p := &resp.Topics[i].Partitions[j]; p.Partition == r.part {
				return r.take(ctx, p)
			}
		}
	}
	r.leader = -1
	return chunk{}, fmt.Errorf("kafka: fetch %s/%d at %d: the broker's answer lacks the partition", r.topic, r.part, r.pos)
}

func (r *reader) take(ctx context.Context, p *kmsg.FetchResponseTopicPartition) (chunk, error) {
	err := kerr.ErrorForCode(p.ErrorCode)
	if errors.Is(err, kerr.OffsetOutOfRange) {
		return r.outOfRange(ctx)
	}
	if err != nil {
		r.leader = -1
		return chunk{}, fmt.Errorf("kafka: fetch %s/%d at %d: %w", r.topic, r.part, r.pos, err)
	}
	fp, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
		Offset: r.pos, IsolationLevel: kgo.ReadCommitted(), Topic: r.topic, Partition: r.part,
	}, p, kgo.DefaultDecompressor(), nil)
	if fp.Err != nil {
		return chunk{}, fmt.Errorf("kafka: fetch %s/%d at %d: %w", r.topic, r.part, r.pos, fp.Err)
	}
	r.pos = max(r.pos, next)
	end := p.HighWatermark
	if p.LastStableOffset >= 0 {
		end = min(end, p.LastStableOffset)
	}
	return chunk{recs: fp.Records, start: p.LogStartOffset, end: end}, nil
}

// outOfRange says on which side of what exists the position lies.
func (r *reader) outOfRange(ctx context.Context) (chunk, error) {
	start, err := r.list(ctx, listStart)
	if err != nil {
		return chunk{}, err
	}
	end, err := r.list(ctx, listEnd)
	if err != nil {
		return chunk{}, err
	}
	err = errGone
	if r.pos >= start {
		err = errBeyond
	}
	return chunk{start: start, end: end}, fmt.Errorf("%w: %s/%d at %d, there is %d to %d", err, r.topic, r.part, r.pos, start, end)
}

// What list asks for.
const (
	listEnd   = -1
	listStart = -2
)

// list returns the first offset, or the one after the last committed record. It
// tries for a while: a new leader does not know the end at once.
func (r *reader) list(ctx context.Context, what int64) (int64, error) {
	deadline := time.Now().Add(listLimit)
	var pause backoff
	for {
		at, err := r.listOnce(ctx, what)
		if err == nil {
			return at, nil
		}
		err = fmt.Errorf("kafka: list offsets of %s/%d: %w", r.topic, r.part, withRemedy(err))
		if !kerr.IsRetriable(err) && !errors.Is(err, kerr.OffsetNotAvailable) || time.Now().After(deadline) || pause.wait(ctx) != nil {
			return 0, err
		}
	}
}

// listLimit bounds the tries of list.
const listLimit = 10 * time.Second

func (r *reader) listOnce(ctx context.Context, what int64) (int64, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.IsolationLevel = 1
	rt := kmsg.NewListOffsetsRequestTopic()
	rt.Topic = r.topic
	rp := kmsg.NewListOffsetsRequestTopicPartition()
	rp.Partition, rp.Timestamp = r.part, what
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(ctx, r.cl) // the client finds the leader
	if err != nil {
		return 0, err
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if p.Partition == r.part {
				return p.Offset, kerr.ErrorForCode(p.ErrorCode)
			}
		}
	}
	return 0, errors.New("the broker's answer lacks the partition")
}

// readTo calls fn for every committed record from the position up to an offset,
// and moves the position there.
func (r *reader) readTo(ctx context.Context, end int64, fn func(*kgo.Record) error) error {
	var pause backoff
	for r.pos < end {
		c, err := r.fetch(ctx, 100*time.Millisecond, maxFetchBytes)
		switch {
		case errors.Is(err, errGone):
			r.pos = max(r.pos, c.start)
			continue
		case errors.Is(err, errBeyond):
			return err
		case err != nil:
			if werr := pause.wait(ctx); werr != nil {
				return errors.Join(err, werr)
			}
			continue
		}
		pause.reset()
		for _, k := range c.recs {
			if k.Offset >= end {
				r.pos = end
				return nil
			}
			if err := fn(k); err != nil {
				return err
			}
		}
	}
	return nil
}

// backoff waits a little longer each time, up to two seconds.
type backoff struct{ next time.Duration }

func (b *backoff) wait(ctx context.Context) error {
	b.next = min(max(2*b.next, 50*time.Millisecond), 2*time.Second)
	t := time.NewTimer(b.next)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func (b *backoff) reset() { b.next = 0 }
