package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"telemetry/receiver/sequence"
)

// Backend hands out the partitions of telemetry.batches. It implements
// sequence.Backend and sequence.Membership.
type Backend struct {
	c *Cluster

	mu      sync.Mutex
	joined  bool  // guarded by mu
	trouble error // guarded by mu; why not, or why perhaps not any more
}

var (
	_ sequence.Backend    = (*Backend)(nil)
	_ sequence.Membership = (*Backend)(nil)
)

// Backend returns the sequencer's side of the cluster. Each call of Own makes one
// member of the group.
func (c *Cluster) Backend() *Backend { return &Backend{c: c} }

// Membership implements sequence.Membership.
func (b *Backend) Membership() (joined bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.joined, b.trouble
}

func (b *Backend) membership(joined bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.joined, b.trouble = joined, err
}

// ownFunc is what the sequencer runs for a partition.
type ownFunc func(ctx context.Context, p sequence.Session) error

// closableSession is a session with connections of its own.
type closableSession interface {
	sequence.Session
	close()
}

// Own implements sequence.Backend.
func (b *Backend) Own(ctx context.Context, fn func(ctx context.Context, p sequence.Session) error) error {
	ticks, err := b.c.NewProducer()
	if err != nil {
		return err
	}
	defer func() { ticks.client().Close() }()
	b.membership(false, nil)
	defer b.membership(false, nil)
	if b.c.server != nil {
		return b.ownAll(ctx, ticks, fn)
	}
	return b.ownAssigned(ctx, ticks, fn)
}

// ownAll runs every partition: nobody else has the embedded broker.
func (b *Backend) ownAll(ctx context.Context, ticks *Producer, fn ownFunc) error {
	o := owners{c: b.c, fn: fn, running: map[int32]*owner{}, open: func(_ context.Context, part int32) (closableSession, error) {
		return b.c.openLocal(part, ticks)
	}}
	for part := range b.c.partitions {
		o.start(ctx, part)
	}
	b.membership(true, nil)
	<-ctx.Done()
	o.stopAll()
	return nil
}

// ownAssigned is a member of the group until ctx ends. The member itself fetches
// nothing: each partition's session reads for itself.
func (b *Backend) ownAssigned(ctx context.Context, ticks *Producer, fn ownFunc) error {
	v2, err := transactionsV2(ctx, b.c.adm)
	if err != nil {
		return err
	}
	var member *kgo.Client
	o := owners{c: b.c, fn: fn, running: map[int32]*owner{}, open: func(_ context.Context, part int32) (closableSession, error) {
		s, err := b.c.openTransactional(part, ticks, member.GroupMetadata, v2)
		if err != nil {
			return nil, err
		}
		s.confirm = func(ctx context.Context) error { return confirm(ctx, member, b.c.cfg.Group) }
		return s, nil
	}}
	ready := make(chan struct{})
	assigned := func(_ context.Context, _ *kgo.Client, got map[string][]int32) {
		<-ready
		b.membership(true, nil) // also with no partition: there may be more members than partitions
		for _, part := range got[b.c.names.Batches] {
			o.start(ctx, part)
		}
	}
	revoked := func(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
		<-ready
		o.stop(gone[b.c.names.Batches])
	}
	member, err = b.c.newClient(
		kgo.ConsumerGroup(b.c.cfg.Group), kgo.ConsumeTopics(b.c.names.Batches),
		kgo.Balancers(kgo.CooperativeStickyBalancer()), kgo.DisableAutoCommit(),
		kgo.SessionTimeout(b.c.cfg.SessionTimeout), kgo.HeartbeatInterval(b.c.cfg.SessionTimeout/5),
		kgo.RebalanceTimeout(rebalanceTimeout),
		kgo.OnPartitionsAssigned(assigned), kgo.OnPartitionsRevoked(revoked), kgo.OnPartitionsLost(revoked),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
	)
	if err != nil {
		return err
	}
	member.PauseFetchTopics(b.c.names.Batches)
	close(ready)
	err = b.watch(ctx, member)
	o.stopAll()
	member.Close() // leaves the group
	return err
}

// confirm asks the group whether this process still is a member of it. One that
// has been frozen for long, and was dropped, learns so here; a new session of its
// would fence the rightful owner's.
func confirm(ctx context.Context, member *kgo.Client, group string) error {
	ctx, cancel := context.WithTimeout(ctx, listLimit)
	defer cancel()
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group = group
	req.MemberID, req.Generation = member.GroupMetadata()
	resp, err := req.RequestWith(ctx, member)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil && !errors.Is(err, kerr.RebalanceInProgress) {
		return fmt.Errorf("is this a member of group %s: %w", group, err)
	}
	return nil
}

// sayAgainAfter is when a member's trouble is logged once more.
const sayAgainAfter = 10 * time.Second

// watch waits for the end, and logs what the member suffers; it goes on by
// itself, whatever happens to the cluster.
func (b *Backend) watch(ctx context.Context, member *kgo.Client) error {
	var said string
	var saidAt time.Time
	for ctx.Err() == nil {
		var fatal error
		member.PollFetches(ctx).EachError(func(_ string, _ int32, err error) {
			if errors.Is(err, context.Canceled) {
				return
			}
			err = fmt.Errorf("kafka: member of group %s: %w", b.c.cfg.Group, withRemedy(err))
			if errors.Is(err, kgo.ErrClientClosed) || errors.Is(err, kerr.GroupAuthorizationFailed) || errors.Is(err, kerr.InvalidSessionTimeout) {
				fatal = err
				return
			}
			var left *kgo.ErrGroupSession
			if errors.As(err, &left) {
				b.membership(false, err) // until it has joined again
			}
			if err.Error() == said && time.Since(saidAt) < sayAgainAfter {
				return
			}
			said, saidAt = err.Error(), time.Now()
			b.c.cfg.Log.Warn("group member", "error", err)
		})
		if fatal != nil {
			return fatal
		}
	}
	return nil
}

// owners runs one goroutine per partition that is owned.
type owners struct {
	c    *Cluster
	fn   ownFunc
	open func(ctx context.Context, part int32) (closableSession, error)

	mu      sync.Mutex
	running map[int32]*owner // guarded by mu
}

type owner struct {
	cancel context.CancelFunc
	done   chan struct{} // closed when the goroutine has ended
}

// start begins to own a partition; owning it already changes nothing.
func (o *owners) start(ctx context.Context, part int32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.running[part] != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &owner{cancel: cancel, done: make(chan struct{})}
	o.running[part] = w
	go func() { // owned by owners; ends with its context, waited for by stop
		defer close(w.done)
		o.run(ctx, part)
	}()
}

// run makes sessions until the partition is not owned any more.
func (o *owners) run(ctx context.Context, part int32) {
	var pause backoff
	var said time.Time
	for ctx.Err() == nil {
		began := time.Now()
		err := o.once(ctx, part)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > sayAgainAfter {
			pause.reset()
		}
		if time.Since(said) > sayAgainAfter {
			said = time.Now()
			o.c.cfg.Log.Warn("partition's session ended, making a new one", "partition", part, "error", err)
		}
		if pause.wait(ctx) != nil {
			return
		}
	}
}

func (o *owners) once(ctx context.Context, part int32) error {
	s, err := o.open(ctx, part)
	if err != nil {
		return err
	}
	defer s.close()
	return o.fn(ctx, s)
}

// stop gives partitions up, and returns when nobody works on them any more.
func (o *owners) stop(parts []int32) {
	var ended []*owner
	o.mu.Lock()
	for _, part := range parts {
		if w := o.running[part]; w != nil {
			w.cancel()
			ended = append(ended, w)
			delete(o.running, part)
		}
	}
	o.mu.Unlock()
	for _, w := range ended {
		<-w.done
	}
}

func (o *owners) stopAll() {
	o.mu.Lock()
	parts := make([]int32, 0, len(o.running))
	for part := range o.running {
		parts = append(parts, part)
	}
	o.mu.Unlock()
	o.stop(parts)
}
