// Package sequencetest has a Kafka in memory that implements sequence.Backend,
// with transactions or, like the embedded one, without, and cars that seal
// batches. The entry point is [New].
//
// It fences as the real one does, hides nothing, and fails or dies where a test
// says so ([Kafka.Fault]). It never sleeps except by timers, so a synctest
// bubble drives it.
package sequencetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"telemetry/receiver/sequence"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// Kafka is a cluster in memory. Its methods are safe for concurrent use; the
// exported fields are set before use.
type Kafka struct {
	// Atomic says whether commits are transactions.
	Atomic bool
	// Names of the topics.
	Names topic.Names
	// Topic is the id of telemetry.batches.
	Topic [16]byte
	// NowMS is the broker's clock; nil means time.Now.
	NowMS func() int64
	// Fault is asked before each operation of a session: "load", "fetch", "read",
	// "tick", "catalogue", "commit", and without transactions before each record
	// of a commit: "output", "state", "offset". An error is what the operation
	// returns; what was written before stays. nil means that nothing fails.
	Fault func(op string) error

	mu         sync.Mutex
	partitions []*partition // guarded by mu, as all of it
	outputs    map[string][]topic.Record
	catalogues map[wire.CatalogueHash][]byte
	appended   chan struct{} // closed and replaced at each append
}

type partition struct {
	log     []topic.Record
	start   int64 // first offset that exists
	state   map[string]topic.Record
	ends    map[string]int // end offsets of the outputs that the state carries
	offset  int64          // the group's; -1: none
	gen     int
	commits int
	reads   int
}

// New returns a cluster whose topics have n partitions.
func New(n int, atomic bool) *Kafka {
	k := &Kafka{
		Atomic: atomic, Names: topic.NewNames(""),
		outputs: make(map[string][]topic.Record), catalogues: make(map[wire.CatalogueHash][]byte),
		appended: make(chan struct{}),
	}
	for range n {
		k.partitions = append(k.partitions, &partition{
			state: make(map[string]topic.Record), ends: make(map[string]int), offset: -1,
		})
	}
	return k
}

func (k *Kafka) now() int64 {
	if k.NowMS != nil {
		return k.NowMS()
	}
	return time.Now().UnixMilli()
}

// AddCatalogue makes a catalogue known.
func (k *Kafka) AddCatalogue(c *wire.Catalogue) {
	b := c.Append(nil)
	k.mu.Lock()
	k.catalogues[wire.HashCatalogue(b)] = b
	k.mu.Unlock()
}

// Append writes records to telemetry.batches, each to the partition of its key,
// or to the one it names.
func (k *Kafka) Append(recs ...topic.Record) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range recs {
		if r.Partition < 0 {
			r.Partition = topic.Partition(r.Key, int32(len(k.partitions)))
		}
		k.append(r.Partition, r)
	}
}

func (k *Kafka) append(n int32, r topic.Record) {
	p := k.partitions[n]
	r.Topic, r.Partition = k.Names.Batches, n
	r.Offset, r.TimestampMS = p.start+int64(len(p.log)), k.now()
	p.log = append(p.log, r)
	close(k.appended)
	k.appended = make(chan struct{})
}

// Truncate deletes what lies below an offset, as retention does.
func (k *Kafka) Truncate(n int32, below int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	p := k.partitions[n]
	p.log = slices.Clone(p.log[below-p.start:])
	p.start = below
}

// Output returns what a topic holds, in the order of writing.
func (k *Kafka) Output(name string) []topic.Record {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.outputs[name])
}

// Committed returns the group's offset of a partition, -1 without one, and the
// partition's end.
func (k *Kafka) Committed(n int32) (offset, end int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	p := k.partitions[n]
	return p.offset, p.start + int64(len(p.log))
}

// Counts returns how many commits succeeded and how many records were read again.
func (k *Kafka) Counts(n int32) (commits, reads int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.partitions[n].commits, k.partitions[n].reads
}

// ForgetOffset lets the group's offset expire.
func (k *Kafka) ForgetOffset(n int32) {
	k.mu.Lock()
	k.partitions[n].offset = -1
	k.mu.Unlock()
}

// Fence makes every session of a partition lose it.
func (k *Kafka) Fence(n int32) {
	k.mu.Lock()
	k.partitions[n].gen++
	k.mu.Unlock()
}

// Own implements [sequence.Backend]: one member that gets all partitions.
func (k *Kafka) Own(ctx context.Context, fn func(context.Context, sequence.Session) error) error {
	alive, die := context.WithCancel(ctx)
	defer die()
	var wg sync.WaitGroup
	for n := range k.partitions {
		wg.Go(func() {
			for alive.Err() == nil {
				if err := fn(alive, k.Session(int32(n))); errors.Is(err, ErrDied) {
					die()
				}
			}
		})
	}
	wg.Wait()
	if ctx.Err() == nil {
		return ErrDied
	}
	return nil
}

// ErrDied is what a Fault returns to end a process at that point: all sessions
// and their owners stop, Own returns, and what has been written stays.
var ErrDied = fmt.Errorf("sequencetest: process died: %w", sequence.ErrLost)

// Session returns a new session of a partition.
func (k *Kafka) Session(n int32) *Session { return &Session{k: k, n: n} }

// Session implements [sequence.Session].
type Session struct {
	k    *Kafka
	n    int32
	gen  int
	next int64
}

var (
	_ sequence.Backend = (*Kafka)(nil)
	_ sequence.Session = (*Session)(nil)
)

// Partition implements [sequence.Session].
func (s *Session) Partition() int32 { return s.n }

func (k *Kafka) fault(op string) error {
	if k.Fault == nil {
		return nil
	}
	return k.Fault(op)
}

// Load implements [sequence.Session].
func (s *Session) Load(context.Context) (sequence.Loaded, error) {
	if err := s.k.fault("load"); err != nil {
		return sequence.Loaded{}, err
	}
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	p := s.k.partitions[s.n]
	p.gen++
	s.gen = p.gen
	l := sequence.Loaded{Partitions: int32(len(s.k.partitions)), LogStart: p.start, Topic: s.k.Topic}
	for _, key := range slices.Sorted(maps.Keys(p.state)) {
		l.State = append(l.State, p.state[key])
	}
	l.Offset = p.offset
	if c, ok := sequence.CommittedOffset(l.State); ok && (l.Offset < 0 || c < l.Offset) {
		l.Offset = c
	}
	l.Offset = max(l.Offset, 0)
	s.next = max(l.Offset, p.start)
	if !s.k.Atomic {
		l.Written = make(map[topic.Identity]struct{})
		for name, recs := range s.k.outputs {
			for i := p.ends[name]; i < len(recs); i++ {
				sequence.Wrote(l.Written, &recs[i])
			}
		}
	}
	return l, nil
}

// Fetch implements [sequence.Session].
func (s *Session) Fetch(ctx context.Context, most int, wait time.Duration) ([]topic.Record, int64, int64, error) {
	if err := s.k.fault("fetch"); err != nil {
		return nil, 0, 0, err
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		recs, end, more, err := s.poll(most)
		if err != nil || len(recs) > 0 {
			return recs, end, 0, err
		}
		select {
		case <-more:
		case <-timer.C:
			return nil, end, 0, nil
		case <-ctx.Done():
			return nil, end, 0, ctx.Err()
		}
	}
}

func (s *Session) poll(most int) (recs []topic.Record, end int64, more chan struct{}, err error) {
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	p := s.k.partitions[s.n]
	if s.gen != p.gen {
		return nil, 0, nil, sequence.ErrLost
	}
	s.next = max(s.next, p.start)
	end = p.start + int64(len(p.log))
	if s.next < end {
		recs = slices.Clone(p.log[s.next-p.start:])
		recs = recs[:min(most, len(recs))]
	}
	s.next += int64(len(recs))
	return recs, end, s.k.appended, nil
}

// Read implements [sequence.Session].
func (s *Session) Read(_ context.Context, offset int64) (topic.Record, error) {
	if err := s.k.fault("read"); err != nil {
		return topic.Record{}, err
	}
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	p := s.k.partitions[s.n]
	p.reads++
	if offset < p.start || offset >= p.start+int64(len(p.log)) {
		return topic.Record{}, sequence.ErrGone
	}
	return p.log[offset-p.start], nil
}

// Tick implements [sequence.Session].
func (s *Session) Tick(context.Context) error {
	if err := s.k.fault("tick"); err != nil {
		return err
	}
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	s.k.append(s.n, topic.Record{Headers: []topic.Header{{Key: sequence.HeaderTick, Value: []byte("1")}}})
	return nil
}

// Catalogue implements [sequence.Session].
func (s *Session) Catalogue(_ context.Context, h wire.CatalogueHash) ([]byte, bool, error) {
	if err := s.k.fault("catalogue"); err != nil {
		return nil, false, err
	}
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	b, ok := s.k.catalogues[h]
	return b, ok, nil
}

// Commit implements [sequence.Session].
func (s *Session) Commit(_ context.Context, out, state []topic.Record, offset int64) error {
	if err := s.k.fault("commit"); err != nil {
		return err
	}
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	p := s.k.partitions[s.n]
	if s.gen != p.gen {
		return sequence.ErrLost
	}
	if len(state) == 0 || string(state[len(state)-1].Key) != sequence.PartitionKey {
		return errors.New("sequencetest: the partition's record is not the last of the state")
	}
	step := func(op string) error {
		if s.k.Atomic {
			return nil
		}
		return s.k.fault(op)
	}
	for i := range out {
		if err := step("output"); err != nil {
			return err
		}
		r := copyOf(&out[i])
		s.k.outputs[r.Topic] = append(s.k.outputs[r.Topic], r)
	}
	for i := range state {
		if err := step("state"); err != nil {
			return err
		}
		p.state[string(state[i].Key)] = copyOf(&state[i])
	}
	for name, recs := range s.k.outputs {
		p.ends[name] = len(recs)
	}
	if err := step("offset"); err != nil {
		return err
	}
	p.offset = offset
	p.commits++
	return nil
}

// copyOf copies a record out of memory that its owner will reuse.
func copyOf(r *topic.Record) topic.Record {
	c := *r
	c.Key, c.Value, c.Headers = slices.Clone(r.Key), slices.Clone(r.Value), slices.Clone(r.Headers)
	for i := range c.Headers {
		c.Headers[i].Value = slices.Clone(c.Headers[i].Value)
	}
	return c
}

// CopyState gives another cluster the state and the offsets of this one, but not
// its logs.
func (k *Kafka) CopyState(to *Kafka) {
	k.mu.Lock()
	defer k.mu.Unlock()
	to.mu.Lock()
	defer to.mu.Unlock()
	for i, p := range k.partitions {
		to.partitions[i].state, to.partitions[i].offset = maps.Clone(p.state), p.offset
	}
}
