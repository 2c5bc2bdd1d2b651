package board

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// Alive decides whether a watchdog may be fed: only while every part of the
// pipeline that should make progress does. It is safe for concurrent use.
type Alive struct {
	mu    sync.Mutex
	parts []part // guarded by mu
}

type part struct {
	name   string
	count  func() (progress uint64, busy bool)
	limit  time.Duration
	last   uint64
	since  time.Duration
	primed bool
}

// Watch adds a part. count returns a number that changes with each step of
// progress, and whether progress is due: a part with nothing to do is alive.
// limit is how long it may stand still while it is busy.
func (a *Alive) Watch(name string, limit time.Duration, count func() (progress uint64, busy bool)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.parts = append(a.parts, part{name: name, count: count, limit: limit})
}

// Check returns nil if every part lives, or names those that stand still. now
// is the boot clock.
func (a *Alive) Check(now time.Duration) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var stuck []string
	for i := range a.parts {
		p := &a.parts[i]
		n, busy := p.count()
		if !p.primed || n != p.last || !busy {
			p.primed, p.last, p.since = true, n, now
			continue
		}
		if now-p.since > p.limit {
			stuck = append(stuck, fmt.Sprintf("%s for %v", p.name, (now-p.since).Round(time.Second)))
		}
	}
	if stuck != nil {
		return fmt.Errorf("board: no progress: %s", strings.Join(stuck, ", "))
	}
	return nil
}
