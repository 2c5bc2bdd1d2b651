package wire

import (
	"encoding/binary"
	"fmt"
)

// headRuns reads the heads of all columns and their bitmaps, and cuts the
// columns' memory.
func (d *blockDecoder) headRuns(b *Block) {
	for i := 0; i < len(b.Columns); {
		head := d.byte("column head")
		n := int(d.uvarint(uint64(len(b.Columns)-i), "columns of one head"))
		if d.err == nil && (n == 0 || head>>headModeBits != 0) {
			d.fail("column head", errRange)
		}
		t := ValueType(head & headType)
		if d.err == nil && (t < TypeInt || t > TypeF64) {
			d.fail("value type", errRange)
		}
		var c Column
		count := d.presence(&c, head)
		if d.err != nil {
			return
		}
		for range n {
			b.Columns[i] = Column{Type: t, Present: c.Present, Values: d.free[:count]}
			d.free = d.free[count:count]
			i++
		}
	}
}

// stream reads all values of a block in [layoutStream].
func (d *blockDecoder) stream(b *Block) {
	d.headRuns(b)
	if d.err != nil {
		return
	}
	s := streamDecoder{bitReader: bitReader{b: d.b}}
	for i := range b.Columns {
		if err := s.column(&b.Columns[i]); err != nil {
			d.err = fmt.Errorf("wire: block column %d: %w", i, err)
			return
		}
	}
	rest := 8*len(s.b) - s.pos
	if rest < 0 || rest > 7 || s.take(uint(rest)) != 0 {
		d.fail("end of block", errRange)
		return
	}
	d.b = nil
}

type streamDecoder struct {
	bitReader
	last int64 // the number read before
	res  [riceGroup]uint64
}

func (s *streamDecoder) column(c *Column) error {
	x := c.Values
	if len(x) == 0 {
		return nil
	}
	var shift uint
	switch c.Type {
	case TypeF32:
		shift = uint(s.take(5))
	case TypeF64:
		shift = uint(s.take(6))
	}
	if s.take(1) == 1 {
		v := s.first()
		for i := range x {
			x[i] = v
		}
	} else if err := s.values(x); err != nil {
		return err
	}
	if !s.ok() {
		return ErrShort
	}
	switch c.Type {
	case TypeF32:
		for i, v := range x {
			x[i] = unorderF32(unshift(v, shift))
		}
	case TypeF64:
		for i, v := range x {
			x[i] = orderF64(unshift(v, shift))
		}
	}
	return nil
}

// unshift puts the low bits back: as the sign bit of an ordered integer, they
// are those of a float whose own are 0.
func unshift(v int64, shift uint) int64 {
	return v<<shift | v>>63&(1<<shift-1)
}

func (s *streamDecoder) first() int64 {
	rel := s.take(1)
	v := unzigzag(s.number())
	if rel == 1 {
		v += s.last
	}
	s.last = v
	return v
}

func (s *streamDecoder) values(x []int64) error {
	predict := int(s.ones(predictCodes))
	if predict == predictCodes {
		return fmt.Errorf("unknown prediction: %w", errRange)
	}
	var base, d1, d2 int64
	head := 0 // values known before the residuals
	if predict != predictZero {
		base = s.first()
	}
	switch predict {
	case predictDelta, predictDelta2, predictDelta3:
		head = 1
		x[0] = base
	}
	if predict == predictDelta2 || predict == predictDelta3 {
		head = 2
		d1 = unzigzag(s.number())
		if len(x) < 2 {
			return errRange
		}
		x[1] = x[0] + d1
	}
	if predict == predictDelta3 {
		head = 3
		d2 = unzigzag(s.number())
		if len(x) < 3 {
			return errRange
		}
		d1 += d2
		x[2] = x[1] + d1
	}
	return s.residuals(x, head, predict, base, d1, d2)
}

func (s *streamDecoder) residuals(x []int64, head, predict int, base, d1, d2 int64) error {
	prev := base
	if head > 0 {
		prev = x[head-1]
	}
	param := -1
	for rest := x[head:]; len(rest) > 0; {
		to := rest[:min(riceGroup, len(rest))]
		rest = rest[len(to):]
		var err error
		if param, err = s.param(param); err != nil {
			return err
		}
		res := s.res[:len(to)]
		if param == 0 {
			clear(res)
		} else {
			s.rice(res, uint(param-1))
		}
		switch predict {
		case predictZero, predictBase:
			for i, r := range res {
				to[i] = base + unzigzag(r)
			}
		case predictDelta:
			for i, r := range res {
				prev += unzigzag(r)
				to[i] = prev
			}
		case predictDelta2:
			for i, r := range res {
				d1 += unzigzag(r)
				prev += d1
				to[i] = prev
			}
		case predictDelta3:
			for i, r := range res {
				d2 += unzigzag(r)
				d1 += d2
				prev += d1
				to[i] = prev
			}
		}
	}
	return nil
}

// param reads the parameter of a group; last is that of the group before, -1 =
// there was none.
func (s *streamDecoder) param(last int) (int, error) {
	var p int
	if last < 0 {
		if p = int(s.take(paramBits)); p == paramFirstMax {
			p = int(s.take(7))
		}
	} else if z := s.ones(paramStep); z < paramStep {
		p = last + int(unzigzag(uint64(z)))
	} else {
		p = int(s.take(7))
	}
	if p < 0 || p > maxParam {
		return 0, fmt.Errorf("parameter %d of a group: %w", p, errRange)
	}
	return p, nil
}

// rice reads one group with parameter k.
func (s *streamDecoder) rice(res []uint64, k uint) {
	if k <= maxPut-riceEscape && s.pos>>3+riceRoom+8 <= len(s.b) {
		s.riceFast(res, k)
		return
	}
	for i := range res {
		switch q := s.ones(riceEscape); {
		case q == riceEscape:
			res[i] = s.number()
		case k <= maxPut-riceEscape:
			res[i] = uint64(q)<<k | s.take(k)
		default:
			low := s.take(32)
			res[i] = uint64(q)<<k | s.take(k-32)<<32 | low
		}
	}
}

// riceFast is rice far enough from the end.
func (s *streamDecoder) riceFast(res []uint64, k uint) {
	k &= 63
	mask := uint64(1)<<k - 1
	pos := s.pos
	b := s.b
	for i := range res {
		v := binary.LittleEndian.Uint64(b[pos>>3:]) >> (pos & 7)
		q := width(v &^ (v + 1)) // one bits up to the first zero
		if q >= riceEscape {
			s.pos = pos + riceEscape
			res[i] = s.number()
			pos = s.pos
			continue
		}
		res[i] = uint64(q)<<k | v>>(q+1)&mask
		pos += int(q + 1 + k)
	}
	s.pos = pos
}
