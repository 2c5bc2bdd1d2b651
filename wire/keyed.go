package wire

import (
	"errors"
	"fmt"
	"slices"
)

// layoutKeyed is the layout of rows that tell by their first columns, the keys,
// what they are about: frames of a bus by their id. Rows of one key are a
// stream. A row is coded as what changed since the row of its stream before it
// in the block, by a range coder that learns from block to end; ticks too.
const layoutKeyed = 8

// Limits of layoutKeyed. A decision that was foreseen costs next to nothing, so
// that the input's length bounds nothing: these do.
const (
	maxKeys         = 8
	maxKeyedColumns = 64
	maxKeyedValues  = 1 << 16
	maxKeyedStreams = 1 << 12
	maxKeyedModels  = 1 << 12 // columns of streams with two values or more, 900 bytes each
)

// ErrNotKeyed is returned for a block that layoutKeyed cannot hold: another
// layout has to.
var ErrNotKeyed = errors.New("wire: block has no keyed layout")

// KeyedEncoder appends blocks whose first columns are keys. It keeps memory
// between calls: the zero value is ready. It is not safe for concurrent use.
type KeyedEncoder struct {
	coder keyedCoder
}

// Append appends b as a whole section; its first keys columns tell the streams.
// It returns [ErrNotKeyed], with dst as it was, when columns have different
// types, a key is absent, or rows of one stream lack different columns.
func (e *KeyedEncoder) Append(dst []byte, b *Block, keys int) ([]byte, error) {
	rows, columns := len(b.Ticks), len(b.Columns)
	if err := checkBlockSize(uint64(b.FirstColumn), uint64(rows), uint64(columns)); err != nil {
		return dst, err
	}
	if keys < 1 || keys > maxKeys || keys >= columns || columns > maxKeyedColumns || rows*columns > maxKeyedValues {
		return dst, ErrNotKeyed
	}
	start := len(dst)
	out := append(dst, byte(SectionBlock), 0)
	out = appendUvarint(out, uint64(b.Group))
	out = appendUvarint(out, uint64(b.FirstColumn))
	out = appendUvarint(out, uint64(rows))
	out = appendUvarint(out, uint64(columns))
	unit, err := tickUnit(b.Ticks)
	if err != nil {
		return dst, err
	}
	out = append(out, layoutKeyed<<4, byte(keys), byte(b.Columns[0].Type))
	out = appendVarint(out, b.Ticks[0])
	out = appendUvarint(out, unit)
	k := &e.coder
	k.binCoder.startWriting(out)
	k.begin(b, keys, unit)
	if err := k.check(); err != nil {
		return dst, err
	}
	if err := k.rows(); err != nil {
		return dst, err
	}
	return endSection(dst, k.finish(), start)
}

// tickUnit returns the greatest number that all differences of ticks are whole
// multiples of, 1 if they are all 0.
func tickUnit(ticks []int64) (uint64, error) {
	unit := uint64(0)
	for i := 1; i < len(ticks); i++ {
		if ticks[i] < ticks[i-1] {
			return 0, fmt.Errorf("wire: append block: tick %d of row %d is before row %d", ticks[i], i, i-1)
		}
		for d := uint64(ticks[i] - ticks[i-1]); d != 0; {
			unit, d = d, unit%d
		}
	}
	return max(1, unit), nil
}

// keyed reads a block of layoutKeyed from after its first byte on.
func (d *blockDecoder) keyed(b *Block, rows, columns int) error {
	r := &d.reader
	keys := int(r.byte("keys"))
	typ := ValueType(r.byte("value type"))
	first := r.varint("tick")
	unit := r.uvarint(1<<64-1, "unit of ticks")
	switch {
	case r.err != nil:
	case keys < 1 || keys > maxKeys || keys >= columns || columns > maxKeyedColumns || rows*columns > maxKeyedValues:
		r.fail("keyed rows", errRange)
	case typ < TypeInt || typ > TypeF64:
		r.fail("value type", errRange)
	case unit == 0:
		r.fail("unit of ticks", errRange)
	}
	if r.err != nil {
		return r.err
	}
	b.Ticks = slices.Grow(b.Ticks[:0], rows)[:rows]
	b.Ticks[0] = first
	d.claim(b, rows, columns)
	d.work += 2 * rows
	words := (rows + 63) >> 6
	d.bitmaps = slices.Grow(d.bitmaps[:0], columns*words)[:columns*words]
	clear(d.bitmaps)
	for i := range b.Columns {
		b.Columns[i] = Column{Type: typ, Values: d.free[i*rows : i*rows : (i+1)*rows], Present: d.bitmaps[i*words : (i+1)*words]}
	}
	b.Columns[0].Values = d.free[:0]
	var k keyedCoder
	k.startReading(r.b)
	k.begin(b, keys, unit)
	err := k.rows()
	if d.work += k.work; err != nil {
		return fmt.Errorf("wire: keyed block: %w", err)
	}
	if err := k.exhausted(); err != nil {
		return fmt.Errorf("wire: end of keyed block: %w", err)
	}
	for i := range b.Columns {
		c := &b.Columns[i]
		if len(c.Values) == rows {
			c.Present = nil
		}
	}
	return nil
}
