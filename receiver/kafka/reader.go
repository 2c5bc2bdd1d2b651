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
	dirty bool  // records of open and aborted transactions are read too

	leader     int32 // -1: not known
	id         [16]byte
	partitions int32
	limit      time.Duration // of list, and of readTo without progress
	watch      *watch        // tells whoever waits; nil: nobody does
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
	// errAnew: the position is one of another topic that had the same name.
	errAnew = errors.New("kafka: the topic has been deleted and made anew")
	// errBeyond: the position is after the end: records have vanished.
	errBeyond = errors.New("kafka: offset is beyond the partition's end (has the topic been made anew, or has an unclean leader been elected?)")
)

func newReader(cl *kgo.Client, name string, part int32, pos int64) *reader {
	return &reader{cl: cl, topic: name, part: part, pos: pos, leader: -1, limit: listLimit}
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
		if r.id != [16]byte{} && r.id != t.TopicID {
			return fmt.Errorf("%w: %s/%d at %d", errAnew, r.topic, r.part, r.pos)
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

// find is locate as a question of its own, see [watch].
func (r *reader) find(ctx context.Context) error {
	r.watch.begin()
	err := r.locate(ctx)
	r.watch.end(err)
	return err
}

// fetch reads from the position on, waits at most that long for something, and
// moves the position behind what it returns. It returns errGone and errBeyond
// with the range of offsets in the chunk, errAnew, and other errors, which mean
// "try again".
func (r *reader) fetch(ctx context.Context, wait time.Duration, maxBytes int32) (chunk, error) {
	if err := r.locate(ctx); err != nil {
		return chunk{}, err
	}
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis = int32(wait.Milliseconds())
	req.MinBytes = 1
	req.MaxBytes = maxBytes
	req.IsolationLevel = 1
	isolation := kgo.ReadCommitted()
	if r.dirty {
		req.IsolationLevel, isolation = 0, kgo.ReadUncommitted()
	}
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
				return r.take(ctx, p, isolation)
			}
		}
	}
	r.leader = -1
	return chunk{}, fmt.Errorf("kafka: fetch %s/%d at %d: the broker's answer lacks the partition", r.topic, r.part, r.pos)
}

func (r *reader) take(ctx context.Context, p *kmsg.FetchResponseTopicPartition, isolation kgo.IsolationLevel) (chunk, error) {
	err := kerr.ErrorForCode(p.ErrorCode)
	if errors.Is(err, kerr.OffsetOutOfRange) {
		return r.outOfRange(ctx)
	}
	if err != nil {
		r.leader = -1
		return chunk{}, fmt.Errorf("kafka: fetch %s/%d at %d: %w", r.topic, r.part, r.pos, err)
	}
	fp, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
		Offset: r.pos, IsolationLevel: isolation, Topic: r.topic, Partition: r.part,
	}, p, kgo.DefaultDecompressor(), nil)
	if fp.Err != nil {
		return chunk{}, fmt.Errorf("kafka: fetch %s/%d at %d: %w", r.topic, r.part, r.pos, fp.Err)
	}
	r.pos = max(r.pos, next)
	end := p.HighWatermark
	if p.LastStableOffset >= 0 && !r.dirty {
		end = min(end, p.LastStableOffset)
	}
	return chunk{recs: fp.Records, start: p.LogStartOffset, end: end}, nil
}

// outOfRange says on which side of what exists the position lies. Inside, the
// broker that has answered was wrong for a moment, as after an election.
func (r *reader) outOfRange(ctx context.Context) (chunk, error) {
	r.leader = -1
	start, err := r.list(ctx, listStart)
	if err != nil {
		return chunk{}, err
	}
	end, err := r.list(ctx, listHigh)
	if err != nil {
		return chunk{}, err
	}
	err = fmt.Errorf("kafka: fetch refused, though there are such offsets: %w", kerr.OffsetOutOfRange)
	switch {
	case r.pos < start:
		err = errGone
	case r.pos > end:
		err = errBeyond
	}
	return chunk{start: start, end: end}, fmt.Errorf("%w: %s/%d at %d, there is %d to %d", err, r.topic, r.part, r.pos, start, end)
}

// What list asks for.
const (
	listEnd   = -1 // the offset after the last committed record
	listStart = -2 // the first one that exists
	listHigh  = -3 // the offset after the last record, committed or not
)

// list returns an offset. It tries for a while: a new leader does not know the
// end at once.
func (r *reader) list(ctx context.Context, what int64) (at int64, err error) {
	r.watch.begin()
	err = persist(ctx, r.limit, func(ctx context.Context) error {
		at, err = r.listOnce(ctx, what)
		return err
	})
	r.watch.end(err)
	if err != nil {
		return 0, fmt.Errorf("kafka: list offsets of %s/%d: %w", r.topic, r.part, withRemedy(err))
	}
	return at, nil
}

// listLimit bounds how long requests are repeated before their error is told.
const listLimit = 10 * time.Second

// persist calls f until it succeeds, fails in a way that time does not mend, or
// limit has passed; then it returns why.
func persist(ctx context.Context, limit time.Duration, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var pause backoff
	var why error
	for {
		err := f(ctx)
		if err == nil {
			return nil
		}
		if why == nil || ctx.Err() == nil { // the end of the patience explains nothing
			why = err
		}
		if !retryable(err) || pause.wait(ctx) != nil {
			return why
		}
	}
}

func (r *reader) listOnce(ctx context.Context, what int64) (int64, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.IsolationLevel = 1
	if what == listHigh {
		req.IsolationLevel, what = 0, listEnd
	}
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
// and moves the position there. It returns why when nothing has come for a while,
// or when time does not mend it: the caller shows that, and tries again.
func (r *reader) readTo(ctx context.Context, end int64, fn func(*kgo.Record) error) error {
	var pause backoff
	question := asking{w: r.watch}
	defer func() { question.over(errGone) }() // not answered
	moved := time.Now()
	for r.pos < end {
		question.ask()
		before := r.pos
		c, err := r.fetch(ctx, 100*time.Millisecond, maxFetchBytes)
		if errors.Is(err, errGone) && c.start > r.pos {
			r.pos, err = c.start, nil
		}
		if err == nil && r.pos == before {
			err = fmt.Errorf("kafka: fetch %s/%d at %d: the broker answers with nothing, and the end is %d", r.topic, r.part, r.pos, end)
		}
		if err != nil {
			if final(err) || time.Since(moved) > r.limit || pause.wait(ctx) != nil {
				return withRemedy(err)
			}
			continue
		}
		question.over(nil)
		moved = time.Now()
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

// final reports whether an error of fetch stays as it is until a person acts.
func final(err error) bool {
	var ke *kerr.Error
	return errors.Is(err, errBeyond) || errors.Is(err, errAnew) || errors.As(err, &ke) && !ke.Retriable && !errors.Is(err, kerr.OffsetOutOfRange)
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
