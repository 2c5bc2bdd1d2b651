package benchreceiver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"telemetry/receiver/kafka/kafkapeer"
	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/sealed"
	"telemetry/receiver/topic"
)

// sequence measures MB/s from telemetry.batches to telemetry.samples, format
// batch, from the first commit to the last: joining a group takes seconds.
func (b *bench) sequence(ctx context.Context) error {
	records := 0
	prefix := func(i int) string { return fmt.Sprintf("%s.seq%d", b.Prefix, i) }
	filled := -1
	fill := func(i int) (err error) {
		if filled != i {
			filled = i
			records, err = b.fill(ctx, prefix(i))
		}
		return err
	}
	return b.turns("sequence", func(i int) (float64, error) {
		if err := fill(i); err != nil {
			return 0, err
		}
		return b.sequenceOurs(ctx, prefix(i), records)
	}, func(i int) (float64, error) {
		if err := fill(i); err != nil {
			return 0, err
		}
		return b.sequencePeer(ctx, prefix(i), records)
	})
}

// fill writes the log that both sides read.
func (b *bench) fill(ctx context.Context, prefix string) (records int, err error) {
	c, err := b.open(ctx, prefix)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	p, err := c.NewProducer()
	if err != nil {
		return 0, err
	}
	var mu sync.Mutex
	var failed error
	var lists [][]topic.Record
	for _, car := range carNames() {
		lists = append(lists, noise(car, sequencePer))
	}
	for i := range lists[0] { // the cars send at the same time
		for _, l := range lists {
			r := l[i]
			r.Topic = c.Names().Batches
			records++
			p.Produce(r, func(err error) {
				mu.Lock()
				failed = errors.Join(failed, err)
				mu.Unlock()
			})
		}
	}
	err = p.Close(ctx)
	mu.Lock()
	defer mu.Unlock()
	return records, errors.Join(err, failed)
}

// rate returns MB/s between the first transaction and the last.
func rate(done []kafkapeer.Copied) (float64, error) {
	if len(done) < 2 {
		return 0, errors.New("too few transactions to measure")
	}
	bytes := 0
	first, last := done[0].At, done[0].At
	for _, d := range done[1:] {
		bytes += d.Bytes
		last = d.At
	}
	return float64(bytes) / 1e6 / last.Sub(first).Seconds(), nil
}

// watched notes what every commit of a backend's sessions has written.
type watched struct {
	sequence.Backend
	samples string
	want    int
	stop    func()

	mu   sync.Mutex
	n    int                // guarded by mu
	done []kafkapeer.Copied // guarded by mu
}

// Own implements sequence.Backend.
func (w *watched) Own(ctx context.Context, fn func(ctx context.Context, p sequence.Session) error) error {
	return w.Backend.Own(ctx, func(ctx context.Context, p sequence.Session) error {
		return fn(ctx, &watchedSession{p, w})
	})
}

type watchedSession struct {
	sequence.Session
	w *watched
}

// Commit implements sequence.Session.
func (s *watchedSession) Commit(ctx context.Context, out, state []topic.Record, offset int64) error {
	if err := s.Session.Commit(ctx, out, state, offset); err != nil {
		return err
	}
	c := kafkapeer.Copied{At: time.Now()}
	for i := range out {
		if out[i].Topic == s.w.samples {
			c.Records++
			c.Bytes += len(out[i].Value)
		}
	}
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if c.Records > 0 {
		s.w.done = append(s.w.done, c)
	}
	if s.w.n += c.Records; s.w.n >= s.w.want {
		s.w.stop()
	}
	return nil
}

func (b *bench) sequenceOurs(ctx context.Context, prefix string, records int) (float64, error) {
	c, err := b.open(ctx, prefix)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	cfg := sequence.Defaults()
	cfg.Topics, cfg.Log = c.Names(), b.log
	cfg.NewFormat = func() sequence.Format { return sealed.New() }
	cfg.Budget = sequence.NewBudget(128 << 20)
	run, stop := context.WithTimeout(ctx, 2*time.Minute)
	defer stop()
	w := &watched{Backend: c.Backend(), samples: c.Names().Samples, want: records, stop: stop}
	r, err := sequence.NewRunner(cfg, w)
	if err != nil {
		return 0, err
	}
	if err := r.Run(run); err != nil {
		return 0, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.n != records {
		return 0, fmt.Errorf("%d of %d records came out", w.n, records)
	}
	return rate(w.done)
}

func (b *bench) sequencePeer(ctx context.Context, prefix string, records int) (float64, error) {
	to := prefix + ".copy"
	if err := kafkapeer.CreateTopic(ctx, b.Brokers, to, partitions, 1); err != nil {
		return 0, err
	}
	run, stop := context.WithTimeout(ctx, 2*time.Minute)
	defer stop()
	done, err := kafkapeer.Copy(run, b.Brokers, topic.NewNames(prefix).Batches, to, prefix+"-copy", records)
	if err != nil {
		return 0, err
	}
	return rate(done)
}
