package wire

import bits64 "math/bits"

// groups appends the groups of a column as planned, but for the first parameter.
// A group is its parameter,
// the high parts of all residuals as zeros and a one, the low bits of all, and
// what escaped; or if residuals are flat, their width and bits.
func (w *bitWriter) groups(p *columnPlan) {
	params := p.params
	if p.flat {
		params = p.widths
	}
	last, left := 0, p.n
	for i, param := range params {
		w.reserve(riceRoom)
		code, bits := uint64(0), uint(0)
		if i > 0 {
			code, bits = stepCode(last, int(param))
		}
		last = int(param)
		n := min(left, riceGroup)
		left -= riceGroup
		switch {
		case param == 0:
			w.put(code, bits)
		case p.widths[i] > laneBits:
			w.put(code, bits)
			if p.flat {
				w.low(&p.wide[i], n, uint(param))
			} else {
				w.group(&p.wide[i], n, uint(param-1))
			}
		case p.flat:
			w.put(code, bits)
			w.lowLanes(&p.groups[i], uint(n), uint(param))
		default:
			w.lanes(&p.groups[i], uint(n), uint(param-1), code, bits)
		}
	}
}

// lanes appends a group of n residuals with Rice parameter k behind a code of so
// many bits.
func (w *bitWriter) lanes(l *lanes, n, k uint, code uint64, bits uint) {
	mask := uint64(0xffff) >> (k & 15) * laneOnes
	q0, q1, q2, q3 := l[0]>>(k&15)&mask, l[1]>>(k&15)&mask, l[2]>>(k&15)&mask, l[3]>>(k&15)&mask
	const below = (16 - riceEscape) * laneOnes // makes 16 of what is escaped
	large := q0 | q1 | q2 | q3 | (q0 + below) | (q1 + below) | (q2 + below) | (q3 + below)
	if large&(0xfff0*laneOnes) != 0 {
		w.escaped(l, n, k, code, bits)
		return
	}
	a, first := unary8(q0, q1, bits)
	b, second := unary8(q2, q3, 0)
	if first > maxPut || second > maxPut {
		w.unpacked(l, n, k, code, bits)
		return
	}
	w.high(a|code, b, first, second, riceGroup-n)
	if k > 0 {
		w.lowLanes(l, n, k)
	}
}

// escaped is lanes for a group with high parts from riceEscape on.
func (w *bitWriter) escaped(l *lanes, n, k uint, code uint64, bits uint) {
	q0, f0 := capped(l[0], k)
	q1, f1 := capped(l[1], k)
	q2, f2 := capped(l[2], k)
	q3, f3 := capped(l[3], k)
	a, first := unary8(q0, q1, bits)
	b, second := unary8(q2, q3, 0)
	if first > maxPut || second > maxPut {
		w.unpacked(l, n, k, code, bits)
		return
	}
	w.high(a|code, b, first, second, riceGroup-n)
	if k > 0 {
		w.lowLanes(l, n, k)
	}
	for i, f := range [...]uint64{f0, f1, f2, f3} {
		for ; f != 0; f &= f - 1 {
			at := bits64.TrailingZeros64(f) - (laneBits - 1)
			w.number(l[i]>>(at&63)&0xffff>>(k&15) - riceEscape)
		}
	}
}

// capped returns the high parts of four residuals, at most riceEscape, and the top
// bits of the lanes of these.
func capped(v uint64, k uint) (q, escaped uint64) {
	const most = riceEscape * laneOnes
	q = v >> (k & 15) & (uint64(0xffff) >> (k & 15) * laneOnes)
	escaped = (q&^laneTops + (laneTops - most) | q) & laneTops
	all := escaped<<1 - escaped>>15
	return q&^all | most&all, escaped
}

// unpacked is lanes for a group of very many zeros.
func (w *bitWriter) unpacked(l *lanes, n, k uint, code uint64, bits uint) {
	w.put(code, bits)
	var res [riceGroup]uint64
	l.unpack(&res)
	w.groupAny(&res, int(n), k)
}

// high appends the high parts of a group, eight in each word, but for the ones of
// the last over residuals, which are 0 and not there.
func (w *bitWriter) high(a, b uint64, first, second, over uint) {
	if n := first + second - over; n <= maxPut && over < 8 {
		w.put((a|b<<(first&63))&(1<<n-1), n)
		return
	}
	first -= max(over, 8) - 8
	second -= min(over, 8)
	w.put(a&(1<<first-1), first)
	w.put(b&(1<<second-1), second)
}

// unary8 returns eight high parts as zeros and a one from bit at on, and where
// they end; that is more than 64 if they do not fit.
func unary8(q0, q1 uint64, at uint) (unary uint64, end uint) {
	p0 := q0*laneOnes + (laneSteps + uint64(at)*laneOnes)
	p1 := q1*laneOnes + (laneSteps + (p0>>48+1)*laneOnes)
	unary = 1<<(p0&63) | 1<<(p0>>16&63) | 1<<(p0>>32&63) | 1<<(p0>>48&63)
	unary |= 1<<(p1&63) | 1<<(p1>>16&63) | 1<<(p1>>32&63) | 1<<(p1>>48&63)
	return unary, uint(p1>>48) + 1
}

// lowLanes appends the low k bits of n residuals, k from 1 to laneBits.
func (w *bitWriter) lowLanes(l *lanes, n, k uint) {
	if k > maxPut/4 {
		var res [riceGroup]uint64
		l.unpack(&res)
		w.low(&res, int(n), k)
		return
	}
	mask := (uint64(1)<<(k&15) - 1) * laneOnes
	a, b, c, d := low4(l[0]&mask, k), low4(l[1]&mask, k), low4(l[2]&mask, k), low4(l[3]&mask, k)
	switch {
	case k <= maxPut/16:
		w.put(a|b<<(4*k&63)|(c|d<<(4*k&63))<<(8*k&63), n*k)
	case k <= maxPut/8:
		n1 := min(n, 8)
		w.put(a|b<<(4*k&63), n1*k)
		w.put(c|d<<(4*k&63), (n-n1)*k)
	default:
		w.put(a, min(n, 4)*k)
		w.put(b, (min(max(n, 4), 8)-4)*k)
		w.put(c, (min(max(n, 8), 12)-8)*k)
		w.put(d, (max(n, 12)-12)*k)
	}
}

// low4 moves four lanes of k bits together.
func low4(v uint64, k uint) uint64 {
	v = v&laneEven | v&^laneEven>>((laneBits-k)&63)
	return v&0xffff_ffff | v>>32<<(2*k&63)
}

// group appends n residuals of any size with Rice parameter k. Those from n on
// must be 0. There must be room for riceRoom bytes, and 8 beyond.
func (w *bitWriter) group(res *[riceGroup]uint64, n int, k uint) {
	if k > maxPut/2 {
		w.groupAny(res, n, k)
		return
	}
	a, first, escaped := high8((*[8]uint64)(res[:]), k)
	b, second, more := high8((*[8]uint64)(res[8:]), k)
	if first > maxPut || second > maxPut {
		w.groupAny(res, n, k)
		return
	}
	w.high(a, b, first, second, riceGroup-uint(n))
	w.low(res, n, k)
	if escaped || more {
		w.numbers(res, k)
	}
}

// numbers appends what escaped.
func (w *bitWriter) numbers(res *[riceGroup]uint64, k uint) {
	for _, v := range res {
		if q := v >> (k & 63); q >= riceEscape {
			w.number(q - riceEscape)
		}
	}
}

// high8 returns the high parts of eight residuals as zeros and a one, how many
// bits these are, and whether one is escaped.
func high8(v *[8]uint64, k uint) (unary uint64, n uint, escaped bool) {
	k &= 63
	or := uint64(0)
	for i := 0; i < len(v); i += 4 {
		v := (*[4]uint64)(v[i:])
		q0, q1, q2, q3 := v[0]>>k, v[1]>>k, v[2]>>k, v[3]>>k
		or |= q0 | q1 | q2 | q3
		a := n + uint(min(q0, riceEscape))
		b := a + uint(min(q1, riceEscape)) + 1
		c := b + uint(min(q2, riceEscape)) + 1
		d := c + uint(min(q3, riceEscape)) + 1
		unary |= 1<<(a&63) | 1<<(b&63) | 1<<(c&63) | 1<<(d&63)
		n = d + 1
	}
	return unary, n, or >= riceEscape
}

// groupAny is group, value by value.
func (w *bitWriter) groupAny(res *[riceGroup]uint64, n int, k uint) {
	for _, v := range res[:n] {
		q := uint(min(v>>k, riceEscape))
		w.put(1<<q, q+1)
	}
	w.low(res, n, k)
	w.numbers(res, k)
}

// low appends the low k bits of n residuals. There must be room as for group.
func (w *bitWriter) low(res *[riceGroup]uint64, n int, k uint) {
	k &= 127
	mask := uint64(1)<<k - 1
	switch {
	case k == 0:
	case k <= maxPut/4:
		for i := 0; i < n; i += 4 {
			v := (*[4]uint64)(res[i&12:])
			low := v[0]&mask | v[1]&mask<<k | (v[2]&mask|v[3]&mask<<k)<<(2*k&63)
			w.put(low, uint(min(4, n-i))*k)
		}
	case k <= maxPut/2:
		for i := 0; i < n; i += 2 {
			v := (*[2]uint64)(res[i&14:])
			w.put(v[0]&mask|v[1]&mask<<k, uint(min(2, n-i))*k)
		}
	default:
		for _, v := range res[:n] {
			w.wide(v&mask, k)
		}
	}
}

// wide is put for up to 64 bits.
func (w *bitWriter) wide(v uint64, n uint) {
	if n > maxPut {
		w.put(v&(1<<32-1), 32)
		v >>= 32
		n -= 32
	}
	w.put(v, n)
}
