package sequence

import (
	"fmt"

	"telemetry/receiver/sequence/timemap"
	"telemetry/receiver/topic"
	"telemetry/reorder"
)

// car is everything that a partition knows of one car; owned by its Partition.
type car struct {
	name  string
	core  *reorder.Car
	maps  timemap.Car
	queue [queues]fifo
	dirty bool // differs from the committed state
	stats CarSnapshot

	cache cache
}

// held is one record in memory.
type held struct {
	value    []byte
	headers  []topic.Header
	key      []byte
	appendMS int64
	readNS   int64 // of a sampled batch: when it was read, ns since 1970; 0: not noted, or read again
	link     uint8
}

// cache keeps the records of batches that wait, up to a limit; the others are
// read again by offset.
type cache struct {
	records map[int64]held
	order   []int64 // offsets as they came, ascending; some are gone already
	bytes   int64
}

func heldBytes(h *held) int64 { return int64(len(h.value)+len(h.key)) + 512 }

// put keeps a record if the limits allow it. The record's memory is kept.
func (c *cache) put(offset int64, h held, limit int64, b *Budget) {
	n := heldBytes(&h)
	if _, ok := c.records[offset]; ok || c.bytes+n > limit || !b.take(n) {
		return
	}
	if c.records == nil {
		c.records = make(map[int64]held)
	}
	c.records[offset] = h
	c.order = append(c.order, offset)
	c.bytes += n
}

// take removes a record and returns it.
func (c *cache) take(offset int64, b *Budget) (held, bool) {
	h, ok := c.records[offset]
	if ok {
		c.drop(offset, &h, b)
	}
	return h, ok
}

func (c *cache) drop(offset int64, h *held, b *Budget) {
	delete(c.records, offset)
	n := heldBytes(h)
	c.bytes -= n
	b.give(n)
}

// trim forgets all records below an offset: nothing waits for them any more.
func (c *cache) trim(below int64, b *Budget) {
	n := 0
	for n < len(c.order) && c.order[n] < below {
		if h, ok := c.records[c.order[n]]; ok {
			c.drop(c.order[n], &h, b)
		}
		n++
	}
	c.order = append(c.order[:0], c.order[n:]...)
	if len(c.records) == 0 {
		c.records, c.order = nil, nil
	}
}

// lowest returns the lowest offset that the car still needs.
func (c *car) lowest() (int64, bool) {
	low, any := c.core.LowestNeeded()
	for i := range c.queue {
		if o, ok := c.queue[i].lowest(); ok && (!any || o < low) {
			low, any = o, true
		}
	}
	return low, any
}

// queued returns how many batches are decided and not yet written.
func (c *car) queued() int {
	n := 0
	for i := range c.queue {
		n += c.queue[i].len()
	}
	return n
}

// appendState serialises the car: reorder's state, the time maps, the queues.
func (c *car) appendState(dst, scratch []byte) (state, buf []byte) {
	dst = append(dst, stateVersion, stateOfCar)
	scratch = c.core.AppendState(scratch[:0])
	dst = appendBytes(dst, scratch)
	scratch = c.maps.Append(scratch[:0])
	dst = appendBytes(dst, scratch)
	for i := range c.queue {
		dst = c.queue[i].append(dst)
	}
	return dst, scratch
}

// parseCar restores a car from its state record.
func parseCar(cfg *Config, name string, b []byte) (*car, error) {
	r := stateReader{b: b}
	r.head(stateOfCar)
	core, maps := r.bytes(), r.bytes()
	c := newCar(cfg, name)
	for i := range c.queue {
		c.queue[i] = r.queue(name)
	}
	if r.err == nil && len(r.b) != 0 {
		r.fail()
	}
	if r.err != nil {
		return nil, fmt.Errorf("sequence: state of car %s: %w", name, r.err)
	}
	var err error
	if c.core, err = reorder.ParseCar(cfg.Reorder, core); err != nil {
		return nil, fmt.Errorf("sequence: state of car %s: %w: %w", name, ErrState, err)
	}
	if c.maps, err = timemap.Parse(maps); err != nil {
		return nil, fmt.Errorf("sequence: state of car %s: %w: %w", name, ErrState, err)
	}
	if c.core.Name() != name {
		return nil, fmt.Errorf("sequence: state of car %s: %w: it names car %s", name, ErrState, c.core.Name())
	}
	return c, nil
}

func newCar(cfg *Config, name string) *car {
	c := &car{name: name, core: reorder.NewCar(name, cfg.Reorder)}
	c.stats.Car = name
	return c
}
