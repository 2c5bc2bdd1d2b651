package export

import (
	"math"
	"slices"

	"telemetry/receiver/sequence/columns"
	"telemetry/wire"
)

// Names of the columns that are no channels.
const (
	FieldTS     = "ts_ns" // UTC, ns since 1970
	FieldTime   = "ts"    // the same as a timestamp
	FieldBoot   = "boot_ns"
	FieldEpoch  = "epoch"  // counter of the car's epoch: boot_ns begins anew with it
	FieldSynced = "synced" // false: ts_ns is when the log took the row, not when it was measured
)

// reserved are the names that a channel cannot have.
var reserved = []string{FieldTS, FieldTime, FieldBoot, FieldEpoch, FieldSynced}

// field is a column of a group's files.
type field struct {
	channel columns.Channel
	name    string
	kind    columns.Kind
	also    bool   // a channel's second column: values of another kind than it has by itself
	count   uint64 // values in all files
}

// sheet writes the rows that wait of a group.
type sheet interface {
	write(g *group) error
	close() error
}

// group is a group's columns, what waits of it, and its open file.
type group struct {
	name, base string
	fields     []field
	file       sheet
	open       File
	parts      int

	plan    *columns.Group
	of      map[*columns.Channel]int // field of a channel of plan
	utc     []int64
	boot    []int64
	epoch   []uint32
	synced  []bool
	cols    []cells // one a field
	last    wire.ID // of the rows added last
	lastAt  int     // first of them
	lastCol int     // largest index of a channel in them
}

// cells are the values of one field that wait. Values are as they are in memory,
// those of a float32 in the lower half; 0 where there is none.
type cells struct {
	bits  []uint64
	valid []uint64 // a bit per row
	n     int      // bits set
	texts []string // of [kindText]
}

func (c *cells) has(row int) bool { return c.valid[row/64]>>(row%64)&1 != 0 }

// set puts a value into a row.
func (c *cells) set(row int, v uint64) {
	c.bits[row] = v
	c.valid[row/64] |= 1 << (row % 64)
	c.n++
}

// grow makes room for rows without values.
func (c *cells) grow(rows int) {
	n := rows - len(c.bits)
	c.bits = slices.Grow(c.bits, n)[:rows]
	clear(c.bits[rows-n:])
	for len(c.valid) < (rows+63)/64 {
		c.valid = append(c.valid, 0)
	}
}

func (g *group) rows() int  { return len(g.utc) }
func (g *group) cells() int { return len(g.utc) * (len(g.fields) + 3) }

// reset forgets the rows.
func (g *group) reset() {
	g.utc, g.boot, g.epoch, g.synced = g.utc[:0], g.boot[:0], g.epoch[:0], g.synced[:0]
	for i := range g.cols {
		c := &g.cols[i]
		c.bits, c.valid, c.n, c.texts = c.bits[:0], c.valid[:0], 0, c.texts[:0]
	}
	g.last = wire.ID{}
}

// joins reports whether a table has more columns of the rows that came last.
func (g *group) joins(id wire.ID, t *columns.Table) bool {
	return g.plan == t.Group && g.last == id && g.rows() > 0 && len(t.Columns) > 0 &&
		slices.Equal(g.boot[g.lastAt:], t.Boot) && g.index(t.Columns[0].Channel) > g.lastCol
}

// index returns a channel's place in its group.
func (g *group) index(c *columns.Channel) int {
	for i := range g.plan.Channels {
		if &g.plan.Channels[i] == c {
			return i
		}
	}
	return -1
}

// differs says what a table has that the fields lack: more of them, or another
// meaning of one.
func (g *group) differs(t *columns.Table) (more, meaning bool) {
	look := func(c *columns.Channel, k columns.Kind) {
		at, _ := g.lookup(c, k)
		more = more || at < 0
		meaning = meaning || at >= 0 && !sameMeaning(&g.fields[at].channel, c)
	}
	if g.plan != t.Group {
		for i := range t.Group.Channels {
			if c := &t.Group.Channels[i]; c.Taken {
				look(c, kindOf(c))
			}
		}
	}
	for i := range t.Columns {
		if c := &t.Columns[i]; kindOf(c.Channel) != c.Kind {
			look(c.Channel, c.Kind)
		}
	}
	return more, meaning
}

// learn makes sure that every value of a table has a field.
func (g *group) learn(t *columns.Table) {
	if g.plan != t.Group {
		g.plan, g.of = t.Group, map[*columns.Channel]int{}
		for i := range t.Group.Channels {
			if c := &t.Group.Channels[i]; c.Taken {
				g.of[c] = g.find(c, kindOf(c))
				for k := range g.fields { // values of another kind mean the same
					if g.fields[k].channel.Name == c.Name {
						g.fields[k].channel = *c
					}
				}
			}
		}
	}
	for i := range t.Columns {
		if c := &t.Columns[i]; kindOf(c.Channel) != c.Kind {
			g.find(c.Channel, c.Kind)
		}
	}
	for len(g.cols) < len(g.fields) {
		g.cols = append(g.cols, cells{})
		g.cols[len(g.cols)-1].grow(g.rows())
	}
}

// kindOf returns what a channel's values are as long as they fit.
func kindOf(c *columns.Channel) columns.Kind {
	switch {
	case c.Type == wire.TypeUint && c.Plain():
		return columns.Uint
	case c.Type == wire.TypeF32 && c.Plain():
		return columns.Float32
	case c.Exact() && (c.Type == wire.TypeInt || c.Type == wire.TypeUint):
		return columns.Int
	}
	return columns.Float64
}

// lookup returns the field of a channel's values of one kind, -1 without one, and
// whether the channel has one of another kind.
func (g *group) lookup(c *columns.Channel, k columns.Kind) (at int, other bool) {
	for i := range g.fields {
		f := &g.fields[i]
		if f.channel.Name != c.Name {
			continue
		}
		if f.kind == k {
			return i, other
		}
		other = true
	}
	return -1, other
}

// find is lookup that makes the field.
func (g *group) find(c *columns.Channel, k columns.Kind) int {
	at, also := g.lookup(c, k)
	if at >= 0 {
		return at
	}
	f := field{channel: *c, name: columns.Text(c.Name), kind: k, also: also}
	if also {
		f.name += [...]string{"_int", "_uint", "_float", "_double"}[k]
	}
	for slices.Contains(reserved, f.name) || slices.ContainsFunc(g.fields, func(o field) bool { return o.name == f.name }) {
		f.name += "_"
	}
	g.fields = append(g.fields, f)
	return len(g.fields) - 1
}

// sameMeaning reports whether two channels are described the same.
func sameMeaning(a, b *columns.Channel) bool {
	return a.Unit == b.Unit && a.Description == b.Description && slices.Equal(a.Enum, b.Enum)
}

// add appends a table's rows, or joins its columns to the last ones, and returns how
// many values it has.
func (g *group) add(id wire.ID, t *columns.Table) (n uint64) {
	if !g.joins(id, t) {
		g.lastAt, g.last = g.rows(), id
		g.utc, g.boot = append(g.utc, t.UTC...), append(g.boot, t.Boot...)
		for range t.UTC {
			g.epoch, g.synced = append(g.epoch, id.Stream.Epoch.Counter), append(g.synced, t.Clock.Synced)
		}
		for i := range g.cols {
			g.cols[i].grow(g.rows())
		}
	}
	for i := range t.Columns {
		c := &t.Columns[i]
		at := g.of[c.Channel]
		if g.fields[at].kind != c.Kind {
			at = g.find(c.Channel, c.Kind)
		}
		g.fill(at, c)
		n += uint64(c.Len())
	}
	g.lastCol = g.index(t.Columns[len(t.Columns)-1].Channel)
	return n
}

// fill puts a column's values into the last rows.
func (g *group) fill(at int, c *columns.Column) {
	to := &g.cols[at]
	g.fields[at].count += uint64(c.Len())
	row := func(i int) int {
		if c.Rows != nil {
			i = int(c.Rows[i])
		}
		return g.lastAt + i
	}
	switch c.Kind {
	case columns.Int:
		for i, v := range c.Ints {
			to.set(row(i), uint64(v))
		}
	case columns.Uint:
		for i, v := range c.Uints {
			to.set(row(i), v)
		}
	case columns.Float32:
		for i, v := range c.Float32 {
			to.set(row(i), uint64(math.Float32bits(v)))
		}
	default:
		for i, v := range c.Float64 {
			to.set(row(i), math.Float64bits(v))
		}
	}
}
