package kafka

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"telemetry/receiver/sequence"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// session is one ownership of one partition of telemetry.batches: all but the
// loading and committing, in which the two kinds of Kafka differ. It belongs to
// one goroutine.
type session struct {
	c     *Cluster
	part  int32
	cl    *kgo.Client // its own
	in    *reader
	ticks *Producer

	buf    []topic.Record // fetched, not returned yet
	end    int64
	ticked time.Time

	truncated error // why nothing is fetched any more

	again      *reader // of Read
	againRecs  []*kgo.Record
	partitions int32
}

// tickInterval bounds the rate of ticks of one partition.
const tickInterval = 250 * time.Millisecond

func newSession(c *Cluster, part int32, cl *kgo.Client, ticks *Producer) *session {
	return &session{
		c: c, part: part, cl: cl, ticks: ticks, partitions: c.partitions,
		in:    newReader(cl, c.names.Batches, part, 0),
		again: newReader(cl, c.names.Batches, part, 0),
	}
}

// Partition implements sequence.Session.
func (s *session) Partition() int32 { return s.part }

// Fetch implements sequence.Session.
func (s *session) Fetch(ctx context.Context, limit int, wait time.Duration) (recs []topic.Record, end, brokerNowMS int64, err error) {
	if s.truncated != nil {
		return nil, 0, 0, s.truncated
	}
	if len(s.buf) == 0 {
		c, err := s.in.fetch(ctx, wait, maxFetchBytes)
		if errors.Is(err, errGone) {
			s.c.cfg.Log.Error("records that were not yet read have been deleted by retention",
				"partition", s.part, "from_offset", s.in.pos, "to_offset", c.start)
			s.in.pos = max(s.in.pos, c.start)
			c, err = s.in.fetch(ctx, wait, maxFetchBytes)
		}
		if errors.Is(err, errBeyond) {
			// What will be written there is not what was read: never go on.
			s.truncated = fmt.Errorf("%w: %w", sequence.ErrTruncated, err)
			return nil, 0, 0, s.truncated
		}
		if err != nil {
			return nil, 0, 0, err
		}
		s.end = c.end
		for _, k := range c.recs {
			s.buf = append(s.buf, fromKafka(k))
		}
	}
	n := min(max(limit, 1), len(s.buf))
	recs = s.buf[:n:n]
	if s.buf = s.buf[n:]; len(s.buf) == 0 {
		s.buf = nil
	}
	return recs, s.end, 0, nil
}

// Read implements sequence.Session. Neighbours that came with the last record
// read are kept, because batches are read again in runs.
func (s *session) Read(ctx context.Context, offset int64) (topic.Record, error) {
	for try := 0; ; try++ {
		for _, k := range s.againRecs {
			if k.Offset == offset {
				return fromKafka(k), nil
			}
		}
		if try > 0 {
			return topic.Record{}, fmt.Errorf("kafka: read %s/%d at %d: %w", s.again.topic, s.part, offset, sequence.ErrGone)
		}
		s.again.pos = offset
		c, err := s.again.fetch(ctx, 0, rereadBytes)
		if errors.Is(err, errGone) {
			return topic.Record{}, fmt.Errorf("kafka: read %s/%d at %d: %w", s.again.topic, s.part, offset, sequence.ErrGone)
		}
		if err != nil {
			return topic.Record{}, err
		}
		s.againRecs = c.recs
	}
}

// rereadBytes is what one reading again brings: a few dozen batches.
const rereadBytes = 1 << 20

// Tick implements sequence.Session. It is written outside any transaction, by a
// producer of the whole process: a tick of an owner that has lost its partition
// does no harm.
func (s *session) Tick(ctx context.Context) error {
	now := time.Now()
	if now.Sub(s.ticked) < tickInterval {
		return nil
	}
	done := make(chan error, 1)
	s.ticks.Produce(topic.Record{
		Topic: s.c.names.Batches, Partition: s.part,
		Key:     []byte(strconv.Itoa(int(s.part))),
		Headers: []topic.Header{{Key: sequence.HeaderTick, Value: []byte("1")}},
	}, func(err error) { done <- err })
	select {
	case err := <-done:
		if err == nil {
			s.ticked = now
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Catalogue implements sequence.Session.
func (s *session) Catalogue(ctx context.Context, h wire.CatalogueHash) (canonical []byte, ok bool, err error) {
	return s.c.catalogues.Get(ctx, h)
}

// load reads what both kinds of Kafka have: state, offset, start of the log. It
// must be called after earlier owners have been fenced.
func (s *session) load(ctx context.Context) (sequence.Loaded, error) {
	l := sequence.Loaded{Partitions: s.partitions}
	state, err := s.readState(ctx)
	if err != nil {
		return l, err
	}
	l.State = state
	if l.LogStart, err = s.in.list(ctx, listStart); err != nil {
		return l, err
	}
	group, ok, err := s.groupOffset(ctx)
	if err != nil {
		return l, err
	}
	if l.Offset, ok = pickOffset(group, ok, state); !ok {
		l.Offset = 0
	}
	if l.Offset < l.LogStart {
		s.c.cfg.Log.Error("records that were not yet read have been deleted by retention",
			"partition", s.part, "from_offset", l.Offset, "to_offset", l.LogStart)
	}
	s.in.pos = max(l.Offset, l.LogStart)
	return l, nil
}

// pickOffset takes the lower of the group's offset and the state's: a group
// offset that someone has moved on would skip what the state still waits for.
func pickOffset(group int64, ok bool, state []topic.Record) (int64, bool) {
	own, has := sequence.CommittedOffset(state)
	switch {
	case ok && has:
		return min(group, own), true
	case has:
		return own, true
	}
	return group, ok
}

// readState returns the newest record per key of the state partition.
func (s *session) readState(ctx context.Context) ([]topic.Record, error) {
	r := newReader(s.cl, s.c.names.State, s.part, 0)
	end, err := r.list(ctx, listEnd)
	if err != nil {
		return nil, err
	}
	newest := map[string]int{}
	var out []topic.Record
	err = r.readTo(ctx, end, func(k *kgo.Record) error {
		rec := fromKafka(k)
		i, ok := newest[string(k.Key)]
		if !ok {
			newest[string(k.Key)] = len(out)
			out = append(out, rec)
			return nil
		}
		out[i] = rec
		return nil
	})
	if err != nil {
		return nil, err
	}
	live := out[:0]
	for _, rec := range out {
		if rec.Value != nil { // a tombstone
			live = append(live, rec)
		}
	}
	return live, nil
}

// groupOffset returns the group's offset, after transactions that are still
// being completed.
func (s *session) groupOffset(ctx context.Context) (int64, bool, error) {
	var pause backoff
	for {
		o, ok, err := s.fetchGroupOffset(ctx)
		if err == nil {
			return o, ok, nil
		}
		if !retryable(err) {
			return 0, false, fmt.Errorf("kafka: offsets of group %s: %w", s.c.cfg.Group, withRemedy(err))
		}
		if werr := pause.wait(ctx); werr != nil {
			return 0, false, errors.Join(werr, err)
		}
	}
}

func (s *session) fetchGroupOffset(ctx context.Context) (int64, bool, error) {
	resp, err := kadm.NewClient(s.cl).FetchOffsetsForTopics(kadm.RequireStable(ctx), s.c.cfg.Group, s.c.names.Batches)
	if errors.Is(err, kerr.GroupIDNotFound) { // nobody has committed yet
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	o, ok := resp.Lookup(s.c.names.Batches, s.part)
	if !ok || o.Err == nil && o.At < 0 {
		return 0, false, nil
	}
	return o.At, o.Err == nil, o.Err
}
