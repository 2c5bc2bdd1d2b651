package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"telemetry/receiver/sequence"
	"telemetry/receiver/topic"
)

// relay is the smallest sequencer: every batch makes one output, in order.
type relay struct {
	c    *Cluster
	told func(format string, args ...any) // "load PART OFFSET", "commit PART OFFSET"; nil: nobody

	mu      sync.Mutex
	serving map[int32]int // sessions at a time; guarded by mu
	loads   map[int32]int // sessions in all; guarded by mu
	double  bool          // two served one partition at once; guarded by mu
}

func newRelay(c *Cluster) *relay {
	return &relay{c: c, serving: map[int32]int{}, loads: map[int32]int{}}
}

func (r *relay) tell(format string, args ...any) {
	if r.told != nil {
		r.told(format, args...)
	}
}

// enter counts the sessions of a partition; the relay may be shared by members.
func (r *relay) enter(part int32, by int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.serving[part] += by
	if by > 0 {
		r.loads[part]++
		r.double = r.double || r.serving[part] > 1
	}
}

// own serves one session until it ends.
func (r *relay) own(ctx context.Context, s sequence.Session) error {
	r.enter(s.Partition(), 1)
	defer r.enter(s.Partition(), -1)
	l, err := s.Load(ctx)
	if err != nil {
		return err
	}
	r.tell("load %d %d", s.Partition(), l.Offset)
	floor, _ := sequence.CommittedOffset(l.State) // the group's may be behind it
	var out []topic.Record
	for at := l.Offset; ctx.Err() == nil; {
		recs, _, _, err := s.Fetch(ctx, 200, 50*time.Millisecond)
		if err != nil {
			return err
		}
		if len(recs) == 0 {
			continue
		}
		for i := range recs {
			at = recs[i].Offset + 1
			if at <= floor {
				continue
			}
			o, err := r.output(&recs[i])
			if err != nil {
				return err
			}
			if id, ok := topic.OutputIdentity(&o); ok {
				if _, there := l.Written[id]; there {
					delete(l.Written, id)
					continue
				}
			}
			out = append(out, o)
		}
		if len(l.Written) > 0 || at <= floor {
			continue // they are one commit, as they were: state keeps none of them
		}
		if err := s.Commit(ctx, out, []topic.Record{stateRecord(r.c, s.Partition(), at)}, at); err != nil {
			return err
		}
		out = nil
		r.tell("commit %d %d", s.Partition(), at)
	}
	return nil
}

func (r *relay) output(rec *topic.Record) (topic.Record, error) {
	info, err := topic.ParseBatchHeaders(rec.Headers)
	if err != nil {
		return topic.Record{}, err
	}
	o := topic.Record{Topic: r.c.names.Samples, Partition: -1, Key: rec.Key, Value: rec.Value, TimestampMS: rec.TimestampMS}
	o.Headers = append(topic.BatchHeaders(info.ID, info.Send, info.Instance), topic.Header{Key: topic.HeaderRow, Value: []byte("0/1")})
	return o, nil
}

// serve owns partitions until the returned function is called, which waits.
func (r *relay) serve(t *testing.T, c *Cluster) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Backend().Own(ctx, r.own) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("own: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// feeder writes the batches of some cars, as ingest does: every one until it is
// acknowledged.
type feeder struct {
	c    *Cluster
	told func(format string, args ...any) // "acked CAR SEQ"; nil: nobody

	mu    sync.Mutex
	next  map[string]uint64          // next number; guarded by mu
	acked map[string]map[uint64]bool // guarded by mu
	tries int                        // writings that failed; guarded by mu
}

var feedCars = []string{"car-0", "car-1", "car-2", "car-3", "car-4"}

func newFeeder(c *Cluster) *feeder {
	f := &feeder{c: c, next: map[string]uint64{}, acked: map[string]map[uint64]bool{}}
	for _, car := range feedCars {
		f.next[car], f.acked[car] = 1, map[uint64]bool{}
	}
	return f
}

// run feeds until ctx ends, and returns when all is acknowledged.
func (f *feeder) run(ctx context.Context) error {
	p, err := f.c.NewProducer()
	if err != nil {
		return err
	}
	var open sync.WaitGroup
	window := make(chan struct{}, 64)
	pace := time.NewTicker(2 * time.Millisecond)
	defer pace.Stop()
	for i := 0; ctx.Err() == nil; i++ {
		car := feedCars[i%len(feedCars)]
		f.mu.Lock()
		seq := f.next[car]
		f.next[car]++
		f.mu.Unlock()
		window <- struct{}{}
		open.Add(1)
		f.write(p, car, seq, func() { <-window; open.Done() })
		<-pace.C
	}
	open.Wait()
	return p.Close(context.WithoutCancel(ctx))
}

func (f *feeder) write(p *Producer, car string, seq uint64, done func()) {
	p.Produce(batchRecord(f.c, car, seq), func(err error) {
		f.mu.Lock()
		if err != nil {
			f.tries++
			f.mu.Unlock()
			go f.write(p, car, seq, done) // a callback must not produce
			return
		}
		f.acked[car][seq] = true
		f.mu.Unlock()
		if f.told != nil {
			f.told("acked %s %d", car, seq)
		}
		done()
	})
}

// count returns how many batches are acknowledged.
func (f *feeder) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, m := range f.acked {
		n += len(m)
	}
	return n
}

// start feeds in the background; the returned function ends that and waits.
func (f *feeder) start(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("feed: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// until polls a condition; it fails the test after limit.
func until(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(limit); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, limit)
		}
	}
}

// drained waits until the group has committed all of telemetry.batches.
func drained(t *testing.T, c *Cluster) {
	t.Helper()
	var state string
	defer func() {
		if t.Failed() {
			t.Log(state)
		}
	}()
	until(t, time.Minute, "everything is sequenced", func() bool {
		ends, err := c.EndOffsets(t.Context(), c.names.Batches)
		if err != nil {
			return false
		}
		got, err := c.adm.FetchOffsets(t.Context(), c.cfg.Group)
		if err != nil {
			return false
		}
		for part, end := range ends {
			if o, ok := got.Lookup(c.names.Batches, part); end > 0 && (!ok || o.At < end) {
				state = fmt.Sprintf("partition %d: committed %d of %d", part, o.At, end)
				return false
			}
		}
		return true
	})
}

// seqsOf lists the numbers of every car's batches in the order of a topic.
func seqsOf(t *testing.T, c *Cluster, name string) map[string][]uint64 {
	t.Helper()
	out := map[string][]uint64{}
	for _, r := range readAll(t, c, name) {
		if _, tick := r.Get(sequence.HeaderTick); tick {
			continue
		}
		info, err := topic.ParseBatchHeaders(r.Headers)
		if err != nil {
			t.Fatal(err)
		}
		out[info.ID.Stream.Car] = append(out[info.ID.Stream.Car], info.ID.Seq)
	}
	return out
}

// checkRelayed fails unless every batch in the log has exactly one output, in
// order, and returns how many there are.
func checkRelayed(t *testing.T, c *Cluster) int {
	t.Helper()
	in, out := seqsOf(t, c, c.names.Batches), seqsOf(t, c, c.names.Samples)
	n := 0
	for car, want := range in {
		got := out[car]
		n += len(want)
		for i := range want {
			if i >= len(got) || got[i] != want[i] {
				t.Errorf("%s: output %d of %d: want seq %d, got %v of %d outputs", car, i, len(want), want[i], near(got, i), len(got))
				break
			}
		}
		if len(got) > len(want) {
			t.Errorf("%s: %d outputs of %d batches", car, len(got), len(want))
		}
	}
	return n
}

func near(list []uint64, i int) []uint64 { return list[min(i, len(list)):min(i+3, len(list))] }

// checkAcked fails unless every acknowledged batch is in the log, once, in order.
func (f *feeder) checkAcked(t *testing.T) {
	t.Helper()
	in := seqsOf(t, f.c, f.c.names.Batches)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, car := range feedCars {
		there := map[uint64]int{}
		last := uint64(0)
		for _, seq := range in[car] {
			there[seq]++
			if there[seq] == 1 && seq != last+1 && f.tries == 0 {
				t.Errorf("%s: seq %d follows %d", car, seq, last)
			}
			last = max(last, seq)
		}
		for seq := range f.acked[car] {
			if there[seq] == 0 {
				t.Errorf("%s: batch %d was acknowledged and is not there", car, seq)
			}
		}
		if extra := len(in[car]) - len(there); extra > 0 && f.tries == 0 {
			t.Errorf("%s: %d batches are there twice, although no writing failed", car, extra)
		}
	}
}

// resume lets a feeder go on behind what is in the log.
func (f *feeder) resume(ctx context.Context) error {
	_, err := f.c.Read(ctx, f.c.names.Batches, nil, func(r topic.Record) error {
		info, err := topic.ParseBatchHeaders(r.Headers)
		if errors.Is(err, topic.ErrHeaders) {
			return nil
		}
		if err == nil {
			f.next[info.ID.Stream.Car] = max(f.next[info.ID.Stream.Car], info.ID.Seq+1)
		}
		return err
	})
	return err
}

// TestRelayOnKfake keeps the tools of the tests against a real broker honest: it
// runs everywhere.
func TestRelayOnKfake(t *testing.T) {
	c := openEmbedded(t, t.TempDir())
	if at, ok := sequence.CommittedOffset([]topic.Record{stateRecord(c, 0, 7)}); !ok || at != 7 {
		t.Fatalf("the tests' state record is not the sequencer's: offset %d, %v", at, ok)
	}
	f := newFeeder(c)
	stop := f.start(t)
	newRelay(c).serve(t, c)
	until(t, 20*time.Second, "feed", func() bool { return f.count() > 100 })
	stop()
	drained(t, c)
	if n := checkRelayed(t, c); n <= 100 {
		t.Errorf("%d batches relayed, want more than 100", n)
	}
	f.checkAcked(t)
}
