package reorder

import (
	"encoding/binary"
	"strings"

	"telemetry/wire"
)

// reader takes a state apart. After the first fault everything reads as zero and
// bad says what was wrong.
type reader struct {
	b       []byte
	version byte
	bad     string
}

func (r *reader) fail(what string) {
	if r.bad == "" {
		r.bad = what
	}
}

func (r *reader) uint(limit uint64) uint64 {
	v, n := binary.Uvarint(r.b)
	if r.bad != "" || n <= 0 || v > limit {
		r.fail("a number is cut or out of range")
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) offset() int64 { return int64(r.uint(1 << 62)) }
func (r *reader) ms() int64     { return int64(r.uint(maxMS)) }

// count reads how many elements follow, of at least size bytes each.
func (r *reader) count(size int) int { return int(r.uint(uint64(len(r.b) / size))) }

func (r *reader) bytes(n int) []byte {
	if r.bad != "" || n > len(r.b) {
		r.fail("cut short")
		return make([]byte, n)
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) epoch() wire.Epoch {
	e := wire.Epoch{Counter: uint32(r.uint(1<<32 - 1))}
	e.Nonce = binary.LittleEndian.Uint64(r.bytes(8))
	return e
}

func (r *reader) flags(most uint64) func(int) bool {
	v := r.uint(most)
	return func(bit int) bool { return v&uint64(bit) != 0 }
}

func (r *reader) car(cfg Config) *Car {
	name := string(r.bytes(int(r.uint(wire.MaxCarLen))))
	if err := wire.ValidCar(name); err != nil {
		r.fail("the car's name")
		return nil
	}
	c := NewCar(strings.Clone(name), cfg)
	c.next, c.now, c.read, c.halfAlarmed = r.offset(), r.ms(), r.ms(), r.offset()
	c.resumeOffset, c.resumeMS = r.offset()-1, r.ms()
	if c.resumeOffset >= c.next || c.read > c.now {
		r.fail("offsets or times contradict each other")
	}
	alarmed := r.uint(1<<len(c.alarmed) - 1)
	for i := range c.alarmed {
		c.alarmed[i] = alarmed>>i&1 != 0
	}
	log := r.flags(1<<2 - 1)
	c.inside, c.unread = log(stateLogInside), log(stateLogUnread)
	r.epochs(c)
	for n := r.count(9); n > 0; n-- {
		c.tombs = append(c.tombs, r.epoch())
	}
	for n := min(r.count(8), maxLimit); n > 0 && r.bad == ""; n-- {
		r.stream(c)
	}
	c.restoring = c.resumeOffset >= 0
	c.due = 0
	return c
}

func (r *reader) epochs(c *Car) {
	type link struct{ heir, parent uint64 }
	var links []link
	for n := min(r.count(13), maxLimit); n > 0 && r.bad == ""; n-- {
		e := &epoch{id: r.epoch(), rank: len(c.epochs)}
		f := r.flags(1<<8 - 1)
		e.opened, e.closed, e.seen, e.synced = f(stateOpened), f(stateClosed), f(stateSeen), f(stateSynced)
		e.inside, e.aside = f(stateInside), f(stateAside)
		e.abandoned = f(stateAbandoned)
		e.firstMS, e.lastMS = r.ms(), r.ms()
		links = append(links, link{r.uint(maxLimit), r.uint(maxLimit)})
		if c.byEpoch[e.id] != nil {
			r.fail("an epoch stands twice")
			return
		}
		c.epochs = append(c.epochs, e)
		c.byEpoch[e.id] = e
	}
	at := func(i uint64) *epoch {
		switch {
		case i == 0:
			return nil
		case i > uint64(len(c.epochs)):
			r.fail("an epoch names none")
			return nil
		}
		return c.epochs[i-1]
	}
	for i, e := range c.epochs {
		e.heir, e.parent = at(links[i].heir), at(links[i].parent)
	}
}

func (r *reader) stream(c *Car) {
	rank := r.uint(1 << 30)
	x := &stream{id: wire.Stream{Car: c.name}}
	x.id.Lane, x.id.Shard = wire.Lane(r.uint(uint64(wire.LaneFull))), uint16(r.uint(1<<16-1))
	if rank >= uint64(len(c.epochs)) || !x.id.Lane.Valid() {
		r.fail("a stream of no epoch or lane")
		return
	}
	x.epoch = c.epochs[rank]
	x.id.Epoch = x.epoch.id
	if c.byStream[keyOf(x.id)] != nil {
		r.fail("a stream stands twice")
		return
	}
	most := uint64(1<<6 - 1)
	if r.version < 2 {
		most = 1<<5 - 1
	}
	f := r.flags(most)
	x.ended, x.cut, x.forced, x.released = f(stateEnded), f(stateCut), f(stateForced), f(stateReleased)
	x.floor, x.hi, x.base, x.end = r.uint(MaxSeq), r.uint(MaxSeq), r.uint(MaxSeq), r.uint(MaxSeq)
	if x.floor > x.hi && x.floor > x.end {
		r.fail("a floor above all numbers")
	}
	if f(stateRanges) {
		r.ranges(c, x)
	}
	if f(stateHeld) {
		r.held(c, x)
	}
	if r.bad != "" {
		return
	}
	c.addStream(x)
	ln := x.lane
	i := ln.index(x)
	ln.streams = append(ln.streams, nil)
	copy(ln.streams[i+1:], ln.streams[i:])
	ln.streams[i] = x
	if i <= ln.cur {
		ln.cur++
	}
	if x.released && i > ln.cur {
		ln.cur = i
	}
	c.gapCount += len(x.missing)
	c.otherCount += len(x.done) + len(x.pulled)
}

// ranges reads the sets of a stream and checks how they lie to each other.
func (r *reader) ranges(c *Car, x *stream) {
	x.missing = r.gaps()
	x.done, x.pulled = r.set(), r.set()
	for kind := range outs {
		x.wait[kind] = r.set()
		if len(x.wait[kind]) > 0 && c.resumeOffset < 0 {
			r.fail("something waits at no offset")
		}
	}
	if len(x.done) > 0 && x.done[0].First <= x.floor {
		r.fail("a number delivered twice")
	}
	for _, d := range x.done {
		if i := x.missing.find(d.First); i < len(x.missing) && x.missing[i].first <= d.Last {
			r.fail("a number delivered and missing")
		}
	}
	if w := x.wait[outMain]; len(w) > 0 && w[len(w)-1].Last > x.floor {
		r.fail("a number released above the floor")
	}
}

// held reads which numbers the records that Rebuild is given must bring.
func (r *reader) held(c *Car, x *stream) {
	x.expect = r.set()
	if len(x.expect) == 0 || c.resumeOffset < 0 {
		r.fail("nothing is held, or at no offset")
		return
	}
	for _, h := range x.expect {
		if k, last := x.classify(h.First); k != unknown || last < h.Last || h.Last > x.hi {
			r.fail("a number held and settled")
			return
		}
	}
}

func (r *reader) set() wire.Ranges {
	n := r.count(2)
	rs := make(wire.Ranges, 0, n)
	at := uint64(0)
	for ; n > 0 && r.bad == ""; n-- {
		first := at + r.uint(MaxSeq)
		last := first + r.uint(MaxSeq)
		if first <= at || at > 0 && first == at+1 || last > MaxSeq {
			r.fail("ranges out of order")
			return nil
		}
		rs = append(rs, wire.Range{First: first, Last: last})
		at = last
	}
	return rs
}

func (r *reader) gaps() gaps {
	n := r.count(3)
	g := make(gaps, 0, n)
	at := uint64(0)
	for ; n > 0 && r.bad == ""; n-- {
		first := at + r.uint(MaxSeq)
		last := first + r.uint(MaxSeq)
		v := r.uint(1<<9 - 1)
		if first <= at || last > MaxSeq {
			r.fail("gaps out of order")
			return nil
		}
		g = append(g, gap{first: first, last: last, reason: wire.Reason(v >> 1), merged: v&1 != 0})
		at = last
	}
	return g
}
