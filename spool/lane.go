package spool

import (
	"fmt"
	"sync"
	"time"

	"telemetry/wire"
)

// queued is a sealed batch that is not durable yet.
type queued struct {
	entry // off is inside the group's buffer
	hash  wire.CatalogueHash
}

// group is a run of queued batches in one buffer: at most one group commit.
type group struct {
	buf   []byte
	items []queued
	sizes []uint32 // of the records on disk, when that are others
}

func (g *group) record(i int) []byte {
	e := &g.items[i]
	return g.buf[e.off : e.off+e.size]
}

// framed returns the bytes that the group takes in a segment file.
func (g *group) framed() int64 {
	n := int64(0)
	for i := range g.items {
		n += frameLen(int(g.items[i].size))
	}
	return n
}

// lane numbers, seals and queues the batches of one durable lane of this epoch.
// Only the owner of the disk takes from the queue.
type lane struct {
	id       wire.Stream
	interval time.Duration // that a batch may wait
	maxQueue int           // bytes at which Append blocks, or drops while the disk fails
	commitAt int           // bytes of a full group

	mu       sync.Mutex
	room     sync.Cond // signalled when the queue shrinks or the state changes
	sealer   wire.Sealer
	nextSeq  uint64 // number of the next batch
	queue    []*group
	taken    *group // being committed
	spare    []*group
	bytes    int         // in queue and taken
	failing  bool        // the disk takes nothing: drop the oldest instead of blocking
	closed   bool        // nothing more is taken
	merge    int         // bytes up to which waiting groups become one; 0 = they do not
	dropped  wire.Ranges // dropped from memory, not yet in a loss record
	dropTime [2]int64    // their event time
	drops    uint64      // batches ever dropped from memory

	// Owned by the owner of the disk.
	chunk *chunk    // open for appending; nil when there is none
	log   Log       // of chunk
	since time.Time // when chunk was opened
	due   time.Time // when what is queued must be committed; zero = nothing seen
	begun time.Time // when the last commit began

	trouble trouble
	recs    [][]byte
	enc     []byte      // of encrypted recs
	scratch []byte      // of one of them
	early   *group      // in the queue, and appended already; nil when there is none
	syncing chan synced // the sync of early; nil when there is none
	ahead   *ready      // the next chunk if early stands there; nil: it stands in chunk

	making chan []ready // the next chunks, being made; nil when none are
	ready  []ready      // the next chunks, made
}

func newLane(id wire.Stream, cfg Config) *lane {
	l := &lane{id: id, interval: cfg.CommitInterval, maxQueue: cfg.QueueBytes, commitAt: cfg.CommitBytes, nextSeq: 1}
	if id.Lane == wire.LaneCritical {
		l.interval = cfg.CriticalInterval
		l.maxQueue = max(cfg.QueueBytes/4, 2*l.commitAt)
	}
	l.room.L = &l.mu
	return l
}

// put numbers, seals and queues b. With wait it blocks while the queue is full;
// control records of the spool itself never wait. urgent reports that the owner of
// the disk should look: the queue was empty, or a whole group is ready.
func (l *lane) put(b wire.Body, now int64, wait bool) (id wire.ID, urgent bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for wait && l.bytes >= l.maxQueue && !l.closed {
		if l.failing {
			l.dropOldest()
			break
		}
		l.room.Wait()
	}
	if l.closed && wait {
		return id, false, ErrClosed
	}
	id = wire.ID{Stream: l.id, Seq: l.nextSeq}
	g := l.last()
	start := len(g.buf)
	buf, err := l.sealer.Seal(g.buf, id, b)
	if err != nil {
		return wire.ID{}, false, fmt.Errorf("spool: seal %s batch %d: %w", l.id.Lane, id.Seq, err)
	}
	size := len(buf) - start
	g.buf = buf
	if limit := sizeLimit(b); size > limit {
		g.buf = buf[:start]
		return wire.ID{}, false, fmt.Errorf("%w: %s, %d bytes sealed (limit %d)", ErrTooLarge, b.Lane, size, limit)
	}
	g.items = append(g.items, queued{hash: b.Catalogue, entry: entry{
		seq: id.Seq, first: b.FirstNS, last: b.LastNS, sealed: now,
		off: uint32(start), size: uint32(size), control: b.Control,
	}})
	l.nextSeq++
	l.bytes += size
	return id, l.bytes == size || len(g.buf) >= l.commitAt, nil
}

// maxCritical is the hard limit of a critical batch that is no control record;
// wire.MaxCriticalBytes is what the agent aims at.
const maxCritical = 512

// sizeLimit is the most that b may have when sealed, the envelope not counted
// against its lane.
func sizeLimit(b wire.Body) int {
	limit := wire.MaxFullBytes
	switch {
	case b.Control:
		limit = wire.MaxControlBytes
	case b.Lane == wire.LaneCritical:
		limit = maxCritical
	case b.Lane == wire.LaneLive:
		limit = wire.MaxLiveBytes
	}
	return limit + maxHeaderBytes
}

// copyOf returns the sealed bytes of a queued batch; nil when it is not queued.
func (l *lane) copyOf(seq uint64) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, g := range l.queue {
		for i := range g.items {
			if g.items[i].seq == seq {
				return append([]byte(nil), g.record(i)...)
			}
		}
	}
	return nil
}

// last returns the group that takes the next batch. Called with mu held.
func (l *lane) last() *group {
	if n := len(l.queue); n > 0 && len(l.queue[n-1].buf) < l.commitAt {
		return l.queue[n-1]
	}
	var g *group
	if n := len(l.spare); n > 0 {
		g, l.spare = l.spare[n-1], l.spare[:n-1]
	} else {
		// A group ends with the batch that fills it.
		g = &group{buf: make([]byte, 0, l.commitAt+wire.MaxFullBytes+maxHeaderBytes)}
	}
	l.queue = append(l.queue, g)
	return g
}

// take hands the oldest group to the owner of the disk; nil when there is none.
func (l *lane) take() *group {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.taken == nil && len(l.queue) > 0 {
		g := l.queue[0]
		l.queue = append(l.queue[:0], l.queue[1:]...)
		if len(g.items) > 0 {
			if g != l.early {
				l.mergeInto(g)
			}
			l.taken = g
		}
	}
	return l.taken
}

// nextFull returns the group behind the one that is taken if nothing is added to it
// any more. It stays in the queue.
func (l *lane) nextFull() *group {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 || len(l.queue[0].items) == 0 || len(l.queue[0].buf) < l.commitAt || l.failing {
		return nil
	}
	return l.queue[0]
}

// done ends the commit of the taken group. Its buffer is used again.
func (l *lane) done() {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.taken
	l.taken, l.failing = nil, false
	l.bytes -= len(g.buf)
	g.buf, g.items, g.sizes = g.buf[:0], g.items[:0], g.sizes[:0]
	if len(l.spare) <= l.maxQueue/l.commitAt { // all that a full queue takes: what is made once serves for ever
		l.spare = append(l.spare, g)
	}
	l.room.Broadcast()
}

// giveBack returns the taken group to the head of the queue: the disk fails.
func (l *lane) giveBack() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.taken != nil {
		l.queue = append([]*group{l.taken}, l.queue...)
		l.taken = nil
	}
	l.failing = true
	l.room.Broadcast()
}

// dropOldest makes room in a lane whose disk fails: the oldest group goes but for
// its control records, and what went is remembered for a loss record. Called
// with mu held.
func (l *lane) dropOldest() {
	for qi, g := range l.queue {
		kept := &group{}
		for i, q := range g.items {
			if q.control {
				rec := g.record(i)
				q.off = uint32(len(kept.buf))
				kept.buf = append(kept.buf, rec...)
				kept.items = append(kept.items, q)
				continue
			}
			if len(l.dropped) == 0 {
				l.dropTime = [2]int64{q.first, q.last}
			}
			l.dropTime = [2]int64{min(l.dropTime[0], q.first), max(l.dropTime[1], q.last)}
			l.dropped = l.dropped.Add(q.seq, q.seq)
			l.drops++
		}
		if len(kept.items) == len(g.items) {
			continue
		}
		l.bytes -= len(g.buf) - len(kept.buf)
		if len(kept.items) > 0 {
			l.queue[qi] = kept
		} else {
			l.queue = append(l.queue[:qi], l.queue[qi+1:]...)
		}
		return
	}
}

// takeDropped hands over what was dropped from memory since the last call.
func (l *lane) takeDropped() (rs wire.Ranges, first, last int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rs, l.dropped = l.dropped, nil
	return rs, l.dropTime[0], l.dropTime[1]
}

// undurable returns the lowest number that is queued, being committed or dropped
// from memory; if there is none, the number of the next batch.
func (l *lane) undurable() uint64 {
	low := l.queuedFrom()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.dropped) > 0 {
		low = min(low, l.dropped[0].First)
	}
	return low
}

// queuedFrom is undurable without what was dropped.
func (l *lane) queuedFrom() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.taken != nil && len(l.taken.items) > 0 {
		return l.taken.items[0].seq
	}
	for _, g := range l.queue {
		if len(g.items) > 0 {
			return g.items[0].seq
		}
	}
	return l.nextSeq
}

// load returns the queued bytes and whether a whole group is ready.
func (l *lane) load() (bytes int, full bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bytes, len(l.queue) > 1 || len(l.queue) == 1 && len(l.queue[0].buf) >= l.commitAt
}

// progress returns the number of the next batch and how many were ever dropped.
func (l *lane) progress() (next, drops uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.nextSeq, l.drops
}

// close refuses further batches.
func (l *lane) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.room.Broadcast()
}
