package kafka

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"telemetry/receiver/sequence"
	"telemetry/receiver/topic"
)

// TestASessionNoticesALogThatWasCutShortAndHasGrownAgain: while a session runs, another
// leader has another log, longer than what was read. Its topic has no id, as with a
// cluster where it is the same one.
func TestASessionNoticesALogThatWasCutShortAndHasGrownAgain(t *testing.T) {
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(int16(kmsg.Fetch), 12)
	versions.SetMaxKeyVersion(int16(kmsg.Metadata), 9)
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.MaxVersions(versions))
	if err != nil {
		t.Fatal(err)
	}
	defer fake.Close()
	c, err := Open(t.Context(), Config{Brokers: fake.ListenAddrs(), Partitions: 1, AllowWeak: true, Log: quietLog()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	fill := func(from, to uint64) {
		for seq := from; seq <= to; seq++ {
			produce(t, c, batchRecord(c, "car-1", seq))
		}
	}
	fill(1, 5)
	take(t, c.Backend(), 0, func(ctx context.Context, s sequence.Session) error {
		if _, err := s.Load(ctx); err != nil {
			return err
		}
		if _, err := fetchAll(ctx, s, 5); err != nil {
			return err
		}
		own := s.(*transactional).session
		own.in.leader = -1 // the same log, found again
		if _, _, _, err := s.Fetch(ctx, 10, 0); err != nil {
			t.Errorf("with the same log: %v", err)
		}
		if _, err := c.adm.DeleteTopic(ctx, c.names.Batches); err != nil {
			return err
		}
		spec := topic.NewNames(c.cfg.Prefix).Specs(1)[0]
		until(t, 20*time.Second, "the topic is made again", func() bool { return c.create(ctx, spec, 1) == nil && c.awaitTopics(ctx, []topic.Spec{spec}) == nil })
		fill(6, 16)
		own.in.leader = -1
		until(t, 20*time.Second, "it is noticed", func() bool {
			recs, _, _, err := s.Fetch(ctx, 10, 0)
			if len(recs) > 0 {
				t.Errorf("records of another log are handed out, from %d on", recs[0].Offset)
			}
			return errors.Is(err, sequence.ErrRewritten)
		})
		return nil
	})
}

// TestTheEmbeddedLogIsTheSameAfterARestart: what the state says of the last record
// holds when the process has ended and begun again.
func TestTheEmbeddedLogIsTheSameAfterARestart(t *testing.T) {
	dir := t.TempDir()
	c := openEmbedded(t, dir)
	part := topic.Partition([]byte("car-1"), 2)
	for seq := range uint64(5) {
		produce(t, c, batchRecord(c, "car-1", seq+1))
	}
	var was []topic.Record
	take(t, c.Backend(), part, func(ctx context.Context, s sequence.Session) (err error) {
		if _, err = s.Load(ctx); err == nil {
			was, err = fetchAll(ctx, s, 5)
		}
		return err
	})
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = openEmbedded(t, dir)
	take(t, c.Backend(), part, func(ctx context.Context, s sequence.Session) error {
		if _, err := s.Load(ctx); err != nil {
			return err
		}
		for i := range was {
			is, err := s.Read(ctx, was[i].Offset)
			if err != nil {
				return err
			}
			if err := sequence.WitnessOf(&was[i]).Same(&is); err != nil {
				t.Error(err)
			}
		}
		return nil
	})
}
