package sequence_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/sequencetest"
)

// emptyBackend is a member without a partition, after it has failed to be one.
type emptyBackend struct {
	mu       sync.Mutex
	failures int
	joined   bool
	trouble  error
}

func (b *emptyBackend) set(joined bool, err error) {
	b.mu.Lock()
	b.joined, b.trouble = joined, err
	b.mu.Unlock()
}

func (b *emptyBackend) Membership() (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.joined, b.trouble
}

func (b *emptyBackend) Own(ctx context.Context, _ func(context.Context, sequence.Session) error) error {
	if b.failures > 0 {
		b.failures--
		return errors.New("no group")
	}
	time.Sleep(time.Minute) // it joins
	b.set(true, nil)
	<-ctx.Done()
	return nil
}

// An instance that rejoins and is given no partition is well: there may be more
// instances than partitions.
func TestAMemberWithoutPartitionsIsWell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &emptyBackend{failures: 1}
		cfg := config()
		cfg.Clock = sequence.NewSystemClock()
		r, err := sequence.NewRunner(cfg, b)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		time.Sleep(30 * time.Second)
		if s := r.Snapshot(); s.Member || s.Error != "no group" {
			t.Errorf("while it joins: %+v, want what ended the last membership", s)
		}
		time.Sleep(time.Minute)
		if s := r.Snapshot(); !s.Member || s.Error != "" {
			t.Errorf("without a partition: %+v", s)
		}
		b.set(false, errors.New("coordinator is away"))
		if s := r.Snapshot(); s.Member || s.Error != "coordinator is away" {
			t.Errorf("while it has trouble: %+v", s)
		}
		b.set(true, nil)
		if s := r.Snapshot(); !s.Member || s.Error != "" {
			t.Errorf("afterwards: %+v", s)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// movingBackend gives one partition, and after it was lost moves it elsewhere.
type movingBackend struct {
	*sequencetest.Kafka
	moved chan struct{}
}

func (b *movingBackend) Own(ctx context.Context, fn func(context.Context, sequence.Session) error) error {
	mine, revoke := context.WithCancel(ctx)
	defer revoke()
	go func() { <-b.moved; revoke() }()
	for mine.Err() == nil {
		_ = fn(mine, b.Session(0))
		time.Sleep(time.Second) // as real backends pause
	}
	<-ctx.Done()
	return nil
}

// A frozen owner that wakes is fenced before it learns that its partition is
// another's: once it knows, nothing is wrong with it.
func TestALostPartitionIsNoFailureOnceItIsAnothers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &movingBackend{sequencetest.New(1, true), make(chan struct{})}
		b.AddCatalogue(sequencetest.Catalogue("car-1"))
		cfg := config()
		cfg.Clock = sequence.NewSystemClock()
		var lost, given atomic.Bool
		b.Fault = func(op string) error {
			if op == "load" && lost.Load() {
				return fmt.Errorf("not a member: %w", sequence.ErrLost)
			}
			if op == "commit" && given.Load() {
				lost.Store(true)
				return sequence.ErrLost
			}
			return nil
		}
		r, err := sequence.NewRunner(cfg, b)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		state := func() sequence.PartitionSnapshot {
			if s := r.Snapshot(); len(s.Partitions) == 1 {
				return s.Partitions[0]
			}
			return sequence.PartitionSnapshot{}
		}
		until(t, "running", func() bool { return state().State == sequence.StateRunning })
		given.Store(true)
		c := sequencetest.NewCar("car-1", 1, 1)
		b.Append(c.Open(), c.Anchor(1, 0, utc, ms), c.Full(0, 3))
		until(t, "lost", func() bool { return state().State == sequence.StateStopped && strings.Contains(state().Error, "lost") })
		close(b.moved)
		synctest.Wait()
		if s := state(); s.State != sequence.StateStopped || s.Error != "" {
			t.Errorf("the partition is another's: %s, %q", s.State, s.Error)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// What a fetch finds to be missing makes another load, not a standstill.
func TestATruncatedPartitionIsLoadedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := sequencetest.New(1, true)
		k.AddCatalogue(sequencetest.Catalogue("car-1"))
		var loads, fetches int
		k.Fault = func(op string) error {
			switch op {
			case "load":
				loads++
			case "fetch":
				if fetches++; fetches > 3 && loads < 3 {
					return fmt.Errorf("%w: by a leader of yesterday", sequence.ErrTruncated)
				}
			}
			return nil
		}
		r, stop := start(t, k, config())
		defer stop()
		until(t, "the reason is shown", func() bool {
			s := r.Snapshot()
			return len(s.Partitions) == 1 && s.Partitions[0].State == sequence.StateStopped && strings.Contains(s.Partitions[0].Error, "yesterday")
		})
		c := sequencetest.NewCar("car-1", 1, 1)
		k.Append(c.Open(), c.Anchor(1, 0, utc, ms), c.Full(0, 3))
		until(t, "rows", func() bool { return len(k.Output(k.Names.Samples)) == 3 })
		if loads != 3 {
			t.Errorf("%d loads, want 3", loads)
		}
	})
}

// The log names trouble that goes on once a minute, and a new reason soon.
func TestTroubleIsLoggedWithMeasure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := sequencetest.New(1, true)
		var why atomic.Value
		why.Store("no leader")
		k.Fault = func(op string) error {
			if op == "load" {
				return errors.New(why.Load().(string))
			}
			return nil
		}
		said := &lines{}
		cfg := config()
		cfg.Log = slog.New(said)
		_, stop := start(t, k, cfg)
		defer stop()
		time.Sleep(5 * time.Minute)
		if n := said.count("no leader"); n < 5 || n > 7 {
			t.Errorf("%d lines in five minutes, want one a minute", n)
		}
		why.Store("not authorised")
		time.Sleep(15 * time.Second)
		if n := said.count("not authorised"); n != 1 {
			t.Errorf("%d lines of the new reason", n)
		}
	})
}

// lines is a log that a test counts in.
type lines struct {
	slog.Handler
	mu  sync.Mutex
	all []string
}

func (l *lines) Enabled(context.Context, slog.Level) bool { return true }
func (l *lines) WithAttrs([]slog.Attr) slog.Handler       { return l }

func (l *lines) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
	l.mu.Lock()
	l.all = append(l.all, text)
	l.mu.Unlock()
	return nil
}

func (l *lines) count(word string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.all {
		if strings.Contains(s, word) {
			n++
		}
	}
	return n
}
