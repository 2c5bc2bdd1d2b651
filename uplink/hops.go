package uplink

import (
	"fmt"
	"strconv"

	"telemetry/wire"
)

// HopBounds are the upper bounds of [HopFigures.Buckets], in seconds.
var HopBounds = [...]float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 5, 30, 300}

// HopFigures is what one hop inside the car took, of sampled batches at their first
// sending.
type HopFigures struct {
	Buckets [len(HopBounds) + 1]uint64 // how many by bound, each for itself; the last one: beyond all
	SumNS   int64
}

func (h *HopFigures) add(ns int64) {
	ns = max(ns, 0)
	i := 0
	for i < len(HopBounds) && float64(ns)/1e9 > HopBounds[i] {
		i++
	}
	h.Buckets[i]++
	h.SumNS += ns
}

// Hops are the parts of a sampled batch's way inside the car, all by its boot clock:
// newest sample to sealed, sealed to durable, and from there to its first sending.
type Hops struct{ Sealed, Durable, Sent HopFigures }

// stamp tells in the send header of a sampled batch when it was sealed and when it was
// durable, if both are known; what is never durable counts as such when it is sealed.
func (e *Engine) stamp(hdr *wire.Send, it wire.Item, first bool) {
	if !wire.Sampled(it.ID.Seq) {
		return
	}
	sealed, durable, ok := it.SealedNS, it.SealedNS, it.SealedNS > 0
	if it.ID.Stream.Lane != wire.LaneLive {
		if ok = e.stamper != nil; ok {
			sealed, durable, ok = e.stamper.Stamps(it.ID)
		}
	}
	if !ok {
		return
	}
	hdr.SealedNS, hdr.DurableNS = sealed, durable
	if !first {
		return
	}
	e.hops.Sealed.add(sealed - it.LastNS)
	e.hops.Durable.add(durable - sealed)
	e.hops.Sent.add(hdr.SentNS - durable)
}

// appendHops appends the figures as a histogram of Prometheus.
func appendHops(dst []byte, h *Hops) []byte {
	const name = "edgeagent_hop_seconds"
	dst = fmt.Appendf(dst, "# HELP %s Where a sampled batch spent its time inside the car, by hop.\n# TYPE %s histogram\n", name, name)
	for _, v := range [...]struct {
		hop string
		f   *HopFigures
	}{{"sealed", &h.Sealed}, {"durable", &h.Durable}, {"sent", &h.Sent}} {
		var n uint64
		for i, b := range v.f.Buckets {
			n += b
			le := "+Inf"
			if i < len(HopBounds) {
				le = strconv.FormatFloat(HopBounds[i], 'g', -1, 64)
			}
			dst = fmt.Appendf(dst, "%s_bucket{hop=%q,le=%q} %d\n", name, v.hop, le, n)
		}
		dst = fmt.Appendf(dst, "%s_sum{hop=%q} %s\n%s_count{hop=%q} %d\n", name, v.hop, strconv.FormatFloat(float64(v.f.SumNS)/1e9, 'g', -1, 64), name, v.hop, n)
	}
	return dst
}
