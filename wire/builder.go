package wire

import (
	"fmt"
	"math"
	"slices"
)

// Builder collects rows of one group and turns them into columns. It keeps its
// memory over Reset. It is not safe for concurrent use.
type Builder struct {
	block   Block
	types   []ValueType
	samples uint32
	stride  int      // room for rows in each column of values
	values  []int64  // column after column, stride apart
	bitmaps []uint64 // likewise, stride/64 rounded up apart; empty while no value was absent
	counts  []int32  // values per column; empty while no value was absent
	sizes   []columnSize
	ticks   tickSize
}

// NewBuilder returns a builder for all channels of one group. It keeps types.
// It panics when there are no channels or more than MaxBlockColumns.
func NewBuilder(group uint32, types []ValueType) *Builder {
	if len(types) == 0 || len(types) > MaxBlockColumns {
		panic(fmt.Sprintf("wire: internal error: builder of %d columns", len(types)))
	}
	b := &Builder{types: types, sizes: make([]columnSize, len(types))}
	b.block.Group = group
	b.block.Columns = make([]Column, len(types))
	return b
}

// Rows returns how many rows are in the builder.
func (b *Builder) Rows() int { return len(b.block.Ticks) }

// Samples returns how many values are in the builder, absent ones not counted.
func (b *Builder) Samples() uint32 { return b.samples }

// Full reports that no further row fits the limits of a block.
func (b *Builder) Full() bool {
	rows := b.Rows() + 1
	return rows > MaxBlockRows || rows*len(b.types) > MaxBlockValues
}

// Append adds one row: one value per channel, which are not kept. present is nil
// when every channel has a value; else bit presentBit+ch of it says whether
// channel ch has. It panics when the number of values is not that of the types.
// Ticks must not decrease and rows must not be added to a full builder:
// AppendBlock would refuse the block.
func (b *Builder) Append(tick int64, values []int64, present []uint64, presentBit int) {
	if len(values) != len(b.types) {
		panic(fmt.Sprintf("wire: internal error: row of %d values for %d columns", len(values), len(b.types)))
	}
	row := len(b.block.Ticks)
	if row == b.stride-strideSkew || b.stride == 0 {
		b.grow()
	}
	b.block.Ticks = append(b.block.Ticks, tick)
	if present == nil && len(b.counts) == 0 {
		to, stride := b.values[row:], b.stride
		i := 0
		for _, v := range values {
			to[i] = v
			i += stride
		}
		b.samples += uint32(len(values))
		return
	}
	b.appendSparse(row, values, present, presentBit)
}

// appendSparse is Append once a value was absent since the last Reset.
func (b *Builder) appendSparse(row int, values []int64, present []uint64, bit int) {
	words := b.words()
	if len(b.counts) == 0 {
		b.counts = slices.Grow(b.counts, len(b.types))[:len(b.types)]
		b.bitmaps = slices.Grow(b.bitmaps, words*len(b.types))[:words*len(b.types)]
		clear(b.bitmaps)
		for c := range b.counts {
			b.counts[c] = int32(row)
			p := b.bitmaps[c*words:]
			for i := range row >> 6 {
				p[i] = math.MaxUint64
			}
			p[row>>6] = 1<<(row&63) - 1
		}
	}
	for c, v := range values {
		if at := bit + c; present == nil || present[at>>6]>>(at&63)&1 != 0 {
			b.values[c*b.stride+int(b.counts[c])] = v
			b.counts[c]++
			b.bitmaps[c*words+row>>6] |= 1 << (row & 63)
			b.samples++
		}
	}
}

// strideSkew keeps the columns of a builder off each other's cache sets: without
// it a power of two would lie between them.
const strideSkew = 8

func (b *Builder) words() int { return (b.stride + 63) >> 6 }

// grow doubles the room for rows.
func (b *Builder) grow() {
	old, oldWords := b.stride, b.words()
	b.stride = max(16, 2*(old-strideSkew)) + strideSkew
	values := make([]int64, b.stride*len(b.types))
	for c := range b.types {
		copy(values[c*b.stride:], b.values[c*old:(c+1)*old])
	}
	b.values = values
	if words := b.words(); len(b.counts) > 0 {
		bitmaps := make([]uint64, words*len(b.types))
		for c := range b.types {
			copy(bitmaps[c*words:], b.bitmaps[c*oldWords:(c+1)*oldWords])
		}
		b.bitmaps = bitmaps
	}
}

// column returns the values of column c so far.
func (b *Builder) column(c int) []int64 {
	n := len(b.block.Ticks)
	if len(b.counts) > 0 {
		n = int(b.counts[c])
	}
	return b.values[c*b.stride : c*b.stride+n]
}

// Block returns the rows as a block, valid until the next Append or Reset. Only
// columns that lack a value have a bitmap.
func (b *Builder) Block() *Block {
	rows := len(b.block.Ticks)
	words := b.words()
	for c := range b.block.Columns {
		col := Column{Type: b.types[c], Values: b.column(c)}
		if len(col.Values) < rows {
			col.Present = b.bitmaps[c*words:][:(rows+63)>>6]
		}
		b.block.Columns[c] = col
	}
	return &b.block
}

// Reset removes all rows and keeps the memory.
func (b *Builder) Reset() {
	b.block.Ticks = b.block.Ticks[:0]
	b.counts = b.counts[:0]
	b.bitmaps = b.bitmaps[:0]
	b.samples = 0
	b.ticks = tickSize{}
	clear(b.sizes)
}

// SizeBound returns an upper bound of the bytes of the block's section, a few
// bytes above what AppendBlock writes. It looks only at rows that were added
// since the last call, so that calling it now and then costs little per row;
// without rows it is 0.
func (b *Builder) SizeBound() int {
	rows := len(b.block.Ticks)
	if rows == 0 {
		return 0
	}
	// Type and length; group, first column, rows, columns, tick mode.
	size := 1 + uvarintLen(MaxRawBytes) + uvarintLen(uint64(b.block.Group)) + 1 +
		uvarintLen(uint64(rows)) + uvarintLen(uint64(len(b.types))) + 1
	b.ticks.add(b.block.Ticks)
	size += b.ticks.bound()
	for c := range b.sizes {
		s := &b.sizes[c]
		vals := b.column(c)
		s.add(vals, b.types[c])
		size += 1 + s.size()
		if len(vals) < rows && len(vals) > 0 {
			size += (rows + 7) >> 3
		}
	}
	return size
}

// columnSize follows the size of one column's values while it grows.
type columnSize struct {
	done   int    // values seen
	bytes  int    // of modeDelta's first value and whole groups
	or     uint64 // residuals of the group begun
	prev   int64  // all of these as ordered integers
	lo, hi int64
}

// add looks at the values after the first s.done.
func (s *columnSize) add(vals []int64, t ValueType) {
	if s.done == 0 && len(vals) > 0 {
		s.prev = orderedValue(vals[0], t)
		s.lo, s.hi = s.prev, s.prev
		s.bytes = uvarintLen(zigzag(s.prev))
		s.done = 1
	}
	for ; s.done < len(vals); s.done++ {
		v := orderedValue(vals[s.done], t)
		s.or |= zigzag(v - s.prev)
		s.lo, s.hi = min(s.lo, v), max(s.hi, v)
		s.prev = v
		if s.done%packGroup == 0 {
			s.bytes += 1 + packedLen(packGroup, width(s.or))
			s.or = 0
		}
	}
}

func orderedValue(v int64, t ValueType) int64 {
	switch t {
	case TypeF32:
		return orderF32(v)
	case TypeF64:
		return orderF64(v)
	}
	return v
}

// size returns the bytes of the values in the smallest of modeConstant,
// modePacked and modeDelta.
func (s *columnSize) size() int {
	if s.done == 0 {
		return 0
	}
	deltas := s.bytes
	if n := (s.done - 1) % packGroup; n > 0 {
		deltas += 1 + packedLen(n, width(s.or))
	}
	w := width(uint64(s.hi) - uint64(s.lo))
	if w == 0 {
		return packedBase(s.lo, w)
	}
	return min(deltas, packedBase(s.lo, w)+1+packedLen(s.done, w))
}

// tickSize follows the least and greatest distance of ticks.
type tickSize struct {
	done   int // ticks seen
	first  int64
	lo, hi uint64
}

func (s *tickSize) add(ticks []int64) {
	if s.done == 0 {
		*s = tickSize{done: 1, first: ticks[0], lo: math.MaxUint64}
	}
	for ; s.done < len(ticks); s.done++ {
		d := uint64(ticks[s.done] - ticks[s.done-1])
		s.lo, s.hi = min(s.lo, d), max(s.hi, d)
	}
}

// bound returns the bytes of the ticks as if every group were as wide as the
// widest.
func (s *tickSize) bound() int {
	size := uvarintLen(zigzag(s.first))
	if s.done == 1 {
		return size
	}
	size += uvarintLen(s.lo)
	if s.lo == s.hi {
		return size
	}
	groups := (s.done - 1 + packGroup - 1) / packGroup
	return size + groups + packedLen(s.done-1, width(s.hi-s.lo)) + groups
}
