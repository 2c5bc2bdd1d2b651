package wire

import "math/bits"

// Rows returns how many rows the block has.
func (b *Block) Rows() int { return len(b.Ticks) }

// Samples returns how many values stand in all columns.
func (b *Block) Samples() int {
	n := 0
	for i := range b.Columns {
		n += len(b.Columns[i].Values)
	}
	return n
}

// SliceRows returns rows first to end-1 as a block. It shares ticks and values
// with b; bitmaps are copied.
func (b *Block) SliceRows(first, end int) Block {
	out := Block{
		Group: b.Group, FirstColumn: b.FirstColumn, Ticks: b.Ticks[first:end:end],
		Columns: make([]Column, len(b.Columns)),
	}
	for i := range b.Columns {
		out.Columns[i] = b.Columns[i].slice(first, end)
	}
	return out
}

// slice returns the part of a column that lies in rows first to end-1.
func (c *Column) slice(first, end int) Column {
	if c.Present == nil {
		return Column{Type: c.Type, Values: c.Values[first:end:end]}
	}
	rows := end - first
	from := countPresent(c.Present, first)
	p := make([]uint64, (rows+63)>>6)
	count := 0
	for i := range p {
		at := first + 64*i
		w := c.Present[at>>6] >> (at & 63)
		if at&63 != 0 && at>>6+1 < len(c.Present) {
			w |= c.Present[at>>6+1] << (64 - at&63)
		}
		if n := rows - 64*i; n < 64 {
			w &= 1<<n - 1
		}
		p[i] = w
		count += bits.OnesCount64(w)
	}
	if count == rows {
		p = nil
	}
	return Column{Type: c.Type, Present: p, Values: c.Values[from : from+count : from+count]}
}

// SliceColumns returns columns first to end-1 as a block that shares all memory
// with b.
func (b *Block) SliceColumns(first, end int) Block {
	return Block{
		Group: b.Group, FirstColumn: b.FirstColumn + uint32(first), Ticks: b.Ticks,
		Columns: b.Columns[first:end:end],
	}
}

// splitRows is the least number of rows that SplitBlock halves while there are
// columns to halve: shorter columns cost more in heads than repeated ticks do.
const splitRows = 32

// SplitBlock halves a block that is too large for a batch: by rows while there
// are at least splitRows, then by columns, then by rows again. Both halves share
// ticks and values with b. ok is false for a block of one value, which nothing
// can halve.
func SplitBlock(b *Block) (x, y Block, ok bool) {
	rows, columns := len(b.Ticks), len(b.Columns)
	switch {
	case rows >= splitRows || columns < 2 && rows > 1:
		half := rows / 2
		if half > 64 {
			half &^= 63
		}
		return b.SliceRows(0, half), b.SliceRows(half, rows), true
	case columns > 1:
		return b.SliceColumns(0, columns/2), b.SliceColumns(columns/2, columns), true
	}
	return Block{}, Block{}, false
}
