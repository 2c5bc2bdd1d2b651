package sequence

import (
	"encoding/binary"

	"telemetry/reorder"
	"telemetry/wire"
)

// Between a decision of reorder and its records lies a queue, because one
// record that fills a hole may release more than memory or a transaction holds.
// The queue is part of the car's state, with the offsets of its batches, and
// the committed offset stays at or below the lowest of them: after a takeover
// they are read again and nothing is lost or written twice.

// item is a batch that reorder has decided about and that is not yet written.
type item struct {
	kind     reorder.Kind // Release, Late, Pulled or DeadLetter
	why      reorder.Why  // of a dead letter
	unsynced bool         // decided before the epoch had an anchor: it stays so
	id       wire.ID
	offset   int64
}

// Queues of a car, in the order in which they are emptied: what is fresh first.
const (
	queueCritical = iota
	queueLive
	queuePulled
	queueFull
	queues
)

// queueOf returns the queue of a decision. Order matters only inside a lane's
// main topic.
func queueOf(k reorder.Kind, l wire.Lane) int {
	switch {
	case k == reorder.KindPulled:
		return queuePulled
	case l == wire.LaneCritical:
		return queueCritical
	case l == wire.LaneLive:
		return queueLive
	}
	return queueFull
}

// fifo is a queue of items. The zero value is empty.
type fifo struct {
	items []item
	head  int
}

func (q *fifo) len() int     { return len(q.items) - q.head }
func (q *fifo) first() *item { return &q.items[q.head] }
func (q *fifo) push(i item)  { q.items = append(q.items, i) }

func (q *fifo) pop() {
	q.items[q.head] = item{}
	q.head++
	switch {
	case q.head == len(q.items):
		q.items, q.head = q.items[:0], 0
		if cap(q.items) > 4096 {
			q.items = nil // a queue that was long does not stay long
		}
	case q.head > 1024 && q.head > len(q.items)/2:
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
}

// lowest returns the lowest offset in the queue.
func (q *fifo) lowest() (int64, bool) {
	if q.len() == 0 {
		return 0, false
	}
	low := q.first().offset
	for _, i := range q.items[q.head:] {
		low = min(low, i.offset)
	}
	return low, true
}

// Bits of the first byte of a run in a serialised queue.
const (
	runKind     = 0x0f
	runUnsynced = 0x10
)

// append serialises the queue as runs of items that only differ in number and
// offset, numbers in sequence.
func (q *fifo) append(dst []byte) []byte {
	items := q.items[q.head:]
	dst = binary.AppendUvarint(dst, uint64(len(items)))
	var offset int64
	for len(items) > 0 {
		first := items[0]
		n := 1
		for n < len(items) && follows(&items[n-1], &items[n]) {
			n++
		}
		kind := byte(first.kind)
		if first.unsynced {
			kind |= runUnsynced
		}
		st := first.id.Stream
		dst = append(dst, kind, byte(first.why), byte(st.Lane))
		dst = binary.AppendUvarint(dst, uint64(st.Shard))
		dst = binary.AppendUvarint(dst, uint64(st.Epoch.Counter))
		dst = binary.BigEndian.AppendUint64(dst, st.Epoch.Nonce)
		dst = binary.AppendUvarint(dst, first.id.Seq)
		dst = binary.AppendUvarint(dst, uint64(n))
		for _, i := range items[:n] {
			dst = binary.AppendVarint(dst, i.offset-offset)
			offset = i.offset
		}
		items = items[n:]
	}
	return dst
}

// follows reports whether b continues the run of a.
func follows(a, b *item) bool {
	return b.kind == a.kind && b.why == a.why && b.unsynced == a.unsynced &&
		b.id.Stream == a.id.Stream && b.id.Seq == a.id.Seq+1
}

// queue reads what fifo.append wrote.
func (r *stateReader) queue(car string) fifo {
	var q fifo
	left := r.uvarint()
	if left > uint64(len(r.b)) { // an item has at least a byte of offset
		r.fail()
		return q
	}
	var offset int64
	for left > 0 && r.err == nil {
		kind := r.byte()
		it := item{kind: reorder.Kind(kind & runKind), unsynced: kind&runUnsynced != 0, why: reorder.Why(r.byte())}
		it.id.Stream = wire.Stream{Car: car, Lane: wire.Lane(r.byte()), Shard: uint16(r.uvarint())}
		it.id.Stream.Epoch = wire.Epoch{Counter: uint32(r.uvarint()), Nonce: r.fixed64()}
		it.id.Seq = r.uvarint()
		n := r.uvarint()
		if n == 0 || n > left || it.kind < reorder.KindRelease || it.kind > reorder.KindDeadLetter {
			r.fail()
			return q
		}
		for range n {
			offset += r.varint()
			it.offset = offset
			if r.err != nil || offset < 0 {
				r.fail()
				return q
			}
			q.push(it)
			it.id.Seq++
		}
		left -= n
	}
	return q
}
