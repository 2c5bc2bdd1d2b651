package wire

// lanes are the residuals of a group in 16 bits each, four in a word, the first
// one lowest: most groups have none that is larger, and a word of four costs
// little more than one.
type lanes [riceGroup / 4]uint64

const (
	laneBits = 16
	// laneOnes is 1 in each lane; times a word, its highest lane is the sum of all
	// lanes, and each other one the sum of those up to it.
	laneOnes  = 0x0001_0001_0001_0001
	laneSteps = 0x0003_0002_0001_0000
	laneEven  = 0x0000_ffff_0000_ffff // the first and the third lane
	laneTops  = 0x8000_8000_8000_8000
)

// fromDeltas fills l with the zigzag changes of x. It returns them or-ed and
// their sum; above 16 bits of the first, l is not valid.
func (l *lanes) fromDeltas(x *[riceGroup + 1]int64) (or, sum uint64) {
	prev := x[0]
	for i := range l {
		v := (*[4]int64)(x[4*i+1:])
		a, b, c, d := zigzag(v[0]-prev), zigzag(v[1]-v[0]), zigzag(v[2]-v[1]), zigzag(v[3]-v[2])
		prev = v[3]
		or |= a | b | c | d
		sum += a + b + c + d
		l[i] = a | b<<16 | (c|d<<16)<<32
	}
	return or, sum
}

// fromChanges is fromDeltas for changes of the changes.
func (l *lanes) fromChanges(x *[riceGroup + 2]int64) (or, sum uint64) {
	prev, last := x[1], x[1]-x[0]
	for i := range l {
		v := (*[4]int64)(x[4*i+2:])
		d0, d1, d2, d3 := v[0]-prev, v[1]-v[0], v[2]-v[1], v[3]-v[2]
		a, b, c, d := zigzag(d0-last), zigzag(d1-d0), zigzag(d2-d1), zigzag(d3-d2)
		prev, last = v[3], d3
		or |= a | b | c | d
		sum += a + b + c + d
		l[i] = a | b<<16 | (c|d<<16)<<32
	}
	return or, sum
}

// fromThird is fromDeltas for changes of the changes of the changes.
func (l *lanes) fromThird(x *[riceGroup + 3]int64) (or, sum uint64) {
	prev := x[2]
	d1 := prev - x[1]
	d2 := d1 - (x[1] - x[0])
	for i := range l {
		word := uint64(0)
		for j, v := range (*[4]int64)(x[4*i+3:]) {
			e1 := v - prev
			e2 := e1 - d1
			r := zigzag(e2 - d2)
			prev, d1, d2 = v, e1, e2
			or |= r
			sum += r
			word |= r << (laneBits * j & 63)
		}
		l[i] = word
	}
	return or, sum
}

// fromOffsets is fromDeltas for values less base.
func (l *lanes) fromOffsets(x *[riceGroup]int64, base int64) (or, sum uint64) {
	for i := range l {
		v := (*[4]int64)(x[4*i:])
		a, b, c, d := zigzag(v[0]-base), zigzag(v[1]-base), zigzag(v[2]-base), zigzag(v[3]-base)
		or |= a | b | c | d
		sum += a + b + c + d
		l[i] = a | b<<16 | (c|d<<16)<<32
	}
	return or, sum
}

// unpack returns the residuals a word each.
func (l *lanes) unpack(res *[riceGroup]uint64) {
	for i, v := range l {
		to := (*[4]uint64)(res[4*i:])
		to[0], to[1], to[2], to[3] = v&0xffff, v>>16&0xffff, v>>32&0xffff, v>>48
	}
}

// packShifted is the inverse of unpack, for residuals without their low bits. It
// returns the sum of what is left.
func (l *lanes) packShifted(res *[riceGroup]uint64, shift uint) (sum uint64) {
	shift &= 63
	for i := range l {
		v := (*[4]uint64)(res[4*i:])
		a, b, c, d := v[0]>>shift, v[1]>>shift, v[2]>>shift, v[3]>>shift
		sum += a + b + c + d
		l[i] = a | b<<16 | (c|d<<16)<<32
	}
	return sum
}

// few reports that most residuals are 0.
func (l *lanes) few() bool {
	n := 0
	for _, v := range l {
		n += int(b2u(v&0xffff == 0) + b2u(v>>16&0xffff == 0) + b2u(v>>32&0xffff == 0) + b2u(v>>48 == 0))
	}
	return n > riceGroup/2
}

// choose returns the best parameter for n residuals, 0 from there on, and what
// the group takes; or and sum are theirs. Residuals may be without their lowest
// bits, shift of them; the parameter is not.
func (l *lanes) choose(n uint, or, sum uint64, last int, shift uint) (param int, cost uint) {
	if or == 0 {
		return int(shift), paramCost(last, int(shift)) + shift*n
	}
	lo := (max(width(sum*reciprocals[n&31]>>6), 2) - 2) & 15
	if or>>lo >= highMost {
		return l.chooseTail(n, lo, last, shift)
	}
	mask := uint64(0xffff) >> lo * laneOnes
	q0, q1, q2, q3 := l[0]>>lo&mask, l[1]>>lo&mask, l[2]>>lo&mask, l[3]>>lo&mask
	odd := uint((q0&laneOnes + q1&laneOnes + q2&laneOnes + q3&laneOnes) * laneOnes >> 48)
	a := uint((q0 + q1 + q2 + q3) * laneOnes >> 48)
	b := (a-odd)/2 + n
	lo += shift
	p := int(lo) + 1
	a += paramCost(last, p)
	b += paramCost(last, p+1)
	return p + int(b2u(b < a)), n*(lo+1) + min(a, b)
}

// chooseTail is choose where some residuals are far above the mean, which says
// k: the best one may lie below it.
func (l *lanes) chooseTail(n, k uint, last int, shift uint) (param int, cost uint) {
	param = int(k+shift) + 1
	cost = l.high(k) + n*(k+shift+1) + paramCost(last, param)
	from := param
	for down := k; down > 0; {
		down--
		c := l.high(down) + n*(down+shift+1) + paramCost(last, int(down+shift)+1)
		if c >= cost {
			break
		}
		param, cost = int(down+shift)+1, c
	}
	if param == from {
		if c := l.high(k+1) + n*(k+shift+2) + paramCost(last, param+1); c < cost {
			return param + 1, c
		}
	}
	return param, cost
}

// high is what the high parts of the residuals take beside their ones.
func (l *lanes) high(k uint) uint {
	mask := uint64(0xffff) >> (k & 15) * laneOnes
	const most = highMost * laneOnes
	sum := uint64(0)
	for _, v := range l {
		q := v >> (k & 15) & mask
		above := (q&^laneTops + (0x8000*laneOnes - most) | q) & laneTops
		above = above<<1 - above>>15 // all bits of the lanes that are highMost or more
		sum += q&^above | most&above
	}
	return uint(sum * laneOnes >> 48)
}
