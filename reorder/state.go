package reorder

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"telemetry/wire"
)

// stateVersion is the first byte of a state. Older versions stay readable: version
// 1 did not say which numbers are held.
const (
	stateVersion = 2
	oldestState  = 1
)

// maxStateHeld bounds the ranges of held numbers in one state: some 3 bytes each.
// What finds no room is taken for a hole after a takeover that cannot read it again.
const maxStateHeld = 4096

// MaxStateBytes is the longest state that [ParseCar] takes. [Limits] as in
// [Defaults] stay far below it.
const MaxStateBytes = 8 << 20

// ErrState says that bytes are not a state: damaged, cut or of a later version.
var ErrState = errors.New("reorder: not a state")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Bits of the log in a car's state.
const (
	stateLogInside = 1 << iota
	stateLogUnread
)

// Flags of epochs and streams in a state.
const (
	stateOpened = 1 << iota
	stateClosed
	stateSeen
	stateSynced
	statePlaced // follows from the first two; earlier owners set it beside them
	stateInside
	stateAside
	stateAbandoned
)

const (
	stateEnded = 1 << iota
	stateCut
	stateForced
	stateReleased
	stateRanges // some of the range sets are not empty
	stateHeld   // something is held; since version 2
)

// AppendState appends the state to dst: a version byte, the car, the offsets and
// times, epochs, tombstones, lanes and streams as uvarints, and a CRC32C over all
// of it. Of batches that wait it has the numbers only: they are read again, from
// LowestNeeded on, by [Car.Rebuild].
func (c *Car) AppendState(dst []byte) []byte {
	start := len(dst)
	w := writer{b: dst, room: maxStateHeld, restoring: c.restoring}
	w.b = append(w.b, stateVersion)
	w.str(c.name)
	w.num(c.next, c.now, c.read, c.halfAlarmed)
	lowest, ms := int64(-1), int64(0)
	if c.restoring {
		lowest, ms = c.resumeOffset, c.resumeMS
	} else if o, e, ok := c.first(); ok {
		lowest, ms = o.offset, e.appendMS
	}
	w.num(lowest+1, ms)
	var alarmed uint64
	for i, a := range c.alarmed {
		if a {
			alarmed |= 1 << i
		}
	}
	w.uint(alarmed)
	w.uint(bits(c.inside, c.unread))
	w.uint(uint64(len(c.epochs)))
	for _, e := range c.epochs {
		w.epoch(e.id)
		w.uint(bits(e.opened, e.closed, e.seen, e.synced, e.placed(), e.inside, e.aside, e.abandoned))
		w.num(e.firstMS, e.lastMS)
		w.uint(place(e.heir))
		w.uint(place(e.parent))
	}
	w.uint(uint64(len(c.tombs)))
	for _, id := range c.tombs {
		w.epoch(id)
	}
	w.uint(uint64(c.streamCount))
	for _, ln := range c.lanes {
		for _, x := range ln.streams {
			w.stream(x)
		}
	}
	return binary.LittleEndian.AppendUint32(w.b, crc32.Checksum(w.b[start:], castagnoli))
}

// place returns 1 + the rank of an epoch, 0 for none.
func place(e *epoch) uint64 {
	if e == nil {
		return 0
	}
	return uint64(e.rank) + 1
}

// bits packs flags, the first into the lowest bit.
func bits(fs ...bool) uint64 {
	var v uint64
	for i, f := range fs {
		if f {
			v |= 1 << i
		}
	}
	return v
}

// writer appends the parts of a state.
type writer struct {
	b         []byte
	room      int  // for ranges of held numbers
	restoring bool // what was held before the takeover is held still
}

func (w *writer) uint(v uint64) { w.b = binary.AppendUvarint(w.b, v) }

// num appends numbers that are not negative.
func (w *writer) num(vs ...int64) {
	for _, v := range vs {
		w.uint(uint64(v))
	}
}

func (w *writer) str(s string) {
	w.uint(uint64(len(s)))
	w.b = append(w.b, s...)
}

func (w *writer) epoch(e wire.Epoch) {
	w.uint(uint64(e.Counter))
	w.b = binary.LittleEndian.AppendUint64(w.b, e.Nonce)
}

// ranges appends a set as distances: gap to the last end, then length less one.
func (w *writer) ranges(rs wire.Ranges) {
	w.uint(uint64(len(rs)))
	at := uint64(0)
	for _, r := range rs {
		w.uint(r.First - at)
		w.uint(r.Last - r.First)
		at = r.Last
	}
}

func (w *writer) gaps(g gaps) {
	w.uint(uint64(len(g)))
	at := uint64(0)
	for _, r := range g {
		w.uint(r.first - at)
		w.uint(r.last - r.first)
		w.uint(uint64(r.reason)<<1 | bits(r.merged))
		at = r.last
	}
}

func (w *writer) stream(x *stream) {
	w.uint(uint64(x.epoch.rank))
	w.uint(uint64(x.id.Lane))
	w.uint(uint64(x.id.Shard))
	some := len(x.missing)+len(x.done)+len(x.pulled) > 0 || x.waiting()
	held := x.held
	if w.restoring {
		held = x.expect
	}
	held = held[:min(len(held), w.room)]
	w.room -= len(held)
	w.uint(bits(x.ended, x.cut, x.forced, x.released, some, len(held) > 0))
	w.uint(x.floor)
	w.uint(x.hi)
	w.uint(x.base)
	w.uint(x.end)
	if some {
		w.gaps(x.missing)
		w.ranges(x.done)
		w.ranges(x.pulled)
		for kind := range outs {
			w.ranges(x.wait[kind])
		}
	}
	if len(held) > 0 {
		w.ranges(held)
	}
}

// ParseCar restores a car from the bytes of [Car.AppendState], with a
// configuration that may differ from the one it was written under. The records
// from LowestNeeded up to NextOffset are then given to [Car.Rebuild]. It returns an
// error that wraps [ErrState] for bytes that are not a state, and keeps none of
// them.
func ParseCar(cfg Config, state []byte) (*Car, error) {
	if len(state) < 5 || len(state) > MaxStateBytes {
		return nil, fmt.Errorf("%w: %d bytes (want 5 to %d)", ErrState, len(state), MaxStateBytes)
	}
	body := state[:len(state)-4]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(state[len(body):]) {
		return nil, fmt.Errorf("%w: the checksum differs", ErrState)
	}
	if body[0] < oldestState || body[0] > stateVersion {
		return nil, fmt.Errorf("%w: version %d (want %d to %d)", ErrState, body[0], oldestState, stateVersion)
	}
	r := &reader{b: body[1:], version: body[0]}
	c := r.car(cfg)
	if r.bad == "" && len(r.b) > 0 {
		r.fail("trailing bytes")
	}
	if r.bad != "" {
		return nil, fmt.Errorf("%w: %s, %d bytes before the end", ErrState, r.bad, len(r.b))
	}
	return c, nil
}
