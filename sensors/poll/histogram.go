package poll

import (
	"math/bits"
	"sync/atomic"

	"telemetry/sensors"
)

// buckets of a histogram: four for each doubling, from 1 µs to 1 s and beyond.
const (
	perOctave = 4
	octaves   = 21
	buckets   = perOctave*octaves + 1
)

// histogram counts how late reads were. It is safe for concurrent use.
type histogram struct {
	counts [buckets]atomic.Uint64
	max    atomic.Int64 // ns
}

// bucket returns the place of a lateness.
func bucket(ns int64) int {
	us4 := uint64(max(0, ns)) * perOctave / 1000 // quarters of a µs
	if us4 < perOctave {
		return 0
	}
	octave := bits.Len64(us4) - 3 // us4 in [4<<octave, 8<<octave)
	return min(buckets-1, 1+octave*perOctave+int(us4>>octave)-perOctave)
}

// upper returns the upper edge of a bucket in ns.
func upper(b int) int64 {
	if b == 0 {
		return 1000
	}
	octave, part := (b-1)/perOctave, (b-1)%perOctave
	return int64(1000/perOctave) * int64(perOctave+part+1) << octave
}

func (h *histogram) add(ns int64) {
	h.counts[bucket(ns)].Add(1)
	for {
		old := h.max.Load()
		if ns <= old || h.max.CompareAndSwap(old, ns) {
			return
		}
	}
}

// read returns what was counted.
func (h *histogram) read() sensors.Lateness {
	out := sensors.Lateness{MaxNS: h.max.Load()}
	for i := range h.counts {
		if n := h.counts[i].Load(); n > 0 {
			out.Count += n
			out.Buckets = append(out.Buckets, sensors.LatenessBucket{UpToNS: upper(i), Count: n})
		}
	}
	return out
}
