package wire

import "fmt"

// Speed says how much work an encoder does for size.
type Speed uint8

const (
	// Fast writes byte-aligned columns: delta and bit-pack.
	Fast Speed = 0
	// Full writes all columns as one stream of bits: prediction of order 0 to 3
	// and Rice codes, chosen by their cost.
	Full Speed = 1
)

// BlockEncoder appends blocks at a speed. It keeps memory between calls: the
// zero value is ready and writes Fast. It is not safe for concurrent use.
type BlockEncoder struct {
	Speed Speed

	bytes  blockEncoder
	stream streamEncoder
	heads  headRuns
	memory blockMemory
	tile   rowTile
	body   []byte // of the columns, before their block's head
}

// Append appends b as a whole section, as [AppendBlock] does.
func (e *BlockEncoder) Append(dst []byte, b *Block) ([]byte, error) {
	if e.Speed == Fast {
		return AppendBlock(dst, b)
	}
	if err := checkBlockSize(uint64(b.FirstColumn), uint64(len(b.Ticks)), uint64(len(b.Columns))); err != nil {
		return dst, err
	}
	out, n, err := e.fit(dst, columns{block: b}, 0, MaxRawBytes)
	if err == nil && n < len(b.Columns) {
		return dst, fmt.Errorf("wire: append block: more than %d bytes", MaxRawBytes)
	}
	return out, err
}

// AppendFit appends a block of b's columns from number first on, as many as make
// a section of at most limit bytes, and returns how many they are. A column that
// is larger by itself is written alone: n is 1 then, and the section longer than
// limit.
func (e *BlockEncoder) AppendFit(dst []byte, b *Block, first, limit int) (out []byte, n int, err error) {
	return e.fit(dst, columns{block: b}, first, limit)
}

// AppendRows is AppendFit for rows; tiles of a few columns are transposed at a
// time, so that they stay in the first-level cache.
func (e *BlockEncoder) AppendRows(dst []byte, b *RowBlock, first, limit int) (out []byte, n int, err error) {
	if len(b.Values) != len(b.Ticks)*len(b.Types) {
		return dst, 0, fmt.Errorf("wire: append rows: %d values for %d rows of %d columns", len(b.Values), len(b.Ticks), len(b.Types))
	}
	e.tile.rows, e.tile.end = b, 0
	return e.fit(dst, columns{rows: &e.tile}, first, limit)
}

// fit appends columns from first on as far as limit reaches.
func (e *BlockEncoder) fit(dst []byte, c columns, first, limit int) (out []byte, n int, err error) {
	group, firstColumn, ticks, count := c.shape()
	if first < 0 || first >= count {
		return dst, 0, fmt.Errorf("wire: append block: column %d of %d", first, count)
	}
	firstColumn += uint32(first)
	most := min(count-first, MaxBlockColumns, MaxBlockValues/max(1, len(ticks)))
	start := len(dst)
	head, err := appendBlockHead(dst, group, firstColumn, ticks, max(1, most), 0)
	if err != nil {
		return dst, 0, err
	}
	room := limit - (len(head) - start) - 2 // the length may take 3 bytes
	layout := byte(layoutColumns)
	if e.Speed == Fast {
		n, err = e.fitBytes(&c, first, first+most, len(ticks), room)
	} else {
		n, err = e.fitStream(&c, first, first+most, len(ticks), room)
		layout = e.heads.layout()
	}
	if err != nil {
		return dst, 0, fmt.Errorf("wire: append block: column %d: %w", first+n, err)
	}
	if out, err = appendBlockHead(dst, group, firstColumn, ticks, n, layout); err != nil {
		return dst, 0, err
	}
	if layout == layoutDense+layoutStream {
		out = e.heads.append(append(out, e.heads.written...))
	}
	if out, err = endSection(dst, append(out, e.body...), start); err != nil {
		return dst, 0, err
	}
	return out, n, nil
}

// fitBytes writes columns first to end-1 to e.body in layoutColumns, as far as
// room reaches, at least one.
func (e *BlockEncoder) fitBytes(c *columns, first, end, rows, room int) (n int, err error) {
	e.body = e.body[:0]
	e.bytes.last = nil
	for i := first; i < end; i++ {
		mark := len(e.body)
		if t := c.rows; t != nil && rows <= packGroup && t.rows.Types[i]-TypeInt <= TypeUint-TypeInt {
			e.body = e.bytes.short(e.body, t.rows.Types[i], t.at(i))
		} else if e.body, err = e.bytes.column(e.body, c.get(i), rows); err != nil {
			return i - first, err
		}
		if len(e.body) > room && i > first {
			e.body = e.body[:mark]
			return i - first, nil
		}
	}
	return end - first, nil
}

// fitStream is fitBytes for a stream of bits; the heads go to e.heads.
func (e *BlockEncoder) fitStream(c *columns, first, end, rows, room int) (n int, err error) {
	e.stream.begin(e.body[:0])
	e.stream.heads.dense = true
	if remembered(rows) {
		group, firstColumn, _, _ := c.shape()
		e.stream.memory = e.memory.columns(group, firstColumn+uint32(first), end-first)
	}
	e.heads.begin(rows)
	w := &e.stream.w
	n = end - first
	for i := first; i < end; i++ {
		col := c.get(i)
		mark, acc, bits := w.at, w.acc, w.n
		if err = e.stream.column(i-first, col); err != nil {
			return i - first, err
		}
		if i > first && w.at+1+e.heads.bound(col) > room {
			w.at, w.acc, w.n = mark, acc, bits
			n = i - first
			break
		}
		if err = e.heads.add(col); err != nil {
			return i - first, err
		}
	}
	e.body = w.finish()
	return n, nil
}

// headRuns gathers what is known of the columns before their values: type and
// presence, once for columns in a row that agree.
type headRuns struct {
	rows    int
	written []byte // heads of runs that have ended
	head    []byte // of the run at hand, with its bitmap
	like    Column // of the run; its values are not kept
	n       int
	bytes   blockEncoder // knows the last bitmap
}

func (h *headRuns) begin(rows int) {
	h.rows, h.n = rows, 0
	h.written = h.written[:0]
	h.bytes.last = nil
}

// add takes the head of one column. Its bitmap must stay as it is until append.
func (h *headRuns) add(c *Column) error {
	if h.n > 0 && sameHead(&h.like, c, h.rows) {
		h.n++
		return nil
	}
	if c.Type < TypeInt || c.Type > TypeF64 {
		return fmt.Errorf("value type %d: %w", c.Type, errRange)
	}
	h.written = h.append(h.written)
	head, err := h.bytes.presence(append(h.head[:0], byte(c.Type)), c, h.rows)
	h.head, h.like, h.n = head, *c, 1
	return err
}

// append appends the run at hand; the runs before are in written.
func (h *headRuns) append(dst []byte) []byte {
	if h.n == 0 {
		return dst
	}
	dst = appendUvarint(append(dst, h.head[0]), uint64(h.n))
	return append(dst, h.head[1:]...)
}

// bound returns at most how many bytes the heads take with c.
func (h *headRuns) bound(c *Column) int {
	const run = 1 + 3
	n := len(h.written) + run + len(h.head)
	if !sameHead(&h.like, c, h.rows) {
		n += run + (h.rows+7)>>3
	}
	return n
}

// layout returns the layout that says most of the heads.
func (h *headRuns) layout() byte {
	if len(h.written) == 0 && h.head[0]&headPresent == presentAll {
		return layoutDense + layoutUniform + byte(h.like.Type)
	}
	return layoutDense + layoutStream
}

// sameHead reports that b has a's type and presence, and the right number of
// values.
func sameHead(a, b *Column, rows int) bool {
	if a.Type != b.Type || len(a.Values) != len(b.Values) {
		return false
	}
	switch {
	case len(a.Values) == rows:
		return b.Present == nil || len(b.Present) >= (rows+63)>>6 && countPresent(b.Present, rows) == rows
	case len(b.Present) < (rows+63)>>6:
		return false
	}
	return samePresence(a.Present, b.Present, rows)
}
