package spool

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
	"sort"

	"telemetry/wire"
)

// entry is what memory holds of one pending durable batch: 48 bytes.
type entry struct {
	seq         uint64
	first, last int64  // event time, ns since boot
	sealed      int64  // ns since boot; 0 when an earlier start sealed it
	off         uint32 // inside the segment file
	size        uint32 // there
	cat         uint32 // index in the catalogue table
	extra       uint16 // of size, what encryption takes
	control     bool
	handed      bool // read by the uplink, so that an ack may name it
}

// chunk is one directory with one log. Guarded by Spool.mu except where noted.
type chunk struct {
	lane    wire.Lane
	no      uint64
	path    string // directory; fixed
	bytes   int64  // of its segment file
	sealed  bool   // nothing is appended any more
	pending int    // batches in it that are neither settled nor reported
	opens   int    // of them, EpochOpen records
	dying   bool   // chosen by the quota: its loss record is on its way
	holds   summary
	// locked is the batches in it that do not show, by stream; they are in their stream's lost.
	locked   []wire.Loss
	unsynced bool // some of them because no sync has covered them
}

// run is the batches of one stream that stand in one chunk, in order.
type run struct {
	chunk   *chunk
	entries []entry
	alive   []uint64 // bit i: entries[i] may still be sent
	n       int      // bits set
	minNS   int64    // event time of all entries ever added
	maxNS   int64
	cold    *cold // not nil: entries is empty
}

// newRun expects a chunk of 1 MiB in batches of 16 KiB.
func newRun(c *chunk) *run {
	return &run{chunk: c, minNS: math.MaxInt64, maxNS: math.MinInt64, entries: make([]entry, 0, 72), alive: make([]uint64, 0, 2)}
}

func (r *run) add(e entry) {
	i := len(r.entries)
	r.entries = append(r.entries, e)
	if i%64 == 0 {
		r.alive = append(r.alive, 0)
	}
	r.alive[i/64] |= 1 << (i % 64)
	r.n++
	r.minNS = min(r.minNS, e.first)
	r.maxNS = max(r.maxNS, e.last)
}

func (r *run) firstSeq() uint64 { return r.seqAt(0) }
func (r *run) lastSeq() uint64  { return r.seqAt(r.size() - 1) }

// search returns the index of the first entry with a number >= seq.
func (r *run) search(seq uint64) int {
	return sort.Search(r.size(), func(i int) bool { return r.seqAt(i) >= seq })
}

// next returns the first alive index >= i, or -1.
func (r *run) next(i int) int {
	if i >= r.size() {
		return -1
	}
	w := i / 64
	word := r.alive[w] >> (i % 64) << (i % 64)
	for {
		if word != 0 {
			return w*64 + bits.TrailingZeros64(word)
		}
		if w++; w == len(r.alive) {
			return -1
		}
		word = r.alive[w]
	}
}

func (r *run) isAlive(i int) bool { return r.alive[i/64]>>(i%64)&1 != 0 }

func (r *run) kill(i int) {
	r.alive[i/64] &^= 1 << (i % 64)
	r.n--
}

// runRef is a run in its place, with what lets a search by time skip: the
// greatest event time up to here and the smallest from here on. Both may be
// wider than the truth after removals.
type runRef struct {
	*run
	preMax int64
	sufMin int64
}

// stream is the durable pending set of one sequence. Guarded by Spool.mu.
type stream struct {
	id      wire.Stream
	runs    []runRef    // disjoint, ordered by number, none empty
	pending int         // alive entries
	bytes   int64       // their sealed bytes
	settled wire.Ranges // delivered, or reported by an acked loss record
	lost    wire.Ranges // dropped; their loss record is not acked yet
	high    uint64      // highest number known to have been durable here
	sure    uint64      // of an earlier start: durable up to here, as cursor or mark say; the recovery owns it
	doubt   uint64      // of an earlier start: this number is on no disk for sure; 0: none. The cursor stays below
	ours    bool        // of this start
	named   []uint64    // found damaged by the recovery, which owns it
}

// add appends a durable batch whose number is above all others of the stream.
func (st *stream) add(c *chunk, e entry) {
	n := len(st.runs)
	if n == 0 || st.runs[n-1].chunk != c {
		st.runs = append(st.runs, runRef{run: newRun(c), preMax: math.MinInt64, sufMin: math.MaxInt64})
		if n > 0 {
			st.runs[n].preMax = st.runs[n-1].preMax
		}
		n++
	}
	r := &st.runs[n-1]
	r.add(e)
	r.preMax = max(r.preMax, e.last)
	for i := n - 1; i >= 0 && st.runs[i].sufMin > e.first; i-- {
		st.runs[i].sufMin = e.first
	}
	st.pending++
	st.bytes += int64(e.size)
	c.pending++
	st.high = max(st.high, e.seq)
}

// addRun appends a cold run whose numbers are above all others of the stream.
func (st *stream) addRun(r *run) {
	n := len(st.runs)
	ref := runRef{run: r, preMax: r.maxNS, sufMin: r.minNS}
	if n > 0 {
		ref.preMax = max(ref.preMax, st.runs[n-1].preMax)
	}
	for i := n - 1; i >= 0 && st.runs[i].sufMin > r.minNS; i-- {
		st.runs[i].sufMin = r.minNS
	}
	st.runs = append(st.runs, ref)
	st.pending += r.n
	st.bytes += r.cold.bytes
	r.chunk.pending += r.n
}

// find returns the place of an alive number.
func (st *stream) find(seq uint64) (runRef, int, bool) {
	ri := st.runAt(seq)
	if ri == len(st.runs) {
		return runRef{}, 0, false
	}
	r := st.runs[ri]
	i := r.search(seq)
	if i == r.size() || r.seqAt(i) != seq || !r.isAlive(i) {
		return runRef{}, 0, false
	}
	return r, i, true
}

// runAt returns the index of the first run that ends at or behind seq.
func (st *stream) runAt(seq uint64) int {
	return sort.Search(len(st.runs), func(i int) bool { return st.runs[i].lastSeq() >= seq })
}

// nextFrom returns the first alive entry with a number >= seq.
func (st *stream) nextFrom(seq uint64) (entry, bool) {
	for ri := st.runAt(seq); ri < len(st.runs); ri++ {
		r := st.runs[ri]
		if i := r.next(r.search(seq)); i >= 0 {
			return r.about(i), true
		}
	}
	return entry{}, false
}

// nextSeq is nextFrom for the number only; it reads nothing.
func (st *stream) nextSeq(seq uint64) (uint64, bool) {
	for ri := st.runAt(seq); ri < len(st.runs); ri++ {
		r := st.runs[ri]
		if i := r.next(r.search(seq)); i >= 0 {
			return r.seqAt(i), true
		}
	}
	return 0, false
}

// nextInTime is nextFrom for entries whose event range touches from..to. It stops
// at a cold run that may have one, and returns it.
func (st *stream) nextInTime(seq uint64, from, to int64) (e entry, at *run, ok bool) {
	ri := st.runAt(seq)
	skip := sort.Search(len(st.runs), func(i int) bool { return st.runs[i].preMax >= from })
	for ri = max(ri, skip); ri < len(st.runs) && st.runs[ri].sufMin <= to; ri++ {
		r := st.runs[ri]
		if r.maxNS < from || r.minNS > to {
			continue
		}
		for i := r.next(r.search(seq)); i >= 0; i = r.next(i + 1) {
			if r.cold != nil {
				return entry{}, r.run, false
			}
			if e := r.entries[i]; e.last >= from && e.first <= to {
				return e, r.run, true
			}
		}
	}
	return entry{}, nil, false
}

// take removes the alive entries of first..last and calls gone for each. With
// handed it leaves those that were never read.
func (st *stream) take(first, last uint64, handed bool, gone func(c *chunk, e entry)) {
	empty := 0
	for ri := st.runAt(first); ri < len(st.runs) && st.runs[ri].firstSeq() <= last; ri++ {
		r := st.runs[ri]
		for i := r.next(r.search(first)); i >= 0 && r.seqAt(i) <= last; i = r.next(i + 1) {
			e := r.about(i)
			if handed && !e.handed {
				continue
			}
			if r.cold != nil {
				r.cold.bytes -= int64(e.size)
			}
			r.kill(i)
			st.pending--
			st.bytes -= int64(e.size)
			gone(r.chunk, e)
		}
		if r.n == 0 {
			empty++
		}
	}
	for ; empty > 0 && st.runs[0].n == 0; empty-- { // the usual place: the rest need not move
		st.runs[0] = runRef{}
		st.runs = st.runs[1:]
	}
	if empty > 0 {
		st.runs = slices.DeleteFunc(st.runs, func(r runRef) bool { return r.n == 0 })
	}
}

// lowest returns the smallest number that is pending or open by a loss record.
func (st *stream) lowest() (uint64, bool) {
	low, ok := st.nextSeq(0)
	if len(st.lost) > 0 && (!ok || st.lost[0].First < low) {
		low, ok = st.lost[0].First, true
	}
	return low, ok
}

// held returns all numbers that are pending or open, as a new set.
func (st *stream) held() wire.Ranges {
	hs := st.lost.Clone()
	for _, r := range st.runs {
		first, last := uint64(0), uint64(0)
		for i := r.next(0); i >= 0; i = r.next(i + 1) {
			seq := r.seqAt(i)
			switch {
			case first == 0:
				first, last = seq, seq
			case seq == last+1:
				last = seq
			default:
				hs = hs.Add(first, last)
				first, last = seq, seq
			}
		}
		if first > 0 {
			hs = hs.Add(first, last)
		}
	}
	return hs
}

// placed is an entry with its chunk, for building an index in any order.
type placed struct {
	entry
	c *chunk
}

// merge adds entries found on disk to an index of earlier starts: numbers that
// stand twice are kept where they stand in the newer chunk, which was written after the
// older one had failed; unref gets the other's catalogue. load reads the
// entries of a cold run.
func (st *stream) merge(found []placed, unref func(cat uint32), load func(*run) []entry) {
	if len(found) == 0 {
		return
	}
	order := func(a, b placed) int { return cmp.Or(compareSeq(a.seq, b.seq), compareSeq(a.c.no, b.c.no)) }
	slices.SortFunc(found, order)
	if n := len(st.runs); n > 0 && st.runs[n-1].lastSeq() >= found[0].seq {
		var all []placed
		for _, r := range st.runs {
			if r.cold != nil {
				r.install(load(r.run)) // the sum is made anew below
			}
			for i, e := range r.entries {
				if r.isAlive(i) {
					all = append(all, placed{e, r.chunk})
					r.chunk.pending--
				}
			}
		}
		found = append(all, found...)
		slices.SortStableFunc(found, order)
		st.runs, st.pending, st.bytes = nil, 0, 0
	}
	for i, p := range found {
		if i+1 < len(found) && found[i+1].seq == p.seq {
			unref(p.cat)
			continue
		}
		st.add(p.c, p.entry)
	}
}

func compareSeq(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// catTable gives the catalogue hashes of pending batches small numbers.
type catTable struct {
	hashes []wire.CatalogueHash
	refs   []int
}

// ref returns the number of h and counts one user.
func (t *catTable) ref(h wire.CatalogueHash) uint32 { return t.refMany(h, 1) }

// refMany is ref for n users.
func (t *catTable) refMany(h wire.CatalogueHash, n int) uint32 {
	free := -1
	for i := range t.hashes {
		if t.hashes[i] == h {
			t.refs[i] += n
			return uint32(i)
		}
		if t.refs[i] == 0 {
			free = i
		}
	}
	if free < 0 {
		t.hashes, t.refs = append(t.hashes, h), append(t.refs, n)
		return uint32(len(t.hashes) - 1)
	}
	t.hashes[free], t.refs[free] = h, n
	return uint32(free)
}

func (t *catTable) unref(i uint32) { t.refs[i]-- }

func (t *catTable) used(h wire.CatalogueHash) bool {
	i := slices.Index(t.hashes, h)
	return i >= 0 && t.refs[i] > 0
}
