package wire

// Block is a run of rows of one group, or of a range of its columns.
type Block struct {
	Group       uint32  // index in the catalogue
	FirstColumn uint32  // index of the first column's channel inside the group
	Ticks       []int64 // ns since boot, one per row; never decreasing
	Columns     []Column
}

// Column holds one channel's values of a block. Values are raw 64-bit words:
// int64 as is, uint64 and float64 reinterpreted, float32 bits zero-extended.
type Column struct {
	Type ValueType
	// Present is nil when every row has a value; else bit i%64 of word i/64
	// says whether row i has one.
	Present []uint64
	// Values has one word per row that has a value, in row order.
	Values []int64
}
