package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

	grown int64 // bytes of superseded records in the state partition, about
	live  int64 // bytes of the others when it was last read

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
	if err := s.agree(group, ok, l); err != nil {
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

// agree refuses a group's offset whose state is gone: what the state waited for
// would be reported missing, and what it had written before would be written
// again. Every commit writes the partition's own record, so an offset above 0
// always has one. When all records before the offset have been deleted by
// retention, the state had nothing more to say about them.
func (s *session) agree(group int64, ok bool, l sequence.Loaded) error {
	if !ok || group <= 0 || slices.ContainsFunc(l.State, func(r topic.Record) bool { return string(r.Key) == sequence.PartitionKey }) {
		return nil
	}
	if l.LogStart >= group {
		s.c.cfg.Log.Error("the state is gone, and all records that it was about have been deleted by retention: starting anew",
			"partition", s.part, "group_offset", group, "log_start", l.LogStart, "topic", s.c.names.State)
		return nil
	}
	return fmt.Errorf("%w: %s/%d has no record %s, but group %s is at %d of %s/%d, where records exist from %d on. Bring the state topic back; "+
		"or, to start anew on purpose, stop all receivers and delete both topic %s and group %s: all that %s still holds is then put in order and written again",
		ErrStateGone, s.c.names.State, s.part, sequence.PartitionKey, s.c.cfg.Group, group, s.c.names.Batches, s.part, l.LogStart,
		s.c.names.State, s.c.cfg.Group, s.c.names.Batches)
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
	have, err := readNewest(ctx, newReader(s.cl, s.c.names.State, s.part, 0))
	if err != nil {
		return nil, err
	}
	s.grown, s.live = have.total-have.bytes, have.bytes
	out := make([]topic.Record, len(have.live))
	for i, k := range have.live {
		out[i] = fromKafka(k)
	}
	return out, nil
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
