package uplink

import (
	"cmp"
	"container/heap"

	"telemetry/wire"
)

// flight is one batch that was sent and is not settled: its copies on links and
// the instances that have it on loan.
type flight struct {
	item   wire.Item
	copies []copyOf
	loans  []loan
	avoid  *view // lent it and didn't make it durable: another instance is better
	sends  int
	won    bool  // a critical batch whose first arrival was counted
	winner int   // its link so far
	winNS  int64 // when it arrived there, about; 0 = not known
	ended  bool  // settled, refused or gone
	queued bool  // in its lane's back heap
	lateNS int64 // a preview without proof is late from here on; 0 = it never is
	retry  int64 // not before: its last read failed

	stuckNS int64 // the same while TCP has not confirmed its last copy; 0 = not known

	prev, next *flight
}

// copyOf is one sending of a batch. An arrived copy still counts for about a
// second: then some instance should have spoken of it.
type copyOf struct {
	c          *connection
	arrivedNS  int64  // 0 = no delivery proof yet
	statements uint64 // of the engine at that moment
}

// loan says that an instance has the batch in memory.
type loan struct {
	v        *view
	sinceNS  int64
	listedNS int64 // when the instance last said so
}

// lane holds what is in flight of one lane, in the order of first sending.
type lane struct {
	list     flightList
	back     backHeap // to be sent again, oldest first; live and full only
	cursor   wire.ID  // newest item taken from the store
	rescanNS int64    // when the cursor last started from the beginning

	peeked, peekOK bool
	peek           wire.Item
}

type flightList struct {
	first, last *flight
	len         int
}

func (l *flightList) add(f *flight) {
	f.prev = l.last
	if l.last == nil {
		l.first = f
	} else {
		l.last.next = f
	}
	l.last = f
	l.len++
}

func (l *flightList) remove(f *flight) {
	if f.prev == nil {
		l.first = f.next
	} else {
		f.prev.next = f.next
	}
	if f.next == nil {
		l.last = f.prev
	} else {
		f.next.prev = f.prev
	}
	f.prev, f.next = nil, nil
	l.len--
}

// backHeap orders batches as the store does: by epoch, then number.
type backHeap []*flight

func (h backHeap) Len() int      { return len(h) }
func (h backHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *backHeap) Push(x any)   { *h = append(*h, x.(*flight)) }
func (h backHeap) Less(i, j int) bool {
	a, b := h[i].item.ID, h[j].item.ID
	return cmp.Or(
		cmp.Compare(a.Stream.Epoch.Counter, b.Stream.Epoch.Counter),
		cmp.Compare(a.Stream.Epoch.Nonce, b.Stream.Epoch.Nonce),
		cmp.Compare(a.Stream.Shard, b.Stream.Shard),
		cmp.Compare(a.Seq, b.Seq)) < 0
}

func (h *backHeap) Pop() any {
	o := *h
	f := o[len(o)-1]
	o[len(o)-1] = nil
	*h = o[:len(o)-1]
	return f
}

// lend notes that v has the batch.
func (f *flight) lend(v *view, now int64) {
	for i := range f.loans {
		if f.loans[i].v == v {
			f.loans[i].listedNS = now
			return
		}
	}
	f.loans = append(f.loans, loan{v, now, now})
}

// on reports whether c has or had a copy that still counts.
func (f *flight) on(c *connection) bool {
	for _, cp := range f.copies {
		if cp.c == c {
			return true
		}
	}
	return false
}

// covered reports whether the batch needs no further sending now.
func (e *Engine) covered(f *flight) bool {
	if len(f.loans) > 0 {
		return true
	}
	for i := range f.copies {
		cp := &f.copies[i]
		if cp.arrivedNS != 0 && !e.vanished(cp) || cp.arrivedNS == 0 && cp.c.trusted() {
			return true
		}
	}
	return false
}

// vanished reports whether a copy arrived and no instance spoke of it in time: a
// broker dropped it, or an instance died with it.
func (e *Engine) vanished(cp *copyOf) bool {
	age := e.now - cp.arrivedNS
	return age >= arrivedMaxNS || (age >= arrivedNS && e.statements-cp.statements >= arrivedAcks)
}

// flightLimit is the limit of a lane's flights.
func flightLimit(l wire.Lane) int {
	switch l {
	case wire.LaneCritical:
		return maxCriticalFlights
	case wire.LaneLive:
		return maxLiveFlights
	}
	return maxFullFlights
}

// begin makes a flight of an item that is being sent for the first time.
func (e *Engine) begin(it wire.Item) *flight {
	f := &flight{item: it}
	e.flight[it.ID] = f
	e.lanes[it.ID.Stream.Lane].list.add(f)
	return f
}

// end forgets a flight: the batch is settled or gone.
func (e *Engine) end(f *flight) {
	if f.ended {
		return
	}
	f.ended = true
	delete(e.flight, f.item.ID)
	e.lanes[f.item.ID.Stream.Lane].list.remove(f)
	f.copies, f.loans = nil, nil
}

// giveBack puts f at the head of its lane's queue, or tells all connections that
// a critical batch may be missing on them.
func (e *Engine) giveBack(f *flight) {
	if f.ended || f.queued || f.retry > e.now {
		return
	}
	l := f.item.ID.Stream.Lane
	if l == wire.LaneCritical {
		e.markCritical()
		return
	}
	f.queued = true
	heap.Push(&e.lanes[l].back, f)
}

// markCritical makes every connection look for critical batches that it lacks.
func (e *Engine) markCritical() {
	for _, l := range e.links {
		for _, c := range [...]*connection{l.cur, l.next} {
			if c != nil {
				c.critical = true
			}
		}
	}
}

// returnFlights gives back what was on its way over c and is covered by nothing
// else. A closed connection's copies are forgotten; a suspect one's may still
// arrive.
func (e *Engine) returnFlights(c *connection) {
	for _, s := range c.fifo {
		f := s.f
		if f == nil || f.ended {
			continue
		}
		if c.closed {
			keep := f.copies[:0]
			for _, cp := range f.copies {
				if cp.c != c || cp.arrivedNS != 0 {
					keep = append(keep, cp)
				}
			}
			f.copies = keep
		}
		if !e.covered(f) {
			e.giveBack(f)
		}
	}
}

// arrived notes the proof that the copy of f on c has arrived.
func (e *Engine) arrived(f *flight, c *connection) {
	for i := range f.copies {
		if f.copies[i].c == c {
			f.copies[i].arrivedNS, f.copies[i].statements = e.now, e.statements
		}
	}
}

// wins notes that a critical batch came over c at about atNS and reports whether
// that is its first arrival known; within one ack the earliest one stays.
func (f *flight) wins(c *connection, atNS int64) bool {
	if f.won || f.item.ID.Stream.Lane != wire.LaneCritical {
		return false
	}
	if f.winNS != 0 && f.winNS <= atNS {
		return false
	}
	known := f.winNS != 0
	f.winner, f.winNS = c.link, atNS
	return !known
}

// reviewFlights ends loans and arrivals whose time is over and gives back what
// nothing covers any more.
func (e *Engine) reviewFlights() {
	e.review = false
	e.nextReview = e.now + reviewNS
	for i := range e.lanes {
		for f := e.lanes[i].list.first; f != nil; f = f.next {
			e.reviewFlight(f)
		}
	}
}

func (e *Engine) reviewFlight(f *flight) {
	if had := len(f.loans); had > 0 {
		keep := f.loans[:0]
		for _, l := range f.loans {
			if e.ended(l) {
				f.avoid = l.v
			} else {
				keep = append(keep, l)
			}
		}
		f.loans = keep
		if len(keep) == 0 {
			f.copies = f.copies[:0]
			e.totals.LoansEnded++
		}
	}
	keep := f.copies[:0]
	for _, cp := range f.copies {
		if cp.arrivedNS == 0 || !e.vanished(&cp) {
			keep = append(keep, cp)
		}
	}
	f.copies = keep
	if !e.covered(f) {
		e.giveBack(f)
	}
}

// ended reports whether a loan is over: the instance restarted or fell silent, is
// stalled while another isn't, or kept it for 30 s without being in trouble. One
// that goes on listing it has it (rule 18): then only another instance could do
// better.
func (e *Engine) ended(l loan) bool {
	if l.v.release || l.v.evicted {
		return true
	}
	if e.now-l.sinceNS <= loanNS || l.v.troubledNS != 0 {
		return false
	}
	return e.now-l.listedNS > silentAfterNS || e.alternative(l.v)
}
