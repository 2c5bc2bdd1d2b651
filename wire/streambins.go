package wire

import (
	"math"
	"math/bits"
	"slices"
)

const (
	// maxDistinct values of a column have a bin each before bins are joined;
	// residuals of more values are gathered by length and highest bits.
	maxDistinct  = 128
	distinctLog  = 9 // slots of the table that counts them, as a power of two
	tokenBits    = 2 // below the leading one, that have tokens of their own
	maxTokens    = 65 << tokenBits
	centi        = 256 // costs of bins are in so many parts of a bit
	binBits      = 6   // about what a bin takes in the table beside its distance
	tableBits    = predictCodes + specialBits + predictCodes + specialBits + 1 + 4 + 2*tableStates
	minTableBits = 5
)

// fineBin is a run of residuals that are never told apart by a table.
type fineBin struct {
	low, high uint64
	count     uint32
}

// binChooser finds bins for residuals. It keeps memory between columns.
type binChooser struct {
	keys   [1 << distinctLog]uint64
	counts [1 << distinctLog]uint32
	tokens [maxTokens]uint32
	fine   []fineBin
	of     []uint8 // bin of each fine one
	binned [maxBins]uint32
	bins   []bin
	exact  bool // fine bins are single values
	log    uint
	cost   []uint64 // of the fine bins up to here, at the best
	from   []uint16 // the last joint bin of them begins here
}

// logs are the fractions of logarithms in parts of a bit.
var logs = func() (t [257]uint16) {
	for i := range t {
		t[i] = uint16(math.Round(centi * math.Log2(1+float64(i)/256)))
	}
	return t
}()

// log2 returns the logarithm of n, from 1 on, in parts of a bit.
func log2(n uint32) uint64 {
	w := uint(bits.Len32(n)) - 1
	return uint64(w)*centi + uint64(logs[n<<(31-w)>>23&0xff])
}

// slot returns where v stands or should stand among the distinct values.
func (c *binChooser) slot(v uint64) uint {
	i := uint(v * 0x9e3779b97f4a7c15 >> (64 - distinctLog))
	for c.counts[i&(1<<distinctLog-1)] > 0 && c.keys[i&(1<<distinctLog-1)] != v {
		i++
	}
	return i & (1<<distinctLog - 1)
}

// count makes a fine bin of each value in r and reports whether they are few
// enough for that. They are not sorted.
func (c *binChooser) count(r []uint64, short bool) bool {
	clear(c.counts[:])
	c.fine = c.fine[:0]
	most := maxDistinct
	if short {
		most = shortDistinct
	}
	for _, v := range r {
		i := c.slot(v)
		if c.counts[i] == 0 {
			if len(c.fine) == most {
				return false
			}
			c.keys[i] = v
			c.fine = append(c.fine, fineBin{low: v, high: v})
		}
		c.counts[i]++
	}
	for i := range c.fine {
		c.fine[i].count = c.counts[c.slot(c.fine[i].low)]
	}
	c.exact = true
	return true
}

// sort sorts the fine bins by insertion: they are few, and often in order.
func (c *binChooser) sort() {
	for i := 1; i < len(c.fine); i++ {
		f := c.fine[i]
		j := i
		for ; j > 0 && c.fine[j-1].low > f.low; j-- {
			c.fine[j] = c.fine[j-1]
		}
		c.fine[j] = f
	}
}

// token is the length of v and its highest bits.
func token(v uint64) uint {
	if v < 1<<tokenBits {
		return uint(v)
	}
	w := width(v)
	return (w-tokenBits)<<tokenBits | uint(v>>(w-1-tokenBits))&(1<<tokenBits-1)
}

// gather is count by tokens, in order.
func (c *binChooser) gather(r []uint64) {
	c.exact = false
	c.fine = c.fine[:0]
	clear(c.tokens[:])
	for _, v := range r {
		c.tokens[token(v)]++
	}
	for i, n := range c.tokens {
		if n == 0 {
			continue
		}
		f := fineBin{uint64(i), uint64(i), n}
		if i >= 1<<tokenBits {
			w := uint(i)>>tokenBits - 1
			f.low = (1<<tokenBits | uint64(i)&(1<<tokenBits-1)) << w
			f.high = f.low + 1<<w - 1
		}
		c.fine = append(c.fine, f)
	}
}

// least returns what n residuals take at the least: while all fine bins stay
// apart, their entropy; joint ones take more, if fewer bits of the table.
func (c *binChooser) least(n int) uint {
	sum := uint64(n) * log2(uint32(n))
	for i := range c.fine {
		f := &c.fine[i]
		sum += uint64(f.count) * (uint64(width(f.high-f.low))*centi - log2(f.count))
	}
	return uint(sum / centi)
}

// join joins fine bins into those that cost least together, and returns about
// how many bits n residuals take then, the table with them.
func (c *binChooser) join(n int) uint {
	m := len(c.fine)
	c.cost = slices.Grow(c.cost[:0], m+1)[:m+1]
	c.from = slices.Grow(c.from[:0], m+1)[:m+1]
	c.cost[0] = 0
	total := log2(uint32(n))
	for j := 1; j <= m; j++ {
		best, from := uint64(math.MaxUint64), 0
		high := c.fine[j-1].high
		count := uint32(0)
		for i := j - 1; i >= 0; i-- {
			f := &c.fine[i]
			count += f.count
			w := width(high - f.low)
			gap := uint64(binBits)
			if i > 0 && f.low != c.fine[i-1].high+1 {
				gap += uint64(numberBits(f.low-c.fine[i-1].high)) + 1
			}
			cost := uint64(count)*(uint64(w)*centi+total-log2(count)) + gap*centi
			if cost >= best {
				break // it would grow further
			}
			if cost += c.cost[i]; cost < best {
				best, from = cost, i
			}
		}
		c.cost[j], c.from[j] = best, uint16(from)
	}
	c.take()
	return uint(c.cost[m]/centi) + tableBits + tableStates*5
}

// take makes the bins that join found.
func (c *binChooser) take() {
	c.bins = c.bins[:0]
	c.of = slices.Grow(c.of[:0], len(c.fine))[:len(c.fine)]
	for j := len(c.fine); j > 0; j = int(c.from[j]) {
		i := int(c.from[j])
		f := &c.fine[i]
		c.bins = append(c.bins, bin{low: f.low, width: uint8(width(c.fine[j-1].high - f.low))})
	}
	slices.Reverse(c.bins)
	clear(c.binned[:])
	at := len(c.bins) - 1
	for j := len(c.fine); j > 0; at-- {
		i := int(c.from[j])
		for k := i; k < j; k++ {
			c.of[k] = uint8(at)
			c.binned[at%maxBins] += c.fine[k].count
		}
		j = i
	}
}

// weigh shares the states of a table for n residuals among the bins.
func (c *binChooser) weigh(n int) {
	c.log = min(max(width(uint64(n))-2, minTableBits), maxTableBits-1)
	if len(c.bins) == 1 {
		c.log = 0
	}
	for 1<<c.log < 2*len(c.bins) {
		if c.log == maxTableBits || 1<<c.log >= n {
			break
		}
		c.log++
	}
	size := 1 << c.log
	left, most := size, 0
	for i := range c.bins {
		w := max(1, int((uint64(c.binned[i%maxBins])*uint64(size)+uint64(n)/2)/uint64(n)))
		c.bins[i].weight = uint16(w)
		left -= w
		if c.bins[i].weight > c.bins[most].weight {
			most = i
		}
	}
	for left != 0 {
		if w := int(c.bins[most].weight) + left; w >= int(c.bins[most].weight)/2+1 && w > 0 {
			c.bins[most].weight = uint16(w)
			return
		}
		// Too many bins of one state: all give what they can.
		for i := range c.bins {
			if b := &c.bins[i]; left < 0 && b.weight > 1 {
				b.weight--
				left++
			}
		}
		most = c.heaviest()
	}
}

func (c *binChooser) heaviest() int {
	most := 0
	for i := range c.bins {
		if c.bins[i].weight > c.bins[most].weight {
			most = i
		}
	}
	return most
}
