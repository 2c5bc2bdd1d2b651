package wire

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// Limits of one block. A column of one repeated value takes two bytes whatever
// its rows, so the input's length bounds nothing: these do.
const (
	// MaxBlockRows is 40 s at 1.5 kHz; nothing waits longer than 1 s to be sealed.
	MaxBlockRows = 1 << 16
	// MaxBlockColumns leaves room for the largest cars, with 50,000 channels.
	MaxBlockColumns = 1 << 16
	// MaxBlockValues bounds rows times columns: 8 MiB decoded.
	MaxBlockValues = 1 << 20
)

// layoutColumns is the layout of the columns: one after the other, each begun
// on a byte by its own head. It stands in the high half of the tick column's
// first byte, so that others can be added.
const layoutColumns = 0

// A column's head is one byte: the type in three bits, what is present in two,
// the mode in three.
const (
	headType     = 0x07
	headPresent  = 0x18
	headModeBits = 5

	presentAll    = 0 << 3 // every row has a value
	presentBitmap = 1 << 3 // a bitmap follows, one bit a row
	presentSame   = 2 << 3 // as in the last bitmap of this block
	presentNone   = 3 << 3 // no row has a value: nothing follows, the mode is 0
)

// Modes of a column's values.
const (
	modeConstant = 0 // the value
	modePacked   = 1 // least value, one width, values less the least
	modeDelta    = 2 // first value, then per packGroup a width and zigzag deltas
	modeDelta2   = 3 // not written by this version: delta of delta
	modeRice     = 4 // not written by this version: Rice codes
	modeEntropy  = 5 // not written by this version: entropy coding
)

// blockEncoder is the state of one AppendBlock; it lives on its stack.
type blockEncoder struct {
	group  [packGroup]uint64 // residuals of the group at hand
	mapped [packGroup]int64  // its floats as ordered integers
	last   []uint64          // the last bitmap written
}

// AppendBlock appends b as a whole section, each column in the smallest of its
// modes. It fails, and leaves dst as it was, when b is not consistent, has
// decreasing ticks or exceeds a limit. It keeps nothing of b and allocates only
// to grow dst.
func AppendBlock(dst []byte, b *Block) ([]byte, error) {
	rows, start := len(b.Ticks), len(dst)
	out, err := appendBlockHead(dst, b.Group, b.FirstColumn, b.Ticks, len(b.Columns), layoutColumns)
	if err != nil {
		return dst, err
	}
	var e blockEncoder
	for i := range b.Columns {
		if out, err = e.column(out, &b.Columns[i], rows); err != nil {
			return dst, fmt.Errorf("wire: append block: column %d: %w", i, err)
		}
	}
	return endSection(dst, out, start)
}

// appendBlockHead appends what stands before the columns: type and room for the
// length, group, sizes, ticks.
func appendBlockHead(dst []byte, group, first uint32, ticks []int64, columns int, layout byte) ([]byte, error) {
	if err := checkBlockSize(uint64(first), uint64(len(ticks)), uint64(columns)); err != nil {
		return dst, err
	}
	out := append(dst, byte(SectionBlock), 0)
	out = appendUvarint(out, uint64(group))
	out = appendUvarint(out, uint64(first))
	out = appendUvarint(out, uint64(len(ticks)))
	out = appendUvarint(out, uint64(columns))
	mode := len(out)
	out, err := appendTicks(out, ticks)
	if err != nil {
		return dst, err
	}
	out[mode] |= layout << 4
	return out, nil
}

// endSection sets the length of the section that begins at start, for which one
// byte was left free.
func endSection(dst, out []byte, start int) ([]byte, error) {
	body := start + 2
	n := len(out) - body
	if n > MaxRawBytes {
		return dst, fmt.Errorf("wire: append block: section of %d bytes (limit %d)", n, MaxRawBytes)
	}
	var buf [binary.MaxVarintLen64]byte
	head := appendUvarint(buf[:0], uint64(n))
	if len(head) > 1 {
		out = append(out, head[1:]...)
		copy(out[start+1+len(head):], out[body:body+n])
	}
	copy(out[start+1:], head)
	return out, nil
}

func checkBlockSize(first, rows, columns uint64) error {
	switch {
	case rows == 0 || rows > MaxBlockRows:
		return fmt.Errorf("wire: block of %d rows (want 1 to %d)", rows, MaxBlockRows)
	case columns == 0 || columns > MaxBlockColumns:
		return fmt.Errorf("wire: block of %d columns (want 1 to %d)", columns, MaxBlockColumns)
	case rows*columns > MaxBlockValues:
		return fmt.Errorf("wire: block of %d by %d values (limit %d)", rows, columns, MaxBlockValues)
	case first+columns > 1<<32:
		return fmt.Errorf("wire: block of %d columns from %d", columns, first)
	}
	return nil
}

// column appends one column: head, presence, values.
func (e *blockEncoder) column(dst []byte, c *Column, rows int) ([]byte, error) {
	if c.Type < TypeInt || c.Type > TypeF64 {
		return dst, fmt.Errorf("value type %d: %w", c.Type, errRange)
	}
	head := len(dst)
	dst = append(dst, byte(c.Type))
	dst, err := e.presence(dst, c, rows)
	if err != nil || len(c.Values) == 0 {
		return dst, err
	}
	return e.values(dst, head, c)
}

// presence checks that rows, bitmap and values agree, sets the presence bits of
// the head that ends dst, and appends a bitmap where one is needed.
func (e *blockEncoder) presence(dst []byte, c *Column, rows int) ([]byte, error) {
	head := len(dst) - 1
	count := rows
	words := (rows + 63) >> 6
	if c.Present != nil {
		if len(c.Present) < words {
			return dst, fmt.Errorf("presence of %d words for %d rows", len(c.Present), rows)
		}
		count = countPresent(c.Present, rows)
	}
	switch {
	case len(c.Values) != count:
		return dst, fmt.Errorf("%d values for %d rows that have one", len(c.Values), count)
	case count == rows:
		return dst, nil
	case count == 0:
		dst[head] |= presentNone
		return dst, nil
	case e.last != nil && samePresence(e.last, c.Present, rows):
		dst[head] |= presentSame
		return dst, nil
	}
	dst[head] |= presentBitmap
	e.last = c.Present
	for i := range words {
		w := presentWord(c.Present, i, rows)
		if n := rows - 64*i; n < 64 {
			for ; n > 0; n -= 8 {
				dst = append(dst, byte(w))
				w >>= 8
			}
			break
		}
		dst = appendU64(dst, w)
	}
	return dst, nil
}

// presentWord returns word i of a bitmap without bits of rows that do not exist.
func presentWord(p []uint64, i, rows int) uint64 {
	if n := rows - 64*i; n < 64 {
		return p[i] & (1<<uint(n) - 1)
	}
	return p[i]
}

func countPresent(p []uint64, rows int) int {
	n := 0
	for i := range (rows + 63) >> 6 {
		n += bits.OnesCount64(presentWord(p, i, rows))
	}
	return n
}

func samePresence(a, b []uint64, rows int) bool {
	for i := range (rows + 63) >> 6 {
		if presentWord(a, i, rows) != presentWord(b, i, rows) {
			return false
		}
	}
	return true
}

// values appends c's values, at least one, and sets the mode in the head. It
// writes deltas first, since they mostly win, and takes them back when another
// mode is smaller.
func (e *blockEncoder) values(dst []byte, head int, c *Column) ([]byte, error) {
	body := len(dst)
	dst, or, err := e.deltas(dst, c.Values, c.Type)
	if err != nil {
		return dst, err
	}
	if or == 0 {
		return appendVarint(dst[:body], orderedValue(c.Values[0], c.Type)), nil
	}
	if size := len(dst) - body; packedLen(len(c.Values), spanOfSome(c.Values, c.Type)) < size {
		lo, hi := span(c.Values, c.Type, 1)
		w := width(uint64(hi) - uint64(lo))
		if packedBase(lo, w)+1+packedLen(len(c.Values), w) < size {
			dst[head] |= modePacked << headModeBits
			return e.offsets(dst[:body], c.Values, c.Type, lo, w), nil
		}
	}
	dst[head] |= modeDelta << headModeBits
	return dst, nil
}

// span returns the least and the greatest of every step-th value as ordered
// integers.
func span(vals []int64, t ValueType, step int) (lo, hi int64) {
	lo = orderedValue(vals[0], t)
	hi = lo
	if t <= TypeUint {
		for i := 0; i < len(vals); i += step {
			lo, hi = min(lo, vals[i]), max(hi, vals[i])
		}
		return lo, hi
	}
	for i := 0; i < len(vals); i += step {
		v := orderedValue(vals[i], t)
		lo, hi = min(lo, v), max(hi, v)
	}
	return lo, hi
}

// spanOfSome returns the width of the span of a few values, which that of all is
// not below.
func spanOfSome(vals []int64, t ValueType) uint {
	lo, hi := span(vals, t, len(vals)/8+1)
	return width(uint64(hi) - uint64(lo))
}

// short appends a column of integers that every row has, a group at most.
func (e *blockEncoder) short(dst []byte, t ValueType, vals []int64) []byte {
	first := vals[0]
	or, lo, hi := e.shortDeltas(vals, first, first)
	if or == 0 {
		return appendVarint(append(dst, byte(t)), first)
	}
	n := len(vals) - 1
	w := width(or)
	span := width(uint64(hi) - uint64(lo))
	if packedBase(lo, span)+packedLen(n+1, span) < uvarintLen(zigzag(first))+packedLen(n, w) {
		return e.shortOffsets(append(dst, byte(t)|modePacked<<headModeBits), vals, lo, span)
	}
	dst = appendVarint(append(dst, byte(t)|modeDelta<<headModeBits), first)
	return packPadded(append(dst, byte(w)), &e.group, n, w)
}

// shortOffsets appends integers, at most a group of them, in modePacked.
func (e *blockEncoder) shortOffsets(dst []byte, vals []int64, lo int64, w uint) []byte {
	dst = append(dst, byte(w))
	if w == 64 {
		lo = 0
	} else {
		dst = appendVarint(dst, lo)
	}
	x, to := vals, e.group[:]
	for len(x) >= 4 && len(to) >= 4 {
		in, out := (*[4]int64)(x), (*[4]uint64)(to)
		out[0], out[1], out[2], out[3] = uint64(in[0]-lo), uint64(in[1]-lo), uint64(in[2]-lo), uint64(in[3]-lo)
		x, to = x[4:], to[4:]
	}
	for i, v := range x[:min(len(x), len(to))] {
		to[i] = uint64(v - lo)
	}
	return packPadded(dst, &e.group, len(vals), w)
}

// packedBase returns the bytes of the least value in modePacked: none at 64
// bits, where values stand as they are.
func packedBase(lo int64, w uint) int {
	if w == 64 {
		return 0
	}
	return uvarintLen(zigzag(lo))
}

// ordered returns up to packGroup values as integers in the order of the
// numbers: integers as they are, floats mapped into e.mapped.
func (e *blockEncoder) ordered(vals []int64, t ValueType) ([]int64, error) {
	switch t {
	case TypeF32:
		var or uint64
		for i, v := range vals {
			or |= uint64(v)
			e.mapped[i%packGroup] = orderF32(v)
		}
		if or > 1<<32-1 {
			return nil, fmt.Errorf("float32 with more than 32 bits: %w", errRange)
		}
		return e.mapped[:len(vals)], nil
	case TypeF64:
		for i, v := range vals {
			e.mapped[i%packGroup] = orderF64(v)
		}
		return e.mapped[:len(vals)], nil
	}
	return vals, nil
}

// orderF32 maps zero-extended float32 bits to an integer that orders as the
// number does, 0 to 0.
func orderF32(v int64) int64 {
	i := int32(v)
	return int64(i ^ int32(uint32(i>>31)>>1))
}

// unorderF32 is the inverse of orderF32, modulo 1<<32.
func unorderF32(v int64) int64 {
	i := int32(v)
	return int64(uint32(i ^ int32(uint32(i>>31)>>1)))
}

// orderF64 maps float64 bits to an integer that orders as the number does, 0 to
// 0; it is its own inverse.
func orderF64(v int64) int64 { return v ^ int64(uint64(v>>63)>>1) }

// deltas appends the values in modeDelta and returns all changes or-ed.
func (e *blockEncoder) deltas(dst []byte, vals []int64, t ValueType) (out []byte, all uint64, err error) {
	first, err := e.ordered(vals[:1], t)
	if err != nil {
		return dst, 0, err
	}
	prev := first[0]
	dst = appendVarint(dst, prev)
	for i := 1; i < len(vals); i += packGroup {
		n := min(packGroup, len(vals)-i)
		if t <= TypeUint {
			or := e.intDeltas(vals[i-1 : i+n])
			all |= or
			dst = appendGroup(dst, e.group[:n], or)
			continue
		}
		chunk, err := e.ordered(vals[i:i+n], t)
		if err != nil {
			return dst, 0, err
		}
		var or uint64
		for j, v := range chunk {
			d := zigzag(v - prev)
			e.group[j%packGroup] = d
			or |= d
			prev = v
		}
		all |= or
		dst = appendGroup(dst, e.group[:n], or)
	}
	return dst, all, nil
}

// intDeltas writes the zigzag deltas of x, at most a group of them, to e.group and
// returns them or-ed.
func (e *blockEncoder) intDeltas(x []int64) (or uint64) {
	prev := x[0]
	x = x[1:]
	to := e.group[:]
	for len(x) >= 4 && len(to) >= 4 {
		in, out := (*[4]int64)(x), (*[4]uint64)(to)
		a, b, c, d := in[0], in[1], in[2], in[3]
		r0, r1, r2, r3 := zigzag(a-prev), zigzag(b-a), zigzag(c-b), zigzag(d-c)
		out[0], out[1], out[2], out[3] = r0, r1, r2, r3
		or |= r0 | r1 | r2 | r3
		prev = d
		x, to = x[4:], to[4:]
	}
	for i, v := range x[:min(len(x), len(to))] {
		r := zigzag(v - prev)
		to[i] = r
		or |= r
		prev = v
	}
	return or
}

// shortDeltas writes the zigzag deltas of x, at most a group of them, to e.group and
// returns them or-ed, and the least and greatest of the values, lo and hi.
func (e *blockEncoder) shortDeltas(x []int64, lo, hi int64) (or uint64, least, greatest int64) {
	prev := x[0]
	x = x[1:]
	to := e.group[:]
	for len(x) >= 4 && len(to) >= 4 {
		in, out := (*[4]int64)(x), (*[4]uint64)(to)
		a, b, c, d := in[0], in[1], in[2], in[3]
		lo, hi = min(lo, a, b, c, d), max(hi, a, b, c, d)
		r0, r1, r2, r3 := zigzag(a-prev), zigzag(b-a), zigzag(c-b), zigzag(d-c)
		out[0], out[1], out[2], out[3] = r0, r1, r2, r3
		or |= r0 | r1 | r2 | r3
		prev = d
		x, to = x[4:], to[4:]
	}
	for i, v := range x[:min(len(x), len(to))] {
		r := zigzag(v - prev)
		to[i] = r
		or |= r
		lo, hi = min(lo, v), max(hi, v)
		prev = v
	}
	return or, lo, hi
}

// offsets appends the values in modePacked.
func (e *blockEncoder) offsets(dst []byte, vals []int64, t ValueType, lo int64, w uint) []byte {
	dst = append(dst, byte(w))
	if w == 64 {
		lo = 0
	} else {
		dst = appendVarint(dst, lo)
	}
	for i := 0; i < len(vals); i += packGroup {
		n := min(packGroup, len(vals)-i)
		chunk, _ := e.ordered(vals[i:i+n], t) // checked by deltas
		for j, v := range chunk {
			e.group[j%packGroup] = uint64(v - lo)
		}
		dst = pack(dst, e.group[:n], w)
	}
	return dst
}
