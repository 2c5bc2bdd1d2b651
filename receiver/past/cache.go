package past

import (
	"fmt"
	"sync"
	"time"
)

// cache keeps the newest answers for a while: people go to and fro. Late data may
// still change them, so not for long.
type cache struct {
	mu      sync.Mutex
	entries []cached // oldest first
	size    int
}

type cached struct {
	key  string
	a    *SeriesAnswer
	size int
	at   time.Time
}

const (
	cacheBytes = 32 << 20
	cacheTime  = 20 * time.Second
)

func cacheKey(car string, sel *Selection, from, to, step int64, store bool) string {
	return fmt.Sprintf("%q %q %q %d %d %d %v", car, sel.names, sel.whole, from, to, step, store)
}

func (c *cache) get(key string) *SeriesAnswer {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.entries {
		if e := &c.entries[i]; e.key == key && time.Since(e.at) < cacheTime {
			return e.a
		}
	}
	return nil
}

func (c *cache) put(key string, a *SeriesAnswer) {
	size := 1000
	for i := range a.Series {
		size += 24*len(a.Series[i].T) + 500
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries = append(c.entries, cached{key, a, size, time.Now()})
	c.size += size
	for len(c.entries) > 0 && (c.size > cacheBytes || time.Since(c.entries[0].at) > cacheTime) {
		c.size -= c.entries[0].size
		c.entries = c.entries[1:]
	}
}
