package sim

import (
	"math"
	"math/bits"
)

// sineBits is the size of the sine table: 1024 entries, 0.1 % steps.
const sineBits = 10

// sineTable returns one period, scaled to ±32767.
func sineTable() *[1 << sineBits]int32 {
	var t [1 << sineBits]int32
	for i := range t {
		t[i] = int32(math.Round(32767 * math.Sin(2*math.Pi*float64(i)/float64(len(t)))))
	}
	return &t
}

// Multipliers of the noise hash: odd, with well spread bits.
const (
	hashTick = 0x9E3779B97F4A7C15
	hashOut  = 0xD6E8FEB86659FD93
)

// tickKey mixes a tick so that neighbours share no bits.
func tickKey(tick int64) uint64 {
	x := (uint64(tick) + 1) * hashTick
	x ^= x >> 32
	x *= hashOut
	return x ^ x>>29
}

// noise returns a number with a triangular distribution between -peak and peak,
// both below 1<<31. It depends on its arguments alone.
func noise(key, seed uint64, peak int64) int64 {
	h := (key ^ seed) * hashOut
	return (int64(h>>48) + int64(h>>32&0xffff) - 0xffff) * peak >> 16
}

// split returns the seed of part n of a seed.
func split(seed, n uint64) uint64 {
	x := seed + (n+1)*hashTick
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

// unit returns a number in [0, 1) for part n of a seed.
func unit(seed, n uint64) float64 { return float64(split(seed, n)>>11) / (1 << 53) }

// mulDiv returns a*b/c without overflow of the product; a must be >= 0 and the
// result must fit.
func mulDiv(a, b, c int64) int64 {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	q, _ := bits.Div64(hi%uint64(c), lo, uint64(c))
	return int64(q)
}
