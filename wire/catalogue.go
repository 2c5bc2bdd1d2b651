package wire

// ValueType is how a channel's raw values are stored.
type ValueType uint8

// Value types. A value travels as the 64 bits of an int64 (see [Column]).
const (
	TypeInt  ValueType = 1 // signed integer, two's complement in 64 bits
	TypeUint ValueType = 2 // unsigned integer, its 64 bits reinterpreted
	TypeF32  ValueType = 3 // IEEE 754 bits, zero-extended
	TypeF64  ValueType = 4 // IEEE 754 bits
)

// Stat says which value of an interval a preview channel carries.
type Stat uint8

// Statistics. StatNone marks a channel at full rate.
const (
	StatNone Stat = 0
	StatLast Stat = 1
	StatMean Stat = 2
	StatMin  Stat = 3
	StatMax  Stat = 4
)

// Catalogue describes all channels and groups of a car at one time. It is named
// by the hash of its canonical bytes (see [Catalogue.Hash]).
type Catalogue struct {
	Car    string
	Groups []Group // a group's id is its index
}

// Group is a set of channels that share one clock: the columns of a block.
type Group struct {
	Name        string // unique inside the catalogue
	Source      string // name of the source that feeds it
	Lane        Lane   // critical, live (a preview) or full
	RateMilliHz uint64 // nominal rate; 0 means on arrival
	Channels    []Channel
}

// Channel is a named quantity.
type Channel struct {
	Name        string // unique inside its lane
	Unit        string // as written by its source; may be empty
	Description string
	Type        ValueType
	Bits        uint8   // significant bits of an integer, 1..64; 0 = not known
	Scale       float64 // physical = float64(raw)*Scale + Offset; 0 means 1
	Offset      float64
	Min, Max    float64 // physical range as stated; both 0 = not stated
	Stat        Stat
	Enum        []EnumValue // sorted by Raw
}

// EnumValue names one raw value.
type EnumValue struct {
	Raw  int64
	Name string
}
