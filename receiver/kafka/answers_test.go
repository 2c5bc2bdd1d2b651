package kafka

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"telemetry/receiver/ingest"
	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/sequencetest"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// openFake opens a cluster whose answers a test replaces. Its fetches name their
// topics, instead of ids.
func openFake(t *testing.T, partitions int32) (*Cluster, *kfake.Cluster) {
	t.Helper()
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(int16(kmsg.Fetch), 12)
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.MaxVersions(versions))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	c, err := Open(t.Context(), Config{
		Brokers: fake.ListenAddrs(), Partitions: partitions, AllowWeak: true, SessionTimeout: 6 * time.Second, Log: quietLog(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c, fake
}

// openSession makes a session of partition 0 that nobody has given to this
// process.
func openSession(t *testing.T, c *Cluster) *transactional {
	t.Helper()
	v2, err := transactionsV2(t.Context(), c.adm)
	if err != nil {
		t.Fatal(err)
	}
	ticks, err := c.NewProducer()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ticks.client().Close() })
	s, err := c.openTransactional(0, ticks, func() (string, int32) { return "", -1 }, v2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

// loaded is openSession on a log of five batches.
func loaded(t *testing.T, c *Cluster) *transactional {
	t.Helper()
	for seq := range uint64(5) {
		produce(t, c, batchRecord(c, "car-1", seq+1))
	}
	s := openSession(t, c)
	if _, err := s.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// answer lets f answer fetches of a topic, until f returns false.
func answer(fake *kfake.Cluster, name string, f func(at int64, p *kmsg.FetchResponseTopicPartition) bool) {
	fake.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		req := r.(*kmsg.FetchRequest)
		if len(req.Topics) != 1 || req.Topics[0].Topic != name {
			return nil, nil, false
		}
		p := kmsg.NewFetchResponseTopicPartition()
		p.Partition = req.Topics[0].Partitions[0].Partition
		if !f(req.Topics[0].Partitions[0].FetchOffset, &p) {
			return nil, nil, false
		}
		resp := r.ResponseKind().(*kmsg.FetchResponse)
		rt := kmsg.NewFetchResponseTopic()
		rt.Topic, rt.Partitions = name, []kmsg.FetchResponseTopicPartition{p}
		resp.Topics = append(resp.Topics, rt)
		return resp, nil, true
	})
}

// once makes an answer that is given for the first time only.
func once(f func(at int64, p *kmsg.FetchResponseTopicPartition)) func(int64, *kmsg.FetchResponseTopicPartition) bool {
	var given atomic.Bool
	return func(at int64, p *kmsg.FetchResponseTopicPartition) bool {
		if given.Swap(true) {
			return false
		}
		f(at, p)
		return true
	}
}

// nothing is the answer of a broker that throttles, and of a new leader that does
// not know yet what is on all replicas.
func nothing(at int64, p *kmsg.FetchResponseTopicPartition) {
	p.HighWatermark, p.LastStableOffset = at, at
}

func refuse(err *kerr.Error) func(int64, *kmsg.FetchResponseTopicPartition) {
	return func(_ int64, p *kmsg.FetchResponseTopicPartition) {
		p.ErrorCode, p.HighWatermark, p.LastStableOffset = err.Code, -1, -1
	}
}

// Reading a record again: only what retention has deleted is gone.
func TestOnlyWhatIsDeletedIsGone(t *testing.T) {
	cases := map[string]func(int64, *kmsg.FetchResponseTopicPartition){
		"the broker answers with nothing":   nothing,
		"the leader has moved":              refuse(kerr.NotLeaderForPartition),
		"a new leader refuses for a moment": refuse(kerr.OffsetOutOfRange),
		"the right to read is taken away":   refuse(kerr.TopicAuthorizationFailed),
	}
	for name, first := range cases {
		t.Run(name, func(t *testing.T) {
			c, fake := openFake(t, 1)
			s := loaded(t, c)
			answer(fake, c.names.Batches, once(first))
			if _, err := s.Read(t.Context(), 2); err == nil || errors.Is(err, sequence.ErrGone) || errors.Is(err, sequence.ErrTruncated) {
				t.Errorf("first: %v, want an error after which it is tried again", err)
			}
			if r, err := s.Read(t.Context(), 2); err != nil || r.Offset != 2 || string(r.Value) != "car-1 3" {
				t.Errorf("second: %q at %d, %v", r.Value, r.Offset, err)
			}
		})
	}
	t.Run("deleted", func(t *testing.T) {
		c, _ := openFake(t, 1)
		s := loaded(t, c)
		if err := c.deleteBefore(t.Context(), c.names.Batches, 0, 3); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Read(t.Context(), 2); !errors.Is(err, sequence.ErrGone) {
			t.Errorf("got %v, want ErrGone", err)
		}
		if r, err := s.Read(t.Context(), 3); err != nil || string(r.Value) != "car-1 4" {
			t.Errorf("the next one: %q, %v", r.Value, err)
		}
	})
}

func TestARefusalForAMomentIsNoTruncation(t *testing.T) {
	c, fake := openFake(t, 1)
	s := loaded(t, c)
	answer(fake, c.names.Batches, once(refuse(kerr.OffsetOutOfRange)))
	if _, _, _, err := s.Fetch(t.Context(), 10, time.Second); err == nil || errors.Is(err, sequence.ErrTruncated) {
		t.Errorf("first: %v, want an error after which it is tried again", err)
	}
	if recs, end, _, err := s.Fetch(t.Context(), 10, time.Second); err != nil || len(recs) != 5 || end != 5 {
		t.Errorf("second: %d records, end %d, %v", len(recs), end, err)
	}
	s.in.pos = 9
	if _, _, _, err := s.Fetch(t.Context(), 10, time.Second); !errors.Is(err, sequence.ErrTruncated) {
		t.Errorf("beyond the end: %v, want ErrTruncated", err)
	}
}

// A topic that was deleted and made anew holds other records at the same offsets,
// also when there are more of them than were read.
func TestATopicMadeAnewIsATruncation(t *testing.T) {
	if os.Getenv("TELEMETRY_KAFKA") != "" {
		t.Skip("a real cluster takes its time to delete a topic")
	}
	for name, more := range map[string]uint64{"with less in it": 2, "with more in it": 20} {
		t.Run(name, func(t *testing.T) {
			c := openCluster(t, func(cfg *Config) { cfg.Partitions = 1 })
			s := loaded(t, c)
			if recs, _, _, err := s.Fetch(t.Context(), 10, time.Second); err != nil || len(recs) != 5 {
				t.Fatalf("%d records, %v", len(recs), err)
			}
			if _, err := c.adm.DeleteTopic(t.Context(), c.names.Batches); err != nil {
				t.Fatal(err)
			}
			for _, spec := range c.names.Specs(1) {
				if spec.Name != c.names.Batches {
					continue
				}
				if err := c.create(t.Context(), spec, 1); err != nil {
					t.Fatal(err)
				}
			}
			for seq := range more {
				produce(t, c, batchRecord(c, "car-2", seq+1))
			}
			var err error
			until(t, 20*time.Second, "a fetch fails for good", func() bool {
				var recs []topic.Record
				if recs, _, _, err = s.Fetch(t.Context(), 10, 10*time.Millisecond); len(recs) > 0 {
					t.Fatalf("got %s", recs[0].Value)
				}
				return errors.Is(err, sequence.ErrTruncated)
			})
			if !strings.Contains(err.Error(), "made anew") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// For a while after an election a fetch shows an end that is before what a
// predecessor has read.
func TestAnEndThatLagsIsNotBelieved(t *testing.T) {
	c, fake := openFake(t, 1)
	s := loaded(t, c)
	answer(fake, c.names.Batches, once(func(_ int64, p *kmsg.FetchResponseTopicPartition) { nothing(0, p) }))
	if recs, end, _, err := s.Fetch(t.Context(), 10, time.Millisecond); err != nil || len(recs) != 0 || end != 5 {
		t.Errorf("%d records, end %d, %v: want the end at Load, 5", len(recs), end, err)
	}
}

// A load that cannot read its partition's state says why, and works when it can.
func TestALoadTellsWhatItWaitsFor(t *testing.T) {
	cases := map[string]struct {
		refusal *kerr.Error
		why     string
	}{
		"right to read taken away": {kerr.TopicAuthorizationFailed, "the user needs Read"},
		"no leader":                {kerr.NotLeaderForPartition, "not the leader"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c, fake := openFake(t, 1)
			produce(t, c, stateRecord(c, 0, 0))
			var well atomic.Bool
			answer(fake, c.names.State, func(at int64, p *kmsg.FetchResponseTopicPartition) bool {
				refuse(tc.refusal)(at, p)
				return !well.Load()
			})
			s := openSession(t, c)
			s.in.limit = 300 * time.Millisecond
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			_, err := s.Load(ctx)
			if !errors.Is(err, tc.refusal) || !strings.Contains(err.Error(), "read the state of partition 0") || !strings.Contains(err.Error(), tc.why) || ctx.Err() != nil {
				t.Errorf("got %v, want %q", err, tc.why)
			}
			well.Store(true)
			if l, err := s.Load(t.Context()); err != nil || len(l.State) != 1 {
				t.Errorf("afterwards: %d records, %v", len(l.State), err)
			}
		})
	}
}

// The client library keeps a refusal of its transactional id for good.
func TestARefusedFenceIsTriedAgain(t *testing.T) {
	c, fake := openFake(t, 1)
	fake.ControlKey(int16(kmsg.InitProducerID), func(r kmsg.Request) (kmsg.Response, error, bool) {
		resp := r.ResponseKind().(*kmsg.InitProducerIDResponse)
		resp.ErrorCode = kerr.TransactionalIDAuthorizationFailed.Code
		return resp, nil, true // this once
	})
	s := openSession(t, c)
	if _, err := s.Load(t.Context()); !errors.Is(err, kerr.TransactionalIDAuthorizationFailed) || !strings.Contains(err.Error(), "the user needs") {
		t.Errorf("refused: %v", err)
	}
	if _, err := s.Load(t.Context()); err != nil {
		t.Errorf("with the right given back: %v", err)
	}
	if err := s.Commit(t.Context(), nil, []topic.Record{stateRecord(c, 0, 1)}, 1); err != nil {
		t.Errorf("commit: %v", err)
	}
}

// The same with the right to write at all.
func TestARefusedProducerIsTriedAgain(t *testing.T) {
	c, fake := openFake(t, 1)
	var well atomic.Bool
	fake.ControlKey(int16(kmsg.InitProducerID), func(r kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		resp := r.ResponseKind().(*kmsg.InitProducerIDResponse)
		resp.ErrorCode = kerr.ClusterAuthorizationFailed.Code
		return resp, nil, !well.Load()
	})
	p, err := c.NewProducer()
	if err != nil {
		t.Fatal(err)
	}
	try := func() error {
		done := make(chan error, 1)
		p.Produce(batchRecord(c, "car-1", 1), func(err error) { done <- err })
		return <-done
	}
	for range 3 {
		if err := try(); err == nil || p.State() == nil {
			t.Errorf("without the right: %v, state %v", err, p.State())
		}
	}
	if err := p.State(); !strings.Contains(err.Error(), "the user needs") {
		t.Errorf("state: %v", err)
	}
	well.Store(true)
	until(t, 20*time.Second, "it writes with the right given back", func() bool { return try() == nil })
	if err := p.State(); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestATickThatTakesLongIsTold(t *testing.T) {
	c, fake := openFake(t, 1)
	s := loaded(t, c)
	s.tickLimit = 50 * time.Millisecond
	hold := make(chan struct{})
	fake.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		fake.SleepControl(func() { <-hold })
		return nil, nil, false
	})
	for range 2 {
		if err := s.Tick(t.Context()); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "tick of partition 0") {
			t.Errorf("got %v", err)
		}
	}
	close(hold)
	s.tickLimit = time.Minute
	if err := s.Tick(t.Context()); err != nil {
		t.Error(err)
	}
	if n := len(readAll(t, c, c.names.Batches)); n != 6 {
		t.Errorf("%d records, want five batches and one tick", n)
	}
}

// There may be more members than partitions.
func TestAMemberMayHaveNoPartition(t *testing.T) {
	c, _ := openFake(t, 1)
	var owned atomic.Int32
	var backends []*Backend
	for range 2 {
		b := c.Backend()
		backends = append(backends, b)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- b.Own(ctx, func(ctx context.Context, _ sequence.Session) error {
				owned.Add(1)
				<-ctx.Done()
				owned.Add(-1)
				return nil
			})
		}()
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if joined, _ := b.Membership(); joined {
				t.Error("a member after the end")
			}
		})
	}
	until(t, 30*time.Second, "both are members, one has the partition", func() bool {
		for _, b := range backends {
			if joined, err := b.Membership(); !joined || err != nil {
				return false
			}
		}
		return owned.Load() == 1
	})
}

// A catalogue that is read again, because too many came after it, makes none
// unreadable that came meanwhile.
func TestReadingACatalogueAgainHidesNoOther(t *testing.T) {
	c := openEmbedded(t, t.TempDir())
	write := func(first, n int) (all []wire.CatalogueHash) {
		for i := first; i < first+n; i++ {
			canonical := sequencetest.Catalogue(fmt.Sprintf("car-%d", i)).Append(nil)
			recs, err := ingest.CatalogueRecords(c.names.Catalogues, "car", canonical)
			if err != nil {
				t.Fatal(err)
			}
			produce(t, c, recs...)
			all = append(all, wire.HashCatalogue(canonical))
		}
		return all
	}
	get := func(what string, list []wire.CatalogueHash) {
		t.Helper()
		for i, h := range list {
			if _, ok, err := c.catalogues.Get(t.Context(), h); err != nil || !ok {
				t.Errorf("%s, catalogue %d: there %v, %v", what, i, ok, err)
			}
		}
	}
	old := write(0, keptCatalogues+2)
	get("first time", old)
	young := write(100, keptCatalogues+2)
	get("read again", old[:1])
	get("came meanwhile", young)
	get("all once more", append(old, young...))
	if _, ok, err := c.catalogues.Get(t.Context(), wire.CatalogueHash{1}); ok || err != nil {
		t.Errorf("one that is not there: %v, %v", ok, err)
	}
}
