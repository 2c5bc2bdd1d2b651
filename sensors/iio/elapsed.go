package iio

import "math"

// elapsed tells by the time that has passed what the buffer of a device without
// time stamps had no room for. That can only be after a stall of the reader that was
// as long as the buffer is; then what has come is compared with what should have,
// at the rate that was measured before.
type elapsed struct {
	periodNS float64 // nominal, and then as measured
	bufferNS int64   // of samples that the buffer holds

	total     int64 // samples
	read      int64 // time of the latest read; 0: none
	from      int64 // a calm stretch began
	fromTotal int64
	stalled   bool
	stallFrom int64 // time of the read before the stall
	stallAt   int64 // total then
}

// Limits of an [elapsed].
const (
	calmNS    = int64(100_000_000)    // between reads
	measureNS = int64(10_000_000_000) // of a stretch that tells the rate
	offBy     = 0.1                   // share by which a chip's rate may be another one
	doubt     = 0.02                  // share of a stall's samples that is none
	doubtNS   = 30e6                  // likewise, for the ends
)

// add takes the samples of a read at now. It returns about how many were lost, once
// that is known.
func (e *elapsed) add(n int, now int64) uint64 {
	gap, read, before := now-e.read, e.read, e.total
	e.read, e.total = now, e.total+int64(n)
	switch {
	case read == 0:
		e.calm(now)
	case !e.stalled && gap > e.bufferNS*3/4:
		e.stalled, e.stallFrom, e.stallAt = true, read, before
	case e.stalled && gap <= calmNS && float64(n)*e.periodNS <= float64(calmNS): // what waited has come
		e.stalled = false
		e.calm(now)
		want := float64(now-e.stallFrom) / e.periodNS
		if lost := want - float64(e.total-e.stallAt); lost > max(doubt*want, doubtNS/e.periodNS) {
			return uint64(math.Round(lost))
		}
	case !e.stalled && now-e.from >= measureNS:
		p := float64(now-e.from) / float64(max(1, e.total-e.fromTotal))
		if math.Abs(p/e.periodNS-1) <= offBy {
			e.periodNS = p
		}
		e.calm(now)
	}
	return 0
}

// calm begins a stretch at now.
func (e *elapsed) calm(now int64) { e.from, e.fromTotal = now, e.total }
