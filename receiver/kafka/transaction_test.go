package kafka

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"telemetry/receiver/sequence"
	"telemetry/receiver/topic"
)

// openCluster opens the cluster that TELEMETRY_KAFKA names (host:port, separated
// by commas), or an in-process one, under a prefix of the test's own. Both are
// used with transactions.
func openCluster(t *testing.T, more func(*Config)) *Cluster {
	t.Helper()
	cfg := Config{Partitions: 2, AllowWeak: true, SessionTimeout: 6 * time.Second, Log: quietLog()}
	if list := os.Getenv("TELEMETRY_KAFKA"); list != "" {
		cfg.Brokers = strings.Split(list, ",")
	} else {
		fake, err := kfake.NewCluster(kfake.NumBrokers(1))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(fake.Close)
		cfg.Brokers = fake.ListenAddrs()
	}
	cfg.Prefix = fmt.Sprintf("test%08x", rand.Uint32())
	if more != nil {
		more(&cfg)
	}
	c, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestTransactionalSessionCommitsAndResumes(t *testing.T) {
	c := openCluster(t, nil)
	part := topic.Partition([]byte("car-1"), 2)
	for seq := range uint64(5) {
		produce(t, c, batchRecord(c, "car-1", seq+1))
	}
	take(t, c.Backend(), part, func(ctx context.Context, s sequence.Session) error {
		l, err := s.Load(ctx)
		if err != nil {
			return err
		}
		if l.Offset != 0 || len(l.State) != 0 || l.Written != nil {
			return fmt.Errorf("fresh partition loads as %+v", l)
		}
		for i := range int64(3) { // several transactions of one owner
			out := []topic.Record{sampleRecord(c, uint64(i)+1, "0/1")}
			if err := s.Commit(ctx, out, []topic.Record{stateRecord(c, part, i+1)}, i+1); err != nil {
				return err
			}
		}
		return nil
	})
	take(t, c.Backend(), part, func(ctx context.Context, s sequence.Session) error {
		l, err := s.Load(ctx)
		if err != nil {
			return err
		}
		if l.Offset != 3 || len(l.State) != 1 {
			return fmt.Errorf("successor: offset %d, %d state records", l.Offset, len(l.State))
		}
		recs, err := fetchAll(ctx, s, l.Offset)
		if err != nil || len(recs) != 2 || string(recs[0].Value) != "car-1 4" {
			return fmt.Errorf("resumed with %d records, %w", len(recs), err)
		}
		if _, ok, err := s.(*transactional).fetchGroupOffset(ctx); err != nil || !ok {
			return fmt.Errorf("the group has no offset: %w", err)
		}
		if err := s.Commit(ctx, nil, nil, 5); !errors.Is(err, errNoState) {
			return fmt.Errorf("commit without state: %w", err)
		}
		return s.Commit(ctx, nil, []topic.Record{stateRecord(c, part, 5)}, 5)
	})
	if n := len(readAll(t, c, c.names.Samples)); n != 3 {
		t.Errorf("%d samples, want 3", n)
	}
}

// What was written in a transaction that was never committed does not exist for
// the successor, and does not hold readers up once it has loaded.
func TestUncommittedOutputsVanish(t *testing.T) {
	c := openCluster(t, nil)
	take(t, c.Backend(), 0, func(ctx context.Context, s sequence.Session) error {
		if _, err := s.Load(ctx); err != nil {
			return err
		}
		x := s.(*transactional)
		if err := x.cl.BeginTransaction(); err != nil {
			return err
		}
		return x.flush(ctx, x.produce(ctx, []topic.Record{sampleRecord(c, 1, "0/1")}, []topic.Record{stateRecord(c, 0, 7)}))
	})
	take(t, c.Backend(), 0, func(ctx context.Context, s sequence.Session) error {
		l, err := s.Load(ctx)
		if err != nil {
			return err
		}
		if len(l.State) != 0 || l.Offset != 0 {
			return fmt.Errorf("loaded %d state records, offset %d from an aborted transaction", len(l.State), l.Offset)
		}
		return nil
	})
	if n := len(readAll(t, c, c.names.Samples)); n != 0 {
		t.Errorf("%d samples of a transaction that was never committed", n)
	}
}

// A frozen owner wakes after a successor has loaded: its commit is refused, as
// lost, and leaves nothing.
func TestFrozenOwnerIsFenced(t *testing.T) {
	c := openCluster(t, nil)
	v2, err := transactionsV2(t.Context(), c.adm)
	if err != nil {
		t.Fatal(err)
	}
	ticks, err := c.NewProducer()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ticks.Close(t.Context()) }()
	nobody := func() (string, int32) { return "", -1 }
	open := func() *transactional {
		s, err := c.openTransactional(0, ticks, nobody, v2)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.close)
		if _, err := s.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		return s
	}
	old := open()
	if err := old.Commit(t.Context(), []topic.Record{sampleRecord(c, 1, "0/1")}, []topic.Record{stateRecord(c, 0, 1)}, 1); err != nil {
		t.Fatal(err)
	}
	next := open()
	err = old.Commit(t.Context(), []topic.Record{sampleRecord(c, 2, "0/1")}, []topic.Record{stateRecord(c, 0, 2)}, 2)
	if !errors.Is(err, sequence.ErrLost) {
		t.Errorf("commit of a fenced owner: %v, want ErrLost", err)
	}
	if err := next.Commit(t.Context(), []topic.Record{sampleRecord(c, 2, "0/1")}, []topic.Record{stateRecord(c, 0, 2)}, 2); err != nil {
		t.Errorf("commit of the successor: %v", err)
	}
	if n := len(readAll(t, c, c.names.Samples)); n != 2 {
		t.Errorf("%d samples, want 2", n)
	}
}

// Two members share the partitions; when one leaves, the other gets its
// partition with its state, and no commit is lost on the way.
func TestPartitionsMoveBetweenMembers(t *testing.T) {
	c := openCluster(t, nil)
	type event struct {
		member int
		part   int32
		from   int64
	}
	loaded := make(chan event, 64)
	member := func(ctx context.Context, number int) error {
		return c.Backend().Own(ctx, func(ctx context.Context, s sequence.Session) error {
			l, err := s.Load(ctx)
			if err != nil {
				return err
			}
			loaded <- event{number, s.Partition(), l.Offset}
			at := l.Offset
			for ctx.Err() == nil {
				out := []topic.Record{sampleRecord(c, uint64(at)+1, fmt.Sprintf("%d/0", s.Partition()))}
				if err := s.Commit(ctx, out, []topic.Record{stateRecord(c, s.Partition(), at+1)}, at+1); err != nil {
					if ctx.Err() != nil {
						return nil
					}
					return err
				}
				at++
			}
			return nil
		})
	}
	ctx1, stop1 := context.WithCancel(t.Context())
	ctx2, stop2 := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- member(ctx1, 1) }()
	for owned := map[int32]bool{}; len(owned) < 2; {
		owned[(<-loaded).part] = true
	}
	go func() { done <- member(ctx2, 2) }()
	for e := range loaded {
		if e.member == 2 {
			break
		}
	}
	stop1()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for e := range loaded {
		if e.member == 2 {
			break // it has both now
		}
	}
	stop2()
	if err := <-done; err != nil {
		t.Error(err)
	}
	// Every commit stands once: the numbers of each partition have no hole and
	// no double.
	next := map[string]int{}
	for _, r := range readAll(t, c, c.names.Samples) {
		row, _ := r.Get(topic.HeaderRow)
		seq, _ := r.Get(topic.HeaderSeq)
		next[row]++
		if want := fmt.Sprint(next[row]); seq != want {
			t.Fatalf("partition %s: output %s, want %s", row, seq, want)
		}
	}
	if len(next) != 2 {
		t.Errorf("outputs of %d partitions, want 2", len(next))
	}
}

func TestWeakReplicationIsRefused(t *testing.T) {
	c := openCluster(t, nil)
	cfg := c.cfg
	cfg.AllowWeak = false
	_, err := Open(t.Context(), cfg)
	if !errors.Is(err, ErrTopic) || !strings.Contains(err.Error(), "acknowledged records can be lost") {
		t.Errorf("replication of one: error %v", err)
	}
}

func TestUnsuitableTopicsAreRefused(t *testing.T) {
	cases := map[string]struct {
		topic  func(topic.Names) string
		parts  int32
		config map[string]string
		want   string
	}{
		"batches with the car's time": {func(n topic.Names) string { return n.Batches }, 2, map[string]string{"cleanup.policy": "delete"}, "message.timestamp.type"},
		"batches compacted":           {func(n topic.Names) string { return n.Batches }, 2, map[string]string{"cleanup.policy": "compact", "message.timestamp.type": "LogAppendTime"}, "cleanup.policy"},
		"catalogues deleted":          {func(n topic.Names) string { return n.Catalogues }, 1, map[string]string{"cleanup.policy": "delete"}, "cleanup.policy"},
	}
	base := openCluster(t, nil)
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			cfg := base.cfg
			cfg.Prefix = "bad" + hex.EncodeToString([]byte(name))[:20] + fmt.Sprintf("%08x", rand.Uint32())
			configs := map[string]*string{}
			for k, v := range tc.config {
				configs[k] = &v
			}
			if _, err := base.adm.CreateTopic(t.Context(), tc.parts, 1, configs, tc.topic(topic.NewNames(cfg.Prefix))); err != nil {
				t.Fatal(err)
			}
			_, err := Open(t.Context(), cfg)
			if !errors.Is(err, ErrTopic) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one about %s", err, tc.want)
			}
		})
	}
}

func TestNoBrokerIsAClearError(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := Open(ctx, Config{Brokers: []string{"127.0.0.1:1"}, Log: quietLog()})
	if err == nil || !strings.Contains(err.Error(), "no broker") {
		t.Errorf("error %v", err)
	}
}

// readTo must reach an end at which only a transaction's marker stands.
func TestReaderPassesMarkers(t *testing.T) {
	c := openCluster(t, nil)
	cl, err := c.newClient(append(c.cfg.producerOpts(), kgo.TransactionalID(c.cfg.Prefix+"-x"))...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for _, how := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort} {
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: c.names.Events, Partition: 0, Value: []byte("x")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := cl.EndTransaction(t.Context(), how); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(readAll(t, c, c.names.Events)); n != 1 {
		t.Errorf("%d records, want the committed one", n)
	}
	ends, err := kadm.NewClient(cl).ListEndOffsets(t.Context(), c.names.Events)
	if err != nil {
		t.Fatal(err)
	}
	if o, _ := ends.Lookup(c.names.Events, 0); o.Offset != 4 {
		t.Errorf("end offset %d, want 4: two records, two markers", o.Offset)
	}
}
