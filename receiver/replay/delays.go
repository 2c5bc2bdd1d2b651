package replay

import (
	"slices"
	"time"
)

// Delays counts durations. The zero value is ready; it is not safe for concurrent
// use. Memory is bounded: below 4 ms a duration is known to 1 µs, above to 1/2048.
type Delays struct {
	n   uint64
	max time.Duration
	at  map[int64]uint64 // by bucket
}

// exact is how many buckets of one µs there are; beyond, each doubling has half as
// many.
const exact = 4096

// Add counts a duration; one below 0 counts as 0.
func (d *Delays) Add(v time.Duration) {
	v = max(v, 0)
	d.n++
	d.max = max(d.max, v)
	if d.at == nil {
		d.at = map[int64]uint64{}
	}
	d.at[bucket(v.Microseconds())]++
}

// bucket returns the bucket of a number of µs; buckets are ordered as what is in
// them, and value is its inverse to the lower end.
func bucket(us int64) int64 {
	shift := int64(0)
	for us>>shift >= exact {
		shift++
	}
	if shift == 0 {
		return us
	}
	return exact + (shift-1)*exact/2 + us>>shift - exact/2
}

func value(b int64) int64 {
	if b < exact {
		return b
	}
	shift := (b-exact)/(exact/2) + 1
	return ((b-exact)%(exact/2) + exact/2) << shift
}

// Count returns how many there are.
func (d *Delays) Count() uint64 { return d.n }

// Max returns the longest.
func (d *Delays) Max() time.Duration { return d.max }

// Quantile returns the duration that a share of them, 0 to 1, does not exceed, to the
// precision of its bucket; 0 without any.
func (d *Delays) Quantile(share float64) time.Duration {
	if d.n == 0 {
		return 0
	}
	keys := make([]int64, 0, len(d.at))
	for b := range d.at {
		keys = append(keys, b)
	}
	slices.Sort(keys)
	want := uint64(share * float64(d.n))
	seen := uint64(0)
	for _, b := range keys {
		if seen += d.at[b]; seen > want {
			return min(time.Duration(value(b))*time.Microsecond, d.max)
		}
	}
	return d.max
}
