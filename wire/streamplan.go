package wire

// closeBits and closeShare say when a second prediction is worked out too: by so
// many bits, or this part of the cost, behind the first.
const (
	closeBits  = 12
	closeShare = 24
)

// plan chooses how x, of at least two values that are not all equal, is written.
// The prediction with the shortest residuals is worked out, and the second one
// where it is close. The result is valid until the next call.
func (s *streamEncoder) plan(x []int64) *columnPlan {
	best, second := guess(x)
	at := 0
	try := func(predict int) {
		p := &s.plans[at]
		s.work(p, x, predict)
		if p.bits < s.plans[1-at].bits {
			at = 1 - at
		}
	}
	s.plans[1].bits = ^uint(0)
	try(best)
	if second != none {
		try(second)
	}
	if best == predictZero || second == predictZero {
		try(predictBase)
	}
	return &s.plans[1-at]
}

const none = -1

// guess returns the prediction that promises the fewest bits by the lengths of
// its residuals, and the second where it is close, else none.
func guess(x []int64) (best, second int) {
	var l0, l1, l2, l3 uint // lengths of residuals, by order
	prev, d1, d2 := x[0], int64(0), int64(0)
	l0 = width(zigzag(prev))
	first := l0 + 6
	for _, v := range x[1:] {
		e1 := v - prev
		e2 := e1 - d1
		l0 += width(zigzag(v))
		l1 += width(zigzag(e1))
		l2 += width(zigzag(e2))
		l3 += width(zigzag(e2 - d2))
		prev, d1, d2 = v, e1, e2
	}
	// The first residuals stand as numbers, which take 6 bits more.
	costs := [...]uint{predictDelta: first + l1, predictDelta2: first + l2 + 7, predictZero: l0 + 2, predictDelta3: first + l3 + 15}
	allowed := len(costs)
	if len(x) < 3 {
		allowed-- // not delta3
	}
	best = predictDelta
	for p := 1; p < allowed; p++ {
		if costs[p] < costs[best] {
			best = p
		}
	}
	second = none
	for p := range allowed {
		if p != best && costs[p] <= costs[best]+closeBits+costs[best]/closeShare && (second == none || costs[p] < costs[second]) {
			second = p
		}
	}
	return best, second
}

// work fills p for one prediction.
func (s *streamEncoder) work(p *columnPlan, x []int64, predict int) {
	p.predict = predict
	p.bits = uint(predict) + 1
	if cap(p.res) < len(x) {
		p.res = make([]uint64, len(x))
		p.params = make([]uint8, 0, (len(x)+riceGroup-1)/riceGroup)
	}
	switch predict {
	case predictZero:
		p.base = 0
		p.less(x)
	case predictBase:
		p.base = mean(x)
		p.bits += s.firstBits(p.base)
		p.less(x)
	case predictDelta:
		p.bits += s.firstBits(x[0])
		p.deltas(x)
	case predictDelta2:
		p.bits += s.firstBits(x[0]) + numberBits(zigzag(x[1]-x[0]))
		p.deltas2(x)
	case predictDelta3:
		d := x[1] - x[0]
		p.bits += s.firstBits(x[0]) + numberBits(zigzag(d)) + numberBits(zigzag(x[2]-x[1]-d))
		p.deltas3(x)
	}
	p.choose()
}

// mean returns a value near the middle of x; any would do.
func mean(x []int64) int64 {
	sum := int64(0)
	for _, v := range x {
		sum += v / int64(len(x))
	}
	rest := int64(0)
	for _, v := range x {
		rest += v % int64(len(x))
	}
	return sum + rest/int64(len(x))
}

func (p *columnPlan) less(x []int64) {
	p.res = p.res[:len(x)]
	for i, v := range x {
		p.res[i] = zigzag(v - p.base)
	}
}

func (p *columnPlan) deltas(x []int64) {
	p.res = p.res[:len(x)-1]
	prev := x[0]
	for i, v := range x[1:] {
		p.res[i] = zigzag(v - prev)
		prev = v
	}
}

func (p *columnPlan) deltas2(x []int64) {
	p.res = p.res[:len(x)-2]
	prev, d := x[1], x[1]-x[0]
	for i, v := range x[2:] {
		e := v - prev
		p.res[i] = zigzag(e - d)
		prev, d = v, e
	}
}

func (p *columnPlan) deltas3(x []int64) {
	p.res = p.res[:len(x)-3]
	prev, d1 := x[2], x[2]-x[1]
	d2 := d1 - (x[1] - x[0])
	for i, v := range x[3:] {
		e1 := v - prev
		e2 := e1 - d1
		p.res[i] = zigzag(e2 - d2)
		prev, d1, d2 = v, e1, e2
	}
}

// choose finds the parameter of each group and adds up the bits.
func (p *columnPlan) choose() {
	p.params = p.params[:0]
	last := -1
	for res := p.res; len(res) > 0; {
		n := min(riceGroup, len(res))
		param, cost := chooseGroup(res[:n], last)
		p.bits += cost
		p.params = append(p.params, uint8(param))
		last = param
		res = res[n:]
	}
}

// chooseGroup returns the best parameter around the mean length of the
// residuals, which one large value moves less than it moves their mean.
func chooseGroup(res []uint64, last int) (param int, cost uint) {
	var lens uint
	for _, v := range res {
		lens += width(v)
	}
	if lens == 0 {
		return 0, paramCost(last, 0)
	}
	k := lens / uint(len(res))
	lo := max(k, 1) - 1
	var a, b, c uint
	for _, v := range res {
		escape := riceEscape + 5 + width(v)
		x, y, z := uint(v>>lo), uint(v>>(lo+1)), uint(v>>(lo+2))
		if x >= riceEscape {
			x = escape - lo - 1
		}
		if y >= riceEscape {
			y = escape - lo - 2
		}
		if z >= riceEscape {
			z = escape - lo - 3
		}
		a += x
		b += y
		c += z
	}
	n := uint(len(res))
	p := int(lo) + 1
	a += n*(lo+1) + paramCost(last, p)
	b += n*(lo+2) + paramCost(last, p+1)
	c += n*(lo+3) + paramCost(last, p+2)
	param, cost = p, a
	if b < cost {
		param, cost = p+1, b
	}
	if c < cost && p+2 <= maxParam {
		param, cost = p+2, c
	}
	return param, cost
}

// paramCost is what a group's parameter takes after last; -1 = it is the first.
func paramCost(last, p int) uint {
	switch {
	case last >= 0:
		return stepBits(last, p)
	case p < paramFirstMax:
		return paramBits
	}
	return paramBits + 7
}
