// Package timemap maps a car's boot clock to UTC from the time anchors that the
// car sends, one map per epoch. The entry points are [Car.Add] for an anchor and
// [Car.At] for an instant.
//
// A map is a function of boot time that only ever grows at its end: an instant
// that has been read ([Map.See]) keeps its UTC, so the live and the full lane
// agree and a replay gives the same bytes, whenever it asks. A better anchor bends the map by at most
// [SlewPPM]; an anchor that contradicts the map by more than both uncertainties
// opens a new segment. The package never reads a clock and never does I/O.
package timemap

import (
	"time"

	"telemetry/wire"
)

// SlewPPM is how fast a map moves towards a better anchor: 500 µs a second.
const SlewPPM = 500

// DriftPPM is how fast a map is taken to lose accuracy away from its anchor: an
// uncompensated crystal over an engine bay's temperatures.
const DriftPPM = 50

// Limits on what one car can make the map hold.
const (
	MaxEpochs   = 1024 // maps per car; the oldest goes first and becomes unsynced
	MaxKnots    = 128  // bends per map; beyond it the smallest bend is smoothed out
	MaxCarKnots = 4096 // bends per car; beyond it the oldest map goes
)

// maxAhead is how far behind its anchor a bend may begin, to lie behind the
// newest instant read, and no further: one wild timestamp must not pin the map.
const maxAhead = int64(time.Hour)

// maxInstantNS bounds boot and UTC times (the year 2116), so that no sum here
// can overflow.
const maxInstantNS = int64(1) << 62

// Verdict says what an anchor did to its map.
type Verdict uint8

// Verdicts.
const (
	Ignored Verdict = iota // older or worse than what the map rests on, or absurd
	First                  // the epoch's first anchor: a new map
	Kept                   // agrees with the map, which now rests on it
	Slewed                 // bends the map
	Stepped                // contradicts the map: a new segment
)

// String returns the verdict as it stands in the timemap topic.
func (v Verdict) String() string {
	return [...]string{"ignored", "first", "kept", "slewed", "stepped"}[min(v, Stepped)]
}

// Knot is a bend of a map. From BootNS on, UTC − boot starts at OffsetNS and
// moves to TargetNS at SlewPPM.
type Knot struct {
	BootNS       int64
	OffsetNS     int64
	TargetNS     int64
	UncNS        int64 // of the anchor, at the anchor
	AnchorBootNS int64
	Anchor       uint32 // id of the anchor that it rests on
	Segment      uint32 // counts from 1
}

// offset returns UTC − boot at boot, and how much of the slew is left.
func (k *Knot) offset(boot int64) (off, left int64) {
	left = k.TargetNS - k.OffsetNS
	if left == 0 || boot <= k.BootNS {
		return k.OffsetNS, abs(left)
	}
	moved := (boot - k.BootNS) / (1_000_000 / SlewPPM)
	if moved >= abs(left) {
		return k.TargetNS, 0
	}
	if left < 0 {
		return k.OffsetNS - moved, -left - moved
	}
	return k.OffsetNS + moved, left - moved
}

// Stamp is one instant in UTC. The zero value is an instant without a map.
type Stamp struct {
	UTCNS   int64
	UncNS   int64  // half width, drift since the anchor and slew left included
	Anchor  uint32 // id of the anchor it rests on
	Segment uint32
	Synced  bool // false: no anchor of the epoch is known, all else is zero
}

// Map is the map of one epoch. The zero value has no anchor.
type Map struct {
	knots  []Knot
	highNS int64 // newest instant read so far
}

// Knots returns the bends, oldest first; the caller must not change them.
func (m *Map) Knots() []Knot { return m.knots }

// See notes that data up to an instant has been read: bends begin behind it.
func (m *Map) See(boot int64) { m.highNS = max(m.highNS, min(boot, maxInstantNS)) }

// At maps an instant.
func (m *Map) At(boot int64) Stamp {
	if len(m.knots) == 0 {
		return Stamp{}
	}
	boot = max(min(boot, maxInstantNS), -maxInstantNS)
	i := len(m.knots) - 1
	for i > 0 && m.knots[i].BootNS > boot {
		i--
	}
	k := &m.knots[i]
	off, left := k.offset(boot)
	away := abs(boot - k.AnchorBootNS)
	return Stamp{
		UTCNS: boot + off, UncNS: k.UncNS + left + away/(1_000_000/DriftPPM),
		Anchor: k.Anchor, Segment: k.Segment, Synced: true,
	}
}

// Add gives the map an anchor. It must be called when the anchor is first read;
// a repeated anchor is ignored.
func (m *Map) Add(a wire.Anchor) Verdict {
	if a.BootNS < 0 || a.BootNS > maxInstantNS || a.UTCNS < 0 || a.UTCNS > maxInstantNS ||
		a.UncertaintyNS <= 0 || a.UncertaintyNS > maxInstantNS/4 {
		return Ignored
	}
	offset := a.UTCNS - a.BootNS
	knot := Knot{
		BootNS: a.BootNS, OffsetNS: offset, TargetNS: offset,
		UncNS: a.UncertaintyNS, AnchorBootNS: a.BootNS, Anchor: a.ID, Segment: 1,
	}
	if len(m.knots) == 0 {
		m.knots = append(m.knots, knot)
		return First
	}
	last := &m.knots[len(m.knots)-1]
	if a.BootNS <= last.AnchorBootNS {
		return Ignored
	}
	now := m.At(a.BootNS)
	diff := abs(a.UTCNS - now.UTCNS)
	switch {
	case diff > now.UncNS+a.UncertaintyNS:
		knot.Segment = last.Segment + 1
		m.bend(knot)
		return Stepped
	case a.UncertaintyNS > now.UncNS:
		return Ignored
	case diff <= max(a.UncertaintyNS/16, 1000) && a.UncertaintyNS+diff <= now.UncNS:
		last.AnchorBootNS, last.Anchor, last.UncNS = a.BootNS, a.ID, a.UncertaintyNS+diff
		return Kept
	}
	knot.Segment = last.Segment
	m.bend(knot)
	return Slewed
}

// bend appends a knot behind everything read so far.
func (m *Map) bend(k Knot) {
	last := &m.knots[len(m.knots)-1]
	from := max(k.AnchorBootNS, min(m.highNS+1, k.AnchorBootNS+maxAhead), last.BootNS+1)
	k.BootNS = from
	if k.Segment == last.Segment {
		k.OffsetNS, _ = last.offset(from)
	}
	m.knots = append(m.knots, k)
	if len(m.knots) > MaxKnots {
		m.smooth()
	}
}

// smooth removes the knot that bends the map least, never the first or last.
func (m *Map) smooth() {
	best, least := 1, int64(-1)
	for i := 1; i < len(m.knots)-1; i++ {
		d := abs(m.knots[i].TargetNS - m.knots[i-1].TargetNS)
		if m.knots[i].Segment == m.knots[i-1].Segment && (least < 0 || d < least) {
			best, least = i, d
		}
	}
	m.knots = append(m.knots[:best], m.knots[best+1:]...)
}

func abs(v int64) int64 {
	if v < 0 {
		return -v
	}
	return v
}
