package wire

// columnForm says as what a column is written.
type columnForm uint8

const (
	formPlain         columnForm = iota // as it is
	formWrap                            // as if it had never wrapped
	formFactor                          // divided by a factor of its changes
	formDecimal                         // multiples of a power of ten
	formDecimalFactor                   // these, divided by a factor
	formGrid                            // multiples of a step, plus an offset
)

// columnTable says what of a column is coded by a table.
type columnTable uint8

const (
	tableNone columnTable = iota
	tableLost             // it was larger
	tableResiduals
	tableValues
)

// columnMemory is what the last block with a column found to be best for it. It
// stands for the search that is left out in the next ones: what is written says
// by itself how it is read.
type columnMemory struct {
	on    grid
	cost  uint16 // of a value without table, in costParts of a bit
	left  uint8  // blocks before everything is looked at again
	way   uint8  // prediction
	form  columnForm
	table columnTable
	kind  ValueType
}

const (
	// memoryLeast values are the fewest of a column that is remembered: shorter
	// ones differ too much from block to block. From memoryEnd on size is what
	// counts.
	memoryLeast = coarseMost + 1
	memoryEnd   = codedLong
	// memoryMost columns of all groups are remembered, 24 bytes each.
	memoryMost   = MaxBlockColumns
	memoryGroups = 1 << 10
	// A column is looked at anew after memoryBlocks blocks, some of them up to
	// memorySpread later so that not all are in one block.
	memoryBlocks = 8
	memorySpread = 8
	costParts    = 16
	costShare    = 8 // part of the cost by which it may grow
	costSlack    = 4 // and so many parts of a bit for each value
	keepShare    = 4 // part of that by which it may grow before other forms are tried
)

// limit returns what n values may take before the column is looked at anew.
func (m *columnMemory) limit(n int) uint {
	return uint(n) * (uint(m.cost) + uint(m.cost)/costShare + costSlack) / costParts
}

// took notes that n values take so many bits.
func (m *columnMemory) took(bits uint, n int) {
	m.cost = uint16(min(bits*costParts/uint(n), 1<<16-1))
}

// blockMemory is what is remembered of columns, by group and place in it.
type blockMemory struct {
	groups map[uint32][]columnMemory
	held   int // columns of all groups
}

// columns returns the memory of n columns of a group; nil = there is none left.
func (b *blockMemory) columns(group, first uint32, n int) []columnMemory {
	end := int(min(uint64(first)+uint64(n), memoryMost+1))
	have, known := b.groups[group]
	if end > len(have) {
		if b.held+end-len(have) > memoryMost || !known && len(b.groups) == memoryGroups {
			return nil
		}
		if b.groups == nil {
			b.groups = make(map[uint32][]columnMemory)
		}
		b.held += end - len(have)
		have = append(have, make([]columnMemory, end-len(have))...)
		b.groups[group] = have
	}
	return have[first:end]
}

// remembered reports that columns of n values are.
func remembered(n int) bool { return n >= memoryLeast && n < memoryEnd }

// recall takes the memory of a block's column i to s.known.
func (s *streamEncoder) recall(i int, c *Column) {
	s.known, s.found = columnMemory{}, columnMemory{kind: c.Type}
	if i < len(s.memory) && remembered(len(c.Values)) && s.memory[i].kind == c.Type {
		s.known = s.memory[i]
	}
}

// remember keeps what was found for column i of n values.
func (s *streamEncoder) remember(i, n int) {
	if i >= len(s.memory) || !remembered(n) {
		return
	}
	s.found.left = memoryBlocks + uint8(i%memorySpread)
	if s.known.left > 0 {
		s.found.left = s.known.left - 1
	}
	s.memory[i] = s.found
}

// tooMany reports that a form takes too many bits: limit, or if it is that of the
// last block, which others are not worth looking for, some more.
func (s *streamEncoder) tooMany(cost, limit uint) bool {
	if s.keep {
		limit += limit / keepShare
	}
	return cost >= limit
}

// again writes a column in the form that it had in the last block, if it still has
// it, and reports whether it did.
func (s *streamEncoder) again(c *Column, x []int64, shift uint) bool {
	s.keep = true
	defer func() { s.keep = false }()
	limit := s.known.limit(len(x))
	switch s.known.form {
	case formWrap:
		m := modulus(x, nil)
		return m > 0 && s.unwrapped(x, m, limit)
	case formFactor:
		g := factor(x)
		return g > 1 && s.byFactor(x, g, limit, 0, 0, formFactor)
	case formDecimal, formDecimalFactor:
		return s.decimal(c, limit, shift)
	case formGrid:
		return s.finder.apply(c, s.whole(c, x, shift), s.known.on) && s.grid(s.finder, limit, c.Type)
	}
	return false
}
