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

	buf []topic.Record // fetched, not returned yet
	// end is the greatest end that was heard: for a while after an election, fetches
	// show one that is before it.
	end    int64
	ticked time.Time

	grown int64 // bytes of superseded records in the state partition, about
	live  int64 // bytes of the others when it was last read

	seen   sequence.Witness // of the last record fetched
	looked bool             // there is one

	again      *reader // of Read
	againRecs  []*kgo.Record
	ticking    chan error // the result of a tick that is under way; nil: none is
	tickLimit  time.Duration
	partitions int32
}

// Limits of a session's waits.
const (
	// rereadWait is how long a record that was read before may take to be there: it
	// may be beyond what a new leader knows to be on all replicas.
	rereadWait = 250 * time.Millisecond
	// tickLimit is how long a tick may take until that is told.
	tickLimit = 5 * time.Second
)

// tickInterval bounds the rate of ticks of one partition.
const tickInterval = 250 * time.Millisecond

func newSession(c *Cluster, part int32, cl *kgo.Client, ticks *Producer) *session {
	return &session{
		c: c, part: part, cl: cl, ticks: ticks, partitions: c.partitions, tickLimit: tickLimit,
		in:    newReader(cl, c.names.Batches, part, 0),
		again: newReader(cl, c.names.Batches, part, 0),
	}
}

// use replaces the client by another one.
func (s *session) use(cl *kgo.Client) {
	s.cl, s.in.cl, s.again.cl = cl, cl, cl
	s.in.leader, s.again.leader = -1, -1
}

// Partition implements sequence.Session.
func (s *session) Partition() int32 { return s.part }

// Fetch implements sequence.Session.
func (s *session) Fetch(ctx context.Context, limit int, wait time.Duration) (recs []topic.Record, end, brokerNowMS int64, err error) {
	if len(s.buf) == 0 {
		if err := s.sameLog(ctx); err != nil {
			return nil, 0, 0, err
		}
		c, err := s.in.fetch(ctx, wait, maxFetchBytes)
		if errors.Is(err, errGone) {
			s.c.cfg.Log.Error("records that were not yet read have been deleted by retention",
				"partition", s.part, "from_offset", s.in.pos, "to_offset", c.start)
			s.in.pos = max(s.in.pos, c.start)
			c, err = s.in.fetch(ctx, wait, maxFetchBytes)
		}
		if err := truncated(err); err != nil {
			return nil, 0, 0, err
		}
		s.end = max(s.end, c.end)
		for _, k := range c.recs {
			s.buf = append(s.buf, fromKafka(k))
		}
		if n := len(s.buf); n > 0 {
			s.seen, s.looked = sequence.WitnessOf(&s.buf[n-1]), true
		}
	}
	n := min(max(limit, 1), len(s.buf))
	recs = s.buf[:n:n]
	if s.buf = s.buf[n:]; len(s.buf) == 0 {
		s.buf = nil
	}
	return recs, s.end, 0, nil
}

// sameLog looks, when another broker may lead than before, whether the log still has
// the last record that was fetched: one that lacks acknowledged records may have grown
// past it meanwhile.
func (s *session) sameLog(ctx context.Context) error {
	if s.in.leader >= 0 || !s.looked {
		return nil
	}
	if err := truncated(s.in.locate(ctx)); err != nil {
		return err
	}
	leader := s.in.leader
	s.in.leader = -1 // until this is known, the next try looks again
	s.againRecs = nil
	s.again.leader = leader
	rec, err := s.Read(ctx, s.seen.Offset)
	if err != nil && !errors.Is(err, sequence.ErrGone) {
		return err
	}
	if err == nil {
		if err := s.seen.Same(&rec); err != nil {
			return err
		}
	}
	s.in.leader = leader
	return nil
}

// truncated marks an error of a fetch beyond the end, or of another topic: what
// stands there, or will, is not what was read.
func truncated(err error) error {
	if errors.Is(err, errBeyond) || errors.Is(err, errAnew) {
		return fmt.Errorf("%w: %w", sequence.ErrTruncated, err)
	}
	return err
}

// Read implements sequence.Session. Neighbours that came with the last record
// read are kept, because batches are read again in runs. Only a fetch that has
// gone past the offset proves that its record is gone: brokers that throttle, and
// new leaders, answer with nothing.
func (s *session) Read(ctx context.Context, offset int64) (topic.Record, error) {
	if k := s.neighbour(offset); k != nil {
		return fromKafka(k), nil
	}
	s.again.pos = offset
	c, err := s.again.fetch(ctx, rereadWait, rereadBytes)
	if err := truncated(err); err != nil && !errors.Is(err, errGone) {
		return topic.Record{}, err
	}
	s.againRecs = c.recs
	if k := s.neighbour(offset); k != nil {
		return fromKafka(k), nil
	}
	if err == nil && s.again.pos <= offset {
		return topic.Record{}, fmt.Errorf("kafka: read %s/%d at %d again: the broker answers with nothing", s.again.topic, s.part, offset)
	}
	return topic.Record{}, fmt.Errorf("kafka: read %s/%d at %d again: %w", s.again.topic, s.part, offset, sequence.ErrGone)
}

func (s *session) neighbour(offset int64) *kgo.Record {
	for _, k := range s.againRecs {
		if k.Offset == offset {
			return k
		}
	}
	return nil
}

// rereadBytes is what one reading again brings: a few dozen batches.
const rereadBytes = 1 << 20

// Tick implements sequence.Session. It is written outside any transaction, by a
// producer of the whole process: a tick of an owner that has lost its partition
// does no harm. One that takes long stays under way, and is waited for again.
func (s *session) Tick(ctx context.Context) error {
	if s.ticking == nil {
		if time.Since(s.ticked) < tickInterval {
			return nil
		}
		done := make(chan error, 1)
		s.ticking, s.ticked = done, time.Now()
		s.ticks.Produce(topic.Record{
			Topic: s.c.names.Batches, Partition: s.part,
			Key:     []byte(strconv.Itoa(int(s.part))),
			Headers: []topic.Header{{Key: sequence.HeaderTick, Value: []byte("1")}},
		}, func(err error) { done <- err })
	}
	late := time.NewTimer(s.tickLimit)
	defer late.Stop()
	select {
	case err := <-s.ticking:
		if s.ticking = nil; err != nil {
			s.ticked = time.Time{}
		}
		return err
	case <-late.C:
		return fmt.Errorf("kafka: a tick of partition %d is not written: %w", s.part, errors.Join(context.DeadlineExceeded, s.ticks.State()))
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
	// Before the offsets: those of another topic of the name would not be noticed.
	s.in.leader, s.in.id = -1, [16]byte{}
	if err := persist(ctx, s.in.limit, s.in.locate); err != nil {
		return l, err
	}
	l.Topic, s.again.id = s.in.id, s.in.id
	if l.LogStart, err = s.in.list(ctx, listStart); err != nil {
		return l, err
	}
	// Unlike a fetch, this waits for a new leader to know the end.
	if s.end, err = s.in.list(ctx, listEnd); err != nil {
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
	if ok && l.Offset < l.LogStart { // a new group begins with the oldest record
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
	r := newReader(s.cl, s.c.names.State, s.part, 0)
	r.limit = s.in.limit
	have, err := readNewest(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("kafka: read the state of partition %d: %w", s.part, err)
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
func (s *session) groupOffset(ctx context.Context) (at int64, ok bool, err error) {
	err = persist(ctx, s.in.limit, func(ctx context.Context) error {
		at, ok, err = s.fetchGroupOffset(ctx)
		return err
	})
	if err != nil {
		return 0, false, fmt.Errorf("kafka: offsets of group %s: %w", s.c.cfg.Group, withRemedy(err))
	}
	return at, ok, nil
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
