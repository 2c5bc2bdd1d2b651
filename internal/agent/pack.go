package agent

import (
	"math"
	"math/bits"
	"time"

	"telemetry/sensors"
	"telemetry/wire"
)

// laneBuffer is what one lane gathers.
type laneBuffer struct {
	lane     wire.Lane
	limit    int // bytes of payload
	blocks   wire.BlockEncoder
	keyed    wire.KeyedEncoder
	groups   []*groupBuffer // by the catalogue's group; nil: of another lane
	order    []*groupBuffer // groups with rows, in the order of their first
	cells    int
	deadline time.Time // of the oldest row; zero = empty
	body     wire.Body
	sparse   sparseBlock
}

// groupBuffer is what one group gathers, in the order in which it comes.
type groupBuffer struct {
	id      uint32
	types   []wire.ValueType
	keys    int // first columns that say what a row is about; 0: none
	ticks   []int64
	values  []int64  // row-major; of absent ones anything
	present []uint64 // bit row*channels+channel; empty: every value is there
	size    int      // bytes of the latest block
}

// add copies rows.
func (b *groupBuffer) add(ticks, values []int64, present []uint64, bit int) {
	at := len(b.values)
	b.ticks = append(b.ticks, ticks...)
	b.values = append(b.values, values...)
	if present == nil && len(b.present) == 0 {
		return
	}
	if present != nil && len(b.present) == 0 {
		if full(present, bit, len(values)) {
			return
		}
		for range at >> 6 {
			b.present = append(b.present, math.MaxUint64)
		}
		b.present = append(b.present, 1<<(at&63)-1)
	}
	for len(b.present) < (at+len(values)+63)>>6 {
		b.present = append(b.present, 0)
	}
	for i := 0; i < len(values); {
		n := min(64-(at+i)&63, len(values)-i)
		b.present[(at+i)>>6] |= bitsAt(present, bit+i, n) << ((at + i) & 63)
		i += n
	}
}

// reset forgets the rows and keeps the memory.
func (b *groupBuffer) reset() {
	b.ticks, b.values, b.present = b.ticks[:0], b.values[:0], b.present[:0]
}

// bitsAt returns n bits of a map from bit at on, n at most 64. Of a nil map all
// are set.
func bitsAt(m []uint64, at, n int) uint64 {
	mask := uint64(1)<<(n-1)<<1 - 1
	if m == nil {
		return mask
	}
	w := m[at>>6] >> (at & 63)
	if left := 64 - at&63; left < n {
		w |= m[at>>6+1] << left
	}
	return w & mask
}

// full reports that n bits of a map are all set.
func full(m []uint64, at, n int) bool {
	for i := 0; i < n; i += 64 {
		k := min(64, n-i)
		if bits.OnesCount64(bitsAt(m, at+i, k)) != k {
			return false
		}
	}
	return true
}

// sparseBlock turns rows with absent values into columns. It keeps its memory.
type sparseBlock struct {
	block   wire.Block
	values  []int64
	present []uint64
}

// of returns rows from to to-1 of columns first to end-1 of b as a block. It is
// valid until the next call.
func (s *sparseBlock) of(b *groupBuffer, from, to, first, end int) *wire.Block {
	rows, width, words := to-from, len(b.types), (to-from+63)>>6
	s.block.Group, s.block.FirstColumn, s.block.Ticks = b.id, uint32(first), b.ticks[from:to]
	s.block.Columns = s.block.Columns[:0]
	s.values, s.present = room(s.values, rows*(end-first)), room(s.present, words*(end-first))
	for c := first; c < end; c++ {
		values := s.values[(c-first)*rows:][:0:rows]
		present := s.present[(c-first)*words:][:words:words]
		clear(present)
		for i := range rows {
			at := (from+i)*width + c
			if len(b.present) == 0 || sensors.Bit(b.present, at) {
				values = append(values, b.values[at])
				present[i>>6] |= 1 << (i & 63)
			}
		}
		if len(values) == rows {
			present = nil
		}
		s.block.Columns = append(s.block.Columns, wire.Column{Type: b.types[c], Present: present, Values: values})
	}
	return &s.block
}

// room returns n elements of anything, in s if it has them.
func room[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// flush seals everything that a lane has gathered.
func (e *encoder) flush(l *laneBuffer) {
	if e.auto {
		l.blocks.Speed = speedFor(l.blocks.Speed, len(e.in))
	}
	for _, b := range l.order {
		e.pack(l, b)
		b.reset()
	}
	e.close(l)
	l.order, l.cells, l.deadline = l.order[:0], 0, time.Time{}
}

// speedFor returns the speed for what is due, given how many chunks wait behind
// it: a queue that fills says that the encoder is what is slow.
func speedFor(now wire.Speed, waiting int) wire.Speed {
	switch {
	case waiting >= chunkQueue*3/4:
		return wire.Fast
	case waiting <= chunkQueue/8:
		return wire.Full
	}
	return now
}

// pack adds a group's rows to the lane's open batch, and to as many further ones
// as they need.
func (e *encoder) pack(l *laneBuffer, b *groupBuffer) {
	if left := l.limit - len(l.body.Payload); b.size > left && b.size <= l.limit {
		e.close(l) // better whole in the next one
	}
	b.size = 0
	if b.keys > 0 {
		e.packWhole(l, b, 0, len(b.ticks))
	} else {
		e.packColumns(l, b, 0, len(b.ticks))
	}
}

// packWhole adds rows that tell by their keys what they are about, halved until
// they fit: a row is never parted from its keys.
func (e *encoder) packWhole(l *laneBuffer, b *groupBuffer, from, to int) {
	mark := len(l.body.Payload)
	blk := l.sparse.of(b, from, to, 0, len(b.types))
	out, err := []byte(nil), wire.ErrNotKeyed
	if l.blocks.Speed == wire.Full {
		out, err = l.keyed.Append(l.body.Payload, blk, b.keys)
	}
	if err != nil {
		out, err = l.blocks.Append(l.body.Payload, blk)
	}
	switch {
	case err != nil:
		e.drop(b.samples(0, len(b.types), from, to), l.lane, err)
	case len(out) > l.limit && mark > 0:
		l.body.Payload = out[:mark] // it may have grown
		e.close(l)
		e.packWhole(l, b, from, to)
	case len(out) > l.limit && to-from > 1:
		l.body.Payload = out[:mark]
		half := from + (to-from)/2
		e.packWhole(l, b, from, half)
		e.packWhole(l, b, half, to)
	default:
		b.size += len(out) - mark
		l.took(e.plan.hash, out, b.ticks[from:to], b.samples(0, len(b.types), from, to))
	}
}

// packColumns adds rows column after column, and one column by its rows where it
// is larger than a batch.
func (e *encoder) packColumns(l *laneBuffer, b *groupBuffer, from, to int) {
	width := len(b.types)
	rows := wire.RowBlock{Group: b.id, Ticks: b.ticks[from:to], Types: b.types, Values: b.values[from*width : to*width]}
	var columns *wire.Block
	if len(b.present) > 0 {
		columns = l.sparse.of(b, from, to, 0, width)
	}
	for first := 0; first < width; {
		mark := len(l.body.Payload)
		var out []byte
		var n int
		var err error
		if columns != nil {
			out, n, err = l.blocks.AppendFit(l.body.Payload, columns, first, l.limit-mark)
		} else {
			out, n, err = l.blocks.AppendRows(l.body.Payload, &rows, first, l.limit-mark)
		}
		switch size := len(out) - mark; {
		case err != nil:
			e.drop(b.samples(first, width, from, to), l.lane, err)
			return
		case len(out) > l.limit && mark > 0:
			l.body.Payload = out[:mark] // it may have grown
			e.close(l)
			continue
		case len(out) > l.limit && to-from > 1:
			l.body.Payload = out[:mark]
			e.packColumn(l, b, first, from, to)
			if columns != nil { // its memory was used
				columns = l.sparse.of(b, from, to, 0, width)
			}
			b.size += size
			first++
		default: // a single value goes out alone, past the target size
			b.size += size
			l.took(e.plan.hash, out, rows.Ticks, b.samples(first, first+n, from, to))
			first += n
		}
	}
}

// packColumn adds one column by its rows, halved until they fit.
func (e *encoder) packColumn(l *laneBuffer, b *groupBuffer, c, from, to int) {
	mark := len(l.body.Payload)
	out, _, err := l.blocks.AppendFit(l.body.Payload, l.sparse.of(b, from, to, c, c+1), 0, l.limit-mark)
	switch {
	case err != nil:
		e.drop(b.samples(c, c+1, from, to), l.lane, err)
	case len(out) > l.limit && mark > 0:
		l.body.Payload = out[:mark]
		e.close(l)
		e.packColumn(l, b, c, from, to)
	case len(out) > l.limit && to-from > 1:
		l.body.Payload = out[:mark]
		half := from + (to-from)/2
		e.packColumn(l, b, c, from, half)
		e.packColumn(l, b, c, half, to)
	default:
		l.took(e.plan.hash, out, b.ticks[from:to], b.samples(c, c+1, from, to))
	}
}

// samples counts the values in columns first to end-1 of rows from to to-1.
func (b *groupBuffer) samples(first, end, from, to int) uint64 {
	if len(b.present) == 0 {
		return uint64((end - first) * (to - from))
	}
	n := 0
	for row := from; row < to; row++ {
		for c := first; c < end; c += 64 {
			n += bits.OnesCount64(bitsAt(b.present, row*len(b.types)+c, min(64, end-c)))
		}
	}
	return uint64(n)
}

// took makes out the open batch's payload: a block with ticks was added to it.
func (l *laneBuffer) took(hash wire.CatalogueHash, out []byte, ticks []int64, samples uint64) {
	body := &l.body
	first, last := ticks[0], ticks[len(ticks)-1]
	if len(body.Payload) == 0 {
		*body = wire.Body{Lane: l.lane, Catalogue: hash, FirstNS: first, LastNS: last}
	}
	body.FirstNS = min(body.FirstNS, first)
	body.LastNS = max(body.LastNS, last)
	body.Samples += uint32(samples)
	body.Payload = out
}
