package kafkasim

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"telemetry/receiver/sequence"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// session is one ownership of one partition.
type session struct {
	m      *Member
	p      *Process
	c      *Cluster
	part   int32
	rng    *rand.Rand
	epoch  int // of the transactional id; 0 before Load
	next   int64
	ticked time.Time
}

var _ sequence.Session = (*session)(nil)

func newSession(m *Member, part int32) *session {
	return &session{m: m, p: m.p, c: m.c, part: part, rng: m.c.rng(m.p.id, uint64(part)+2, m.p.session(part))}
}

// Partition implements [sequence.Session].
func (s *session) Partition() int32 { return s.part }

// ErrStateGone: the group has an offset, and the state that belongs to it is gone.
var ErrStateGone = errors.New("kafkasim: state is gone")

// Load implements [sequence.Session].
func (s *session) Load(ctx context.Context) (sequence.Loaded, error) {
	if err := s.p.pass(ctx, s.rng); err != nil {
		return sequence.Loaded{}, err
	}
	s.c.mu.Lock()
	p := s.c.parts[s.part]
	p.epoch++
	s.epoch = p.epoch
	s.c.mu.Unlock()
	s.c.opt.Trace("kafka: %s loads partition %d as epoch %d", s.p.name, s.part, s.epoch)
	if err := s.p.pass(ctx, s.rng); err != nil { // the state is read after the fence
		return sequence.Loaded{}, err
	}
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	l := sequence.Loaded{Partitions: s.c.opt.Partitions, LogStart: p.start}
	for _, key := range slices.Sorted(maps.Keys(p.state)) {
		l.State = append(l.State, p.state[key])
	}
	own, has := sequence.CommittedOffset(l.State)
	switch {
	case p.offset > 0 && !has && p.start < p.offset:
		return l, ErrStateGone
	case p.offset >= 0 && has:
		l.Offset = min(p.offset, own)
	case has:
		l.Offset = own
	default:
		l.Offset = max(p.offset, 0)
	}
	s.next = max(l.Offset, p.start)
	if !s.c.opt.Atomic {
		l.Written = s.c.written(p, s.part)
	}
	return l, nil
}

// written lists the outputs of a commit that was cut off.
func (c *Cluster) written(p *partition, part int32) map[topic.Identity]struct{} {
	found := map[topic.Identity]struct{}{}
	for name, end := range p.intent {
		for i := end; i < len(c.outputs[name]); i++ {
			id, ok := topic.OutputIdentity(&c.outputs[name][i])
			if ok && (id.Topic == c.opt.Names.DeadLetter || topic.Partition([]byte(id.ID.Stream.Car), c.opt.Partitions) == part) {
				sequence.Wrote(found, &c.outputs[name][i])
			}
		}
	}
	return found
}

// Fetch implements [sequence.Session].
func (s *session) Fetch(ctx context.Context, most int, wait time.Duration) ([]topic.Record, int64, int64, error) {
	if err := s.p.pass(ctx, s.rng); err != nil {
		return nil, 0, 0, err
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	for {
		recs, end, more, err := s.poll(most)
		if err != nil || len(recs) > 0 {
			return recs, end, 0, err
		}
		select {
		case <-more:
		case <-s.p.death:
			return nil, end, 0, ErrDead
		case <-t.C:
			return nil, end, 0, s.p.rest(ctx, latency(s.rng))
		case <-ctx.Done():
			return nil, end, 0, ctx.Err()
		}
		if err := s.p.pass(ctx, s.rng); err != nil {
			return nil, end, 0, err
		}
	}
}

func (s *session) poll(most int) (recs []topic.Record, end int64, more chan struct{}, err error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	p := s.c.parts[s.part]
	s.next = max(s.next, p.start)
	end = p.start + int64(len(p.log))
	if s.next > end {
		return nil, end, nil, sequence.ErrTruncated
	}
	if s.next < end {
		recs = cloneAll(p.log[s.next-p.start:][:min(most, int(end-s.next))])
	}
	s.next += int64(len(recs))
	return recs, end, s.c.appended, nil
}

// Read implements [sequence.Session].
func (s *session) Read(ctx context.Context, offset int64) (topic.Record, error) {
	if err := s.p.pass(ctx, s.rng); err != nil {
		return topic.Record{}, err
	}
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	p := s.c.parts[s.part]
	if offset < p.start || offset >= p.start+int64(len(p.log)) {
		return topic.Record{}, fmt.Errorf("kafkasim: read %d: %w", offset, sequence.ErrGone)
	}
	return clone(&p.log[offset-p.start]), nil
}

// tickInterval bounds the rate of ticks of one session.
const tickInterval = 250 * time.Millisecond

// Tick implements [sequence.Session]. An owner that has lost its partition may
// write one, too.
func (s *session) Tick(ctx context.Context) error {
	if time.Since(s.ticked) < tickInterval && !s.ticked.IsZero() {
		return nil
	}
	if err := s.p.pass(ctx, s.rng); err != nil {
		return err
	}
	s.ticked = time.Now()
	s.c.opt.Trace("kafka: %s ticks partition %d", s.p.name, s.part)
	_, err := s.c.Append(topic.Record{
		Partition: s.part, Key: []byte(strconv.Itoa(int(s.part))),
		Headers: []topic.Header{{Key: sequence.HeaderTick, Value: []byte("1")}},
	})
	return err
}

// Catalogue implements [sequence.Session].
func (s *session) Catalogue(ctx context.Context, h wire.CatalogueHash) ([]byte, bool, error) {
	if err := s.p.pass(ctx, s.rng); err != nil {
		return nil, false, err
	}
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	b, ok := s.c.cats.whole[h]
	return b, ok, nil
}

var (
	errNoState = errors.New("kafkasim: a commit needs the partition's state, last")
	errNoReply = errors.New("kafkasim: connection ended before the answer")
)

// Commit implements [sequence.Session].
func (s *session) Commit(ctx context.Context, out, state []topic.Record, offset int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(state) == 0 || string(state[len(state)-1].Key) != sequence.PartitionKey {
		return errNoState
	}
	ctx = context.WithoutCancel(ctx) // bounded by the request limit
	if s.c.opt.Atomic {
		return s.transact(ctx, cloneAll(out), cloneAll(state), offset)
	}
	return s.writeAll(ctx, cloneAll(out), cloneAll(state), offset)
}

// transact is one transaction: records, then the group's offset under the
// member's name, then the end.
func (s *session) transact(ctx context.Context, out, state []topic.Record, offset int64) error {
	for _, step := range [...]func() error{s.fence, s.memberOnly, s.fence} {
		if err := s.p.pass(ctx, s.rng); err != nil {
			if errors.Is(err, ErrDead) {
				s.c.cut()
			}
			return err
		}
		if err := step(); err != nil {
			return err
		}
	}
	s.c.mu.Lock()
	p := s.c.parts[s.part]
	if s.epoch != p.epoch {
		s.c.mu.Unlock()
		return sequence.ErrLost
	}
	s.c.apply(p, Commit{Output: s.c.no, Partition: s.part, Process: s.p.name, Out: out, State: state, Offset: offset})
	lost := s.c.loseNext > 0
	if lost {
		s.c.loseNext--
	}
	s.c.mu.Unlock()
	if err := s.p.pass(ctx, s.rng); err != nil {
		return err
	}
	if lost {
		return errNoReply
	}
	return nil
}

func (c *Cluster) cut() {
	c.mu.Lock()
	c.killed++
	c.mu.Unlock()
}

// fence refuses a session whose transactional id has been taken over.
func (s *session) fence() error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.epoch != s.c.parts[s.part].epoch {
		s.c.fenced++
		return fmt.Errorf("kafkasim: producer fenced: %w", sequence.ErrLost)
	}
	return nil
}

// memberOnly refuses an offset of a process that is not in the group.
func (s *session) memberOnly() error {
	if !s.m.isMember() {
		return fmt.Errorf("kafkasim: unknown member: %w", sequence.ErrLost)
	}
	return nil
}

// apply makes a whole commit visible. Called with mu held.
func (c *Cluster) apply(p *partition, k Commit) {
	for _, r := range k.Out {
		c.outputs[r.Topic] = append(c.outputs[r.Topic], r)
	}
	for _, r := range k.State {
		p.state[string(r.Key)] = r
	}
	p.offset = k.Offset
	k.AtMS = c.now()
	c.commits = append(c.commits, k)
}

// writeAll is a commit of the embedded broker: the ends of the outputs, the
// outputs, the state, the offset, each after the other is durable.
func (s *session) writeAll(ctx context.Context, out, state []topic.Record, offset int64) error {
	k := Commit{Output: s.c.no, Partition: s.part, Process: s.p.name}
	step := func(write func(p *partition)) error {
		if err := s.p.pass(ctx, s.rng); err != nil {
			if errors.Is(err, ErrDead) {
				s.c.cut()
			}
			return err
		}
		s.c.mu.Lock()
		defer s.c.mu.Unlock()
		p := s.c.parts[s.part]
		if s.epoch != p.epoch {
			return sequence.ErrLost
		}
		write(p)
		k.AtMS = s.c.now()
		s.c.commits = append(s.c.commits, k)
		k.Out, k.State, k.Resumed = nil, nil, true
		return nil
	}
	if len(out) > 0 {
		err := step(func(p *partition) {
			if p.intent == nil { // an older one holds until the commit is whole
				p.intent = map[string]int{}
				for _, name := range s.c.opt.Names.Outputs() {
					p.intent[name] = len(s.c.outputs[name])
				}
			}
		})
		if err != nil {
			return err
		}
	}
	for len(out) > 0 { // a kill may come between any two records
		n := min(1+s.rng.IntN(4), len(out))
		part := out[:n]
		out = out[n:]
		if err := step(func(*partition) {
			for _, r := range part {
				s.c.outputs[r.Topic] = append(s.c.outputs[r.Topic], r)
			}
			k.Out = part
		}); err != nil {
			return err
		}
	}
	for len(state) > 0 {
		one := state[:1]
		state = state[1:]
		if err := step(func(p *partition) {
			p.state[string(one[0].Key)] = one[0]
			k.State = one
			if len(state) == 0 {
				p.intent = nil
			}
		}); err != nil {
			return err
		}
	}
	k.Offset = offset
	return step(func(p *partition) { p.offset = offset; k.Resumed = false })
}
