// Package hop measures where sampled batches spend their time between a sensor and a
// reader of the output topics: each stage notes when it had the batch, and what lies
// between two notes is a hop.
//
// Hops between notes of one clock are exact. Those between two machines' clocks are as
// good as these agree: the car's clock is related to UTC by its anchors, whose
// uncertainty is kept beside the figures; hosts are taken to be synchronised. What comes
// out below zero counts as zero, and is counted. Nothing is decided by any of it.
package hop

import (
	"math"
	"slices"
	"sync"
	"time"
)

// Hop is one part of a batch's way.
type Hop uint8

// Hops, in the order of the way.
const (
	Sealed    Hop = iota // newest sample to sealed; the car's clock
	Durable              // sealed to durable in the spool; the car's clock
	Sent                 // durable, or sealed where nothing is stored, to sent; the car's clock. The copy that was taken
	Received             // sent to received by ingest; the car's clock and ingest's
	Produced             // received to appended by Kafka; ingest's clock and the broker's, in ms
	Read                 // appended to read by the sequencer; the broker's clock and the sequencer's
	Released             // read to released: what it waited for holes, window and anchor; the sequencer's clock
	Committed            // released to visible for readers of committed records; the sequencer's clock
	Total                // newest sample to visible
	Shown                // time of a row of the batch to taken by the live page; the car's clock and the page's process's
	count
)

var names = [count]string{"sealed", "durable", "sent", "received", "produced", "read", "released", "committed", "total", "shown"}

func (h Hop) String() string { return names[h] }

// All lists the hops in the order of the way.
func All() []Hop {
	hs := make([]Hop, count)
	for i := range hs {
		hs[i] = Hop(i)
	}
	return hs
}

// Buckets are the upper bounds of the histograms, in seconds.
var Buckets = [...]float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60, 300}

// recent is how many of the last durations percentiles are taken of.
const recent = 512

// Set collects hops. It is safe for concurrent use; a nil one takes nothing.
type Set struct {
	mu   sync.Mutex
	hops [count]series // guarded by mu
	unc  time.Duration // guarded by mu
}

type series struct {
	buckets  [len(Buckets) + 1]uint64 // the last one: beyond all bounds
	n, below uint64
	sum      float64
	last     [recent]float32 // seconds
}

// Observe adds one duration.
func (s *Set) Observe(h Hop, d time.Duration) {
	if s == nil || h >= count {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v := &s.hops[h]
	if d < 0 {
		v.below++
		d = 0
	}
	sec := d.Seconds()
	i, _ := slices.BinarySearch(Buckets[:], sec)
	v.buckets[i]++
	v.last[v.n%recent] = float32(sec)
	v.n++
	v.sum += sec
}

// Uncertain notes how well a car's clock was known when a hop was measured by it: half
// the width of the interval that the truth lies in.
func (s *Set) Uncertain(d time.Duration) {
	if s == nil {
		return
	}
	s.mu.Lock()
	s.unc = d
	s.mu.Unlock()
}

// Figures is what is known of one hop.
type Figures struct {
	Hop   string  `json:"hop"`
	Count uint64  `json:"count"` // since the start
	P50MS float64 `json:"p50_ms"`
	P90MS float64 `json:"p90_ms"`
	P99MS float64 `json:"p99_ms"` // these of the last 512
	Below uint64  `json:"below_zero"`

	SumS    float64                  `json:"-"` // since the start, as Buckets: each with those below it
	Buckets [len(Buckets) + 1]uint64 `json:"-"`
}

// Snapshot returns the figures of all hops in order, and the uncertainty of the car's
// clock that was noted last.
func (s *Set) Snapshot() (figures []Figures, uncertainty time.Duration) {
	if s == nil {
		return nil, 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for h := range s.hops {
		v := &s.hops[h]
		f := Figures{Hop: Hop(h).String(), Count: v.n, SumS: v.sum, Below: v.below}
		var sum uint64
		for i, n := range v.buckets {
			sum += n
			f.Buckets[i] = sum
		}
		sorted := slices.Clone(v.last[:min(v.n, recent)])
		slices.Sort(sorted)
		f.P50MS, f.P90MS, f.P99MS = rank(sorted, .5), rank(sorted, .9), rank(sorted, .99)
		figures = append(figures, f)
	}
	return figures, s.unc
}

// rank returns a quantile in ms, to the microsecond; 0 of nothing.
func rank(sorted []float32, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	i := int(math.Ceil(q*float64(len(sorted)))) - 1
	return math.Round(float64(sorted[max(i, 0)])*1e6) / 1e3
}

// Notes is when the stages had one batch. The car's are ns since its boot, the others ns
// since 1970; 0: not told.
type Notes struct {
	SampleNS, SealedNS, DurableNS, SentNS int64
	OffsetNS                              int64 // UTC less boot time, by the car's anchors
	UncertaintyNS                         int64 // of that, half width
	Synced                                bool  // both are known
	ReceivedNS, AppendedNS, ReadNS        int64
	ReleasedNS                            int64
}

// ObserveBatch measures the hops of one batch that has become visible at an instant.
func (s *Set) ObserveBatch(n *Notes, visibleNS int64) {
	if s == nil {
		return
	}
	sent := n.SentNS + n.OffsetNS
	pass := func(h Hop, from, to int64, known bool) {
		if known && from != 0 && to != 0 {
			s.Observe(h, time.Duration(to-from))
		}
	}
	pass(Sealed, n.SampleNS, n.SealedNS, true)
	pass(Durable, n.SealedNS, n.DurableNS, true)
	pass(Sent, n.DurableNS, n.SentNS, true)
	pass(Received, sent, n.ReceivedNS, n.Synced)
	pass(Produced, n.ReceivedNS, n.AppendedNS, true)
	pass(Read, n.AppendedNS, n.ReadNS, true)
	pass(Released, n.ReadNS, n.ReleasedNS, true)
	pass(Committed, n.ReleasedNS, visibleNS, true)
	pass(Total, n.SampleNS+n.OffsetNS, visibleNS, n.Synced)
	if n.Synced {
		s.Uncertain(time.Duration(n.UncertaintyNS))
	}
}
