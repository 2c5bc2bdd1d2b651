package wire

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// ParseBlock reads the body of a block section into b. The memory of b's slices
// is used again, so b must be zero or filled by ParseBlock before, and what was
// taken from it is valid until the next call. Columns may share one Present. On
// an error b's content is not defined. Memory is bounded by MaxBlockValues.
func ParseBlock(body []byte, b *Block) error {
	d := blockDecoder{reader: reader{b: body}} // by value: so that it stays on the stack
	return d.block(b)
}

// block reads the whole of what there is.
func (d *blockDecoder) block(b *Block) error {
	r := &d.reader
	b.Group = uint32(r.uvarint(1<<32-1, "group"))
	b.FirstColumn = uint32(r.uvarint(1<<32-1, "first column"))
	rows := int(r.uvarint(MaxBlockRows, "rows"))
	columns := int(r.uvarint(MaxBlockColumns, "columns"))
	mode := r.byte("tick mode")
	if r.err != nil {
		return r.err
	}
	if err := checkBlockSize(uint64(b.FirstColumn), uint64(rows), uint64(columns)); err != nil {
		return err
	}
	layout := mode >> 4
	if mode == layoutKeyed<<4 {
		return d.keyed(b, rows, columns)
	}
	if layout > layoutLast && (layout <= layoutDense || layout > layoutDense+layoutLast) {
		return fmt.Errorf("wire: block with unknown column layout %d", layout)
	}
	b.Ticks = r.ticks(b.Ticks, mode&0x0f, rows)
	if r.err != nil {
		return r.err
	}
	if layout == layoutColumns && columns > len(r.b) { // a byte each at the least
		return fmt.Errorf("wire: %d columns in %d bytes: %w", columns, len(r.b), ErrShort)
	}
	d.claim(b, rows, columns)
	d.work += rows
	if layout != layoutColumns {
		d.stream(b, layout)
		return d.err
	}
	for i := range b.Columns {
		d.column(&b.Columns[i])
		if r.err != nil {
			return fmt.Errorf("wire: block column %d: %w", i, r.err)
		}
	}
	if len(r.b) > 0 {
		r.fail("end of block", errRange)
	}
	return r.err
}

// blockDecoder cuts the columns' memory out of one slice of values and one of
// bitmaps.
type blockDecoder struct {
	reader
	rows    int
	columns int
	free    []int64
	bitmaps []uint64
	last    []uint64 // the last bitmap read
	count   int      // rows that have a value in it
	group   [packGroup]uint64
	work    int // values passed over, and entries of tables: see maxWork
}

// Work of a decoder that no bytes can exceed: so much for each value and column
// that the head of a block says, which MaxBlockValues and MaxBlockColumns bound.
const (
	maxWorkValue  = 12
	maxWorkColumn = 2*maxBins + 2*riceGroup
)

// claim finds the memory that an earlier ParseBlock left in b: the
// first column's Values and the longest bitmap keep the capacity of the whole.
func (d *blockDecoder) claim(b *Block, rows, columns int) {
	d.rows, d.columns = rows, columns
	if len(b.Columns) > 0 {
		d.free = b.Columns[0].Values[:0]
	}
	for i := range b.Columns {
		if p := b.Columns[i].Present; cap(p) > cap(d.bitmaps) {
			d.bitmaps = p[:0]
		}
	}
	d.free = slices.Grow(d.free, rows*columns)
	b.Columns = slices.Grow(b.Columns[:0], columns)[:columns]
}

// column reads one column into c.
func (d *blockDecoder) column(c *Column) {
	head := d.byte("column head")
	c.Type = ValueType(head & headType)
	if d.err == nil && (c.Type < TypeInt || c.Type > TypeF64) {
		d.fail("value type", errRange)
	}
	count := d.presence(c, head)
	if d.err != nil {
		return
	}
	c.Values = d.free[:count]
	d.free = d.free[count:count]
	mode := head >> headModeBits
	if count == 0 {
		if mode != 0 {
			d.fail("mode of an empty column", errRange)
		}
		return
	}
	d.values(c.Values, mode)
	d.work += 2 * count
	if d.err != nil {
		return
	}
	switch c.Type {
	case TypeF32:
		for i, v := range c.Values {
			c.Values[i] = unorderF32(v)
		}
	case TypeF64:
		for i, v := range c.Values {
			c.Values[i] = orderF64(v)
		}
	}
}

// presence reads c's bitmap if there is one and returns how many values follow.
func (d *blockDecoder) presence(c *Column, head byte) int {
	c.Present = nil
	words := (d.rows + 63) >> 6
	switch head & headPresent {
	case presentAll:
		return d.rows
	case presentSame:
		if d.last == nil && d.err == nil {
			d.fail("presence as before without one before", errRange)
		}
		c.Present = d.last
		return d.count
	case presentNone:
		c.Present = d.bitmap(words)
		clear(c.Present)
		return 0
	}
	src := d.take((d.rows+7)>>3, "presence")
	if d.err != nil {
		return 0
	}
	c.Present = d.bitmap(words)
	for i := range c.Present {
		var buf [8]byte
		copy(buf[:], src[8*i:])
		c.Present[i] = binary.LittleEndian.Uint64(buf[:])
	}
	d.last, d.count = c.Present, countPresent(c.Present, d.rows)
	if d.count == 0 || d.count == d.rows || c.Present[words-1] != presentWord(c.Present, words-1, d.rows) {
		d.fail("presence", errRange)
	}
	return d.count
}

// bitmap cuts words words of memory; their content is not defined.
func (d *blockDecoder) bitmap(words int) []uint64 {
	if cap(d.bitmaps) < words {
		d.bitmaps = make([]uint64, 0, words*d.columns)
	}
	p := d.bitmaps[:words]
	d.bitmaps = d.bitmaps[words:words]
	return p
}

// values reads len(out) values, at least one, as ordered integers.
func (d *blockDecoder) values(out []int64, mode byte) {
	switch mode {
	case modeConstant:
		v := d.varint("constant")
		for i := range out {
			out[i] = v
		}
	case modePacked:
		d.offsets(out)
	case modeDelta:
		d.deltas(out)
	default:
		d.fail("values", fmt.Errorf("unknown mode %d", mode))
	}
}

func (d *blockDecoder) deltas(out []int64) {
	prev := d.varint("first value")
	out[0] = prev
	for rest := out[1:]; len(rest) > 0; {
		n := min(packGroup, len(rest))
		w := d.width("width")
		if d.err != nil || !d.packed(d.group[:n], w, "values") {
			return
		}
		to := rest[:n]
		for i := range to {
			prev += unzigzag(d.group[i%packGroup])
			to[i] = prev
		}
		rest = rest[n:]
	}
}

func (d *blockDecoder) offsets(out []int64) {
	w := d.width("width")
	var lo int64
	if w < 64 {
		lo = d.varint("least value")
	}
	for rest := out; len(rest) > 0 && d.err == nil; {
		n := min(packGroup, len(rest))
		if !d.packed(d.group[:n], w, "values") {
			return
		}
		to := rest[:n]
		for i := range to {
			to[i] = lo + int64(d.group[i%packGroup])
		}
		rest = rest[n:]
	}
}
