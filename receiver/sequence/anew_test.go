package sequence_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/sequencetest"
	"telemetry/receiver/topic"
)

// TestATopicMadeAnewIsRefused: the state says that 5 records were read; the topic has
// been made anew and has 20, of which the first 5 would be skipped.
func TestATopicMadeAnewIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := sequencetest.NewCar("car-1", 1, 1)
		var log []topic.Record
		log = append(log, c.Open(), c.Anchor(1, 0, utc, ms))
		for len(log) < 20 {
			log = append(log, c.Full(int64(len(log))*ms, 1))
		}
		first := sequencetest.New(1, true)
		first.Topic = [16]byte{1}
		first.AddCatalogue(sequencetest.Catalogue("car-1"))
		first.Append(log[:5]...)
		_, stop := start(t, first, config())
		until(t, "5 records are read", func() bool { offset, _ := first.Committed(0); return offset == 5 })
		stop()
		for name, id := range map[string][16]byte{"another topic": {2}, "the same topic": {1}} {
			second := sequencetest.New(1, true)
			second.Topic = id
			second.AddCatalogue(sequencetest.Catalogue("car-1"))
			first.CopyState(second)
			second.Append(log...)
			r, stop := start(t, second, config())
			if name == "the same topic" {
				until(t, "the rest is read", func() bool { return len(second.Output(second.Names.Samples)) == 15 })
				stop()
				continue
			}
			until(t, "the remedy is shown, and stays", func() bool {
				s := r.Snapshot()
				return len(s.Partitions) == 1 && s.Partitions[0].State == sequence.StateStopped && strings.Contains(s.Partitions[0].Error, "made anew") &&
					strings.Contains(s.Partitions[0].Error, "delete the state topic and the consumer group")
			})
			if n := len(second.Output(second.Names.Samples)); n != 0 {
				t.Errorf("%d rows of the new topic are written", n)
			}
			stop()
		}
	})
}

func TestAStateWithoutATopicGetsIt(t *testing.T) {
	b, _ := opened(t, config()) // as an earlier version leaves it: no topic is named
	load := func(id byte) (*sequence.Partition, error) {
		l := sequence.Loaded{Offset: b.offset, Partitions: 1, Topic: [16]byte{id}}
		for _, r := range b.state {
			l.State = append(l.State, r)
		}
		return sequence.NewPartition(b.cfg, 0, l)
	}
	for _, id := range []byte{7, 8} { // nothing is noted by loading alone
		if _, err := load(id); err != nil {
			t.Fatal(err)
		}
	}
	p, err := load(7)
	if err != nil {
		t.Fatal(err)
	}
	if b.p = p; !p.Dirty() {
		t.Fatal("the topic would be noted only with the next record")
	}
	if b.commit(); p.Dirty() {
		t.Error("still dirty after the commit")
	}
	if _, err := load(7); err != nil {
		t.Errorf("the same topic: %v", err)
	}
	if _, err := load(8); !errors.Is(err, sequence.ErrAnew) {
		t.Errorf("another topic: %v, want ErrAnew", err)
	}
	b.load(0) // where the id is not known it is not compared
}
