package uplink

import (
	"fmt"
	"strings"
	"testing"

	"telemetry/wire"
)

// stampedStore knows when batches were sealed and durable.
type stampedStore struct{ *simStore }

func (stampedStore) Stamps(id wire.ID) (sealedNS, durableNS int64, ok bool) {
	return int64(id.Seq) * ms, int64(id.Seq)*ms + 7, true
}

// TestSampledBatchesSayWhenTheyWereSealed: in the send header, and no others do.
func TestSampledBatchesSayWhenTheyWereSealed(t *testing.T) {
	s := newSim(t, 1, threeLinks())
	s.e.stamper = stampedStore{s.st}
	s.load(wire.LaneFull, 1<<10, 10*ms, s.now+1000*ms)
	s.run(s.now+2000*ms, nil)
	var sampled uint64
	for id := range s.sends {
		if wire.Sampled(id.Seq) {
			sampled++
		}
	}
	var n uint64
	h := s.e.Snapshot().Hops
	for _, b := range h.Durable.Buckets {
		n += b
	}
	if n != sampled || h.Durable.SumNS != 7*int64(sampled) || h.Sent.SumNS <= 0 {
		t.Errorf("hops %+v of %d sampled batches", h, sampled)
	}
	if text := string(AppendMetrics(nil, s.e.Snapshot())); !strings.Contains(text, fmt.Sprintf("edgeagent_hop_seconds_bucket{hop=\"durable\",le=\"0.001\"} %d\n", sampled)) {
		t.Errorf("no histogram of it in\n%s", text)
	}
	if len(s.sends) < 20 {
		t.Fatalf("%d batches were sent", len(s.sends))
	}
	for id, sends := range s.sends {
		seq, hdr := id.Seq, sends[0].hdr
		var sealed, durable int64
		if wire.Sampled(seq) {
			sealed, durable = int64(seq)*ms, int64(seq)*ms+7
		}
		if hdr.SealedNS != sealed || hdr.DurableNS != durable {
			t.Errorf("batch %d says %d and %d, want %d and %d", seq, hdr.SealedNS, hdr.DurableNS, sealed, durable)
		}
	}
}
