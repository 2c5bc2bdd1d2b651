package wire

import (
	"fmt"
	"math/bits"
)

// keyedStream is what is known of the rows of one key.
type keyedStream struct {
	key    [maxKeys]uint64
	rows   int
	has    uint64 // bit i: column i has a value
	last   [maxKeyedColumns]uint64
	models [maxKeyedColumns]int32 // 1 + index, 0 = none yet
	after  [2]int32               // streams that came after this one, the latest first; -1 none
	hit    [2]prob                // whether it is the one
}

// wordModel is what is known of the changes of one column of one stream.
type wordModel struct {
	same  prob
	bytes [8]prob
	bits  [64][3]prob // by what the bit below did: nothing, came on, went off (a carry)
}

// keyedCoder codes the rows of one block.
type keyedCoder struct {
	binCoder
	block *Block
	keys  int
	unit  uint64
	taken [maxKeyedColumns]int // values taken of each column

	streams []keyedStream
	index   map[[maxKeys]uint64]int32 // while writing
	models  []wordModel

	fresh   prob // a row of a new stream
	gap     [2][sizeNodes]prob
	gapHigh [65][8]prob
	key     [maxKeys][sizeNodes]prob
	has     [maxKeyedColumns]prob
	zero    [8][2]prob
	octet   [256]prob
	seed    wordSeed
	work    int // values of all rows, twice
}

// wordSeed is what words of any stream do, as the first guess for a new one.
type wordSeed struct {
	same  prob
	bytes prob
	bits  [3]prob
}

// begin forgets all but the memory.
func (k *keyedCoder) begin(b *Block, keys int, unit uint64) {
	k.block, k.keys, k.unit = b, keys, unit
	clear(k.taken[:])
	k.streams, k.models = k.streams[:0], k.models[:0]
	if k.index == nil && !k.reading {
		k.index = map[[maxKeys]uint64]int32{}
	}
	clear(k.index)
	half := func(ps []prob) {
		for i := range ps {
			ps[i] = probHalf
		}
	}
	half(k.gap[0][:])
	half(k.gap[1][:])
	for i := range k.gapHigh {
		half(k.gapHigh[i][:])
	}
	for i := range k.key {
		half(k.key[i][:])
	}
	half(k.has[:])
	for i := range k.zero {
		half(k.zero[i][:])
	}
	half(k.octet[:])
	k.fresh = probHalf
	k.seed = wordSeed{same: probHalf, bytes: probHalf, bits: [3]prob{probHalf, probHalf, probHalf}}
}

// check reports why the block cannot be written.
func (k *keyedCoder) check() error {
	rows := len(k.block.Ticks)
	typ := k.block.Columns[0].Type
	if typ < TypeInt || typ > TypeF64 {
		return fmt.Errorf("wire: append block: value type %d: %w", typ, errRange)
	}
	for i := range k.block.Columns {
		c := &k.block.Columns[i]
		n := rows
		if c.Present != nil {
			if len(c.Present) < (rows+63)>>6 {
				return fmt.Errorf("wire: append block: column %d: bitmap of %d words: %w", i, len(c.Present), errRange)
			}
			n = countPresent(c.Present, rows)
		}
		if len(c.Values) != n {
			return fmt.Errorf("wire: append block: column %d: %d values for %d rows: %w", i, len(c.Values), n, errRange)
		}
		if c.Type != typ || i < k.keys && n < rows {
			return ErrNotKeyed
		}
	}
	return nil
}

// rows codes all rows.
func (k *keyedCoder) rows() error {
	s := int32(-1)
	for row := range k.block.Ticks {
		if k.reading && k.at > len(k.in)+tail {
			return ErrShort
		}
		var hit bool
		var err error
		if s, hit, err = k.stream(s, row); err != nil {
			return err
		}
		if row > 0 {
			k.tick(row, hit)
			if k.block.Ticks[row] < k.block.Ticks[row-1] {
				return fmt.Errorf("tick of row %d: %w", row, errRange)
			}
		}
		if err := k.values(&k.streams[s], row); err != nil {
			return err
		}
	}
	return nil
}

// stream codes which stream a row is of, given the one before.
func (k *keyedCoder) stream(before int32, row int) (s int32, hit bool, err error) {
	var key [maxKeys]uint64
	s = -1
	if !k.reading {
		for i := range k.keys {
			key[i] = uint64(k.block.Columns[i].Values[row])
		}
		if known, ok := k.index[key]; ok {
			s = known
		}
	}
	if before >= 0 {
		b := &k.streams[before]
		for i, guess := range b.after {
			if guess < 0 {
				break
			}
			no := uint32(1)
			if s == guess {
				no = 0
			}
			if k.bit(&b.hit[i], no) == 0 {
				if i == 1 {
					b.after[0], b.after[1] = guess, b.after[0]
				}
				return guess, i == 0, nil
			}
		}
	}
	isNew := uint32(0)
	if s < 0 {
		isNew = 1
	}
	if isNew = k.bit(&k.fresh, isNew); isNew == 0 && len(k.streams) > 0 {
		s = int32(k.flat(uint64(s), bits.Len(uint(len(k.streams)-1))))
		if int(s) >= len(k.streams) {
			return 0, false, errRange
		}
	} else if s, err = k.add(key); err != nil {
		return 0, false, err
	}
	if before >= 0 {
		b := &k.streams[before]
		b.after[0], b.after[1] = s, b.after[0]
	}
	return s, false, nil
}

// add codes the key of a new stream.
func (k *keyedCoder) add(key [maxKeys]uint64) (int32, error) {
	if len(k.streams) == maxKeyedStreams {
		return 0, k.tooMuch()
	}
	s := len(k.streams)
	if s < cap(k.streams) {
		k.streams = k.streams[:s+1]
	} else {
		k.streams = append(k.streams, keyedStream{})
	}
	for i := range k.keys {
		key[i] = k.number(k.key[i][:], key[i])
	}
	t := &k.streams[s]
	*t = keyedStream{key: key, after: [2]int32{-1, -1}, hit: [2]prob{probHalf, probHalf}}
	if !k.reading {
		k.index[key] = int32(s)
	}
	return int32(s), nil
}

// tooMuch says that a limit is reached: the writer takes another layout.
func (k *keyedCoder) tooMuch() error {
	if k.reading {
		return errRange
	}
	return ErrNotKeyed
}

// tick codes the distance from the row before.
func (k *keyedCoder) tick(row int, hit bool) {
	ticks := k.block.Ticks
	var d uint64
	if !k.reading {
		d = uint64(ticks[row]-ticks[row-1]) / k.unit
	}
	how := 0
	if hit {
		how = 1
	}
	n := int(k.tree(k.gap[how][:], uint64(bits.Len64(d)), 7))
	switch {
	case n > 64: // only hostile bytes say so
		n = 0
		fallthrough
	case n <= 1:
		d = uint64(n)
	default:
		rest := n - 1
		high := min(rest, 3)
		top := k.tree(k.gapHigh[n][:], d>>(rest-high)&(1<<high-1), high)
		low := k.flat(d&(1<<(rest-high)-1), rest-high)
		d = 1<<rest | top<<(rest-high) | low
	}
	if k.reading {
		ticks[row] = ticks[row-1] + int64(d*k.unit)
	}
}

// values codes all but the keys of a row.
func (k *keyedCoder) values(s *keyedStream, row int) error {
	columns := k.block.Columns
	k.work += 2 * len(columns)
	if k.reading {
		for i := range k.keys {
			k.put(&columns[i], row, s.key[i])
		}
	}
	for i := k.keys; i < len(columns); i++ {
		c := &columns[i]
		if !k.reading && s.rows > 0 && (s.has>>i&1 != 0) != present(c, row) {
			return ErrNotKeyed
		}
		if s.rows == 0 {
			here := uint32(0)
			if !k.reading && present(c, row) {
				here = 1
			}
			s.has |= uint64(k.bit(&k.has[i], here)) << i
		}
		if s.has>>i&1 == 0 {
			continue
		}
		var v uint64
		if !k.reading {
			v = uint64(c.Values[k.taken[i]])
			k.taken[i]++
		}
		if s.rows == 0 {
			v = k.word(v)
		} else {
			m, err := k.model(s, i)
			if err != nil {
				return err
			}
			v = k.change(m, s.last[i], v)
		}
		s.last[i] = v
		if k.reading {
			k.put(c, row, v)
		}
	}
	s.rows++
	return nil
}

func present(c *Column, row int) bool { return c.Present == nil || c.Present[row>>6]>>(row&63)&1 != 0 }

func (k *keyedCoder) put(c *Column, row int, v uint64) {
	c.Values = append(c.Values, int64(v))
	c.Present[row>>6] |= 1 << (row & 63)
}

// word codes the first value of a column in a stream, byte after byte.
func (k *keyedCoder) word(v uint64) uint64 {
	var out uint64
	before := 0
	for i := range 8 {
		b := v >> (8 * i) & 0xff
		some := uint32(0)
		if b != 0 {
			some = 1
		}
		some = k.bit(&k.zero[i][before], some)
		before = int(some)
		if some != 0 {
			out |= k.tree(k.octet[:], b, 8) << (8 * i)
		}
	}
	return out
}

// model returns what is known of a column of a stream.
func (k *keyedCoder) model(s *keyedStream, column int) (*wordModel, error) {
	if n := s.models[column]; n > 0 {
		return &k.models[n-1], nil
	}
	if len(k.models) == maxKeyedModels {
		return nil, k.tooMuch()
	}
	n := len(k.models)
	if n < cap(k.models) {
		k.models = k.models[:n+1]
	} else {
		k.models = append(k.models, wordModel{})
	}
	s.models[column] = int32(n + 1)
	m := &k.models[n]
	m.same = k.seed.same.seed()
	for i := range m.bytes {
		m.bytes[i] = k.seed.bytes.seed()
	}
	for i := range m.bits {
		for j := range m.bits[i] {
			m.bits[i][j] = k.seed.bits[j].seed()
		}
	}
	return m, nil
}

// change codes a value by the bits that are not as in the one before.
func (k *keyedCoder) change(m *wordModel, before, v uint64) uint64 {
	x := v ^ before
	some := uint32(0)
	if x != 0 {
		some = 1
	}
	some = k.bit(&m.same, some)
	m.same.guide(&k.seed.same, some)
	if some == 0 {
		return before
	}
	var out uint64
	for i := range 8 {
		b := uint32(x >> (8 * i) & 0xff)
		some := uint32(0)
		if b != 0 {
			some = 1
		}
		some = k.bit(&m.bytes[i], some)
		m.bytes[i].guide(&k.seed.bytes, some)
		if some == 0 {
			continue
		}
		below := 0
		for j := 8 * i; j < 8*i+8; j++ {
			t := k.bit(&m.bits[j][below], uint32(x>>j&1))
			m.bits[j][below].guide(&k.seed.bits[below], t)
			below = 0
			if t != 0 {
				out |= 1 << j
				below = 1 + int(before>>j&1)
			}
		}
	}
	return before ^ out
}
