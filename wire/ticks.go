package wire

import (
	"fmt"
	"slices"
)

// Modes of the tick column: the low half of its first byte. The high half is
// the layout of the columns after it.
const (
	ticksSingle   = 0 // one row: start
	ticksPeriodic = 1 // start, period
	ticksDelta    = 2 // start, least delta, then packed deltas less that one
	ticksDelta2   = 3 // start, first delta, then packed zigzag changes of the delta
)

// appendTicks appends the mode byte and the tick column in its smallest mode.
func appendTicks(dst []byte, ticks []int64) ([]byte, error) {
	if len(ticks) == 1 {
		return appendVarint(append(dst, ticksSingle), ticks[0]), nil
	}
	lo, hi := ^uint64(0), uint64(0)
	for i, t := range ticks[1:] {
		if t < ticks[i] {
			return dst, fmt.Errorf("wire: append block: tick %d of row %d is before row %d", t, i+1, i)
		}
		d := uint64(t - ticks[i])
		lo, hi = min(lo, d), max(hi, d)
	}
	if lo == hi {
		dst = appendVarint(append(dst, ticksPeriodic), ticks[0])
		return appendUvarint(dst, lo), nil
	}
	start := len(dst)
	first := uint64(ticks[1] - ticks[0])
	if deltaTicksLen(ticks, lo) <= delta2TicksLen(ticks, first) {
		dst = appendVarint(append(dst, ticksDelta), ticks[0])
		dst = appendUvarint(dst, lo)
		var group [packGroup]uint64
		for i := 1; i < len(ticks); i += packGroup {
			n := min(packGroup, len(ticks)-i)
			dst = appendGroup(dst, group[:n], deltaGroup(&group, ticks[i-1:i+n], lo))
		}
		return dst, nil
	}
	dst = appendVarint(append(dst[:start], ticksDelta2), ticks[0])
	dst = appendUvarint(dst, first)
	var group [packGroup]uint64
	for i := 2; i < len(ticks); i += packGroup {
		n := min(packGroup, len(ticks)-i)
		dst = appendGroup(dst, group[:n], delta2Group(&group, ticks[i-2:i+n]))
	}
	return dst, nil
}

// appendGroup appends a width and the packed values; or is all of them or-ed.
func appendGroup(dst []byte, group []uint64, or uint64) []byte {
	w := width(or)
	return pack(append(dst, byte(w)), group, w)
}

// deltaGroup writes the deltas of ticks, less base each, to out and returns
// them or-ed.
func deltaGroup(out *[packGroup]uint64, ticks []int64, base uint64) uint64 {
	var or uint64
	prev := ticks[0]
	for i, t := range ticks[1:] {
		d := uint64(t-prev) - base
		out[i%packGroup] = d
		or |= d
		prev = t
	}
	return or
}

// delta2Group writes the zigzag changes between the deltas of ticks to out and
// returns them or-ed.
func delta2Group(out *[packGroup]uint64, ticks []int64) uint64 {
	var or uint64
	prev, delta := ticks[1], ticks[1]-ticks[0]
	for i, t := range ticks[2:] {
		d := zigzag(t - prev - delta)
		out[i%packGroup] = d
		or |= d
		delta = t - prev
		prev = t
	}
	return or
}

// deltaTicksLen returns the bytes of mode ticksDelta without mode and start.
func deltaTicksLen(ticks []int64, base uint64) int {
	size := uvarintLen(base)
	var group [packGroup]uint64
	for i := 1; i < len(ticks); i += packGroup {
		n := min(packGroup, len(ticks)-i)
		size += 1 + packedLen(n, width(deltaGroup(&group, ticks[i-1:i+n], base)))
	}
	return size
}

// delta2TicksLen returns the bytes of mode ticksDelta2 without mode and start.
func delta2TicksLen(ticks []int64, first uint64) int {
	size := uvarintLen(first)
	var group [packGroup]uint64
	for i := 2; i < len(ticks); i += packGroup {
		n := min(packGroup, len(ticks)-i)
		size += 1 + packedLen(n, width(delta2Group(&group, ticks[i-2:i+n])))
	}
	return size
}

// ticks reads the tick column of rows rows (at least one), after its mode, into
// out's memory.
func (r *reader) ticks(out []int64, mode byte, rows int) []int64 {
	out = slices.Grow(out[:0], rows)[:rows]
	prev := r.varint("first tick")
	out[0] = prev
	switch {
	case mode == ticksSingle && rows == 1:
	case mode == ticksPeriodic && rows > 1:
		period := int64(r.uvarint(1<<64-1, "tick period"))
		for i := 1; i < rows; i++ {
			out[i] = out[i-1] + period
			if out[i] < out[i-1] {
				r.fail("tick period", errRange)
				break
			}
		}
	case mode == ticksDelta && rows > 1:
		r.deltaTicks(out)
	case mode == ticksDelta2 && rows > 1:
		r.delta2Ticks(out)
	default:
		if r.err == nil {
			r.fail("ticks", fmt.Errorf("unknown mode %d for %d rows", mode, rows))
		}
	}
	return out
}

func (r *reader) deltaTicks(out []int64) {
	base := r.uvarint(1<<64-1, "least tick delta")
	var group [packGroup]uint64
	prev := out[0]
	for rest := out[1:]; len(rest) > 0; {
		n := min(packGroup, len(rest))
		if !r.packed(group[:n], r.width("tick width"), "ticks") || r.err != nil {
			return
		}
		for i, d := range group[:n] {
			t := prev + int64(base+d)
			if t < prev {
				r.fail("ticks", errRange)
				return
			}
			rest[i] = t
			prev = t
		}
		rest = rest[n:]
	}
}

func (r *reader) delta2Ticks(out []int64) {
	delta := int64(r.uvarint(1<<64-1, "first tick delta"))
	prev := out[0] + delta
	if r.err == nil && prev < out[0] {
		r.fail("first tick delta", errRange)
	}
	if r.err != nil {
		return
	}
	out[1] = prev
	var group [packGroup]uint64
	for rest := out[2:]; len(rest) > 0; {
		n := min(packGroup, len(rest))
		if !r.packed(group[:n], r.width("tick width"), "ticks") || r.err != nil {
			return
		}
		for i, d := range group[:n] {
			delta += unzigzag(d)
			t := prev + delta
			if t < prev {
				r.fail("ticks", errRange)
				return
			}
			rest[i] = t
			prev = t
		}
		rest = rest[n:]
	}
}
