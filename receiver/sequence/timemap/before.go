package timemap

import (
	"slices"

	"telemetry/wire"
)

// Before says which batches of an epoch were written before its first anchor was read.
// Their rows have the time at which the log took the batch, are marked unsynced, and
// stay so: whoever reads the epoch again gives them the same. It never changes; the zero
// value has none.
type Before struct {
	Streams []BeforeStream `json:"streams"`
}

// BeforeStream is one stream of the epoch.
type BeforeStream struct {
	Lane    string      `json:"lane"`
	Shard   uint16      `json:"shard,omitempty"`
	Numbers [][2]uint64 `json:"numbers"` // first and last of each run, ascending
}

// MaxBefore bounds the runs of one stream in a [Before], and the streams: an honest car
// has a stream for each lane, and as many runs as it had holes in its first seconds.
const MaxBefore = 100

// Add adds a stream's numbers. Beyond [MaxBefore] the lowest runs become one, and more
// streams are left out.
func (b *Before) Add(st *wire.Stream, numbers wire.Ranges) {
	if len(numbers) == 0 || len(b.Streams) >= MaxBefore {
		return
	}
	s := BeforeStream{Lane: st.Lane.String(), Shard: st.Shard}
	first := numbers[0].First
	for _, r := range numbers[max(0, len(numbers)-MaxBefore):] {
		s.Numbers = append(s.Numbers, [2]uint64{r.First, r.Last})
	}
	s.Numbers[0][0] = first
	b.Streams = append(b.Streams, s)
}

func (b *Before) of(st *wire.Stream) *BeforeStream {
	if b == nil {
		return nil
	}
	for i := range b.Streams {
		if s := &b.Streams[i]; s.Shard == st.Shard && s.Lane == st.Lane.String() && len(s.Numbers) > 0 {
			return s
		}
	}
	return nil
}

// Has reports whether the batch with a number of a stream is one of them. nil has none.
func (b *Before) Has(st *wire.Stream, seq uint64) bool {
	s := b.of(st)
	return s != nil && seq <= s.Numbers[len(s.Numbers)-1][1] &&
		slices.ContainsFunc(s.Numbers, func(r [2]uint64) bool { return r[0] <= seq && seq <= r[1] })
}

// Reaches reports whether one of them may have a number of a stream that is not below
// seq.
func (b *Before) Reaches(st *wire.Stream, seq uint64) bool {
	s := b.of(st)
	return s != nil && seq <= s.Numbers[len(s.Numbers)-1][1]
}
