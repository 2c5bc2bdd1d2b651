package kafkafire

import (
	"context"
	"time"

	"telemetry/lab/instance"
	"telemetry/receiver"
)

// Pace of looking at the receivers.
const (
	lookEvery = 250 * time.Millisecond
	lookLimit = time.Second // a frozen one does not answer
)

// source is one owner of one partition, as far as it can be told: its counters
// begin anew when a process or an owner does.
type source struct {
	receiver, pid int
	partition     int32
}

// tally sums counters that begin anew.
type tally struct {
	last  map[source]uint64
	total uint64
}

// add notes a counter's present value.
func (t *tally) add(s source, now uint64) {
	if last := t.last[s]; now >= last {
		t.total += now - last
	} else {
		t.total += now
	}
	t.last[s] = now
}

// look adds what a receiver's status says.
func (t *tally) look(number, pid int, st *receiver.Status) {
	if st.Sequence == nil {
		return
	}
	for i := range st.Sequence.Partitions {
		p := &st.Sequence.Partitions[i]
		t.add(source{number, pid, p.Partition}, p.Reread)
	}
}

// watch counts the batches that the receivers read again until ctx ends. What an
// owner reads again shortly before it is killed may be left out.
func watch(ctx context.Context, receivers []*instance.Instance) (rereads uint64) {
	t := tally{last: map[source]uint64{}}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		for i, r := range receivers {
			pid := r.PID()
			short, cancel := context.WithTimeout(ctx, lookLimit)
			st, err := r.Status(short)
			cancel()
			if err == nil && r.PID() == pid {
				t.look(i, pid, &st)
			}
		}
		select {
		case <-ctx.Done():
			return t.total
		case <-tick.C:
		}
	}
}
