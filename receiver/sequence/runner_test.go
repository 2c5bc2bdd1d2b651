package sequence_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/sequencetest"
	"telemetry/receiver/topic"
	"telemetry/reorder"
	"telemetry/wire"
)

// start runs a runner in the bubble; stop ends it and waits.
func start(t *testing.T, k *sequencetest.Kafka, cfg sequence.Config) (r *sequence.Runner, stop func()) {
	t.Helper()
	cfg.Clock = sequence.NewSystemClock()
	r, err := sequence.NewRunner(cfg, k)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	return r, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

// until lets virtual time pass until f holds.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for range 100_000 {
		synctest.Wait()
		if f() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}

// drained reports whether everything of a partition is committed.
func drained(k *sequencetest.Kafka, n int32) bool {
	offset, end := k.Committed(n)
	return offset == end
}

func TestRunnerCommitsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := sequencetest.New(1, true)
		k.AddCatalogue(sequencetest.Catalogue("car-1"))
		r, stop := start(t, k, config())
		defer stop()
		time.Sleep(3 * time.Second)
		if commits, _ := k.Counts(0); commits != 0 {
			t.Errorf("%d commits with nothing to say", commits)
		}
		c := sequencetest.NewCar("car-1", 1, 1)
		began := time.Now()
		k.Append(c.Open(), c.Anchor(1, 0, utc, ms), c.Full(0, 3))
		until(t, "rows", func() bool { return len(k.Output(k.Names.Samples)) == 3 })
		if d := time.Since(began); d > 60*time.Millisecond {
			t.Errorf("rows after %v", d)
		}
		for i := range 100 {
			k.Append(c.Full(int64(i)*ms, 1))
			time.Sleep(10 * time.Millisecond)
		}
		until(t, "all rows", func() bool { return len(k.Output(k.Names.Samples)) == 103 })
		if commits, _ := k.Counts(0); commits < 15 || commits > 25 {
			t.Errorf("%d commits in a second of steady data, want about 20", commits)
		}
		until(t, "offset", func() bool { return drained(k, 0) })
		time.Sleep(time.Second)
		s := r.Snapshot()
		if len(s.Partitions) != 1 || s.Partitions[0].State != sequence.StateRunning || s.Partitions[0].Released != 103 {
			t.Errorf("snapshot: %+v", s)
		}
	})
}

func TestRunnerTicksOnlyWhileSomethingWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := sequencetest.New(1, true)
		k.AddCatalogue(sequencetest.Catalogue("car-1"))
		_, stop := start(t, k, config())
		defer stop()
		c := sequencetest.NewCar("car-1", 1, 1)
		k.Append(c.Open(), c.Anchor(1, 0, utc, ms))
		c.Full(0, 1)
		k.Append(c.Full(ms, 1))
		began := time.Now()
		until(t, "gap", func() bool { return len(k.Output(k.Names.Gaps)) == 1 })
		if d := time.Since(began); d < time.Minute || d > time.Minute+time.Second {
			t.Errorf("the hole expired after %v, want a minute", d)
		}
		until(t, "offset", func() bool { return drained(k, 0) })
		_, end := k.Committed(0)
		if end > 8 {
			t.Errorf("%d records in the log: too many ticks", end)
		}
		time.Sleep(10 * time.Minute)
		if _, later := k.Committed(0); later != end {
			t.Errorf("%d ticks while nothing waits", later-end)
		}
	})
}

func TestHoleExpiresAfterTakeoverWithoutNewData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := sequencetest.New(1, true)
		k.AddCatalogue(sequencetest.Catalogue("car-1"))
		_, stop := start(t, k, config())
		c := sequencetest.NewCar("car-1", 1, 1)
		k.Append(c.Open(), c.Anchor(1, 0, utc, ms))
		c.Full(0, 1)
		k.Append(c.Full(ms, 1))
		time.Sleep(5 * time.Second)
		stop()
		k.ForgetOffset(0)
		time.Sleep(time.Hour)
		_, stop = start(t, k, config())
		defer stop()
		until(t, "gap", func() bool { return len(k.Output(k.Names.Gaps)) == 1 && len(k.Output(k.Names.Samples)) == 1 })
	})
}

func TestRunnerSurvivesTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := sequencetest.New(1, true)
		k.AddCatalogue(sequencetest.Catalogue("car-1"))
		failing := map[string]int{"load": 3, "fetch": 4, "commit": 2, "catalogue": 3, "tick": 2, "read": 2}
		k.Fault = func(op string) error {
			if failing[op] > 0 {
				failing[op]--
				return fmt.Errorf("broker is away (%s)", op)
			}
			return nil
		}
		cfg := config()
		cfg.Budget = nil
		r, stop := start(t, k, cfg)
		defer stop()
		synctest.Wait()
		if s := r.Snapshot().Partitions[0]; s.State != sequence.StateRetrying || s.Error == "" {
			t.Errorf("snapshot during trouble: %+v", s)
		}
		c := sequencetest.NewCar("car-1", 1, 1)
		k.Append(c.Open(), c.Anchor(1, 0, utc, ms))
		lost := c.Full(0, 1)
		k.Append(c.Full(ms, 2))
		time.Sleep(10 * time.Second)
		k.Append(lost)
		until(t, "rows", func() bool { return len(k.Output(k.Names.Samples)) == 3 })
		k.Fence(0)
		k.Append(c.Full(3*ms, 1))
		until(t, "rows after a fence", func() bool { return len(k.Output(k.Names.Samples)) == 4 })
		until(t, "offset", func() bool { return drained(k, 0) })
		time.Sleep(time.Second)
		if s := r.Snapshot().Partitions[0]; s.State != sequence.StateRunning || s.Error != "" {
			t.Errorf("snapshot afterwards: %+v", s)
		}
	})
}

func TestRecreatedTopicIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := sequencetest.New(1, true)
		_, stop := start(t, k, config())
		c := sequencetest.NewCar("car-1", 1, 1)
		k.Append(c.Open(), c.Event(0, "x"))
		until(t, "offset", func() bool { return drained(k, 0) })
		stop()
		fresh := sequencetest.New(1, true)
		k.CopyState(fresh)
		r, stop := start(t, fresh, config())
		defer stop()
		until(t, "refusal", func() bool {
			s := r.Snapshot()
			return len(s.Partitions) == 1 && s.Partitions[0].State == sequence.StateStopped && strings.Contains(s.Partitions[0].Error, "recreated")
		})
	})
}

// traffic returns what three cars send: batches out of order, doubled, pulled,
// lost and refound, in two epochs.
func traffic(rng *rand.Rand) []topic.Record {
	var recs []topic.Record
	for car := range 3 {
		var mine []topic.Record
		var last wire.Epoch
		for e := range uint32(2) {
			c := sequencetest.NewCar(fmt.Sprintf("car-%d", car), e+1, rng.Uint64())
			var held []wire.Predecessor
			if last != (wire.Epoch{}) {
				held = []wire.Predecessor{{Epoch: last, Held: []wire.HeldRanges{{Lane: wire.LaneFull, Ranges: wire.Ranges{{First: 1, Last: 30}}}}}}
			}
			mine = append(mine, c.Open(held...), c.Anchor(1, 0, utc+int64(car), ms))
			at := len(mine)
			for i := range 30 {
				mine = append(mine, c.Full(int64(i)*10*ms, 1+rng.IntN(3)))
				if i%5 == 0 {
					mine = append(mine, c.Event(int64(i)*10*ms, "lap"), c.Live(int64(i)*10*ms))
				}
			}
			some := mine[at:]
			for range 20 {
				i, j := rng.IntN(len(some)), rng.IntN(len(some))
				if d := i - j; d > -8 && d < 8 {
					some[i], some[j] = some[j], some[i]
				}
			}
			for range 10 {
				r := some[rng.IntN(len(some))]
				if info, _ := topic.ParseBatchHeaders(r.Headers); info.ID.Stream.Lane == wire.LaneFull && rng.IntN(2) == 0 {
					r = sequencetest.Pulled(r)
				}
				mine = slices.Insert(mine, at+rng.IntN(len(some)), r)
			}
			last = c.Epoch
		}
		for i, r := range mine { // interleave the cars
			at := min(len(recs), i*(car+1)+rng.IntN(2))
			recs = slices.Insert(recs, at, r)
		}
	}
	return recs
}

// tally counts the records of the output topics by identity.
func tally(t *testing.T, k *sequencetest.Kafka) map[topic.Identity]int {
	n := make(map[topic.Identity]int)
	for _, name := range k.Names.Outputs() {
		for _, r := range k.Output(name) {
			if id, ok := topic.OutputIdentity(&r); ok {
				n[id]++
			}
		}
	}
	for id, c := range n {
		if c != 1 {
			t.Errorf("%v is there %d times", id, c)
		}
	}
	return n
}

// play runs the same log against a Kafka whose process dies at random operations
// (never when rng is nil), until all of it is committed.
func play(t *testing.T, k *sequencetest.Kafka, recs []topic.Record, rng *rand.Rand) map[topic.Identity]int {
	for _, name := range []string{"car-0", "car-1", "car-2"} {
		k.AddCatalogue(sequencetest.Catalogue(name))
	}
	k.NowMS = func() int64 { return utc / ms } // time stands still: windows do not run out
	cfg := config()
	cfg.Reorder.Windows = [4]time.Duration{1: reorder.None, 2: reorder.None, 3: reorder.None}
	cfg.CarBytes, cfg.CommitBytes, cfg.CommitBehind, cfg.FetchRecords = 4000, 6000, 1, 16
	deaths := 0
	if rng != nil {
		var mu sync.Mutex
		k.Fault = func(op string) error {
			mu.Lock()
			defer mu.Unlock()
			often := map[string]int{"load": 20, "fetch": 100, "read": 100, "output": 300, "catalogue": 20, "tick": 10, "commit": 5, "state": 8, "offset": 4}
			if rng.IntN(often[op]) == 0 {
				deaths++
				return sequencetest.ErrDied
			}
			return nil
		}
	}
	_, stop := start(t, k, cfg)
	for len(recs) > 0 {
		n := min(len(recs), 7)
		k.Append(recs[:n]...)
		recs = recs[n:]
		time.Sleep(20 * time.Millisecond)
	}
	until(t, "all is committed", func() bool { return drained(k, 0) && drained(k, 1) })
	stop()
	if rng != nil && deaths < 5 {
		t.Errorf("only %d deaths", deaths)
	}
	return tally(t, k)
}

func TestKilledAnywhereWritesEverythingOnce(t *testing.T) {
	for _, atomic := range []bool{true, false} {
		for seed := range uint64(15) {
			t.Run(fmt.Sprintf("atomic %v seed %d", atomic, seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					recs := traffic(rand.New(rand.NewPCG(seed, 1)))
					calm := play(t, sequencetest.New(2, true), recs, nil)
					k := sequencetest.New(2, atomic)
					got := play(t, k, recs, rand.New(rand.NewPCG(seed, 2)))
					if len(calm) < 200 || !maps.Equal(got, calm) {
						t.Errorf("%d outputs, want %d", len(got), len(calm))
						for id := range calm {
							if got[id] == 0 {
								t.Errorf("missing %v", id)
							}
						}
					}
					ordered(t, k)
				})
			})
		}
	}
}

// ordered checks that the numbers of each stream never go back in samples.
func ordered(t *testing.T, k *sequencetest.Kafka) {
	last := make(map[wire.Stream]uint64)
	for _, r := range k.Output(k.Names.Samples) {
		id, _ := topic.OutputIdentity(&r)
		if id.ID.Seq < last[id.ID.Stream] {
			t.Errorf("%v after number %d", id, last[id.ID.Stream])
		}
		last[id.ID.Stream] = id.ID.Seq
	}
}

func TestRunRejoinsWhenTheBackendFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &brokenBackend{Kafka: sequencetest.New(1, true), failures: 3}
		cfg := config()
		cfg.Clock = sequence.NewSystemClock()
		r, err := sequence.NewRunner(cfg, b)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		synctest.Wait()
		if got := r.Snapshot().Error; got != "no group" {
			t.Errorf("error shown: %q", got)
		}
		until(t, "running", func() bool {
			s := r.Snapshot()
			return len(s.Partitions) == 1 && s.Partitions[0].State == sequence.StateRunning && s.Error == ""
		})
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

type brokenBackend struct {
	*sequencetest.Kafka
	failures int
}

func (b *brokenBackend) Own(ctx context.Context, fn func(context.Context, sequence.Session) error) error {
	if b.failures > 0 {
		b.failures--
		return errors.New("no group")
	}
	return b.Kafka.Own(ctx, fn)
}

func TestConfigReportsAllFaults(t *testing.T) {
	_, err := sequence.NewRunner(sequence.Config{}, sequencetest.New(1, true))
	if err == nil || strings.Count(err.Error(), "\n") < 5 {
		t.Errorf("got %v", err)
	}
}
