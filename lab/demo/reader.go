package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"telemetry/receiver/kafka"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// Reader follows the output topics as any consumer would, while the demo runs,
// so that the tally is at hand when it ends. It is safe for concurrent use.
type Reader struct {
	cluster *kafka.Cluster
	names   topic.Names

	mu      sync.Mutex
	at      map[string]map[int32]int64 // guarded by mu: next offset by topic
	tally   *Tally                     // guarded by mu
	checker *Checker                   // guarded by mu
	read    Read                       // guarded by mu, but for what is in tally and checker
}

// Read is what a Reader has seen.
type Read struct {
	Critical, Full LaneTally
	Gaps           int64     // batches of critical and full that are reported lost
	GapReason      string    // of the last one
	DeadLetters    uint64    // records that could not be used
	FirstAt        time.Time // of the first sample; zero: none yet
	NewestBootNS   int64     // event time of the newest sample
	Checked, Wrong uint64    // values compared with the simulation
	Fault          string    // the first thing that should not be, in words
	Retries        uint64    // of following a topic
	RetryError     string    // why, the last time
}

// OpenReader connects to the cluster that the receiver uses.
func OpenReader(ctx context.Context, brokers []string, checker *Checker, log *slog.Logger) (*Reader, error) {
	c, err := kafka.Open(ctx, kafka.Config{Brokers: brokers, AllowWeak: true, Log: log})
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	return &Reader{cluster: c, names: c.Names(), at: map[string]map[int32]int64{}, tally: NewTally(), checker: checker}, nil
}

// Close ends the connection; Run must have returned.
func (r *Reader) Close() error { return r.cluster.Close() }

// Run reads until ctx ends.
func (r *Reader) Run(ctx context.Context) error {
	topics := map[string]func(topic.Record){
		r.names.Samples: r.sample, r.names.Events: r.sample, r.names.Late: r.sample,
		r.names.Gaps: r.gap, r.names.DeadLetter: r.deadLetter,
	}
	for name := range topics {
		ends, err := r.cluster.EndOffsets(ctx, name)
		if err != nil {
			return fmt.Errorf("demo: %w", err)
		}
		from := map[int32]int64{}
		for p := range ends {
			from[p] = 0
		}
		r.mu.Lock()
		r.at[name] = from
		r.mu.Unlock()
	}
	var wg sync.WaitGroup
	for name, take := range topics {
		wg.Go(func() { r.follow(ctx, name, take) }) // ends with ctx
	}
	wg.Wait()
	return nil
}

// retryAfter is the pause after a topic could not be followed any more.
const retryAfter = 200 * time.Millisecond

func (r *Reader) follow(ctx context.Context, name string, take func(topic.Record)) {
	for {
		r.mu.Lock()
		from := maps.Clone(r.at[name])
		r.mu.Unlock()
		err := r.cluster.Follow(ctx, name, from, func(rec topic.Record) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			if rec.Offset < r.at[name][rec.Partition] {
				return nil // read before a retry
			}
			take(rec)
			r.at[name][rec.Partition] = rec.Offset + 1
			return nil
		})
		if ctx.Err() != nil {
			return
		}
		r.mu.Lock()
		r.read.Retries++
		r.read.RetryError = fmt.Sprint(err)
		r.mu.Unlock()
		t := time.NewTimer(retryAfter)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

// sample takes one record of samples, events or late; mu is held.
func (r *Reader) sample(rec topic.Record) {
	id, place, err := identityOf(&rec)
	if err != nil {
		r.fault(err)
		return
	}
	if id.Stream.Lane == wire.LaneLive {
		return // a preview: it may be superseded, and nobody counts it
	}
	rw, err := parseRow(rec.Value)
	if err != nil {
		r.fault(fmt.Errorf("%s %s: %w", id, place, err))
		return
	}
	fresh, err := r.tally.Add(id, place, rw.samples(), rec.Topic == r.names.Late)
	if err != nil {
		r.fault(err)
		return
	}
	if !fresh {
		r.fault(fmt.Errorf("demo: %s %s is there twice", id, place))
		return
	}
	if r.read.FirstAt.IsZero() {
		r.read.FirstAt = time.Now()
	}
	r.read.NewestBootNS = max(r.read.NewestBootNS, rw.bootNS)
	r.checker.Check(&rw)
}

// gap takes one record about numbers that are missing; mu is held.
func (r *Reader) gap(rec topic.Record) {
	var g struct {
		Lane   string `json:"lane"`
		Count  int64  `json:"count"`
		Change string `json:"change"`
	}
	if err := json.Unmarshal(rec.Value, &g); err != nil {
		r.fault(fmt.Errorf("demo: record of %s: %w", rec.Topic, err))
		return
	}
	if g.Lane == wire.LaneLive.String() {
		return // superseded previews are no loss
	}
	switch g.Change {
	case "settled":
		r.read.Gaps += g.Count
		r.read.GapReason, _ = rec.Get(topic.HeaderReason)
	case "withdrawn":
		r.read.Gaps -= g.Count
	}
}

func (r *Reader) deadLetter(rec topic.Record) {
	r.read.DeadLetters++
	reason, _ := rec.Get(topic.HeaderReason)
	r.fault(fmt.Errorf("demo: a record could not be used: %s", reason))
}

func (r *Reader) fault(err error) {
	if r.read.Fault == "" {
		r.read.Fault = err.Error()
	}
}

// Snapshot returns what was seen so far.
func (r *Reader) Snapshot() Read {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.read
	s.Critical, s.Full = r.tally.Lane(wire.LaneCritical), r.tally.Lane(wire.LaneFull)
	s.Checked, s.Wrong = r.checker.Checked, r.checker.Wrong
	if s.Fault == "" {
		s.Fault = r.checker.First
	}
	return s
}

// Final is Snapshot when nothing more will be read.
func (r *Reader) Final() Read {
	r.mu.Lock()
	r.checker.End()
	r.mu.Unlock()
	return r.Snapshot()
}

// Open returns how many batches are there only in part.
func (r *Reader) Open() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tally.Open()
}

// AtEnd reports whether everything that the output topics hold now was read.
func (r *Reader) AtEnd(ctx context.Context) (bool, error) {
	for _, name := range []string{r.names.Samples, r.names.Events, r.names.Late} {
		ends, err := r.cluster.EndOffsets(ctx, name)
		if err != nil {
			return false, fmt.Errorf("demo: %w", err)
		}
		r.mu.Lock()
		at := maps.Clone(r.at[name])
		r.mu.Unlock()
		for p, end := range ends {
			if at[p] < end {
				return false, nil
			}
		}
	}
	return true, nil
}
