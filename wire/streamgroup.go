package wire

// group appends a group of n residuals with Rice parameter k: the high parts of
// all, each as zeros and a one; the low k bits of all; what escaped. Residuals
// from n on must be 0. There must be room for riceRoom bytes, and 8 beyond.
func (w *bitWriter) group(res *[riceGroup]uint64, n int, k uint) {
	if k > maxPut/2 {
		w.groupAny(res, n, k)
		return
	}
	k &= 63
	var unary uint64
	at, or := uint(0), uint64(0)
	for i := 0; i < riceGroup; i += 4 {
		v := (*[4]uint64)(res[i:])
		q0, q1, q2, q3 := v[0]>>k, v[1]>>k, v[2]>>k, v[3]>>k
		or |= q0 | q1 | q2 | q3
		a := at + uint(q0)
		b := a + uint(q1) + 1
		c := b + uint(q2) + 1
		d := c + uint(q3) + 1
		unary |= 1<<(a&63) | 1<<(b&63) | 1<<(c&63) | 1<<(d&63)
		at = d + 1
	}
	if or >= 16 || at > maxPut || !belowEscape(res, k, or) {
		w.groupAny(res, n, k)
		return
	}
	at -= uint(riceGroup - n)
	w.put(unary&(1<<at-1), at)
	w.low(res, n, k)
}

// low appends the low k bits of n residuals. There must be room as for group.
func (w *bitWriter) low(res *[riceGroup]uint64, n int, k uint) {
	k &= 127
	mask := uint64(1)<<k - 1
	switch {
	case k == 0:
	case k <= maxPut/16:
		var low uint64
		for i := riceGroup - 1; i >= 0; i-- {
			low = low<<k | res[i]&mask
		}
		w.put(low, uint(n)*k)
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

// belowEscape reports that no high part is escaped; or is all of them or-ed.
func belowEscape(res *[riceGroup]uint64, k uint, or uint64) bool {
	if or < riceEscape {
		return true
	}
	for _, v := range res {
		if v>>(k&63) >= riceEscape {
			return false
		}
	}
	return true
}

// groupAny is group for any parameter and residuals.
func (w *bitWriter) groupAny(res *[riceGroup]uint64, n int, k uint) {
	for _, v := range res[:n] {
		q := uint(min(v>>k, riceEscape))
		w.put(1<<q, q+1)
	}
	w.low(res, n, k)
	for _, v := range res[:n] {
		if q := v >> k; q >= riceEscape {
			w.number(q - riceEscape)
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
