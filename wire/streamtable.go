package wire

import (
	"encoding/binary"
	"fmt"
)

// Entropy coding of a long column: residuals fall into bins, ranges of a power
// of two of them, and a table of states (tANS) gives each bin bits by its share.
const (
	maxTableBits = 11  // states of a table, as a power of two
	maxBins      = 256 // of a column
	tableStates  = 2   // that take turns, so that one need not wait for the other
)

// bin is one range of residuals: from low on, 1<<width of them, modulo 2^64.
type bin struct {
	low    uint64
	width  uint8
	weight uint16 // its share of the states, at least 1
}

// tableStep is how far apart the states of a bin are spread, odd.
func tableStep(size int) int { return (size>>1 + size>>3 + 3) | 1 }

// spread gives every state a bin: each in turn as many as its weight.
func spread(of []uint8, bins []bin) {
	at, step, mask := 0, tableStep(len(of)), len(of)-1
	for i := range bins {
		for range bins[i].weight {
			of[at&mask] = uint8(i)
			at += step
		}
	}
}

// codeTable is what a decoder makes of a column's bins.
type codeTable struct {
	log   uint // of the number of states
	most  uint // the greatest width of a bin
	plain bool // residuals have no sign
	left  int  // residuals that still follow
	state [tableStates]uint
	bins  [maxBins]binRange
	// states says which bin a state stands for, in the low 8 bits, and which
	// states may follow: what is above bit 16, plus as many of the next bits as
	// bits 8 to 11 say.
	states [1 << maxTableBits]uint32
}

type binRange struct {
	low   uint64
	width uint
}

// table reads the bins of n residuals and the first states.
func (s *streamDecoder) table(t *codeTable, n int) error {
	t.left = n
	t.plain = s.take(1) == 1
	t.log = uint(s.take(4))
	size := 1 << t.log
	if t.log > maxTableBits || size > 2*n {
		return fmt.Errorf("table of %d states for %d values: %w", size, n, errRange)
	}
	var bins [maxBins]bin
	end := uint64(0)
	width, weight := -1, -1
	var err error
	count := 0
	s.work += 2 * size
	for left := size; left > 0; count++ {
		s.work++
		if count == maxBins {
			return fmt.Errorf("more than %d bins: %w", maxBins, errRange)
		}
		if s.take(1) == 1 {
			end += uint64(unzigzag(s.number()))
		}
		if width, err = s.param(width); err != nil {
			return err
		}
		if weight, err = s.param(weight); err != nil {
			return err
		}
		if weight > maxTableBits {
			return fmt.Errorf("weight of %d bits: %w", weight, errRange)
		}
		b := &bins[count%maxBins]
		*b = bin{low: end, width: uint8(width), weight: uint16(s.take(uint(weight)) | 1<<weight)}
		if left -= int(b.weight); left < 0 {
			return fmt.Errorf("weights of more than %d: %w", size, errRange)
		}
		t.bins[count%maxBins] = binRange{end, uint(width)}
		t.most = max(t.most, uint(width))
		end += 1 << (uint(width) & 127)
	}
	t.build(bins[:count])
	for i := range t.state {
		t.state[i] = uint(s.take(t.log))
	}
	return nil
}

// build fills the states from the bins, whose weights sum up to their number.
func (t *codeTable) build(bins []bin) {
	var of [1 << maxTableBits]uint8
	size := 1 << t.log
	spread(of[:size], bins)
	var next [maxBins]uint16
	for i := range bins {
		next[i] = bins[i].weight
	}
	for i, b := range of[:size] {
		x := next[b]
		next[b]++
		n := t.log + 1 - width(uint64(x))
		t.states[i] = uint32(x<<n-uint16(size))<<16 | uint32(n)<<8 | uint32(b)
	}
}

// coded reads the next n residuals of a group into s.res.
func (s *streamDecoder) coded(t *codeTable, n int) {
	var of [riceGroup]uint8
	t.left -= n
	if t.left >= tableStates && n == riceGroup && s.pos>>3+riceGroup*maxTableBits/8+16 <= len(s.b) {
		s.walk(t, &of)
	} else {
		for i := range of[:n] {
			e := t.states[t.state[i%tableStates]&(1<<maxTableBits-1)]
			of[i] = uint8(e)
			if t.left+n-i > tableStates { // the last ones have no next state
				t.state[i%tableStates] = uint(e>>16) + uint(s.take(uint(e>>8&15)))
			}
		}
	}
	res := &s.res
	switch {
	case t.most == 0:
		for i, b := range of {
			res[i] = t.bins[b].low
		}
	case t.most <= maxPut && s.pos>>3+riceGroup*8+8 <= len(s.b):
		pos := s.pos
		for i, b := range of[:n] {
			r := &t.bins[b]
			word := binary.LittleEndian.Uint64(s.b[pos>>3:]) >> (pos & 7)
			res[i%riceGroup] = r.low + word&(1<<(r.width&63)-1)
			pos += int(r.width)
		}
		s.pos = pos
	default:
		for i, b := range of[:n] {
			res[i] = t.bins[b].low + s.wide(t.bins[b].width)
		}
	}
	if t.plain {
		for i, v := range res {
			res[i] = zigzag(int64(v))
		}
	}
}

// walk goes through the states of a whole group, which is not the last.
func (s *streamDecoder) walk(t *codeTable, of *[riceGroup]uint8) {
	const mask = 1<<maxTableBits - 1
	a, b := t.state[0], t.state[1]
	pos, from := s.pos, s.b
	for i := 0; i < riceGroup; i += 4 {
		word := binary.LittleEndian.Uint64(from[pos>>3:]) >> (pos & 7)
		to := (*[4]uint8)(of[i:])
		e0, e1 := t.states[a&mask], t.states[b&mask]
		n0, n1 := e0>>8&15, e1>>8&15
		a = uint(e0>>16) + uint(word)&(1<<n0-1)
		word >>= n0
		b = uint(e1>>16) + uint(word)&(1<<n1-1)
		word >>= n1
		e2, e3 := t.states[a&mask], t.states[b&mask]
		n2, n3 := e2>>8&15, e3>>8&15
		a = uint(e2>>16) + uint(word)&(1<<n2-1)
		word >>= n2
		b = uint(e3>>16) + uint(word)&(1<<n3-1)
		to[0], to[1], to[2], to[3] = uint8(e0), uint8(e1), uint8(e2), uint8(e3)
		pos += int(n0 + n1 + n2 + n3)
	}
	t.state[0], t.state[1] = a, b
	s.pos = pos
}
