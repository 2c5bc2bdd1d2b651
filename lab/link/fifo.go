package link

// item is a packet with a time: when it came, or when it comes out.
type item struct {
	p  Packet
	at int64
}

// fifo is a ring of packets that grows and never shrinks.
type fifo struct {
	ring  []item
	first int
	n     int // items in it
}

// fifoMin is the length that a ring begins with.
const fifoMin = 64

func (f *fifo) push(it item) {
	if f.n == len(f.ring) {
		ring := make([]item, max(fifoMin, 2*f.n))
		k := copy(ring, f.ring[f.first:])
		copy(ring[k:], f.ring[:f.first])
		f.ring, f.first = ring, 0
	}
	i := f.first + f.n
	if i >= len(f.ring) {
		i -= len(f.ring)
	}
	f.ring[i] = it
	f.n++
}

// head returns the oldest item, valid until the next push or pop. There must be
// one.
func (f *fifo) head() *item { return &f.ring[f.first] }

func (f *fifo) pop() item {
	it := f.ring[f.first]
	f.ring[f.first] = item{}
	if f.first++; f.first == len(f.ring) {
		f.first = 0
	}
	f.n--
	return it
}
