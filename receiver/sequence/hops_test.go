package sequence_test

import (
	"strconv"
	"testing"
	"time"

	"telemetry/receiver/hop"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// TestHopsOfSampledBatches: the 1st and the 17th batch of a lane say when the stages
// before had them; what lies between is measured when their commit is durable.
func TestHopsOfSampledBatches(t *testing.T) {
	cfg := config()
	cfg.Hops = new(hop.Set)
	wall := utc
	cfg.Wall = func() int64 { return wall }
	b, c := opened(t, cfg)
	wall += 5000 * ms
	b.nowMS = wall / ms
	before := count(cfg.Hops)
	full := func(at int64) topic.Record {
		r := c.Full(at, 1)
		s := wire.Send{SentNS: at, SealedNS: at - 30*ms, DurableNS: at - 10*ms}
		for i := range r.Headers {
			if r.Headers[i].Key == topic.HeaderSentNS {
				r.Headers[i].Value = strconv.AppendInt(nil, s.SentNS, 10)
			}
		}
		r.Headers = append(r.Headers,
			topic.Header{Key: topic.HeaderSealedNS, Value: strconv.AppendInt(nil, s.SealedNS, 10)},
			topic.Header{Key: topic.HeaderDurableNS, Value: strconv.AppendInt(nil, s.DurableNS, 10)},
			topic.Header{Key: topic.HeaderReceivedNS, Value: strconv.AppendInt(nil, utc+4900*ms, 10)})
		return r
	}
	for i := range int64(17) {
		b.apply(full((4800 + i) * ms))
	}
	wall += 7 * ms
	b.p.Advance()
	b.p.Drain(1 << 20) // asks for the catalogue
	if n := count(cfg.Hops)["committed"].Count; n != before["committed"].Count {
		t.Errorf("%d batches are visible before the commit", n)
	}
	b.write()
	got := count(cfg.Hops)
	for name, want := range map[string]float64{
		"durable": 20, "sent": 10, "received": 100, "produced": 100, "read": 0, "released": 7, "committed": 0, "total": 207,
	} {
		f := got[name]
		if n := f.Count - before[name].Count; n != 2 {
			t.Errorf("%s: measured %d times, want 2", name, n)
		}
		// The 17th was made 16 ms after the first.
		if slack := 16.0; f.P99MS < want-slack || f.P99MS > want+slack {
			t.Errorf("%s: %.1f ms, want %.1f", name, f.P99MS, want)
		}
	}
	if _, unc := cfg.Hops.Snapshot(); unc < time.Millisecond || unc > 2*time.Millisecond {
		t.Errorf("uncertainty %v, the anchor has 1 ms", unc)
	}
}

func count(s *hop.Set) map[string]hop.Figures {
	out := map[string]hop.Figures{}
	list, _ := s.Snapshot()
	for _, f := range list {
		out[f.Hop] = f
	}
	return out
}

// TestGapsAreCountedByReason: a number whose window ran out, and one that the car gave up.
func TestGapsAreCountedByReason(t *testing.T) {
	b, c := opened(t, config())
	first, lost := c.Full(1000*ms, 1), c.Full(1001*ms, 1)
	b.apply(c.Full(1002*ms, 1))
	b.write()
	_ = lost
	b.tick(time.Hour)
	b.write()
	b.apply(first)
	b.write()
	lane := b.p.Snapshot().Cars[0].Lanes[wire.LaneFull]
	if lane.Missing != 2 || lane.Found != 1 || lane.Gaps[wire.ReasonGap] != 2 {
		t.Errorf("missing %d, found %d, by reason %v: want 2 by the window, one of them found", lane.Missing, lane.Found, lane.Gaps)
	}
}
