// Package packed reads packets of fixed layout, as microcontrollers and engine
// control units send them: a head with sequence number and time, then rows of
// numbers without gaps.
//
// The entry points are [NewLayout], the plan of one row, [NewPacket], that of a
// whole packet, [TickClock], which maps a device's count to boot time, and
// [Numbers], which tells what was lost. All is pure: no clock, no I/O.
package packed

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"telemetry/wire"
)

// Kind is how a number is stored.
type Kind string

// Kinds. All but the one-byte ones come in both byte orders.
const (
	U8  Kind = "u8"
	I8  Kind = "i8"
	U16 Kind = "u16"
	I16 Kind = "i16"
	U24 Kind = "u24"
	I24 Kind = "i24"
	U32 Kind = "u32"
	I32 Kind = "i32"
	U64 Kind = "u64"
	I64 Kind = "i64"
	F32 Kind = "f32"
	F64 Kind = "f64"
	Pad Kind = "pad" // bytes that say nothing
)

// Size returns a number's bytes; 0 for no kind.
func (k Kind) Size() int {
	switch k {
	case U8, I8, Pad:
		return 1
	case U16, I16:
		return 2
	case U24, I24:
		return 3
	case U32, I32, F32:
		return 4
	case U64, I64, F64:
		return 8
	}
	return 0
}

// signed reports a kind whose words may be negative.
func (k Kind) signed() bool { return k == I8 || k == I16 || k == I24 || k == I32 || k == I64 }

// valueType returns how its words travel.
func (k Kind) valueType() wire.ValueType {
	switch {
	case k == F32:
		return wire.TypeF32
	case k == F64:
		return wire.TypeF64
	case k.signed():
		return wire.TypeInt
	}
	return wire.TypeUint
}

// Limits of a layout.
const (
	MaxChannels = 50_000
	MaxRowBytes = 64 << 10 // a datagram has no more
)

// Field is one number of a row, or Count alike in a row.
type Field struct {
	Name          string // of the channel; with Count above 1 it gets the suffix _000 and so on
	Unit          string
	Description   string
	Kind          Kind
	Big           bool // byte order: big endian
	Count         int  // 0 means 1
	Scale, Offset float64
	Min, Max      float64
}

// op reads n numbers of one kind that follow each other.
type op struct {
	kind Kind
	big  bool
	n    int
	at   int // of the first in the row's bytes
	to   int // of the first in the row's words
}

// Layout is the plan of one row. It is safe for concurrent use.
type Layout struct {
	channels []wire.Channel
	ops      []op
	bytes    int
}

// NewLayout plans a row of fields, in their order.
func NewLayout(fields []Field) (*Layout, error) {
	l := &Layout{}
	for i, f := range fields {
		n := max(1, f.Count)
		size := f.Kind.Size()
		switch {
		case size == 0:
			return nil, fmt.Errorf("packed: field %d (%s): kind %q is unknown", i, f.Name, f.Kind)
		case f.Name == "" && f.Kind != Pad:
			return nil, fmt.Errorf("packed: field %d has no name", i)
		case f.Count < 0 || l.bytes+n*size > MaxRowBytes || len(l.channels)+n > MaxChannels:
			return nil, fmt.Errorf("packed: field %d (%s): the row has more than %d bytes or %d channels", i, f.Name, MaxRowBytes, MaxChannels)
		}
		if f.Kind != Pad {
			l.add(f, n)
		}
		l.bytes += n * size
	}
	if len(l.channels) == 0 {
		return nil, errors.New("packed: a row without channels")
	}
	return l, nil
}

func (l *Layout) add(f Field, n int) {
	if last := len(l.ops) - 1; last >= 0 && l.ops[last].kind == f.Kind && l.ops[last].big == f.Big &&
		l.ops[last].at+l.ops[last].n*f.Kind.Size() == l.bytes {
		l.ops[last].n += n
	} else {
		l.ops = append(l.ops, op{kind: f.Kind, big: f.Big, n: n, at: l.bytes, to: len(l.channels)})
	}
	for i := range n {
		c := wire.Channel{
			Name: f.Name, Unit: f.Unit, Description: f.Description, Type: f.Kind.valueType(),
			Scale: f.Scale, Offset: f.Offset, Min: f.Min, Max: f.Max,
		}
		if c.Scale == 0 {
			c.Scale = 1
		}
		if c.Type == wire.TypeInt || c.Type == wire.TypeUint {
			c.Bits = uint8(8 * f.Kind.Size())
		}
		if n > 1 {
			c.Name = fmt.Sprintf("%s_%0*d", f.Name, max(3, len(fmt.Sprint(n-1))), i)
		}
		l.channels = append(l.channels, c)
	}
}

// Channels describes the words of a row, in their order.
func (l *Layout) Channels() []wire.Channel { return l.channels }

// Bytes returns the length of a row.
func (l *Layout) Bytes() int { return l.bytes }

// Row reads the row at the begin of b, which has at least Bytes, into dst, which
// has a word for each channel.
func (l *Layout) Row(b []byte, dst []int64) {
	for i := range l.ops {
		o := &l.ops[i]
		o.read(b[o.at:o.at+o.n*o.kind.Size()], dst[o.to:o.to+o.n])
	}
}

// read is a loop for each kind: what it is must not be asked for each number.
func (o *op) read(b []byte, dst []int64) {
	switch {
	case o.kind == U8:
		for i := range dst {
			dst[i] = int64(b[i])
		}
	case o.kind == I8:
		for i := range dst {
			dst[i] = int64(int8(b[i]))
		}
	case o.kind == U16 && !o.big:
		readU16(b, dst)
	case o.kind == I16 && !o.big:
		readI16(b, dst)
	case o.kind == U32 && !o.big || o.kind == F32 && !o.big:
		for i := range dst {
			dst[i] = int64(binary.LittleEndian.Uint32(b[4*i:]))
		}
	default:
		size := o.kind.Size()
		for i := range dst {
			dst[i] = Word(b[i*size:], o.kind, o.big)
		}
	}
}

// readI16 reads eight at a time: this is the one that an engine control unit's
// stream spends its time in.
func readI16(b []byte, dst []int64) {
	for len(dst) >= 8 && len(b) >= 16 {
		x, y := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
		d := (*[8]int64)(dst)
		d[0], d[1], d[2], d[3] = int64(int16(x)), int64(int16(x>>16)), int64(int16(x>>32)), int64(x)>>48
		d[4], d[5], d[6], d[7] = int64(int16(y)), int64(int16(y>>16)), int64(int16(y>>32)), int64(y)>>48
		b, dst = b[16:], dst[8:]
	}
	for i := range dst {
		dst[i] = int64(int16(binary.LittleEndian.Uint16(b[2*i:])))
	}
}

func readU16(b []byte, dst []int64) {
	for len(dst) >= 4 && len(b) >= 8 {
		x := binary.LittleEndian.Uint64(b)
		d := (*[4]int64)(dst)
		d[0], d[1], d[2], d[3] = int64(x&0xffff), int64(x>>16&0xffff), int64(x>>32&0xffff), int64(x>>48)
		b, dst = b[8:], dst[4:]
	}
	for i := range dst {
		dst[i] = int64(binary.LittleEndian.Uint16(b[2*i:]))
	}
}

// Word reads one number as its raw word; b has at least its bytes.
func Word(b []byte, k Kind, big bool) int64 {
	var u uint64
	size := k.Size()
	if big {
		for _, c := range b[:size] {
			u = u<<8 | uint64(c)
		}
	} else {
		for i := size - 1; i >= 0; i-- {
			u = u<<8 | uint64(b[i])
		}
	}
	if k.signed() {
		shift := 64 - 8*size
		return int64(u<<shift) >> shift
	}
	return int64(u)
}

// AppendWord appends a raw word as a number of kind k.
func AppendWord(dst []byte, w int64, k Kind, big bool) []byte {
	size := k.Size()
	for i := range size {
		shift := 8 * i
		if big {
			shift = 8 * (size - 1 - i)
		}
		dst = append(dst, byte(uint64(w)>>shift))
	}
	return dst
}

// AppendRow appends the bytes of a row of words: the inverse of Row. Bytes that
// say nothing are 0.
func (l *Layout) AppendRow(dst []byte, words []int64) []byte {
	start := len(dst)
	for i := range l.ops {
		o := &l.ops[i]
		for len(dst)-start < o.at {
			dst = append(dst, 0)
		}
		for _, w := range words[o.to : o.to+o.n] {
			dst = AppendWord(dst, w, o.kind, o.big)
		}
	}
	for len(dst)-start < l.bytes {
		dst = append(dst, 0)
	}
	return dst
}

// Float returns the physical value of a word of kind k, before scale and offset.
func Float(w int64, k Kind) float64 {
	switch k {
	case F32:
		return float64(math.Float32frombits(uint32(w)))
	case F64:
		return math.Float64frombits(uint64(w))
	case U64:
		return float64(uint64(w))
	}
	return float64(w)
}
