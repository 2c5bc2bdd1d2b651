package wire

// RowBlock is a run of rows of one group in the order in which a source delivers
// them: one value per channel and tick, all present.
type RowBlock struct {
	Group       uint32  // index in the catalogue
	FirstColumn uint32  // index of the first channel inside the group
	Ticks       []int64 // ns since boot, one per row; never decreasing
	Types       []ValueType
	Values      []int64 // row after row, one word per channel as in [Column]
}

// rowTile turns rows into columns, a few at a time.
type rowTile struct {
	rows       *RowBlock
	first, end int // columns at hand
	values     []int64
	column     Column
}

// tileValues is how many values one tile has at the most, unless a single cache
// line of columns has more: 32 KiB.
const tileValues = 4 << 10

// tileWidth returns how many columns a tile of so many rows has: whole cache
// lines of a row.
func tileWidth(rows int) int { return min(128, max(8, tileValues/rows&^7)) }

// get returns column i, valid until the next call.
func (t *rowTile) get(i int) *Column {
	t.column = Column{Type: t.rows.Types[i], Values: t.at(i)}
	return &t.column
}

// at returns the values of column i, valid until the next call.
func (t *rowTile) at(i int) []int64 {
	rows := len(t.rows.Ticks)
	if i >= t.end || i < t.first {
		t.fill(i, rows)
	}
	at := (i - t.first) * rows
	return t.values[at : at+rows : at+rows]
}

// fill transposes the tile that begins with column first.
func (t *rowTile) fill(first, rows int) {
	columns := len(t.rows.Types)
	width := min(tileWidth(rows), columns-first)
	t.first, t.end = first, first+width
	if cap(t.values) < width*rows {
		t.values = make([]int64, tileWidth(rows)*rows)
	}
	t.values = t.values[:width*rows]
	c := 0
	for ; c+8 <= width; c += 8 {
		transpose8(t.values[c*rows:(c+8)*rows], t.rows.Values[first+c:], rows, columns)
	}
	for ; c < width; c++ {
		to := t.values[c*rows : (c+1)*rows]
		for r := range to {
			to[r] = t.rows.Values[r*columns+first+c]
		}
	}
}

// transpose8 turns eight columns: out holds them one after the other, in has a
// row every stride values.
func transpose8(out, in []int64, rows, stride int) {
	a, b, c, d := out[:rows], out[rows:][:rows], out[2*rows:][:rows], out[3*rows:][:rows]
	e, f, g, h := out[4*rows:][:rows], out[5*rows:][:rows], out[6*rows:][:rows], out[7*rows:][:rows]
	at := 0
	for r := range a {
		v := (*[8]int64)(in[at:])
		a[r], b[r], c[r], d[r] = v[0], v[1], v[2], v[3]
		e[r], f[r], g[r], h[r] = v[4], v[5], v[6], v[7]
		at += stride
	}
}

// columns are those of a block or of rows.
type columns struct {
	block *Block
	rows  *rowTile
}

// shape returns what stands in a block's head.
func (c *columns) shape() (group, first uint32, ticks []int64, count int) {
	if c.block != nil {
		return c.block.Group, c.block.FirstColumn, c.block.Ticks, len(c.block.Columns)
	}
	r := c.rows.rows
	return r.Group, r.FirstColumn, r.Ticks, len(r.Types)
}

func (c *columns) get(i int) *Column {
	if c.block != nil {
		return &c.block.Columns[i]
	}
	return c.rows.get(i)
}
