package kafkafire

import (
	"testing"

	"telemetry/receiver"
	"telemetry/receiver/sequence"
)

// Counters begin anew with each owner and each process, and none is counted twice.
func TestRereadsAreSummedOverOwners(t *testing.T) {
	status := func(rereads ...uint64) *receiver.Status {
		s := &receiver.SequenceStatus{}
		for i, n := range rereads {
			s.Partitions = append(s.Partitions, receiver.PartitionStatus{Counters: sequence.Counters{Reread: n}, Partition: int32(i)})
		}
		return &receiver.Status{Sequence: s}
	}
	y := tally{last: map[source]uint64{}}
	for i, c := range []struct {
		number, pid int
		status      *receiver.Status
		want        uint64
	}{
		{0, 10, status(0, 0), 0},
		{0, 10, status(3, 1), 4},
		{0, 10, status(3, 1), 4},
		{1, 11, status(2), 6},
		{0, 10, status(1, 1), 7}, // a new owner of partition 0
		{0, 12, status(1, 0), 8}, // a new process
		{1, 11, &receiver.Status{}, 8},
	} {
		if y.look(c.number, c.pid, c.status); y.total != c.want {
			t.Errorf("look %d: %d in all, want %d", i, y.total, c.want)
		}
	}
}
