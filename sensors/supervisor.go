package sensors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"telemetry/wire"
)

// Backoff between two runs of a failing source: it doubles from MinBackoff to
// MaxBackoff, and each wait is drawn from its upper half. A run that lasted
// MaxBackoff begins anew at MinBackoff.
const (
	MinBackoff = 200 * time.Millisecond
	MaxBackoff = 30 * time.Second
)

// State is where a supervised source stands.
type State string

// States.
const (
	StateIdle    State = "idle"    // Run of the supervisor has not begun
	StateRunning State = "running" // its Run is under way
	StateWaiting State = "waiting" // it failed and waits to be run again
	StateDone    State = "done"    // it was at its end
	StateStopped State = "stopped" // the agent is stopping
)

// Status is what a [Supervisor] knows of one source.
type Status struct {
	Name      string
	State     State
	Restarts  uint64 // runs after the first
	Failures  uint64 // runs that ended in an error or a panic
	LastError string // of the latest failure; stays after it recovered
	Rows      uint64 // rows that the sink took
	Values    uint64 // values in them, absent ones included
	Refused   uint64 // rows that were not as the source's groups say: dropped, the run failed
	Events    uint64
	Counters  []Counter // of a source with Health
}

// SupervisorConfig configures a [Supervisor]. The zero value is ready to use.
type SupervisorConfig struct {
	Log    *slog.Logger   // nil: nothing is logged
	Jitter func() float64 // in [0, 1); nil: random
}

// Supervisor runs sources, each on its own. Add is called before Run; Status may
// be called at any time.
type Supervisor struct {
	log    *slog.Logger
	jitter func() float64
	tasks  []*task
}

// NewSupervisor returns a supervisor without sources. It starts nothing.
func NewSupervisor(cfg SupervisorConfig) *Supervisor {
	s := &Supervisor{log: cfg.Log, jitter: cfg.Jitter}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.jitter == nil {
		s.jitter = rand.Float64
	}
	return s
}

// Add registers a source under a name, which must be new, and the sink for its
// rows.
func (s *Supervisor) Add(name string, src Source, out Sink) error {
	for _, t := range s.tasks {
		if t.status.Name == name {
			return fmt.Errorf("sensors: source %q is there twice", name)
		}
	}
	s.tasks = append(s.tasks, &task{
		source: src, sink: out, groups: src.Groups(),
		log: s.log.With("source", name), jitter: s.jitter,
		status: Status{Name: name, State: StateIdle},
	})
	return nil
}

// Run runs all sources until each is at its end or ctx ends, and returns after
// the last of them has returned. A failing source is not an error of Run.
func (s *Supervisor) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, t := range s.tasks {
		wg.Go(func() { t.keep(ctx) }) // ends with ctx or at the source's end
	}
	wg.Wait()
	return nil
}

// Status returns a copy of what is known of each source, in the order of Add.
func (s *Supervisor) Status() []Status {
	out := make([]Status, len(s.tasks))
	for i, t := range s.tasks {
		t.mu.Lock()
		out[i] = t.status
		t.mu.Unlock()
		if h, ok := t.source.(Health); ok {
			out[i].Counters = h.Counters()
		}
	}
	return out
}

// task is one source under supervision. It is the sink that the source sees, so
// that rows are checked and counted.
type task struct {
	source Source
	sink   Sink
	groups []wire.Group
	log    *slog.Logger
	jitter func() float64

	mu     sync.Mutex
	status Status // guarded by mu
	refuse error  // guarded by mu: the sink's own error, which ends the source
}

// keep runs the source again and again.
func (t *task) keep(ctx context.Context) {
	backoff := MinBackoff
	for run := 0; ; run++ {
		t.update(func(s *Status) {
			s.State = StateRunning
			if run > 0 {
				s.Restarts++
			}
		})
		begun := time.Now()
		err := t.once(ctx)
		if t.settled(ctx, err) {
			return
		}
		if time.Since(begun) >= MaxBackoff {
			backoff = MinBackoff
		}
		wait := backoff/2 + time.Duration(t.jitter()*float64(backoff/2))
		t.log.Warn("source failed", "error", err, "retry_ms", wait.Milliseconds(), "ran_ms", time.Since(begun).Milliseconds())
		t.update(func(s *Status) {
			s.State, s.LastError = StateWaiting, err.Error()
			s.Failures++
		})
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			t.update(func(s *Status) { s.State = StateStopped })
			return
		case <-timer.C:
		}
		backoff = min(2*backoff, MaxBackoff)
	}
}

// settled reports whether the source need not be run again, and notes why.
func (t *task) settled(ctx context.Context, err error) bool {
	t.mu.Lock()
	refused := t.refuse
	t.mu.Unlock()
	switch {
	case ctx.Err() != nil || refused != nil:
		t.update(func(s *Status) { s.State = StateStopped })
		t.log.Info("source stopped")
	case err == nil:
		t.update(func(s *Status) { s.State = StateDone })
		t.log.Info("source done")
	default:
		return false
	}
	return true
}

// once runs the source and turns a panic into an error.
func (t *task) once(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("sensors: source panicked: %v", p)
			t.log.Error("source panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
	}()
	return t.source.Run(ctx, t)
}

func (t *task) update(fn func(*Status)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fn(&t.status)
}

// Append checks rows, hands them on and counts them.
func (t *task) Append(r Rows) error {
	if err := r.Check(t.groups); err != nil {
		t.update(func(s *Status) { s.Refused += uint64(len(r.Ticks)) })
		return err
	}
	if err := t.sink.Append(r); err != nil {
		return t.refused(err)
	}
	t.update(func(s *Status) {
		s.Rows += uint64(len(r.Ticks))
		s.Values += uint64(len(r.Values))
	})
	return nil
}

// Event hands an event on and counts it.
func (t *task) Event(e wire.Event) error {
	if err := t.sink.Event(e); err != nil {
		return t.refused(err)
	}
	t.update(func(s *Status) { s.Events++ })
	return nil
}

// Anchor hands a time anchor on, if the sink takes them.
func (t *task) Anchor(a wire.Anchor) error {
	if to, ok := t.sink.(AnchorSink); ok {
		if err := to.Anchor(a); err != nil {
			return t.refused(err)
		}
	}
	return nil
}

// errStopping wraps what a sink fails with, which it does only when the agent
// is stopping.
var errStopping = errors.New("sensors: agent is stopping")

func (t *task) refused(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refuse = fmt.Errorf("%w: %w", errStopping, err)
	return t.refuse
}
