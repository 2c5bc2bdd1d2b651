// Package kafkatest holds every Kafka of the sequencer to the same behaviour:
// the model that the simulation uses, the in-process broker and a real cluster.
//
// The entry point is [Cases]. It asks only what the interfaces of sequence and
// ingest promise, and never for a client library's own.
package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"telemetry/receiver/ingest"
	"telemetry/receiver/sequence"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// Cluster is what is tested.
type Cluster interface {
	Names() topic.Names
	Partitions() int32 // of telemetry.batches; 2 at least
	// Produce writes one record, acks=all, and waits for it.
	Produce(ctx context.Context, r topic.Record) error
	// Backend is a member of the group of its own.
	Backend() sequence.Backend
	// Retain deletes the records of a partition of batches below an offset, as
	// retention does.
	Retain(ctx context.Context, part int32, below int64) error
	// Committed reads all committed records of an output topic.
	Committed(ctx context.Context, name string) ([]topic.Record, error)
}

// Case is one promise.
type Case struct {
	Name   string
	Run    func(t *testing.T, c Cluster)
	Shared bool // it needs several members, which the embedded broker does not have
	Stamps bool // it needs a broker that acts on message.timestamp.type in every topic
}

// Cases lists all promises.
func Cases() []Case {
	return []Case{
		{Name: "records keep their order and get a time that does not go back", Run: ordered},
		{Name: "the log's time replaces the producer's", Run: stamped, Stamps: true},
		{Name: "a commit is whole for the successor", Run: whole},
		{Name: "a session that was given up commits nothing", Run: givenUp},
		{Name: "a commit needs the partition's state", Run: stateWanted},
		{Name: "a record can be read again by its offset", Run: readAgain},
		{Name: "what retention has deleted is gone, and the log begins behind it", Run: retained},
		{Name: "a tick carries nothing but the time", Run: ticks},
		{Name: "a catalogue is found once it is whole", Run: catalogue},
		{Name: "partitions are shared and taken over", Run: shared, Shared: true},
	}
}

// patience bounds every wait; a group of a real cluster takes seconds to settle.
const patience = 40 * time.Second

// errDone ends a piece of work whose session is not wanted any more.
var errDone = errors.New("kafkatest: done")

// own runs f as the owner of one partition until it returns; its error is the result.
func own(t *testing.T, b sequence.Backend, part int32, f func(ctx context.Context, s sequence.Session) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	result := make(chan error, 1)
	ended := make(chan error, 1)
	go func() { // ends with ctx
		ended <- b.Own(ctx, func(ctx context.Context, s sequence.Session) error {
			if s.Partition() != part {
				<-ctx.Done()
				return nil
			}
			err := f(ctx, s)
			select {
			case result <- err:
			default:
			}
			<-ctx.Done()
			return errDone
		})
	}()
	select {
	case err := <-result:
		if err != nil {
			t.Error(err)
		}
	case <-ctx.Done():
		t.Errorf("partition %d was not given to anybody within %v", part, patience)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Own: %v", err)
	}
}

const car = "car-1"

// batch has a time of its own, which the log's must replace.
func batch(c Cluster, n int) topic.Record {
	return topic.Record{Topic: c.Names().Batches, Partition: -1, Key: []byte(car), Value: fmt.Append(nil, "batch ", n), TimestampMS: producerMS}
}

const producerMS = 86_400_000 // the second day of 1970

func partitionOf(c Cluster) int32 { return topic.Partition([]byte(car), c.Partitions()) }

// state is a state record that CommittedOffset can read: version, kind, input,
// commit, time, nothing written.
func state(c Cluster, part int32, offset byte) topic.Record {
	return topic.Record{Topic: c.Names().State, Partition: part, Key: []byte(sequence.PartitionKey), Value: []byte{1, 'P', offset, offset, 0, 0}}
}

func sample(c Cluster, n int) topic.Record {
	return topic.Record{Topic: c.Names().Samples, Partition: -1, Key: []byte(car), Value: fmt.Append(nil, "row ", n), TimestampMS: time.Now().UnixMilli()}
}

func produce(t *testing.T, c Cluster, n int) {
	t.Helper()
	for i := range n {
		if err := c.Produce(t.Context(), batch(c, i)); err != nil {
			t.Fatal(err)
		}
	}
}

// fetch reads n records.
func fetch(ctx context.Context, s sequence.Session, n int) (recs []topic.Record, end int64, err error) {
	for len(recs) < n && ctx.Err() == nil {
		var got []topic.Record
		if got, end, _, err = s.Fetch(ctx, n-len(recs), 200*time.Millisecond); err != nil {
			return recs, end, err
		}
		recs = append(recs, got...)
	}
	return recs, end, ctx.Err()
}

func ordered(t *testing.T, c Cluster) {
	produce(t, c, 5)
	own(t, c.Backend(), partitionOf(c), func(ctx context.Context, s sequence.Session) error {
		l, err := s.Load(ctx)
		if err != nil {
			return err
		}
		if l.Offset != 0 || l.LogStart != 0 || len(l.State) != 0 || l.Partitions != c.Partitions() {
			return fmt.Errorf("a fresh partition loads as %+v", l)
		}
		recs, end, err := fetch(ctx, s, 5)
		if err != nil || end != 5 {
			return fmt.Errorf("end %d: %w", end, err)
		}
		var last int64
		for i, r := range recs {
			if r.Offset != int64(i) || string(r.Value) != fmt.Sprint("batch ", i) || string(r.Key) != car {
				return fmt.Errorf("record %d is %q at %d", i, r.Value, r.Offset)
			}
			if r.TimestampMS < last || r.TimestampMS == 0 {
				return fmt.Errorf("record %d has time %d after %d", i, r.TimestampMS, last)
			}
			last = r.TimestampMS
		}
		none, end, _, err := s.Fetch(ctx, 5, 20*time.Millisecond)
		if err != nil || len(none) != 0 || end != 5 {
			return fmt.Errorf("at the end: %d records, end %d, %w", len(none), end, err)
		}
		return nil
	})
}

func stamped(t *testing.T, c Cluster) {
	produce(t, c, 1)
	own(t, c.Backend(), partitionOf(c), func(ctx context.Context, s sequence.Session) error {
		if _, err := s.Load(ctx); err != nil {
			return err
		}
		recs, _, err := fetch(ctx, s, 1)
		if err != nil || recs[0].TimestampMS < time.Now().Add(-time.Hour).UnixMilli() {
			return fmt.Errorf("the record has time %d, its producer said %d: %w", recs[0].TimestampMS, producerMS, err)
		}
		return nil
	})
}

func whole(t *testing.T, c Cluster) {
	produce(t, c, 4)
	part := partitionOf(c)
	own(t, c.Backend(), part, func(ctx context.Context, s sequence.Session) error {
		if _, err := s.Load(ctx); err != nil {
			return err
		}
		for i := range 2 {
			out := []topic.Record{sample(c, 2*i), sample(c, 2*i+1)}
			st := []topic.Record{{Topic: c.Names().State, Partition: part, Key: []byte(car), Value: []byte{byte(i)}}, state(c, part, byte(i+1))}
			if err := s.Commit(ctx, out, st, int64(i+1)); err != nil {
				return err
			}
			copy(out[0].Value, "used") // the caller may use the memory again
		}
		return nil
	})
	own(t, c.Backend(), part, func(ctx context.Context, s sequence.Session) error {
		l, err := s.Load(ctx)
		if err != nil {
			return err
		}
		if l.Offset != 2 || len(l.State) != 2 {
			return fmt.Errorf("the successor begins at %d with %d state records, want 2 and 2", l.Offset, len(l.State))
		}
		for _, r := range l.State {
			if string(r.Key) == car && r.Value[0] != 1 {
				return fmt.Errorf("state of the car is %v, want the newest", r.Value)
			}
		}
		recs, _, err := fetch(ctx, s, 2)
		if err != nil || recs[0].Offset != 2 {
			return fmt.Errorf("the successor reads from %d on: %w", recs[0].Offset, err)
		}
		return nil
	})
	rows(t, c, "row 0", "row 1", "row 2", "row 3")
}

// rows checks what telemetry.samples holds.
func rows(t *testing.T, c Cluster, want ...string) {
	t.Helper()
	recs, err := c.Committed(t.Context(), c.Names().Samples)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range recs {
		got = append(got, string(r.Value))
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("samples: %q, want %q", got, want)
	}
}

func givenUp(t *testing.T, c Cluster) {
	part := partitionOf(c)
	var first sequence.Session
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	result := make(chan error, 1)
	ended := make(chan error, 1)
	go func() { // ends with ctx
		ended <- c.Backend().Own(ctx, func(ctx context.Context, s sequence.Session) error {
			if s.Partition() != part {
				<-ctx.Done()
				return nil
			}
			if _, err := s.Load(ctx); err != nil {
				return err
			}
			if first == nil {
				first = s
				return errDone // a new session follows, which fences this one
			}
			err := first.Commit(ctx, []topic.Record{sample(c, 1)}, []topic.Record{state(c, part, 7)}, 7)
			if err == nil {
				result <- errors.New("a session that was given up could commit")
			} else {
				result <- s.Commit(ctx, []topic.Record{sample(c, 2)}, []topic.Record{state(c, part, 1)}, 1)
			}
			<-ctx.Done()
			return nil
		})
	}()
	select {
	case err := <-result:
		if err != nil {
			t.Error(err)
		}
	case <-ctx.Done():
		t.Error("no second session")
	}
	cancel()
	<-ended
	rows(t, c, "row 2")
}

func stateWanted(t *testing.T, c Cluster) {
	own(t, c.Backend(), 0, func(ctx context.Context, s sequence.Session) error {
		if _, err := s.Load(ctx); err != nil {
			return err
		}
		if s.Commit(ctx, []topic.Record{sample(c, 1)}, nil, 1) == nil {
			return errors.New("a commit without state was taken")
		}
		return nil
	})
	rows(t, c)
}

func readAgain(t *testing.T, c Cluster) {
	produce(t, c, 3)
	own(t, c.Backend(), partitionOf(c), func(ctx context.Context, s sequence.Session) error {
		if _, err := s.Load(ctx); err != nil {
			return err
		}
		for _, at := range []int64{2, 0, 1} {
			r, err := s.Read(ctx, at)
			if err != nil || r.Offset != at || string(r.Value) != fmt.Sprint("batch ", at) {
				return fmt.Errorf("offset %d reads as %q at %d: %w", at, r.Value, r.Offset, err)
			}
		}
		recs, _, err := fetch(ctx, s, 3)
		if err != nil || recs[0].Offset != 0 {
			return fmt.Errorf("reading again has moved the position to %d: %w", recs[0].Offset, err)
		}
		return nil
	})
}

func retained(t *testing.T, c Cluster) {
	produce(t, c, 6)
	part := partitionOf(c)
	own(t, c.Backend(), part, func(ctx context.Context, s sequence.Session) error {
		if _, err := s.Load(ctx); err != nil {
			return err
		}
		if err := s.Commit(ctx, nil, []topic.Record{state(c, part, 2)}, 2); err != nil {
			return err
		}
		if err := c.Retain(ctx, part, 4); err != nil {
			return err
		}
		if _, err := s.Read(ctx, 3); !errors.Is(err, sequence.ErrGone) {
			return fmt.Errorf("a deleted record reads as %w", err)
		}
		r, err := s.Read(ctx, 4)
		if err != nil || string(r.Value) != "batch 4" {
			return fmt.Errorf("the first one left reads as %q: %w", r.Value, err)
		}
		return nil
	})
	own(t, c.Backend(), part, func(ctx context.Context, s sequence.Session) error {
		l, err := s.Load(ctx)
		if err != nil || l.LogStart != 4 || l.Offset != 2 {
			return fmt.Errorf("the successor begins at %d, the log at %d, want 2 and 4: %w", l.Offset, l.LogStart, err)
		}
		recs, end, err := fetch(ctx, s, 2)
		if err != nil || recs[0].Offset != 4 || end != 6 {
			return fmt.Errorf("the successor reads from %d on, the end is %d: %w", recs[0].Offset, end, err)
		}
		return nil
	})
}

func ticks(t *testing.T, c Cluster) {
	produce(t, c, 1)
	own(t, c.Backend(), partitionOf(c), func(ctx context.Context, s sequence.Session) error {
		if _, err := s.Load(ctx); err != nil {
			return err
		}
		if err := s.Tick(ctx); err != nil {
			return err
		}
		recs, _, err := fetch(ctx, s, 2)
		if err != nil {
			return err
		}
		if _, ok := recs[1].Get(sequence.HeaderTick); !ok || len(recs[1].Value) != 0 || recs[1].TimestampMS < recs[0].TimestampMS {
			return fmt.Errorf("the tick is %+v after %d", recs[1], recs[0].TimestampMS)
		}
		return nil
	})
}

func catalogue(t *testing.T, c Cluster) {
	cat := &wire.Catalogue{Car: car, Groups: []wire.Group{{Name: "g", Source: "s", Lane: wire.LaneFull, Channels: []wire.Channel{{Name: "c", Type: wire.TypeInt}}}}}
	canonical := cat.Append(nil)
	own(t, c.Backend(), 0, func(ctx context.Context, s sequence.Session) error {
		if _, ok, err := s.Catalogue(ctx, cat.Hash()); ok || err != nil {
			return fmt.Errorf("before it was written: %v, %w", ok, err)
		}
		recs, err := ingest.CatalogueRecords(c.Names().Catalogues, car, canonical)
		if err != nil {
			return err
		}
		for _, r := range recs {
			if err := c.Produce(ctx, r); err != nil {
				return err
			}
		}
		got, ok, err := s.Catalogue(ctx, cat.Hash())
		if err != nil || !ok || string(got) != string(canonical) {
			return fmt.Errorf("afterwards: %v, %d bytes, %w", ok, len(got), err)
		}
		return nil
	})
}

func shared(t *testing.T, c Cluster) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	type taken struct {
		by   int
		part int32
		gone bool
	}
	events := make(chan taken, 256)
	member := func(ctx context.Context, by int) chan error {
		ended := make(chan error, 1)
		go func() { // ends with ctx
			ended <- c.Backend().Own(ctx, func(ctx context.Context, s sequence.Session) error {
				events <- taken{by, s.Partition(), false}
				<-ctx.Done()
				events <- taken{by, s.Partition(), true}
				return nil
			})
		}()
		return ended
	}
	owner := map[int32]int{}
	until := func(what string, ok func() bool) {
		t.Helper()
		for !ok() {
			select {
			case e := <-events:
				if by, busy := owner[e.part]; !e.gone && busy && by != e.by {
					t.Errorf("partition %d goes to %d while %d has it", e.part, e.by, by)
				}
				if e.gone {
					delete(owner, e.part)
				} else {
					owner[e.part] = e.by
				}
			case <-ctx.Done():
				t.Fatalf("never: %s (owners %v)", what, owner)
			}
		}
	}
	count := func(by int) (n int) {
		for _, o := range owner {
			if o == by {
				n++
			}
		}
		return n
	}
	all := int(c.Partitions())
	firstCtx, stopFirst := context.WithCancel(ctx)
	first := member(firstCtx, 1)
	until("one member has all", func() bool { return count(1) == all })
	second := member(ctx, 2)
	until("two members share", func() bool { return count(1) > 0 && count(2) > 0 && len(owner) == all })
	stopFirst()
	until("the other has all", func() bool { return count(2) == all })
	if err := <-first; err != nil {
		t.Errorf("Own: %v", err)
	}
	cancel()
	if err := <-second; err != nil {
		t.Errorf("Own: %v", err)
	}
}
