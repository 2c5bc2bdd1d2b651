package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"telemetry/receiver/sequence"
	"telemetry/receiver/topic"
)

// transactional is a session on a real cluster: every commit is one transaction
// of the partition's own transactional id.
//
// The client library commits offsets only for a client that is itself the
// group's member. Here one member serves many partitions, each with a
// transactional client, so the two requests that tie an offset to a transaction
// are made by hand, with the member's id and generation: a member that has
// missed a rebalance is refused by them, and an owner whose id was taken over by
// its successor by every other request.
type transactional struct {
	*session
	member func() (id string, generation int32)
	// confirm is asked before earlier owners are fenced whether this process may do
	// so; nil: it may.
	confirm func(ctx context.Context) error
	v2      bool // KIP-890: a transaction learns of its partitions by itself
	closed  bool
	spoilt  bool // the client keeps an error for good
}

// Limits of a commit. They must be well below a group's rebalance timeout.
const (
	commitLimit  = 20 * time.Second
	abortLimit   = 5 * time.Second
	regroupLimit = 10 * time.Second
	// rebalanceTimeout leaves time for a last commit and its abort. It is also
	// how long a group stands still that waits for a member that has died while
	// it joined.
	rebalanceTimeout = commitLimit + 2*abortLimit
	// transactionTimeout is when the broker gives up a transaction whose owner
	// is gone and has no successor.
	transactionTimeout = 40 * time.Second
)

// maxTxnOffsetCommit is the last version of the request that names topics.
const maxTxnOffsetCommit = 5

func (c *Cluster) openTransactional(part int32, ticks *Producer, member func() (string, int32), v2 bool) (*transactional, error) {
	cl, err := c.transactionalClient(part, v2)
	if err != nil {
		return nil, err
	}
	return &transactional{session: newSession(c, part, cl, ticks), member: member, v2: v2}, nil
}

func (c *Cluster) transactionalClient(part int32, v2 bool) (*kgo.Client, error) {
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(int16(kmsg.TxnOffsetCommit), maxTxnOffsetCommit)
	if !v2 {
		versions.SetMaxKeyVersion(int16(kmsg.TxnOffsetCommit), maxTxnOffsetCommit-1)
	}
	opts := append(c.cfg.producerOpts(),
		kgo.MaxVersions(versions),
		kgo.TransactionalID(topic.TransactionalID(c.cfg.Prefix, c.cfg.Group, part)),
		kgo.TransactionTimeout(c.cfg.txnTimeout),
		kgo.ConcurrentTransactionsBackoff(3*time.Millisecond),
		kgo.ProducerLinger(0),
		c.cfg.compression(),
	)
	return c.newClient(opts...)
}

func (s *transactional) close() {
	if !s.closed {
		s.closed = true
		s.cl.Close()
	}
}

// Load implements sequence.Session.
func (s *transactional) Load(ctx context.Context) (sequence.Loaded, error) {
	if s.confirm != nil {
		if err := s.confirm(ctx); err != nil {
			return sequence.Loaded{}, sessionError(fmt.Sprintf("may this process take partition %d", s.part), err)
		}
	}
	if err := s.fence(ctx); err != nil {
		return sequence.Loaded{}, sessionError(fmt.Sprintf("fence earlier owners of partition %d", s.part), err)
	}
	return s.load(ctx)
}

// fence completes or aborts what an earlier owner has begun, and refuses
// everything that it still sends: InitProducerID. A client that was told no would
// repeat that for ever, so the next try has a new one.
func (s *transactional) fence(ctx context.Context) error {
	if s.spoilt {
		cl, err := s.c.transactionalClient(s.part, s.v2)
		if err != nil {
			return err
		}
		s.cl.Close()
		s.use(cl)
		s.spoilt = false
	}
	ctx, cancel := context.WithTimeout(ctx, listLimit)
	defer cancel()
	_, _, err := s.cl.ProducerID(ctx)
	s.spoilt = err != nil
	return err
}

// Commit implements sequence.Session. It does not heed the end of ctx once it
// has begun, since a transaction that is left in the middle helps nobody, but
// it is bounded.
func (s *transactional) Commit(ctx context.Context, out, state []topic.Record, offset int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(state) == 0 {
		return errNoState
	}
	inner, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitLimit)
	defer cancel()
	if err := s.cl.BeginTransaction(); err != nil {
		return sessionError("begin transaction", err)
	}
	written := s.produce(inner, out, state)
	err := s.flush(inner, written)
	if err == nil {
		err = s.addOffset(ctx, func() error { return s.tryOffset(inner, offset) })
	}
	if err != nil {
		s.abort()
		<-written.done
		return sessionError(fmt.Sprintf("commit of partition %d at %d", s.part, offset), err)
	}
	if err := s.cl.EndTransaction(inner, kgo.TryCommit); err != nil {
		s.abort()
		return sessionError(fmt.Sprintf("end transaction of partition %d at %d", s.part, offset), err)
	}
	return nil
}

// writing is what a transaction has been given.
type writing struct {
	mu   sync.Mutex
	left int           // records without a result; guarded by mu
	err  error         // the first failure; guarded by mu
	done chan struct{} // closed when every record has its result, and none is referred to
}

func (w *writing) end(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
	if w.left--; w.left == 0 {
		close(w.done)
	}
}

// produce begins to write records, of which there must be one at least.
func (s *transactional) produce(ctx context.Context, out, state []topic.Record) *writing {
	w := &writing{left: len(out) + len(state), done: make(chan struct{})}
	for _, list := range [][]topic.Record{out, state} {
		for i := range list {
			s.cl.Produce(ctx, toKafka(&list[i]), func(_ *kgo.Record, err error) { w.end(err) })
		}
	}
	return w
}

// flush waits for the results: ending a transaction does not.
func (s *transactional) flush(ctx context.Context, w *writing) error {
	if err := s.cl.Flush(ctx); err != nil {
		return err
	}
	<-w.done
	return w.err
}

// abort ends a transaction that failed, as far as that is possible; the next
// owner's Load does the rest. Every record has its result soon afterwards: a
// client that cannot drop them is closed, which the session does not outlive.
func (s *transactional) abort() {
	ctx, cancel := context.WithTimeout(bg, abortLimit)
	defer cancel()
	err := s.cl.AbortBufferedRecords(ctx)
	if err != nil {
		s.close()
	} else {
		err = s.cl.EndTransaction(ctx, kgo.TryAbort)
	}
	if err != nil {
		s.c.cfg.Log.Debug("abort failed", "partition", s.part, "error", err)
	}
}

// addOffset commits the group's offset by a request that names the member. While
// the group settles anew, an owner that keeps its partition waits for the new
// generation; ctx ends when it does not keep it.
func (s *transactional) addOffset(ctx context.Context, try func() error) error {
	deadline := time.Now().Add(regroupLimit)
	var pause backoff
	for {
		err := try()
		if err == nil || !isAny(err, regroup) && !retryable(err) || time.Now().After(deadline) || ctx.Err() != nil {
			return err
		}
		if werr := pause.wait(ctx); werr != nil {
			return err
		}
	}
}

func (s *transactional) tryOffset(ctx context.Context, offset int64) error {
	id, epoch, err := s.cl.ProducerID(ctx)
	if err != nil {
		return err
	}
	txn := topic.TransactionalID(s.c.cfg.Prefix, s.c.cfg.Group, s.part)
	if !s.v2 {
		req := kmsg.NewPtrAddOffsetsToTxnRequest()
		req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = txn, id, epoch, s.c.cfg.Group
		resp, err := req.RequestWith(ctx, s.cl)
		if err != nil {
			return err
		}
		if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
			return err
		}
	}
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = txn, id, epoch, s.c.cfg.Group
	req.MemberID, req.Generation = s.member()
	t := kmsg.NewTxnOffsetCommitRequestTopic()
	t.Topic = s.c.names.Batches
	p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset = s.part, offset
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, s.cl)
	if err != nil {
		return err
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return err
			}
		}
	}
	return nil
}

// commitOffset fills and sends the request for the reader's partition.
func commitOffset(ctx context.Context, cl *kgo.Client, req *kmsg.OffsetCommitRequest, r *reader, offset int64) error {
	if err := r.locate(ctx); err != nil { // for the topic's id
		return err
	}
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic, t.TopicID = r.topic, r.id
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset = r.part, offset
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return err
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return err
			}
		}
	}
	return nil
}

// transactionsV2 reports whether the cluster runs transactions of version 2, in
// which produce and offset requests add their partitions by themselves.
func transactionsV2(ctx context.Context, adm *kadm.Client) (bool, error) {
	versions, err := adm.ApiVersions(ctx)
	if err != nil {
		return false, fmt.Errorf("kafka: versions of the brokers: %w", err)
	}
	if len(versions) == 0 {
		return false, errors.New("kafka: no broker tells its version")
	}
	for _, v := range versions {
		if v.Err != nil {
			return false, fmt.Errorf("kafka: version of broker %d: %w", v.NodeID, v.Err)
		}
		if !hasV2(v.Raw()) {
			return false, nil
		}
	}
	return true, nil
}

func hasV2(resp *kmsg.ApiVersionsResponse) bool {
	for _, f := range resp.FinalizedFeatures {
		if f.Name == "transaction.version" {
			return f.MaxVersionLevel >= 2
		}
	}
	return false
}
