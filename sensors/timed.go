package sensors

// Timed is an optional capability of a polled [Source]: how late its reads were
// behind the clock that asks for them, since it was made. It is safe for use
// beside Run.
type Timed interface {
	Lateness() Lateness
}

// Lateness is a histogram.
type Lateness struct {
	Count   uint64
	MaxNS   int64
	Buckets []LatenessBucket // with a count, in rising order
}

// LatenessBucket counts what was later than the bucket before and not later than
// UpToNS.
type LatenessBucket struct {
	UpToNS int64
	Count  uint64
}

// Quantile returns the lateness that a share of reads, 0 to 1, did not exceed: the
// upper edge of its bucket, at most MaxNS. It is 0 without reads.
func (l Lateness) Quantile(share float64) int64 {
	want, sum := share*float64(l.Count), uint64(0)
	for _, b := range l.Buckets {
		if sum += b.Count; float64(sum) >= want {
			return min(b.UpToNS, l.MaxNS)
		}
	}
	return l.MaxNS
}
