package hop

import (
	"testing"
	"time"
)

const utc = int64(1_790_000_000_000_000_000)

func ms(n int64) int64 { return n * int64(time.Millisecond) }

func figures(s *Set) map[string]Figures {
	out := map[string]Figures{}
	list, _ := s.Snapshot()
	for _, f := range list {
		out[f.Hop] = f
	}
	return out
}

func whole() Notes {
	return Notes{
		SampleNS: ms(1000), SealedNS: ms(1100), DurableNS: ms(1112), SentNS: ms(1115), OffsetNS: utc, UncertaintyNS: ms(2), Synced: true,
		ReceivedNS: utc + ms(1145), AppendedNS: utc + ms(1150), ReadNS: utc + ms(1153), ReleasedNS: utc + ms(1154), // visible at 1,200
	}
}

func TestABatchesWayIsTakenApart(t *testing.T) {
	var s Set
	n := whole()
	s.ObserveBatch(&n, utc+ms(1200))
	got := figures(&s)
	for name, want := range map[string]float64{
		"sealed": 100, "durable": 12, "sent": 3, "received": 30, "produced": 5, "read": 3, "released": 1, "committed": 46, "total": 200,
	} {
		if f := got[name]; f.Count != 1 || f.P50MS != want || f.P99MS != want || f.Below != 0 {
			t.Errorf("%s: %+v, want %v ms once", name, f, want)
		}
	}
	if _, unc := s.Snapshot(); unc != 2*time.Millisecond {
		t.Errorf("uncertainty %v", unc)
	}
	if len(got) != len(All()) || got["shown"].Count != 0 { // by another process, maybe
		t.Errorf("%d hops, shown %d", len(got), got["shown"].Count)
	}
}

func TestWhatIsNotToldIsNotMeasured(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Notes)
		absent []string
	}{
		"a car without anchors":  {func(n *Notes) { n.Synced = false }, []string{"received", "total"}},
		"an old car":             {func(n *Notes) { n.SealedNS, n.DurableNS = 0, 0 }, []string{"sealed", "durable", "sent"}},
		"an old ingest":          {func(n *Notes) { n.ReceivedNS = 0 }, []string{"received", "produced"}},
		"read again from memory": {func(n *Notes) { n.ReadNS = 0 }, []string{"read", "released"}},
	} {
		var s Set
		n := whole()
		tc.change(&n)
		s.ObserveBatch(&n, utc+ms(1200))
		measured := 0
		for _, f := range figures(&s) {
			measured += int(f.Count)
		}
		for _, h := range tc.absent {
			if figures(&s)[h].Count != 0 {
				t.Errorf("%s: %s is measured", name, h)
			}
		}
		if measured != len(All())-1-len(tc.absent) {
			t.Errorf("%s: %d hops are measured, want all but %v", name, measured, tc.absent)
		}
	}
	var none *Set
	n := whole()
	none.ObserveBatch(&n, utc) // must not fail
	none.Observe(Read, 1)
	none.Uncertain(1)
	if f, _ := none.Snapshot(); f != nil {
		t.Errorf("nothing has figures: %v", f)
	}
}

func TestClocksThatDisagreeAreCounted(t *testing.T) {
	var s Set
	n := whole()
	n.ReceivedNS = utc + ms(1114)
	s.ObserveBatch(&n, utc+ms(1200))
	if f := figures(&s)["received"]; f.Count != 1 || f.Below != 1 || f.P50MS != 0 || f.Buckets[0] != 1 {
		t.Errorf("%+v", f)
	}
}

func TestHistogramAndPercentiles(t *testing.T) {
	var s Set
	for i := range int64(100) {
		s.Observe(Sent, time.Duration(ms(i+1)))
	}
	s.Observe(Received, time.Hour)
	f := figures(&s)["sent"]
	if f.P50MS != 50 || f.P90MS != 90 || f.P99MS != 99 || f.Buckets[0] != 1 || f.Buckets[3] != 10 || f.Buckets[6] != 100 || f.Buckets[len(Buckets)] != 100 {
		t.Errorf("%+v", f)
	}
	if f := figures(&s)["received"]; f.Buckets[len(Buckets)-1] != 0 || f.Buckets[len(Buckets)] != 1 {
		t.Errorf("an hour: %+v", f)
	}
	for range recent { // what is long ago is in the histogram, and not in the percentiles
		s.Observe(Sent, time.Second)
	}
	if f := figures(&s)["sent"]; f.P50MS != 1000 || f.Count != 100+recent {
		t.Errorf("%+v", f)
	}
}
