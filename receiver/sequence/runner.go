package sequence

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Runner sequences all partitions that a backend gives to this process. Its
// methods are safe for concurrent use.
type Runner struct {
	cfg     Config
	backend Backend

	mu         sync.Mutex
	partitions map[int32]PartitionSnapshot // guarded by mu
	failure    string                      // guarded by mu: of the membership
}

// NewRunner returns a runner; [Runner.Run] starts it.
func NewRunner(cfg Config, b Backend) (*Runner, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if b == nil {
		return nil, errors.New("sequence: no backend")
	}
	return &Runner{cfg: cfg, backend: b, partitions: make(map[int32]PartitionSnapshot)}, nil
}

// Run sequences until ctx ends, and returns after all of its partitions have
// stopped. It survives every error of the backend by trying again.
func (r *Runner) Run(ctx context.Context) error {
	wait := r.cfg.Backoff
	for {
		began := r.cfg.Clock.NowNS()
		err := r.backend.Own(ctx, r.own)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			err = errors.New("sequence: the backend gave up without an error")
		}
		if r.cfg.Clock.NowNS()-began > int64(r.cfg.BackoffMax) {
			wait = r.cfg.Backoff
		}
		r.cfg.Log.Warn("sequencer is not a member of its group, will rejoin", slog.Any("error", err), slog.Duration("wait", wait))
		r.setFailure(err.Error())
		if r.cfg.Clock.Sleep(ctx, wait) != nil {
			return nil
		}
		wait = min(2*wait, r.cfg.BackoffMax)
	}
}

func (r *Runner) setFailure(s string) {
	r.mu.Lock()
	r.failure = s
	r.mu.Unlock()
}

// Snapshot returns what all partitions looked like within the last quarter of a
// second.
func (r *Runner) Snapshot() Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Snapshot{Error: r.failure, HeldBytes: r.cfg.Budget.Used()}
	for _, p := range r.partitions {
		s.Partitions = append(s.Partitions, p)
	}
	slices.SortFunc(s.Partitions, func(a, b PartitionSnapshot) int { return cmp.Compare(a.Partition, b.Partition) })
	return s
}

func (r *Runner) publish(s PartitionSnapshot) {
	r.mu.Lock()
	r.partitions[s.Partition] = s
	r.mu.Unlock()
}

// own serves one partition until it is lost or ctx ends. It runs in a goroutine
// of the backend.
func (r *Runner) own(ctx context.Context, s Session) error {
	o := &owner{
		cfg: &r.cfg, session: s, publish: r.publish, state: StateLoading,
		log: r.cfg.Log.With(slog.Int("partition", int(s.Partition()))),
	}
	r.setFailure("")
	err := o.run(ctx)
	if o.p != nil {
		o.p.Close()
	}
	o.state, o.failure = StateStopped, ""
	if ctx.Err() == nil {
		o.failure = err.Error()
	}
	o.show(true)
	switch {
	case ctx.Err() != nil:
		return nil
	case errors.Is(err, ErrLost):
		o.log.Warn("partition lost, will rejoin", slog.Any("error", err))
	default:
		o.log.Error("partition given up, will be loaded again", slog.Any("error", err))
		wait := r.cfg.Backoff
		if errors.Is(err, ErrState) || errors.Is(err, ErrOffset) || errors.Is(err, ErrTruncated) {
			wait = r.cfg.BackoffMax // only a person can help
		}
		if r.cfg.Clock.Sleep(ctx, wait) != nil {
			return nil
		}
	}
	return err
}

// States of a partition, as they stand in snapshots.
const (
	StateLoading    = "loading"
	StateRebuilding = "rebuilding"
	StateRunning    = "running"
	StateRetrying   = "retrying"
	StateStopped    = "stopped"
)

// snapshotEvery is how often a partition publishes its snapshot.
const snapshotEvery = int64(250 * time.Millisecond)

// maxQueued is how many decided batches may wait to be written before nothing
// more is fetched: what a hole has held back leaves before more comes.
const maxQueued = 4096

// retry calls f until it succeeds, ctx ends or the partition is lost.
func (o *owner) retry(ctx context.Context, what string, f func() error) error {
	wait := o.cfg.Backoff
	for {
		err := f()
		if err == nil {
			if o.state == StateRetrying {
				o.state, o.failure = o.before, ""
				o.log.Info("kafka works again", slog.String("for", what))
			}
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, ErrLost) || errors.Is(err, ErrGone) {
			return err
		}
		if o.state != StateRetrying {
			o.before, o.state = o.state, StateRetrying
			o.log.Warn("kafka fails, will retry", slog.String("for", what), slog.Any("error", err))
		}
		o.failure = fmt.Sprintf("%s: %v", what, err)
		o.show(true)
		if err := o.cfg.Clock.Sleep(ctx, wait); err != nil {
			return err
		}
		wait = min(2*wait, o.cfg.BackoffMax)
	}
}
