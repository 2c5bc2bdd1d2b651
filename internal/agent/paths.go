package agent

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"telemetry/uplink"
	"telemetry/uplink/mqtt"
)

// paths remembers when packets were last seen to pass on each link both ways: a
// connection was made or refused. That is no proof of delivery, but it says that
// the modem is not what is missing. It is safe for concurrent use.
type paths struct {
	mu sync.Mutex
	at map[string]time.Duration // guarded by mu: boot clock, by link
}

// watch returns dial with its outcomes noted for a link.
func (p *paths) watch(link string, now func() int64, dial mqtt.DialFunc) mqtt.DialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err == nil || answered(err) {
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.at == nil {
				p.at = map[string]time.Duration{}
			}
			p.at[link] = time.Duration(now())
		}
		return c, err
	}
}

func (p *paths) last(link string) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at[link]
}

// answered reports whether a failed dial came to somebody who said no. A name
// server that says no is none.
func answered(err error) bool {
	if errors.As(err, new(*net.DNSError)) {
		return false
	}
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET)
}

// How old what is known of a path or of a receiver may be.
const (
	pathFresh     = 45 * time.Second // a link without a receiver is dialled at least this often
	receiverFresh = 10 * time.Second
)

// nobody reports whether packets pass on link i, but no receiver answers there,
// and none at the same address over another link: then its modem is not at
// fault. path is when packets were last seen to pass, addrs what it dials.
func nobody(i int, now, path time.Duration, links []uplink.LinkSnapshot, addrs []string) bool {
	if path == 0 || now-path > pathFresh {
		return false
	}
	for j, l := range links {
		heard := time.Duration(l.HeardNS)
		if j != i && heard != 0 && now-heard < receiverFresh && slices.Contains(addrs, l.Addr) {
			return false
		}
	}
	return true
}

func (a *Agent) nobody(r *running, i int) bool {
	l := &a.cfg.Links[i]
	return nobody(i, time.Duration(a.clock.BootNS()), a.paths.last(l.Name), r.snapshot().Links, l.Addresses)
}

// proof is when link i last proved that it carries data both ways; 0 while its
// connection has not: the ladder keeps the newest.
func (r *running) proof(i int) time.Duration {
	s := r.snapshot()
	if i >= len(s.Links) {
		return 0
	}
	return time.Duration(s.Links[i].HeardNS)
}

// speedFresh is how old a speed may be to count.
const speedFresh = 5 * time.Second

// moving reports whether the car is at speed, as its channel says; a car whose
// speed is not known stands.
func (a *Agent) moving() bool {
	v, at, ok := a.latest(a.cfg.Moving.Channel)
	return ok && a.cfg.Moving.Above > 0 && v > a.cfg.Moving.Above && a.clock.BootNS()-at < int64(speedFresh)
}

// latest returns the newest value of a channel in its unit, and its boot time.
func (a *Agent) latest(channel string) (value float64, at int64, ok bool) {
	if channel == "" {
		return 0, 0, false
	}
	for _, s := range a.Channels() {
		if (s.Name == channel || s.Source+"."+s.Name == channel) && s.Value != nil {
			return *s.Value, s.TickNS, true
		}
	}
	return 0, 0, false
}
