package guard

import (
	"net/netip"
	"sync"
	"time"
)

// Limits of wrong tokens: enough for a person, and nothing for a program. They keep
// log and counters readable; a random token cannot be found by trying.
const (
	wrongBurst = 10              // from one address, at once
	wrongEvery = 6 * time.Second // until one more is allowed
	maxWrong   = 4096            // addresses that are remembered
)

// limiter counts wrong tokens by address.
type limiter struct {
	mu    sync.Mutex
	since map[netip.Addr]time.Time // guarded by mu: when the address would have none wrong; in the future by wrongEvery for each
}

// wait returns how long an address must wait; 0: it need not.
func (l *limiter) wait(a netip.Addr, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(0, l.since[l.key(a)].Add(-(wrongBurst-1)*wrongEvery).Sub(now))
}

// wrong counts one of an address.
func (l *limiter) wrong(a netip.Addr, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.since) >= maxWrong {
		for k, t := range l.since {
			if !t.After(now) {
				delete(l.since, k)
			}
		}
	}
	a = l.key(a)
	at := l.since[a]
	if at.Before(now) {
		at = now
	}
	l.since[a] = at.Add(wrongEvery)
}

// key returns under what an address is counted; the caller holds mu. Where there
// is no room, all others are one.
func (l *limiter) key(a netip.Addr) netip.Addr {
	a = network(a)
	if _, known := l.since[a]; !known && len(l.since) >= maxWrong {
		return netip.Addr{}
	}
	return a
}

// network is what one customer has: of IPv6 a /64.
func network(a netip.Addr) netip.Addr {
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}

// lines bounds what is logged of refusals; all are counted.
type lines struct {
	mu     sync.Mutex
	minute time.Time // guarded by mu
	n      int       // guarded by mu: in this minute
}

// maxLines is how many refusals are logged in a minute.
const maxLines = 20

func (l *lines) allowed(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.minute) >= time.Minute {
		l.minute, l.n = now, 0
	}
	l.n++
	return l.n <= maxLines
}
