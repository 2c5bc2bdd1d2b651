package reorder

import (
	"sort"

	"telemetry/wire"
)

// Flags of an entry: why it is kept.
const (
	flagHeld    = 1 << iota // waits behind a hole or an older epoch: undecided
	flagMain                // released, waits at the gate
	flagLate                // late, waits at the gate
	flagPulled              // pulled, waits at the gate
	flagOpens               // it opens a hole: neither pulled nor control only
	flagColumns             // it has columns: the gate holds it in critical too

	flagsKeep = flagHeld | flagMain | flagLate | flagPulled
)

// The three outputs, as indexes of stream.wait.
const (
	outMain = iota
	outLate
	outPulled
	outs
)

// entry is a batch that the input topic keeps for us.
type entry struct {
	offset   int64
	appendMS int64 // LogAppendTime, never below that of an earlier record
	crc      uint32
	flags    uint8
}

// crcRing keeps the payload CRC of the latest delivered numbers.
type crcRing struct {
	seq [CRCWindow]uint64 // by the number's remainder; 0: empty
	crc [CRCWindow]uint32
}

// seqAt is an element of a queue in offset order that is cleaned lazily.
type seqAt struct {
	seq    uint64
	offset int64
}

// stream is the state of one stream. Of the numbers up to floor, missing has
// those that never came and all others are delivered. Above the floor a number
// is at most one of: in missing (settled), in done (delivered late), in held.
type stream struct {
	id    wire.Stream
	epoch *epoch
	lane  *lane

	floor    uint64 // all up to here is decided
	hi       uint64 // highest number seen or settled
	base     uint64 // greatest base seen
	end      uint64 // last number to wait for, when ended
	ended    bool   // an EpochOpen has closed the epoch
	cut      bool   // newer epochs have been released: only late from here on
	forced   bool   // a window ran out before the epoch's EpochOpen was read
	released bool   // something of it has been released

	missing gaps
	done    wire.Ranges       // delivered above the floor: beyond the end of a closed stream, or spent
	pulled  wire.Ranges       // emitted to pulled
	held    wire.Ranges       // numbers of the entries with flagHeld; all above the floor
	expect  wire.Ranges       // while restoring: what was held before the takeover
	wait    [outs]wire.Ranges // numbers decided but still at the gate
	entries map[uint64]entry
	// opening lists the held entries that open a hole, in offset order; those
	// before openingAt, or no longer held, are spent.
	opening   []seqAt
	openingAt int
	recent    *crcRing // nil until something is delivered, and again once closed
}

// complete reports whether nothing more is waited for.
func (x *stream) complete() bool {
	if x.cut || x.ended && x.floor >= x.end {
		return true
	}
	cur := x.lane.current()
	return cur != nil && x.epoch.rank < cur.epoch.rank
}

// waiting reports whether something decided is still at the gate.
func (x *stream) waiting() bool {
	return len(x.wait[outMain])+len(x.wait[outLate])+len(x.wait[outPulled]) > 0
}

// ready reports whether the epoch may release in its turn (rule 11 a).
func (x *stream) ready() bool { return x.epoch.opened || x.epoch.closed || x.forced }

// class says what is known of a number.
type class uint8

const (
	unknown   class = iota
	delivered       // released or late
	holding         // in held
	lost            // in missing
	blurred         // in a merged gap
)

// classify returns the class of seq and the last number of the run, from seq on,
// that surely shares it (and its reason, if lost).
func (x *stream) classify(seq uint64) (class, uint64) {
	next := MaxSeq
	if i := x.missing.find(seq); i < len(x.missing) {
		g := x.missing[i]
		if g.first <= seq {
			if g.merged {
				return blurred, g.last
			}
			return lost, g.last
		}
		next = g.first - 1
	}
	if seq <= x.floor {
		return delivered, min(next, x.floor)
	}
	for _, set := range [...]struct {
		rs wire.Ranges
		c  class
	}{{x.held, holding}, {x.done, delivered}} {
		i := findRange(set.rs, seq)
		if i == len(set.rs) {
			continue
		}
		if set.rs[i].First <= seq {
			return set.c, min(next, set.rs[i].Last)
		}
		next = min(next, set.rs[i].First-1)
	}
	return unknown, next
}

// findRange returns the index of the first range whose Last >= seq.
func findRange(rs wire.Ranges, seq uint64) int {
	if n := len(rs); n == 0 || rs[n-1].Last < seq {
		return n
	}
	return sort.Search(len(rs), func(i int) bool { return rs[i].Last >= seq })
}

// oldest returns the LogAppendTime at which the stream's hole opened: the
// earliest among its held entries that open one.
func (x *stream) oldest() (int64, bool) {
	for ; x.openingAt < len(x.opening); x.openingAt++ {
		q := x.opening[x.openingAt]
		if e, ok := x.entries[q.seq]; ok && e.offset == q.offset && e.flags&flagHeld != 0 {
			return e.appendMS, true
		}
	}
	x.opening, x.openingAt = x.opening[:0], 0
	return 0, false
}

// pushOpening notes that a held entry opens a hole.
func (x *stream) pushOpening(seq uint64, offset int64) {
	if len(x.opening) >= 2*len(x.entries)+64 {
		keep := x.opening[:0]
		for _, q := range x.opening[x.openingAt:] {
			if e, ok := x.entries[q.seq]; ok && e.offset == q.offset && e.flags&flagHeld != 0 {
				keep = append(keep, q)
			}
		}
		x.opening, x.openingAt = keep, 0
	}
	x.opening = append(x.opening, seqAt{seq, offset})
}

// remember keeps the CRC of a delivered number.
func (x *stream) remember(seq uint64, crc uint32) {
	if x.recent == nil {
		if x.ended && x.complete() {
			return
		}
		x.recent = new(crcRing)
	}
	i := seq % CRCWindow
	if x.recent.seq[i] <= seq {
		x.recent.seq[i], x.recent.crc[i] = seq, crc
	}
}

// sameCRC reports whether nothing contradicts that seq has a payload with crc.
func (x *stream) sameCRC(seq uint64, crc uint32) bool {
	if e, ok := x.entries[seq]; ok {
		return e.crc == crc
	}
	if x.recent == nil {
		return true
	}
	i := seq % CRCWindow
	return x.recent.seq[i] != seq || x.recent.crc[i] == crc
}
