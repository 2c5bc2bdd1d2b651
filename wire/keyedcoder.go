package wire

import "math/bits"

// prob is what is known of one decision: the probability of a zero in the upper
// 22 bits, how often it was taken in the lower ten.
type prob uint32

const (
	probBits  = 10
	probHalf  = prob(1 << 31)
	probLimit = 127 // decisions after which the past fades
	probOne   = 1<<22 - 1
)

// probRates are the steps towards the latest decision: 2^16/(n + 1.5).
var probRates = func() (r [probLimit + 1]uint32) {
	for n := range r {
		r[n] = uint32(1 << 17 / (2*n + 3))
	}
	return r
}()

// young is how many decisions of its own a prob has taken while its kind's first
// guess learns from them too.
const young = 4

// guide tells the first guess of p's kind of a decision that p has learnt, while p
// is young.
func (p *prob) guide(seed *prob, one uint32) {
	if *p&(1<<probBits-1) <= young {
		seed.learn(one)
	}
}

// learn takes note of a decision.
func (p *prob) learn(one uint32) {
	v, n := uint32(*p)>>probBits, uint32(*p)&(1<<probBits-1)
	if one == 0 {
		v += uint32(uint64(probOne-v) * uint64(probRates[n]) >> 16)
	} else {
		v -= uint32(uint64(v) * uint64(probRates[n]) >> 16)
	}
	if n < probLimit {
		n++
	}
	*p = prob(v<<probBits | n)
}

// seed is p as the first guess of another decision, which its first own one
// nearly replaces.
func (p prob) seed() prob { return p >> probBits << probBits }

// binCoder writes decisions as one number, or reads them from it: a range coder
// with carry. A decision costs as many bits as it was unexpected. Writing and
// reading share all code but bit's two halves, so that they cannot differ.
type binCoder struct {
	reading bool
	span    uint32

	out     []byte // what is written
	low     uint64
	held    byte // last byte, which a carry may still change
	follow  int  // bytes 0xff after it
	started bool // the first byte, which is always 0, was left out

	in   []byte // what is read
	at   int    // bytes taken, beyond the end zeros
	code uint32
}

// startWriting begins to append to dst.
func (c *binCoder) startWriting(dst []byte) { *c = binCoder{span: 1<<32 - 1, out: dst} }

// startReading begins to read in.
func (c *binCoder) startReading(in []byte) {
	*c = binCoder{reading: true, span: 1<<32 - 1, in: in}
	for range 4 {
		c.code = c.code<<8 | c.next()
	}
}

func (c *binCoder) next() uint32 {
	at := c.at
	c.at++
	if at < len(c.in) {
		return uint32(c.in[at])
	}
	return 0
}

// bit codes a decision: v is what is written and ignored while reading.
func (c *binCoder) bit(p *prob, v uint32) uint32 {
	zero := c.span >> 16 * (uint32(*p)>>16 | 1) // never nothing, never all
	if c.reading {
		v = 0
		if c.code >= zero {
			c.code -= zero
			v = 1
		}
	}
	if v == 0 {
		c.span = zero
	} else {
		c.low += uint64(zero)
		c.span -= zero
	}
	p.learn(v)
	c.renew()
	return v
}

// flat codes n bits that nothing is known of, at most 64, the highest first.
func (c *binCoder) flat(v uint64, n int) uint64 {
	var out uint64
	for n > 0 {
		k := min(n, 16)
		n -= k
		c.span >>= k
		b := v >> n & (1<<k - 1)
		if c.reading {
			b = min(uint64(c.code/c.span), 1<<k-1)
			c.code -= uint32(b) * c.span
		}
		c.low += uint64(c.span) * b
		out = out<<k | b
		c.renew()
	}
	return out
}

// renew keeps at least 24 bits of span.
func (c *binCoder) renew() {
	if c.span < 1<<24 {
		c.more()
	}
}

func (c *binCoder) more() {
	for c.span < 1<<24 {
		c.span <<= 8
		if c.reading {
			c.code = c.code<<8 | c.next()
		} else {
			c.shift()
		}
	}
}

// shift moves the highest byte of low out.
func (c *binCoder) shift() {
	if c.low < 0xff<<24 || c.low>>32 != 0 {
		carry := byte(c.low >> 32)
		if c.started {
			c.out = append(c.out, c.held+carry)
		}
		c.started = true
		for ; c.follow > 0; c.follow-- {
			c.out = append(c.out, 0xff+carry)
		}
		c.held = byte(c.low >> 24)
	} else {
		c.follow++
	}
	c.low = c.low & (1<<24 - 1) << 8
}

// tail is how many zero bytes at the end of what is written may be left out.
const tail = 4

// finish ends writing and returns all that was appended.
func (c *binCoder) finish() []byte {
	// Of the numbers that say the same, the one with the most zeros at its end.
	for n := 31; n >= 0; n-- {
		v := (c.low + 1<<n - 1) >> n << n
		if v < c.low+uint64(c.span) {
			c.low = v
			break
		}
	}
	for range 5 {
		c.shift()
	}
	for range tail {
		if n := len(c.out) - 1; c.out[n] == 0 {
			c.out = c.out[:n]
		}
	}
	return c.out
}

// exhausted returns nil when what was read ends where the writer did.
func (c *binCoder) exhausted() error {
	switch {
	case c.at < len(c.in):
		return errRange
	case c.at > len(c.in)+tail:
		return ErrShort
	}
	return nil
}

// tree codes the n lowest bits of v, the highest first, each in the light of
// those before it. It has 2^n nodes.
func (c *binCoder) tree(nodes []prob, v uint64, n int) uint64 {
	node := uint64(1)
	for i := n - 1; i >= 0; i-- {
		node = node<<1 | uint64(c.bit(&nodes[node], uint32(v>>i&1)))
	}
	return node - 1<<n
}

// sizeNodes is the tree of a number's length in bits, 0 to 64.
const sizeNodes = 1 << 7

// number codes v by its length, and flat.
func (c *binCoder) number(nodes []prob, v uint64) uint64 {
	n := int(c.tree(nodes, uint64(bits.Len64(v)), 7))
	switch {
	case n > 64: // only hostile bytes say so
		return 0
	case n <= 1:
		return uint64(n)
	}
	return 1<<(n-1) | c.flat(v&(1<<(n-1)-1), n-1)
}
