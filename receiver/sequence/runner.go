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
	failure    string                      // guarded by mu: why Own has returned, "" when that is over
	owning     bool                        // guarded by mu: Own is under way
	// forget holds, per partition that was lost or given up, what unhooks the end of
	// its assignment; guarded by mu.
	forget map[int32]func() bool
	said   map[int32]saying // guarded by mu: why partitions were given up
}

// saying is a line of the log, and when it was written.
type saying struct {
	text string
	at   int64
}

// NewRunner returns a runner; [Runner.Run] starts it.
func NewRunner(cfg Config, b Backend) (*Runner, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if b == nil {
		return nil, errors.New("sequence: no backend")
	}
	return &Runner{cfg: cfg, backend: b, partitions: make(map[int32]PartitionSnapshot), forget: make(map[int32]func() bool), said: make(map[int32]saying)}, nil
}

// Run sequences until ctx ends, and returns after all of its partitions have
// stopped. It survives every error of the backend by trying again.
func (r *Runner) Run(ctx context.Context) error {
	wait := r.cfg.Backoff
	for {
		began := r.cfg.Clock.NowNS()
		r.setOwning(true)
		err := r.backend.Own(ctx, r.own)
		r.setOwning(false)
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

func (r *Runner) setOwning(is bool) {
	r.mu.Lock()
	r.owning = is
	r.mu.Unlock()
}

// member reports whether this process is a member of its group, and why not.
// What ended the last membership stands until there is another one.
func (r *Runner) member() (joined bool, failure string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, ok := r.backend.(Membership)
	if !ok || !r.owning {
		return r.owning && r.failure == "", r.failure
	}
	joined, err := m.Membership()
	switch {
	case err != nil:
		return joined, err.Error()
	case joined:
		r.failure = ""
	}
	return joined, r.failure
}

// Snapshot returns what all partitions looked like within the last quarter of a
// second.
func (r *Runner) Snapshot() Snapshot {
	s := Snapshot{HeldBytes: r.cfg.Budget.Used()}
	s.Member, s.Error = r.member()
	r.mu.Lock()
	defer r.mu.Unlock()
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
	r.took(s.Partition())
	err := o.run(ctx)
	if o.p != nil {
		o.p.Close()
	}
	o.state, o.failure, o.failing = StateStopped, "", ""
	if ctx.Err() == nil {
		o.failure = err.Error()
	}
	o.show(true)
	r.until(ctx, s.Partition())
	switch {
	case ctx.Err() != nil:
		return nil
	case errors.Is(err, ErrLost):
		if r.worthSaying(s.Partition(), err) {
			o.log.Warn("partition lost, will rejoin", slog.Any("error", err))
		}
	default:
		if r.worthSaying(s.Partition(), err) {
			o.log.Error("partition given up, will be loaded again", slog.Any("error", err))
		}
		wait := r.cfg.Backoff
		if errors.Is(err, ErrState) || errors.Is(err, ErrOffset) || errors.Is(err, ErrTruncated) || errors.Is(err, ErrAnew) || errors.Is(err, ErrRewritten) {
			wait = r.cfg.BackoffMax // only a person can help
		}
		if r.cfg.Clock.Sleep(ctx, wait) != nil {
			return nil
		}
	}
	return err
}

// worthSaying reports whether the log is to have why a partition was given up: the
// same is said once a minute.
func (r *Runner) worthSaying(part int32, err error) bool {
	now := r.cfg.Clock.NowNS()
	r.mu.Lock()
	defer r.mu.Unlock()
	last, ok := r.said[part]
	if past := now - last.at; ok && past < sayEvery && (last.text == err.Error() || past < sayChange) {
		return false
	}
	r.said[part] = saying{err.Error(), now}
	return true
}

// until shows why a partition stopped for only as long as it is this process's:
// ctx is that of its assignment. Afterwards it is another's to serve.
func (r *Runner) until(ctx context.Context, part int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget[part] = context.AfterFunc(ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if p := r.partitions[part]; p.State == StateStopped {
			p.Error = ""
			r.partitions[part] = p
		}
	})
}

// took ends what until has begun, when the partition is served again.
func (r *Runner) took(part int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if unhook := r.forget[part]; unhook != nil {
		unhook()
		delete(r.forget, part)
	}
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

// sayEvery is how often trouble that goes on is logged again, and at most how
// often when its reason changes.
const (
	sayEvery  = int64(time.Minute)
	sayChange = int64(10 * time.Second)
)

// retry calls f until it succeeds, ctx ends, the partition is lost, or trying
// again cannot help.
func (o *owner) retry(ctx context.Context, what string, f func() error) error {
	wait := o.cfg.Backoff
	var said string
	var saidNS int64
	for {
		err := f()
		if err == nil {
			if o.state == StateRetrying {
				o.state, o.failure, o.failing = o.before, "", ""
				o.log.Info("kafka works again", slog.String("for", what))
			}
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, ErrLost) || errors.Is(err, ErrGone) || errors.Is(err, ErrTruncated) || errors.Is(err, ErrRewritten) {
			return err
		}
		if o.state != StateRetrying {
			o.before, o.state = o.state, StateRetrying
		}
		o.failure, o.failing = fmt.Sprintf("%s: %v", what, err), what
		now := o.cfg.Clock.NowNS()
		if past := now - saidNS; said == "" || past >= sayEvery || said != o.failure && past >= sayChange {
			said, saidNS = o.failure, now
			o.log.Warn("kafka fails, will retry", slog.String("for", what), slog.Any("error", err))
		}
		o.show(true)
		if err := o.cfg.Clock.Sleep(ctx, wait); err != nil {
			return err
		}
		wait = min(2*wait, o.cfg.BackoffMax)
	}
}
