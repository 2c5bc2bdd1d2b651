package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/semaphore"

	"telemetry/receiver/topic"
)

// Writer writes records into topics that no sequencer writes: what is replayed. It
// is idempotent, with acks=all, and waits while Kafka is away: a limit of the client
// would count from the time of the record, which may be years ago. Its methods are
// safe for concurrent use.
type Writer struct {
	c  Cluster // a view: its client writes
	cl *kgo.Client

	room *semaphore.Weighted // bytes that may still be given to the client

	mu      sync.Mutex
	failed  error  // guarded by mu: the first
	written uint64 // guarded by mu
}

// maxWriting bounds the bytes that are on their way.
const maxWriting = 64 << 20

// OpenWriter connects to the cluster of cfg, which must have brokers.
func OpenWriter(ctx context.Context, cfg Config) (*Writer, error) {
	if len(cfg.Brokers) == 0 {
		return nil, errors.New("kafka: no broker to write to")
	}
	cfg.Outputs = nil
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	w := &Writer{c: Cluster{cfg: cfg, names: topic.NewNames(cfg.Prefix)}, room: semaphore.NewWeighted(maxWriting)}
	if err := w.c.dial(ctx, append(cfg.producerOpts(),
		kgo.ProducerLinger(0),
		cfg.compression(),
	)...); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	w.cl = w.c.cl
	return w, nil
}

// Names returns the names of topics under the writer's prefix.
func (w *Writer) Names() topic.Names { return w.c.names }

// SameTopics returns which of the writer's topics are those of what is read: they have
// the name and the id of one there, or the name, where a cluster has no ids.
func (w *Writer) SameTopics(ctx context.Context, p *Past, names []string) ([]string, error) {
	here, topics, err := w.c.identity(ctx, names...)
	if err != nil {
		return nil, err
	}
	there, read, err := p.c.identity(ctx, names...)
	if err != nil {
		return nil, err
	}
	sameCluster := here == there && here != "" || slices.ContainsFunc(w.c.cfg.Brokers, func(b string) bool { return slices.Contains(p.c.cfg.Brokers, b) })
	var same []string
	for _, n := range names {
		id, ok := topics[n]
		other, ok2 := read[n]
		if ok && ok2 && id == other || (!ok || !ok2) && sameCluster {
			same = append(same, n)
		}
	}
	return same, nil
}

// Holding is what a topic held before anything was written.
type Holding struct {
	Topic      string
	Partitions int
	Made       bool  // just now
	Records    int64 // offsets between start and end
}

// Ensure creates the topics that do not exist and checks the others, as those of
// outputs are. keep is how old records are that they must not delete at once; 0: any
// retention will do. A topic that exists keeps its number of partitions.
func (w *Writer) Ensure(ctx context.Context, specs []topic.Spec, keep time.Duration) (held []Holding, err error) {
	w.c.watch.begin()
	defer func() { w.c.watch.end(err) }()
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	brokers, err := w.c.adm.ListBrokers(ctx)
	if err != nil {
		return nil, fmt.Errorf("kafka: list brokers: %w", withRemedy(err))
	}
	names := make([]string, len(specs))
	for i, s := range specs {
		names[i] = s.Name
	}
	have, err := w.c.adm.ListTopics(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("kafka: list topics: %w", withRemedy(err))
	}
	made := map[string]bool{}
	for _, s := range specs {
		if d, ok := have[s.Name]; ok && d.Err == nil {
			continue
		}
		if err := w.c.create(ctx, s, len(brokers)); err != nil {
			return nil, err
		}
		made[s.Name] = true
	}
	var pause backoff
	for { // brokers learn of new topics a little later than the one that made them
		held, err := w.check(ctx, specs, made, keep)
		if err == nil || !errors.Is(err, kerr.UnknownTopicOrPartition) || pause.wait(ctx) != nil {
			return held, err
		}
	}
}

// check refuses topics that would break a promise or delete what is written.
func (w *Writer) check(ctx context.Context, specs []topic.Spec, made map[string]bool, keep time.Duration) ([]Holding, error) {
	names := make([]string, len(specs))
	for i, s := range specs {
		names[i] = s.Name
	}
	o := Observer{c: &w.c}
	details, err := w.c.adm.ListTopics(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("kafka: list topics: %w", withRemedy(err))
	}
	for _, d := range details {
		if d.Err != nil {
			return nil, fmt.Errorf("kafka: topic %s: %w", d.Topic, d.Err)
		}
	}
	m, err := o.measure(ctx, names)
	if err != nil {
		return nil, err
	}
	var errs []error
	var held []Holding
	for _, s := range specs {
		rc, err := m.configs.On(s.Name, nil)
		if err = errors.Join(err, rc.Err); err != nil {
			return nil, fmt.Errorf("kafka: describe topic %s: %w", s.Name, withRemedy(err))
		}
		set := map[string]string{}
		for _, kv := range rc.Configs {
			set[kv.Key] = kv.MaybeValue()
		}
		s.Partitions = int32(len(details[s.Name].Partitions))
		errs = append(errs, w.c.checkTopic(s, details[s.Name], set)...)
		if ms, err := strconv.ParseInt(set[topic.ConfigRetention], 10, 64); err == nil && ms >= 0 && keep > time.Duration(ms)*time.Millisecond &&
			set[topic.ConfigTimestamp] == "CreateTime" && set[topic.ConfigCleanup] != "compact" {
			errs = append(errs, fmt.Errorf("%w %s: has %s=%d, but what is replayed is up to %v old and would be deleted at once: %s", ErrTopic, s.Name,
				topic.ConfigRetention, ms, keep.Round(time.Second), alter(s.Name, topic.ConfigRetention, "-1")))
		}
		h := Holding{Topic: s.Name, Partitions: int(s.Partitions), Made: made[s.Name]}
		for part := range details[s.Name].Partitions {
			start, _ := m.starts.Lookup(s.Name, part)
			if end, ok := m.ends.Lookup(s.Name, part); ok && end.Err == nil && start.Err == nil {
				h.Records += end.Offset - start.Offset
			}
		}
		held = append(held, h)
	}
	return held, errors.Join(errs...)
}

// Exists returns those of some topics that exist, with their number of partitions.
func (w *Writer) Exists(ctx context.Context, names ...string) (out map[string]int32, err error) {
	w.c.watch.begin()
	defer func() { w.c.watch.end(err) }()
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	list, err := w.c.adm.ListTopics(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("kafka: list topics: %w", withRemedy(err))
	}
	out = map[string]int32{}
	for _, d := range slices.Collect(maps.Values(list)) {
		if d.Err == nil {
			out[d.Topic] = int32(len(d.Partitions))
		}
	}
	return out, nil
}

// Put writes a record; it blocks while as much waits as may be on its way. done, if
// there is one, is called when nobody looks at the record any more, from any
// goroutine, and told whether it is durable. Put returns the first failure of any record, which is final, or ctx's
// error: then this record is not written. The end of ctx takes back no record that
// was taken.
func (w *Writer) Put(ctx context.Context, rec topic.Record, done func(written bool)) error {
	if done == nil {
		done = func(bool) {}
	}
	size := int64(min(rec.Size(), maxWriting))
	err := w.room.Acquire(ctx, size)
	if err == nil {
		if err = w.err(); err != nil {
			w.room.Release(size)
		}
	}
	if err != nil {
		done(false)
		return err
	}
	k := toKafka(&rec)
	if k.Topic == w.c.names.Batches {
		k.Timestamp = time.Now() // the log's time; the embedded broker has none for topics of others
	}
	w.c.watch.begin()
	w.cl.Produce(context.WithoutCancel(ctx), k, func(_ *kgo.Record, err error) {
		w.c.watch.end(err)
		w.room.Release(size)
		w.mu.Lock()
		if err != nil && w.failed == nil {
			w.failed = fmt.Errorf("kafka: write to %s: %w", k.Topic, withRemedy(err))
		}
		if err == nil {
			w.written++
		}
		w.mu.Unlock()
		done(err == nil)
	})
	return nil
}

func (w *Writer) err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failed
}

// Written returns how many records are durable.
func (w *Writer) Written() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.written
}

// Warm does what the first record would wait for.
func (w *Writer) Warm(ctx context.Context) error {
	w.c.watch.begin()
	_, _, err := w.cl.ProducerID(ctx)
	if w.c.watch.end(err); err != nil {
		return fmt.Errorf("kafka: begin to write: %w", withRemedy(err))
	}
	return w.Flush(ctx)
}

// Flush waits until everything is written, and returns the first failure.
func (w *Writer) Flush(ctx context.Context) error {
	if err := w.cl.Flush(ctx); err != nil {
		return errors.Join(fmt.Errorf("kafka: flush: %w", err), w.err())
	}
	return w.err()
}

// Close ends the connections; what is not flushed is lost.
func (w *Writer) Close() error {
	w.c.release()
	return nil
}
