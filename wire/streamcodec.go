package wire

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// Speed says how much work an encoder does for size.
type Speed uint8

const (
	// Fast writes byte-aligned columns: delta and bit-pack.
	Fast Speed = 0
	// Full writes all columns as one stream of bits: prediction of order 0 to 3
	// and Rice codes, chosen by their cost.
	Full Speed = 1
)

// layoutStream is the layout of one stream of bits for all columns, behind the
// runs of their heads.
const layoutStream = 1

// Predictions of a column in the stream, as the prefix codes that name them.
const (
	predictDelta  = 0 // '0': the value before
	predictDelta2 = 1 // '10': and its change
	predictZero   = 2 // '110': nothing
	predictDelta3 = 3 // '1110': and the change of its change
	predictBase   = 4 // '11110': one value for the whole column
	predictCodes  = 5 // '11111' is kept free
)

const (
	riceGroup  = 16 // residuals that share one parameter
	riceEscape = 12 // ones that announce a residual of any size
	// A parameter p is the Rice parameter plus 1; 0 says that all are zero.
	maxParam      = 64
	paramBits     = 5  // of a column's first one; all ones: 7 more bits
	paramFirstMax = 31 // stands for those that follow
	paramStep     = 12 // ones that announce a parameter of any size, in 7 bits
)

// riceRoom is an upper bound of the bytes of one group.
const riceRoom = (paramStep + 7 + riceGroup*(riceEscape+7+64)) / 8

// BlockEncoder appends blocks at a speed. It keeps memory between calls: the
// zero value is ready and writes Fast. It is not safe for concurrent use.
type BlockEncoder struct {
	Speed Speed

	words []int64 // of a column of floats, as ordered integers
	plans [2]columnPlan
}

// columnPlan is one way to write a column.
type columnPlan struct {
	predict int
	base    int64
	bits    uint     // of what follows the constant flag
	res     []uint64 // zigzag residuals
	params  []uint8  // of each group
}

// Append appends b as a whole section, as [AppendBlock] does.
func (e *BlockEncoder) Append(dst []byte, b *Block) ([]byte, error) {
	if e.Speed == Fast {
		return AppendBlock(dst, b)
	}
	start := len(dst)
	out, err := appendBlockHead(dst, b, layoutStream)
	if err != nil {
		return dst, err
	}
	if out, err = appendHeadRuns(out, b); err != nil {
		return dst, err
	}
	s := streamEncoder{BlockEncoder: e, w: bitWriter{b: out}}
	for i := range b.Columns {
		if err := s.column(&b.Columns[i]); err != nil {
			return dst, fmt.Errorf("wire: append block: column %d: %w", i, err)
		}
	}
	return endSection(dst, s.w.finish(), start)
}

// appendHeadRuns appends what is known of the columns before their values: type
// and presence, once for columns in a row that agree, bitmaps behind them.
func appendHeadRuns(dst []byte, b *Block) ([]byte, error) {
	rows := len(b.Ticks)
	var e blockEncoder
	for i := 0; i < len(b.Columns); {
		c := &b.Columns[i]
		if c.Type < TypeInt || c.Type > TypeF64 {
			return dst, fmt.Errorf("wire: append block: column %d: value type %d: %w", i, c.Type, errRange)
		}
		var room [1 + 8]byte // for small bitmaps
		head, err := e.presence(append(room[:0], byte(c.Type)), c, rows)
		if err != nil {
			return dst, fmt.Errorf("wire: append block: column %d: %w", i, err)
		}
		n := 1
		for i+n < len(b.Columns) && sameHead(c, &b.Columns[i+n], rows) {
			n++
		}
		dst = appendUvarint(append(dst, head[0]), uint64(n))
		dst = append(dst, head[1:]...)
		i += n
	}
	return dst, nil
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

// streamEncoder is the state of one block.
type streamEncoder struct {
	*BlockEncoder
	w    bitWriter
	last int64 // the number written before
}

func (s *streamEncoder) column(c *Column) error {
	x := c.Values
	if len(x) == 0 {
		return nil
	}
	s.w.reserve(64)
	if c.Type == TypeF32 || c.Type == TypeF64 {
		var err error
		if x, err = s.floats(x, c.Type); err != nil {
			return err
		}
	}
	if constant(x) {
		s.w.put(1, 1)
		s.first(x[0])
		return nil
	}
	s.w.put(0, 1)
	s.write(x, s.plan(x))
	return nil
}

func constant(x []int64) bool {
	for _, v := range x {
		if v != x[0] {
			return false
		}
	}
	return true
}

// floats writes how many low bits are 0 in all values, and returns the rest as
// ordered integers.
func (s *streamEncoder) floats(x []int64, t ValueType) ([]int64, error) {
	or := uint64(0)
	for _, v := range x {
		or |= uint64(v)
	}
	if cap(s.words) < len(x) {
		s.words = make([]int64, len(x))
	}
	words := s.words[:len(x)]
	if t == TypeF64 {
		shift := uint(min(bits.TrailingZeros64(or), 63))
		s.w.put(uint64(shift), 6)
		for i, v := range x {
			words[i] = orderF64(v) >> shift
		}
		return words, nil
	}
	if or > 1<<32-1 {
		return nil, fmt.Errorf("float32 with more than 32 bits: %w", errRange)
	}
	shift := uint(min(bits.TrailingZeros64(or), 31))
	s.w.put(uint64(shift), 5)
	for i, v := range x {
		words[i] = orderF32(v) >> shift
	}
	return words, nil
}

// first writes a column's first number: as it is, or less the one before.
func (s *streamEncoder) first(v int64) {
	if rel := zigzag(v - s.last); numberBits(rel) < numberBits(zigzag(v)) {
		s.w.put(1, 1)
		s.w.number(rel)
	} else {
		s.w.put(0, 1)
		s.w.number(zigzag(v))
	}
	s.last = v
}

// firstBits returns what first takes.
func (s *streamEncoder) firstBits(v int64) uint {
	return 1 + min(numberBits(zigzag(v)), numberBits(zigzag(v-s.last)))
}

// write writes x, of at least two values, as planned.
func (s *streamEncoder) write(x []int64, p *columnPlan) {
	s.w.put(1<<p.predict-1, uint(p.predict)+1)
	switch p.predict {
	case predictBase:
		s.first(p.base)
	case predictDelta:
		s.first(x[0])
	case predictDelta2:
		s.first(x[0])
		s.w.number(zigzag(x[1] - x[0]))
	case predictDelta3:
		s.first(x[0])
		d := x[1] - x[0]
		s.w.number(zigzag(d))
		s.w.number(zigzag(x[2] - x[1] - d))
	}
	last := -1
	res := p.res
	for _, param := range p.params {
		s.w.reserve(riceRoom)
		s.param(last, int(param))
		last = int(param)
		n := min(riceGroup, len(res))
		if param > 0 {
			s.w.rice(res[:n], uint(param-1))
		}
		res = res[n:]
	}
}

// param writes a group's parameter, which follows on last; -1 = it is the first.
func (s *streamEncoder) param(last, p int) {
	if last < 0 {
		if p < paramFirstMax {
			s.w.put(uint64(p), paramBits)
		} else {
			s.w.put(paramFirstMax|uint64(p)<<paramBits, paramBits+7)
		}
		return
	}
	if z := uint(zigzag(int64(p - last))); z < paramStep {
		s.w.put(1<<z-1, z+1)
	} else {
		s.w.put(1<<paramStep-1|uint64(p)<<paramStep, paramStep+7)
	}
}

// stepBits is what param takes for a parameter that follows on another.
func stepBits(last, p int) uint {
	z := uint(zigzag(int64(p - last)))
	if z < paramStep {
		return z + 1
	}
	return paramStep + 7
}

// rice writes one group with parameter k. There must be room for riceRoom bytes,
// and 8 beyond.
func (w *bitWriter) rice(res []uint64, k uint) {
	if k > maxPut-riceEscape {
		w.riceWide(res, k)
		return
	}
	k &= 63
	mask := uint64(1)<<k - 1
	acc, n, at := w.acc, w.n, len(w.b)
	b := w.b[:cap(w.b)]
	for _, v := range res {
		q := uint(v >> k)
		if q >= riceEscape {
			w.acc, w.n, w.b = acc, n, b[:at]
			w.put(1<<riceEscape-1, riceEscape)
			w.number(v)
			acc, n, at = w.acc, w.n, len(w.b)
			continue
		}
		acc |= (1<<(q&15) - 1 | v&mask<<((q+1)&15)) << (n & 7)
		n += q + 1 + k
		binary.LittleEndian.PutUint64(b[at:], acc)
		at += int(n >> 3)
		acc >>= n & 0x38
		n &= 7
	}
	w.acc, w.n, w.b = acc, n, b[:at]
}

// riceWide is rice for any parameter.
func (w *bitWriter) riceWide(res []uint64, k uint) {
	mask := uint64(1)<<k - 1
	for _, v := range res {
		q := v >> k
		switch {
		case q >= riceEscape:
			w.put(1<<riceEscape-1, riceEscape)
			w.number(v)
		case k <= maxPut-riceEscape:
			w.put(1<<q-1|(v&mask)<<(q+1), uint(q)+1+k)
		default:
			w.put(1<<q-1, uint(q)+1)
			w.put(v&mask&(1<<32-1), 32)
			w.put(v&mask>>32, k-32)
		}
	}
}
