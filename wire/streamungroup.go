package wire

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// group reads n residuals with Rice parameter k into s.res.
func (s *streamDecoder) group(n int, k uint) error {
	if k > maxPut/2 || s.pos>>3+riceRoom+8 > len(s.b) {
		return s.groupAny(n, k)
	}
	k &= 63
	res := &s.res
	b := s.b[s.pos>>3:]
	word := binary.LittleEndian.Uint64(b) >> (s.pos & 7)
	at, large := uint(0), uint(0)
	for i := range n {
		to := uint(bits.TrailingZeros64(word))
		q := to - at
		at = to + 1
		word &= word - 1
		large |= q + 16 - riceEscape // bit 4 from riceEscape on
		res[i%riceGroup] = uint64(q) << k
	}
	if at > maxPut || large >= 16 {
		return s.groupAny(n, k)
	}
	s.pos += int(at)
	s.addLow(k)
	s.pos += n * int(k)
	return nil
}

// addLow adds the low k bits, at most maxPut/2, of a whole group to s.res. There
// must be riceRoom bytes; pos stays.
func (s *streamDecoder) addLow(k uint) {
	res, pos := &s.res, s.pos
	k &= 63
	mask := uint64(1)<<k - 1
	switch {
	case k == 0:
	case k <= maxPut/16:
		low := binary.LittleEndian.Uint64(s.b[pos>>3:]) >> (pos & 7)
		for i := range res {
			res[i] |= low & mask
			low >>= k
		}
	case k <= maxPut/4:
		for i := 0; i < riceGroup; i += 4 {
			low := binary.LittleEndian.Uint64(s.b[pos>>3:]) >> (pos & 7)
			to := (*[4]uint64)(res[i:])
			to[0] |= low & mask
			to[1] |= low >> k & mask
			to[2] |= low >> (2 * k & 63) & mask
			to[3] |= low >> (3 * k & 63) & mask
			pos += int(4 * k)
		}
	default:
		for i := 0; i < riceGroup; i += 2 {
			low := binary.LittleEndian.Uint64(s.b[pos>>3:]) >> (pos & 7)
			to := (*[2]uint64)(res[i:])
			to[0] |= low & mask
			to[1] |= low >> k & mask
			pos += int(2 * k)
		}
	}
}

// flat reads n residuals of w bits into s.res.
func (s *streamDecoder) flat(n int, w uint) {
	if w <= maxPut/2 && s.pos>>3+riceRoom+8 <= len(s.b) {
		s.res = [riceGroup]uint64{}
		s.addLow(w)
		s.pos += n * int(w)
		return
	}
	for i := range s.res[:n] {
		s.res[i] = s.wide(w)
	}
}

// groupAny is group for any parameter and residuals, anywhere.
func (s *streamDecoder) groupAny(n int, k uint) error {
	res := s.res[:n]
	for i := range res {
		q := s.zeros()
		if q > riceEscape {
			return fmt.Errorf("%d zeros: %w", q, errRange)
		}
		res[i] = uint64(q)
	}
	for i, q := range res {
		res[i] = q<<(k&63) | s.wide(k)
		if q == riceEscape {
			s.escaped |= 1 << i
		}
	}
	for ; s.escaped != 0; s.escaped &= s.escaped - 1 {
		i := bits.TrailingZeros16(s.escaped)
		res[i] += s.number() << (k & 63)
	}
	return nil
}
