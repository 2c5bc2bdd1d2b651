package spool

import (
	"fmt"
	"sort"
	"sync"

	"telemetry/wire"
)

// preview is one batch of the live lane.
type preview struct {
	item wire.Item
	data []byte
}

// live keeps the previews of this epoch in memory. The truth is in the full lane,
// so whatever is too old or too much is superseded: dropped and counted.
type live struct {
	id       wire.Stream
	maxAge   int64
	maxBytes int64

	mu         sync.Mutex
	sealer     wire.Sealer
	nextSeq    uint64
	items      []preview // by number, oldest first
	bytes      int64
	closed     bool
	superseded uint64 // batches dropped
	settled    uint64 // batches delivered
	hole       uint64 // highest number that was dropped
	told       uint64 // base in the last Base record
	busyNS     int64  // when something was last appended or pending
}

func newLive(id wire.Stream, cfg Config) *live {
	return &live{id: id, maxAge: int64(cfg.LiveMaxAge), maxBytes: cfg.LiveMaxBytes, nextSeq: 1}
}

func (l *live) put(b wire.Body, now int64) (wire.ID, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return wire.ID{}, ErrClosed
	}
	id := wire.ID{Stream: l.id, Seq: l.nextSeq}
	data, err := l.sealer.Seal(nil, id, b)
	if err != nil {
		return wire.ID{}, fmt.Errorf("spool: seal live batch %d: %w", id.Seq, err)
	}
	if limit := sizeLimit(b); len(data) > limit {
		return wire.ID{}, fmt.Errorf("%w: live, %d bytes sealed (limit %d)", ErrTooLarge, len(data), limit)
	}
	l.nextSeq++
	l.busyNS = now
	l.items = append(l.items, preview{data: data, item: wire.Item{
		ID: id, Size: len(data), FirstNS: b.FirstNS, LastNS: b.LastNS, SealedNS: now, Control: b.Control, Catalogue: b.Catalogue,
	}})
	l.bytes += int64(len(data))
	l.expire(now)
	return id, nil
}

// expire drops what is superseded. Called with mu held.
func (l *live) expire(now int64) {
	n := 0
	for n < len(l.items) && (l.bytes > l.maxBytes || now-l.items[n].item.SealedNS > l.maxAge) {
		l.bytes -= int64(len(l.items[n].data))
		l.hole = l.items[n].item.ID.Seq
		l.items[n].data = nil
		l.superseded++
		n++
	}
	if n == 0 {
		return
	}
	l.busyNS = now
	l.items = l.items[n:]
	if len(l.items) == 0 {
		l.items = nil
	}
}

func (l *live) expireNow(now int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expire(now)
}

// search returns the index of the first preview with a number >= seq. Called
// with mu held.
func (l *live) search(seq uint64) int {
	return sort.Search(len(l.items), func(i int) bool { return l.items[i].item.ID.Seq >= seq })
}

// nextAfter returns the oldest preview behind a number whose event range touches
// from..to.
func (l *live) nextAfter(seq uint64, now, from, to int64) (wire.Item, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expire(now)
	for i := l.search(seq + 1); i < len(l.items); i++ {
		if it := l.items[i].item; it.LastNS >= from && it.FirstNS <= to {
			return it, true
		}
	}
	return wire.Item{}, false
}

func (l *live) read(seq uint64, dst []byte) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := l.search(seq)
	if i == len(l.items) || l.items[i].item.ID.Seq != seq {
		return dst, ErrGone
	}
	return append(dst, l.items[i].data...), nil
}

func (l *live) base() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.baseLocked()
}

func (l *live) baseLocked() uint64 {
	if len(l.items) > 0 {
		return l.items[0].item.ID.Seq
	}
	return l.nextSeq
}

// remove takes first..last out; lost counts them as superseded.
func (l *live) remove(first, last uint64, lost bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := l.search(first)
	j := i
	for ; j < len(l.items) && l.items[j].item.ID.Seq <= last; j++ {
		l.bytes -= int64(len(l.items[j].data))
		if lost {
			l.superseded++
			l.hole = max(l.hole, l.items[j].item.ID.Seq)
		} else {
			l.settled++
		}
	}
	l.items = append(l.items[:i], l.items[j:]...)
}

// idleAfter is how long a stream sends nothing before its base is told (rule 6).
const idleAfter = 1e9

// untold returns the base if it moved over a number that was never delivered and
// no batch can tell it, because the stream is idle. It is told once.
func (l *live) untold(now int64) (uint64, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expire(now)
	base := l.baseLocked()
	if len(l.items) > 0 || l.hole < l.told || l.hole == 0 || now-l.busyNS < idleAfter {
		return 0, false
	}
	l.told = base
	return base, true
}

func (l *live) snapshot() (n int, bytes, oldest int64, appended, superseded, settled uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.items) > 0 {
		oldest = l.items[0].item.SealedNS
	}
	return len(l.items), l.bytes, oldest, l.nextSeq - 1, l.superseded, l.settled
}

func (l *live) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
}
