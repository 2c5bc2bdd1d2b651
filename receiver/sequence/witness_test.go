package sequence_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/sequencetest"
	"telemetry/receiver/topic"
)

// TestALogThatWasCutShortAndHasGrownAgainIsRefused: the topic is the same one and is
// longer than the state says, but holds something else where the state has read.
func TestALogThatWasCutShortAndHasGrownAgainIsRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		change  func(second *sequencetest.Kafka, log []topic.Record)
		refused bool
	}{
		"the same log":         {func(k *sequencetest.Kafka, log []topic.Record) { k.Append(log...) }, false},
		"another record there": {func(k *sequencetest.Kafka, log []topic.Record) { k.Append(append(log[:3:3], log[4:]...)...) }, true},
		"as many, the last ones the other way": {func(k *sequencetest.Kafka, log []topic.Record) {
			k.Append(append(log[:3:3], log[4], log[3])...)
			k.Append(log[5:]...)
		}, true},
		"retention has deleted it": {func(k *sequencetest.Kafka, log []topic.Record) {
			k.Append(append(log[1:5:5], log[0])...)
			k.Append(log[5:]...)
			k.Truncate(0, 5)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := sequencetest.NewCar("car-1", 1, 1)
				log := []topic.Record{c.Open(), c.Anchor(1, 0, utc, ms)}
				for len(log) < 20 {
					log = append(log, c.Full(int64(len(log))*ms, 1))
				}
				first := sequencetest.New(1, true)
				first.NowMS = func() int64 { return 5000 }
				first.AddCatalogue(sequencetest.Catalogue("car-1"))
				first.Append(log[:5]...)
				_, stop := start(t, first, config())
				until(t, "5 records are read", func() bool { offset, _ := first.Committed(0); return offset == 5 })
				stop()
				second := sequencetest.New(1, true)
				second.NowMS = first.NowMS
				second.AddCatalogue(sequencetest.Catalogue("car-1"))
				first.CopyState(second)
				tc.change(second, log)
				r, stop := start(t, second, config())
				defer stop()
				if !tc.refused {
					until(t, "the rest is read", func() bool { return len(second.Output(second.Names.Samples)) == 15 })
					return
				}
				until(t, "the remedy is shown, and stays", func() bool {
					s := r.Snapshot()
					return len(s.Partitions) == 1 && s.Partitions[0].State == sequence.StateStopped && strings.Contains(s.Partitions[0].Error, "cut short and has grown again") &&
						strings.Contains(s.Partitions[0].Error, "the record at 4") && strings.Contains(s.Partitions[0].Error, "delete the state topic and the consumer group")
				})
				if n := len(second.Output(second.Names.Samples)); n != 0 {
					t.Errorf("%d rows are written", n)
				}
			})
		})
	}
}
