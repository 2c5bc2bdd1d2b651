package wire

import "fmt"

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
		c.Type = t
		d.cut(b.Columns[i:i+n], c, count)
		i += n
	}
}

// cut gives columns like c memory for count values each.
func (d *blockDecoder) cut(columns []Column, c Column, count int) {
	for i := range columns {
		columns[i] = Column{Type: c.Type, Present: c.Present, Values: d.free[:count]}
		d.free = d.free[count:count]
	}
}

// stream reads all values of a block in a layout of one stream.
func (d *blockDecoder) stream(b *Block, layout byte) {
	dense := layout > layoutDense
	if dense {
		layout -= layoutDense
	}
	if layout == layoutStream {
		d.headRuns(b)
	} else {
		d.cut(b.Columns, Column{Type: ValueType(layout - layoutUniform)}, d.rows)
	}
	if d.err != nil {
		return
	}
	s := streamDecoder{bitReader: bitReader{b: d.b}, given: none}
	s.heads.begin()
	s.heads.dense = dense
	for i := range b.Columns {
		err := s.column(&b.Columns[i])
		if d.work += s.work; err != nil {
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
	last    int64     // the first number read before
	kind    ValueType // of the floats at hand that may lie on a grid; else 0
	res     [riceGroup]uint64
	heads   denseHeads
	given   int    // the first parameter of a column, read before its time; else none
	floats  bool   // the column at hand has been read as it is
	escaped uint16 // residuals of a group that are continued behind it
	work    int    // on the column at hand
}

func (s *streamDecoder) column(c *Column) error {
	x := c.Values
	if len(x) == 0 {
		return nil
	}
	s.work = len(x)
	shift, decimal := s.form(c.Type)
	s.kind, s.floats = 0, false
	if shift == 0 && decimal == none && c.Type >= TypeF32 {
		s.kind = c.Type
	}
	way := predictConstant
	if s.heads.dense {
		way = s.rank()
	} else if s.take(1) == 0 {
		way = int(s.ones(predictCodes))
	}
	if way == predictConstant {
		v := s.first()
		for i := range x {
			x[i] = v
		}
	} else if err := s.way(x, way, whole); err != nil {
		return err
	}
	if !s.ok() {
		return ErrShort
	}
	switch {
	case s.floats:
	case decimal != none:
		for i, v := range x {
			x[i] = fromDecimal(v, uint(decimal), c.Type)
		}
	case c.Type == TypeF32:
		for i, v := range x {
			x[i] = unorderF32(unshift(v, shift))
		}
	case c.Type == TypeF64:
		for i, v := range x {
			x[i] = orderF64(unshift(v, shift))
		}
	}
	return nil
}

// form reads how floats were made integers: by a shift, or as multiples of a
// power of ten.
func (s *streamDecoder) form(t ValueType) (shift uint, decimal int) {
	n, code := uint(shiftBits32), uint64(decimal32)
	switch t {
	case TypeF32:
	case TypeF64:
		n, code = shiftBits64, decimal64
	default:
		return 0, none
	}
	v := s.take(n)
	if v == code {
		return 0, int(s.take(decimalBits))
	}
	return uint(v), none
}

// unshift puts the low bits back: as the sign bit of an ordered integer, they
// are those of a float whose own are 0.
func unshift(v int64, shift uint) int64 {
	return v<<(shift&63) | v>>63&(1<<(shift&63)-1)
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

// nesting says what a special way may announce.
type nesting int

const (
	whole     nesting = iota // a column: any
	inner                    // one divided by its factor or never wrapped: neither of these
	flatWhole                // residuals of a column: a further way, else none
	flatInner                // of one divided or never wrapped: the same
	entropy                  // coded residuals: no special way
)

// values reads x behind what announces it.
func (s *streamDecoder) values(x []int64, in nesting) error {
	return s.way(x, int(s.ones(predictCodes)), in)
}

// way reads x behind the code of its way.
func (s *streamDecoder) way(x []int64, predict int, in nesting) error {
	if predict == predictCodes {
		return s.special(x, in)
	}
	head := headValues[predict]
	if len(x) < head {
		return fmt.Errorf("prediction %d for %d values: %w", predict, len(x), errRange)
	}
	var base, d1, d2 int64
	switch {
	case predict == predictBase && in == whole && s.heads.dense && len(x) <= coarseMost:
		if err := s.coarse(&base); err != nil {
			return err
		}
	case predict != predictZero:
		base = s.first()
	}
	if head > 0 {
		x[0] = base
	}
	if head > 1 {
		d1 = unzigzag(s.number())
		x[1] = x[0] + d1
	}
	if head > 2 {
		d2 = unzigzag(s.number())
		d1 += d2
		x[2] = x[1] + d1
	}
	if in == entropy {
		return s.codedValues(x, predict, base, d1, d2)
	}
	return s.residuals(x, predict, nil, in >= flatWhole, base, d1, d2)
}

// codedValues is residuals for those that have a table. It has a frame of its
// own, since that is large.
//
//go:noinline
func (s *streamDecoder) codedValues(x []int64, predict int, base, d1, d2 int64) error {
	var t codeTable
	if err := s.table(&t, len(x)-headValues[predict]); err != nil {
		return err
	}
	return s.residuals(x, predict, &t, false, base, d1, d2)
}

func (s *streamDecoder) special(x []int64, in nesting) error {
	switch code := s.take(specialBits); {
	case code == specialPacked && in <= inner:
		base := s.first()
		w := uint(s.take(6)) + 1
		for len(x) > 0 {
			n := min(riceGroup, len(x))
			s.work += riceGroup
			s.flat(n, w)
			for i := range x[:n] {
				x[i] = base + int64(s.res[i%riceGroup])
			}
			x = x[n:]
		}
	case code == specialFlat && in <= inner:
		return s.values(x, in+flatWhole)
	case code == furtherCoded && (in == flatWhole || in == flatInner):
		return s.values(x, entropy)
	case code == furtherGrid && in == flatWhole && s.kind != 0:
		return s.grid(x)
	case code == specialFactor && in == whole:
		g := int64(s.number())
		base := s.first()
		if err := s.values(x, inner); err != nil {
			return err
		}
		s.work += len(x)
		for i, v := range x {
			x[i] = base + g*v
		}
	case code == specialWrap && in == whole:
		m := int64(s.number())
		if m < 1 {
			return fmt.Errorf("modulus %d: %w", m, errRange)
		}
		if err := s.values(x, inner); err != nil {
			return err
		}
		s.work += len(x)
		for i, v := range x {
			x[i] = wrap(v, m)
		}
	default:
		return fmt.Errorf("way %d of a column in another one: %w", code, errRange)
	}
	return nil
}

// residuals reads the values of x that a prediction has no numbers for: coded
// with a table if there is one, flat or as Rice codes.
func (s *streamDecoder) residuals(x []int64, predict int, t *codeTable, flat bool, base, d1, d2 int64) error {
	head := headValues[predict]
	prev := base
	if head > 0 {
		prev = x[head-1]
	}
	param := -1
	res := &s.res
	for rest := x[head:]; len(rest) > 0; {
		to := rest[:min(riceGroup, len(rest))]
		rest = rest[len(to):]
		s.work += riceGroup
		var err error
		if t != nil {
			s.coded(t, len(to))
		} else if param, err = s.nextParam(param, flat); err != nil {
			return err
		} else if param == 0 {
			*res = [riceGroup]uint64{}
		} else if flat {
			s.flat(len(to), uint(param))
		} else if err = s.group(len(to), uint(param-1)); err != nil {
			return err
		}
		switch predict {
		case predictZero, predictBase:
			for i := range to {
				to[i] = base + unzigzag(res[i%riceGroup])
			}
		case predictDelta:
			for i := range to {
				prev += unzigzag(res[i%riceGroup])
				to[i] = prev
			}
		case predictDelta2:
			for i := range to {
				d1 += unzigzag(res[i%riceGroup])
				prev += d1
				to[i] = prev
			}
		case predictDelta3:
			for i := range to {
				d2 += unzigzag(res[i%riceGroup])
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
		return 0, errParam(p)
	}
	return p, nil
}

func errParam(p int) error { return fmt.Errorf("parameter %d of a group: %w", p, errRange) }
