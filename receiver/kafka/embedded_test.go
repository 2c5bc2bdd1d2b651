package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"telemetry/receiver/sequence"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

func quietLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

// openEmbedded opens the embedded cluster on a directory.
func openEmbedded(t *testing.T, dir string) *Cluster {
	t.Helper()
	c, err := Open(t.Context(), Config{Embedded: Embedded{Dir: dir, SyncWrites: true}, Partitions: 2, Log: quietLog()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// produce writes records and waits for all of them.
func produce(t *testing.T, c *Cluster, recs ...topic.Record) {
	t.Helper()
	p, err := c.NewProducer()
	if err != nil {
		t.Fatal(err)
	}
	errs := make(chan error, len(recs))
	for _, r := range recs {
		p.Produce(r, func(err error) { errs <- err })
	}
	for range recs {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func readAll(t *testing.T, c *Cluster, name string) []topic.Record {
	t.Helper()
	var out []topic.Record
	if _, err := c.Read(t.Context(), name, nil, func(r topic.Record) error {
		out = append(out, r)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func batchRecord(c *Cluster, car string, seq uint64) topic.Record {
	id := wire.ID{Stream: wire.Stream{Car: car, Epoch: wire.Epoch{Counter: 1, Nonce: 2}, Lane: wire.LaneFull}, Seq: seq}
	return topic.Record{
		Topic: c.names.Batches, Partition: -1, Key: []byte(car), Value: fmt.Appendf(nil, "%s %d", car, seq),
		Headers: topic.BatchHeaders(id, wire.Send{Base: 1}, "test"),
	}
}

func TestEmbeddedKeepsRecordsAndStampsThem(t *testing.T) {
	dir := t.TempDir()
	c := openEmbedded(t, dir)
	before := time.Now().UnixMilli()
	produce(t, c, batchRecord(c, "car-1", 1), batchRecord(c, "car-1", 2), batchRecord(c, "car-2", 1))
	after := time.Now().UnixMilli()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = openEmbedded(t, dir)
	got := readAll(t, c, c.names.Batches)
	if len(got) != 3 {
		t.Fatalf("%d records after a restart, want 3", len(got))
	}
	for _, r := range got {
		if r.TimestampMS < before || r.TimestampMS > after {
			t.Errorf("append time %d is not between %d and %d", r.TimestampMS, before, after)
		}
		if want := topic.Partition(r.Key, 2); r.Partition != want {
			t.Errorf("car %s on partition %d, want %d", r.Key, r.Partition, want)
		}
		if _, err := topic.ParseBatchHeaders(r.Headers); err != nil {
			t.Error(err)
		}
	}
}

func TestRecordWithoutTimeGetsNow(t *testing.T) {
	c := openEmbedded(t, t.TempDir())
	before := time.Now().UnixMilli()
	produce(t, c, topic.Record{Topic: c.names.Events, Partition: -1, Key: []byte("car"), Value: []byte("x")})
	if got := readAll(t, c, c.names.Events)[0].TimestampMS; got < before {
		t.Errorf("time %d, want now (%d)", got, before)
	}
}

func TestOutputsKeepTheirTime(t *testing.T) {
	c := openEmbedded(t, t.TempDir())
	produce(t, c, topic.Record{Topic: c.names.Samples, Partition: 1, Key: []byte("car"), Value: []byte("x"), TimestampMS: 1700000000123})
	got := readAll(t, c, c.names.Samples)[0]
	if got.TimestampMS != 1700000000123 || got.Partition != 1 {
		t.Errorf("got time %d on partition %d", got.TimestampMS, got.Partition)
	}
}

func TestEmbeddedDirectoryHasOneUser(t *testing.T) {
	dir := t.TempDir()
	openEmbedded(t, dir)
	_, err := Open(t.Context(), Config{Embedded: Embedded{Dir: dir}, Log: quietLog()})
	if err == nil || !strings.Contains(err.Error(), "in use by another receiver") {
		t.Errorf("second user of a directory: error %v", err)
	}
}

func TestEmbeddedPort(t *testing.T) {
	c := openEmbedded(t, t.TempDir())
	list := c.Brokers()
	if len(list) != 1 {
		t.Fatalf("brokers %v, want one", list)
	}
	conn, err := net.Dial("tcp", list[0])
	if err != nil {
		t.Fatalf("a free port was taken, but %s does not answer: %v", list[0], err)
	}
	_ = conn.Close()
	_, text, err := net.SplitHostPort(list[0])
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	_, err = Open(t.Context(), Config{Embedded: Embedded{Dir: dir, Port: port}, Log: quietLog()})
	if err == nil || !strings.Contains(err.Error(), "port "+text+" (is the port taken?") {
		t.Errorf("a port that is in use: %v", err)
	}
	openEmbedded(t, dir) // the failed start has left no lock
}

func TestErrorsCarryTheRemedy(t *testing.T) {
	for _, r := range remedies {
		err := sessionError("commit", fmt.Errorf("wrapped: %w", r.err))
		if !errors.Is(err, r.err) || !strings.Contains(err.Error(), r.remedy) || errors.Is(err, sequence.ErrLost) {
			t.Errorf("%v: %v", r.err, err)
		}
	}
	for _, lost := range []error{kerr.ProducerFenced, kerr.InvalidProducerEpoch, kerr.OperationNotAttempted, kerr.UnknownMemberID, kerr.IllegalGeneration} {
		if err := sessionError("commit", lost); !errors.Is(err, sequence.ErrLost) {
			t.Errorf("%v is not taken for a loss: %v", lost, err)
		}
	}
}

// What a broker refuses is tried again, because a setting may be wrong; only what
// no topic of ours can ever take is given up.
func TestProducerKeepsWhatABrokerRefuses(t *testing.T) {
	c := openEmbedded(t, t.TempDir())
	small := "2000"
	if _, err := c.adm.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Name: topic.ConfigMaxBytes, Value: &small}}, c.names.Batches); err != nil {
		t.Fatal(err)
	}
	p, err := c.NewProducer()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close(t.Context()) }()
	result := make(chan error, 1)
	rec := batchRecord(c, "car-1", 1)
	rec.Value = make([]byte, 4000)
	p.Produce(rec, func(err error) { result <- err })
	if err := <-result; !errors.Is(err, kerr.MessageTooLarge) || errors.Is(err, topic.ErrUnacceptable) || !strings.Contains(err.Error(), "raise max.message.bytes") {
		t.Errorf("a batch that the topic's setting forbids: %v", err)
	}
}

func TestPartitionCountMustNotChange(t *testing.T) {
	dir := t.TempDir()
	c := openEmbedded(t, dir)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), Config{Embedded: Embedded{Dir: dir}, Partitions: 3, Log: quietLog()})
	if !errors.Is(err, ErrTopic) || !strings.Contains(err.Error(), "configure 2") {
		t.Errorf("changed partition count: error %v", err)
	}
	c, err = Open(t.Context(), Config{Embedded: Embedded{Dir: dir}, Log: quietLog()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if c.Partitions() != 2 {
		t.Errorf("%d partitions, want the existing 2", c.Partitions())
	}
}

func TestFollowGoesOnWhereReadEnded(t *testing.T) {
	c := openEmbedded(t, t.TempDir())
	produce(t, c, batchRecord(c, "car-1", 1))
	ends, err := c.Read(t.Context(), c.names.Batches, nil, func(topic.Record) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan topic.Record, 10)
	done := make(chan error, 1)
	go func() {
		done <- c.Follow(ctx, c.names.Batches, ends, func(r topic.Record) error { got <- r; return nil })
	}()
	produce(t, c, batchRecord(c, "car-1", 2))
	if r := <-got; string(r.Value) != "car-1 2" {
		t.Errorf("followed %q, want the second record", r.Value)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("follow ended with %v", err)
	}
}

func TestProducerRefusesOnlyWhatIsTooLarge(t *testing.T) {
	c := openEmbedded(t, t.TempDir())
	p, err := c.NewProducer()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close(t.Context()) }()
	result := make(chan error, 1)
	p.Produce(topic.Record{Topic: c.names.Batches, Partition: -1, Key: []byte("c"), Value: make([]byte, 2<<20)}, func(err error) { result <- err })
	if err := <-result; !errors.Is(err, topic.ErrUnacceptable) {
		t.Errorf("too large: %v, want ErrUnacceptable", err)
	}
	p.Produce(topic.Record{Topic: "no.such.topic", Partition: -1, Key: []byte("c")}, func(err error) { result <- err })
	if err := <-result; err == nil || errors.Is(err, topic.ErrUnacceptable) {
		t.Errorf("missing topic: %v, want an error that may pass", err)
	}
	if p.State() == nil {
		t.Error("the state does not say what is wrong")
	}
}

// cutOff commits one record that stands for the batches before offset, and leaves
// another one behind whose commit is cut off half way.
func cutOff(t *testing.T, b *Backend, part int32, offset int64) {
	t.Helper()
	take(t, b, part, func(ctx context.Context, s sequence.Session) error {
		if _, err := s.Load(ctx); err != nil {
			return err
		}
		if err := s.Commit(ctx, []topic.Record{sampleRecord(b.c, 1, "1/1")}, []topic.Record{stateRecord(b.c, part, offset)}, offset); err != nil {
			return err
		}
		l := s.(*local)
		if err := l.intend(ctx, l.last+1); err != nil {
			return err
		}
		return l.write(ctx, []topic.Record{sampleRecord(b.c, 2, "1/1")}, "")
	})
}

// take runs one session of a partition until body returns, then ends the owning.
func take(t *testing.T, b *Backend, part int32, body func(ctx context.Context, s sequence.Session) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	result := make(chan error, 1)
	err := b.Own(ctx, func(ctx context.Context, s sequence.Session) error {
		if s.Partition() != part {
			<-ctx.Done()
			return nil
		}
		result <- body(ctx, s)
		cancel()
		<-ctx.Done()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-result:
		if err != nil {
			t.Fatal(err)
		}
	default:
		t.Fatal("the partition was never owned")
	}
}

// fetchAll reads up to the end of the partition.
func fetchAll(ctx context.Context, s sequence.Session, position int64) ([]topic.Record, error) {
	var out []topic.Record
	for {
		recs, end, _, err := s.Fetch(ctx, 2, 100*time.Millisecond)
		if err != nil {
			return nil, err
		}
		for _, r := range recs {
			out, position = append(out, r), r.Offset+1
		}
		if position >= end {
			return out, nil
		}
	}
}

func sampleRecord(c *Cluster, seq uint64, row string) topic.Record {
	r := batchRecord(c, "car-1", seq)
	r.Topic, r.Key = c.names.Samples, []byte("car-1/g")
	r.Headers = append(r.Headers, topic.Header{Key: topic.HeaderRow, Value: []byte(row)})
	return r
}

// stateRecord has the form of the sequencer's own record, so that the offset in
// it can be found; see sequence.CommittedOffset.
func stateRecord(c *Cluster, part int32, offset int64) topic.Record {
	v := []byte{1, 'P'}
	v = binary.AppendUvarint(v, uint64(offset))
	v = binary.AppendUvarint(v, uint64(offset))
	v = binary.AppendVarint(v, 0)
	v = binary.AppendUvarint(v, 0)
	return topic.Record{Topic: c.names.State, Partition: part, Key: []byte(sequence.PartitionKey), Value: v}
}

func TestLocalSessionCommitsAndResumes(t *testing.T) {
	dir := t.TempDir()
	c := openEmbedded(t, dir)
	part := topic.Partition([]byte("car-1"), 2)
	for seq := range uint64(5) {
		produce(t, c, batchRecord(c, "car-1", seq+1))
	}
	take(t, c.Backend(), part, func(ctx context.Context, s sequence.Session) error {
		l, err := s.Load(ctx)
		if err != nil {
			return err
		}
		if l.Offset != 0 || len(l.State) != 0 || l.Partitions != 2 || len(l.Written) != 0 {
			return fmt.Errorf("fresh partition loads as %+v", l)
		}
		recs, err := fetchAll(ctx, s, 0)
		if err != nil || len(recs) != 5 {
			return fmt.Errorf("fetched %d records, %w", len(recs), err)
		}
		if r, err := s.Read(ctx, 2); err != nil || string(r.Value) != "car-1 3" {
			return fmt.Errorf("read again: %q, %w", r.Value, err)
		}
		if _, err := s.Read(ctx, 99); err == nil {
			return errors.New("read beyond the end without an error")
		}
		out := []topic.Record{sampleRecord(c, 1, "0/2"), sampleRecord(c, 1, "1/2")}
		return s.Commit(ctx, out, []topic.Record{stateRecord(c, part, 3)}, 3)
	})
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = openEmbedded(t, dir)
	take(t, c.Backend(), part, func(ctx context.Context, s sequence.Session) error {
		l, err := s.Load(ctx)
		if err != nil {
			return err
		}
		if l.Offset != 3 || len(l.State) != 1 || len(l.Written) != 0 {
			return fmt.Errorf("after a restart: offset %d, %d state records, %d written", l.Offset, len(l.State), len(l.Written))
		}
		recs, err := fetchAll(ctx, s, l.Offset)
		if err != nil || len(recs) != 2 || string(recs[0].Value) != "car-1 4" {
			return fmt.Errorf("resumed with %d records, %w", len(recs), err)
		}
		if err := s.Commit(ctx, nil, nil, 5); !errors.Is(err, errNoState) {
			return fmt.Errorf("commit without state: %w", err)
		}
		return s.Commit(ctx, nil, []topic.Record{stateRecord(c, part, 5)}, 5)
	})
	if n := len(readAll(t, c, c.names.Samples)); n != 2 {
		t.Errorf("%d samples, want 2", n)
	}
}

// A commit is cut off after its outputs, once and again: the next owner is told
// what is there, also what the second attempt added.
func TestLocalCommitCutOffIsNotDoubled(t *testing.T) {
	c := openEmbedded(t, t.TempDir())
	part := topic.Partition([]byte("car-1"), 2)
	cut := func(recs ...topic.Record) {
		take(t, c.Backend(), part, func(ctx context.Context, s sequence.Session) error {
			if _, err := s.Load(ctx); err != nil {
				return err
			}
			l := s.(*local)
			if err := l.intend(ctx, l.last+1); err != nil {
				return err
			}
			return l.write(ctx, recs, "")
		})
	}
	commit := func(want int, recs ...topic.Record) {
		take(t, c.Backend(), part, func(ctx context.Context, s sequence.Session) error {
			l, err := s.Load(ctx)
			if err != nil {
				return err
			}
			if len(l.Written) != want {
				return fmt.Errorf("%d outputs found, want %d: %v", len(l.Written), want, l.Written)
			}
			for _, r := range recs {
				id, ok := topic.OutputIdentity(&r)
				if !ok {
					return errors.New("output without identity")
				}
				if _, there := l.Written[id]; !there {
					return fmt.Errorf("%v was not found", id)
				}
			}
			return s.Commit(ctx, []topic.Record{sampleRecord(c, 9, "0/1")}, []topic.Record{stateRecord(c, part, 1)}, 1)
		})
	}
	commit(0) // something before
	a, b := sampleRecord(c, 1, "0/2"), sampleRecord(c, 1, "1/2")
	cut(a)
	cut(b)
	commit(2, a, b)
	commit(0) // and it is over
}

func TestTickIsStamped(t *testing.T) {
	c := openEmbedded(t, t.TempDir())
	take(t, c.Backend(), 1, func(ctx context.Context, s sequence.Session) error {
		if _, err := s.Load(ctx); err != nil {
			return err
		}
		before := time.Now().UnixMilli()
		if err := s.Tick(ctx); err != nil {
			return err
		}
		s.(*local).ticked = time.Now()      // however long that took
		if err := s.Tick(ctx); err != nil { // too soon: skipped
			return err
		}
		recs, err := fetchAll(ctx, s, 0)
		if err != nil || len(recs) != 1 {
			return fmt.Errorf("%d records after two ticks, %w", len(recs), err)
		}
		if _, ok := recs[0].Get(sequence.HeaderTick); !ok || len(recs[0].Value) != 0 || recs[0].TimestampMS < before {
			return fmt.Errorf("tick is %+v", recs[0])
		}
		return nil
	})
}

func TestRestampLeavesBrokenBatchesAlone(t *testing.T) {
	good := make([]byte, 80)
	good[batchMagicAt] = batchMagicTwo
	binary.BigEndian.PutUint32(good[batchCRCAt:], crc32.Checksum(good[batchAttrsAt:], castagnoli))
	restamp(good, 1234)
	if got := binary.BigEndian.Uint64(good[batchFirstAt:]); got != 1234 {
		t.Errorf("first timestamp %d, want 1234", got)
	}
	if binary.BigEndian.Uint32(good[batchCRCAt:]) != crc32.Checksum(good[batchAttrsAt:], castagnoli) {
		t.Error("checksum does not match")
	}
	broken := make([]byte, 80)
	broken[batchMagicAt] = batchMagicTwo
	restamp(broken, 1234)
	if binary.BigEndian.Uint64(broken[batchFirstAt:]) != 0 {
		t.Error("a batch that does not verify was changed")
	}
	restamp(nil, 1)
}

func TestPartitionerHonoursPartition(t *testing.T) {
	p := partitioner().ForTopic("t")
	if got := p.Partition(&kgo.Record{Partition: 3, Key: []byte("x")}, 8); got != 3 {
		t.Errorf("explicit partition: %d, want 3", got)
	}
	if got := p.Partition(&kgo.Record{Partition: -1, Key: []byte("x")}, 8); got != int(topic.Partition([]byte("x"), 8)) {
		t.Errorf("by key: %d", got)
	}
}
