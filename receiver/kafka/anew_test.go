package kafka

import (
	"context"
	"errors"
	"testing"

	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/jsonrow"
	"telemetry/receiver/topic"
)

// TestATopicMadeAnewIsRefusedByTheNextSession: the offset of the old topic's state
// would skip the first records of the new one. A restart changes nothing.
func TestATopicMadeAnewIsRefusedByTheNextSession(t *testing.T) {
	dir := t.TempDir()
	c := openEmbedded(t, dir)
	part := topic.Partition([]byte("car-1"), 2)
	cfg := sequence.Defaults()
	cfg.Topics, cfg.NewFormat = c.names, func() sequence.Format { return jsonrow.New() }
	send := func(n uint64) {
		for seq := range n {
			produce(t, c, batchRecord(c, "car-1", seq+1))
		}
	}
	own := func(first int64) (err error) {
		take(t, c.Backend(), part, func(ctx context.Context, s sequence.Session) error {
			l, fault := s.Load(ctx)
			if fault != nil {
				return fault
			}
			p, fault := sequence.NewPartition(cfg, part, l)
			if err = fault; err != nil {
				return nil
			}
			recs, fault := fetchAll(ctx, s, first)
			if fault != nil {
				return fault
			}
			for i := range recs {
				p.Apply(&recs[i])
			}
			commit := p.Commit()
			return s.Commit(ctx, commit.Out, commit.State, commit.Offset)
		})
		return err
	}
	restart := func() {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		c = openEmbedded(t, dir)
	}
	send(5)
	if err := own(0); err != nil {
		t.Fatal(err)
	}
	restart()
	send(1)
	if err := own(5); err != nil {
		t.Fatalf("the same topic after a restart: %v", err)
	}
	if _, err := c.adm.DeleteTopic(t.Context(), c.names.Batches); err != nil {
		t.Fatal(err)
	}
	restart() // makes the topic
	send(20)
	for range 2 {
		if err := own(0); !errors.Is(err, sequence.ErrAnew) {
			t.Errorf("the topic was made anew: %v, want ErrAnew", err)
		}
		restart()
	}
}
