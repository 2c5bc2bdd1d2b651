package ingest

import (
	"sync"
	"time"
)

// Rates are what one car may send in a second, on all its links together. Beyond
// them nothing is dropped: its credit shrinks to nothing, so that it holds what it
// has; and where a connection is of that car alone, it is read slower.
type Rates struct {
	Bytes   int64 // of payload
	Packets int64 // messages
}

// Rates of a car that has none of its own: far above what modems carry, below what
// one machine takes from many.
const (
	DefaultCarBytes   = 64 << 20
	DefaultCarPackets = 20_000
)

// Bounds of what is let through above the rates.
const (
	// rateBurst is how much of a car's rates may come at once: what it has ready
	// when a link comes back.
	rateBurst = 2 * time.Second
	// rateSlack is how far behind its credit a car may be before it is read
	// slower: statements take a while to arrive.
	rateSlack = time.Second
	// maxPause bounds one pause of reading, or the link would count as dead.
	maxPause = time.Second
	// slowedSaid is how often the same car is logged.
	slowedSaid = time.Minute
)

// meter counts what a car sends against its rates: two token buckets, each as the
// time at which it is full again. The zero value has sent nothing.
type meter struct {
	bytesAt, packetsAt int64
}

// take counts one message.
func (m *meter) take(now int64, r Rates, bytes int) {
	m.bytesAt = max(m.bytesAt, now) + int64(bytes)*int64(time.Second)/r.Bytes
	m.packetsAt = max(m.packetsAt, now) + int64(time.Second)/r.Packets
}

// over returns how long it takes until the car is within its rates and burst
// again; at most 0: it is.
func (m *meter) over(now int64, burst time.Duration) time.Duration {
	return time.Duration(max(m.bytesAt, m.packetsAt) - now - int64(burst))
}

// room returns the bytes that may still come.
func (m *meter) room(now int64, r Rates) int64 {
	left := -m.over(now, rateBurst)
	if left <= 0 {
		return 0
	}
	return int64(float64(min(left, rateBurst)) / float64(time.Second) * float64(r.Bytes))
}

// meter counts a message of a car that is known.
func (c *Core) meter(now int64, name string, bytes int) {
	k := c.cars[name]
	if k == nil {
		return
	}
	k.sent.take(now, c.cfg.CarRates, bytes)
	if k.sent.over(now, rateBurst) <= 0 {
		return
	}
	c.n.Slowed++
	k.slowed++
	if k.slowed == 1 || now-k.slowedSaidAt >= int64(slowedSaid) {
		k.slowedSaidAt = now
		c.out.Slowed = append(c.out.Slowed, name)
	}
}

// pacer holds the reading of cars that send beyond their rates. It is safe for
// concurrent use.
type pacer struct {
	rates   Rates
	maxCars int

	mu   sync.Mutex
	cars map[string]*meter // guarded by mu, also what is in it
}

// take counts a message and returns how long its connection is to wait.
func (p *pacer) take(now int64, car string, bytes int) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.cars[car]
	if m == nil {
		if len(p.cars) >= p.maxCars {
			p.forget(now)
		}
		if len(p.cars) >= p.maxCars {
			return 0 // the core takes nothing of it either
		}
		m = &meter{}
		p.cars[car] = m
	}
	m.take(now, p.rates, bytes)
	return max(0, min(m.over(now, rateBurst+rateSlack), maxPause))
}

// forget drops the cars that have nothing to wait for; the caller holds mu.
func (p *pacer) forget(now int64) {
	for name, m := range p.cars {
		if m.over(now, 0) <= 0 {
			delete(p.cars, name)
		}
	}
}
