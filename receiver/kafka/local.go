package kafka

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"telemetry/receiver/sequence"
	"telemetry/receiver/topic"
)

// local is a session on the embedded broker. Its transactions are not atomic
// when the process is killed, so a commit is a sequence of durable steps:
//
//  1. intent: number of the commit and the ends of all output topics
//  2. outputs
//  3. state; its last record carries the number of the commit
//  4. the group's offset
//
// A commit that was cut off between 1 and 3 shows as an intent with a number that
// the state does not have: Load then looks for outputs behind the ends, and the
// sequencer skips what it finds. Without the intent, every start would have to
// look through all that other partitions have written meanwhile.
type local struct {
	*session
	group   string
	last    uint64 // number of the last commit
	dirty   bool   // outputs of an unfinished commit are in the topics
	pending intent // of that commit
}

// intent is the value of the intent's record.
type intent struct {
	Number uint64                      `json:"number"`
	Ends   map[string]map[string]int64 `json:"ends"` // topic, partition as text, offset
}

const (
	// intentKey is the key of the intent in the state topic. No car has it.
	intentKey = "@intent"
	// headerCommit is the header of the state's last record.
	headerCommit = "commit"
)

func (c *Cluster) openLocal(part int32, ticks *Producer) (*local, error) {
	opts := append(c.cfg.producerOpts(),
		kgo.ProducerLinger(0),
		c.cfg.compression(),
	)
	cl, err := c.newClient(opts...)
	if err != nil {
		return nil, err
	}
	return &local{session: newSession(c, part, cl, ticks), group: c.cfg.Group}, nil
}

func (s *local) close() { s.cl.Close() }

// Load implements sequence.Session. There is no earlier owner: one process at a
// time has the directory, and one session each partition.
func (s *local) Load(ctx context.Context) (sequence.Loaded, error) {
	l, err := s.load(ctx)
	if err != nil {
		return l, err
	}
	var open intent
	state := l.State[:0]
	for _, r := range l.State {
		if string(r.Key) == intentKey {
			if err := json.Unmarshal(r.Value, &open); err != nil {
				return l, fmt.Errorf("kafka: intent of partition %d: %w", s.part, err)
			}
			continue
		}
		if n, ok := r.Get(headerCommit); ok {
			if s.last, err = strconv.ParseUint(n, 10, 64); err != nil {
				return l, fmt.Errorf("kafka: state of partition %d: header %s: %w", s.part, headerCommit, err)
			}
		}
		state = append(state, r)
	}
	l.State = state
	l.Written = map[topic.Identity]struct{}{}
	if open.Number <= s.last {
		return l, nil
	}
	// The same commit may be cut off again: its intent stays the oldest one.
	s.pending, s.dirty = open, true
	return l, s.findWritten(ctx, open, l.Written)
}

// findWritten collects the outputs that were written after an intent.
func (s *local) findWritten(ctx context.Context, open intent, written map[topic.Identity]struct{}) error {
	for name, ends := range open.Ends {
		from := map[int32]int64{}
		for p, end := range ends {
			n, err := strconv.ParseInt(p, 10, 32)
			if err != nil {
				return fmt.Errorf("kafka: intent of partition %d names partition %q", s.part, p)
			}
			from[int32(n)] = end
		}
		_, err := s.c.Read(ctx, name, from, func(r topic.Record) error {
			if _, renewed := r.Get(headerRenewed); renewed {
				return nil // written long ago
			}
			if id, ok := topic.OutputIdentity(&r); ok && s.mayBeOurs(id) {
				sequence.Wrote(written, &r)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("kafka: look for outputs of a commit that was cut off: %w", err)
		}
	}
	s.c.cfg.Log.Info("a commit was cut off, its outputs are not written again", "partition", s.part, "found", len(written))
	return nil
}

// mayBeOurs reports whether this partition's owner may have written an output:
// the others write to the same topics at the same time. What became of a car's
// batch on a foreign partition stands in the dead letters only.
func (s *local) mayBeOurs(id topic.Identity) bool {
	return id.Topic == s.c.names.DeadLetter || topic.Partition([]byte(id.ID.Stream.Car), s.partitions) == s.part
}

// Commit implements sequence.Session.
func (s *local) Commit(ctx context.Context, out, state []topic.Record, offset int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(state) == 0 {
		return errNoState
	}
	inner, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitLimit)
	defer cancel()
	if err := s.commit(inner, out, state, offset); err != nil {
		return sessionError(fmt.Sprintf("commit of partition %d at %d", s.part, offset), err)
	}
	if s.c.worthwhile(s.grown, s.live) {
		s.renewState(ctx)
	}
	return nil
}

// renewState renews the state partition, of which this is the only writer. The
// state is complete without it: when it fails, a later commit tries again.
func (s *local) renewState(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestLimit)
	defer cancel()
	have, err := readNewest(ctx, newReader(s.cl, s.c.names.State, s.part, 0))
	if err == nil {
		err = s.c.renew(ctx, s.cl, s.c.names.State, s.part, have)
	}
	s.grown, s.live = 0, have.bytes
	if err != nil {
		s.c.cfg.Log.Warn("state was not renewed, will retry", "partition", s.part, "error", err)
		return
	}
	s.c.cfg.Log.Debug("state renewed", "partition", s.part, "records", len(have.live), "bytes_before", have.total, "bytes_live", have.bytes)
}

func (s *local) commit(ctx context.Context, out, state []topic.Record, offset int64) error {
	number := s.last + 1
	if len(out) > 0 {
		if err := s.intend(ctx, number); err != nil {
			return err
		}
		if err := s.write(ctx, out, ""); err != nil {
			return err
		}
	}
	if err := s.write(ctx, state, strconv.FormatUint(number, 10)); err != nil {
		return err
	}
	s.last, s.dirty = number, false
	return commitOffset(ctx, s.cl, ptrOffsetCommit(s.group), s.in, offset)
}

// intend makes the intent durable, unless an older one still holds.
func (s *local) intend(ctx context.Context, number uint64) error {
	if !s.dirty {
		s.pending = intent{Ends: map[string]map[string]int64{}}
		for _, name := range s.c.names.Outputs() {
			ends, err := s.c.EndOffsets(ctx, name)
			if err != nil {
				return err
			}
			s.pending.Ends[name] = map[string]int64{}
			for p, end := range ends {
				s.pending.Ends[name][strconv.Itoa(int(p))] = end
			}
		}
	}
	s.pending.Number = number
	value, err := json.Marshal(s.pending)
	if err != nil {
		return fmt.Errorf("intent: %w", err)
	}
	s.dirty = true
	return s.write(ctx, []topic.Record{{Topic: s.c.names.State, Partition: s.part, Key: []byte(intentKey), Value: value}}, "")
}

// write produces records and waits for them, the last one alone and after the
// others when it carries the number of a commit.
func (s *local) write(ctx context.Context, recs []topic.Record, commit string) error {
	ks := make([]*kgo.Record, len(recs))
	for i := range recs {
		ks[i] = toKafka(&recs[i])
		if recs[i].Topic == s.c.names.State {
			s.grown += recordBytes(ks[i])
		}
	}
	if commit == "" {
		return s.cl.ProduceSync(ctx, ks...).FirstErr()
	}
	last := ks[len(ks)-1]
	last.Headers = append(last.Headers, kgo.RecordHeader{Key: headerCommit, Value: []byte(commit)})
	if err := s.cl.ProduceSync(ctx, ks[:len(ks)-1]...).FirstErr(); err != nil {
		return err
	}
	return s.cl.ProduceSync(ctx, last).FirstErr()
}

func ptrOffsetCommit(group string) *kmsg.OffsetCommitRequest {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.Generation = group, -1 // no member: the group has one user
	return req
}
