package uplink

import (
	"cmp"
	"hash/fnv"
	"slices"
)

// rendezvous orders addrs by the hash of (car, address): all links of a car
// agree, and cars spread evenly whatever the order in the configuration.
func rendezvous(car string, addrs []string) []string {
	score := func(a string) uint64 {
		h := fnv.New64a()
		_, _ = h.Write([]byte(car + "\x00" + a))
		x := h.Sum64() // FNV mixes short tails badly: finish as splitmix64 does
		x ^= x >> 30
		x *= 0xbf58476d1ce4e5b9
		x ^= x >> 27
		x *= 0x94d049bb133111eb
		return x ^ x>>31
	}
	out := slices.Clone(addrs)
	slices.SortStableFunc(out, func(a, b string) int {
		return cmp.Or(cmp.Compare(score(b), score(a)), cmp.Compare(a, b))
	})
	return slices.Compact(out)
}

// dialAddr is where l dials next: the address that rule 19 prefers, else the
// car's own order, one further with each failure.
func (e *Engine) dialAddr(l *link) string {
	order := l.addrs
	if i := slices.Index(l.addrs, e.prefer); i > 0 {
		order = append([]string{e.prefer}, slices.Delete(slices.Clone(l.addrs), i, i+1)...)
	}
	return order[l.fails%len(order)]
}

// moveLinks applies protocol rule 19: after 2 s stalled, one link tries the next
// address; when an instance that isn't stalled is found, all follow.
func (e *Engine) moveLinks() {
	good := e.goodConnection()
	if good != nil {
		e.scoutWaitNS = 0
		for _, l := range e.links {
			c := l.cur
			if c == nil || l.next != nil || e.now < l.dialAtNS || !e.stuckOn(c) || c.addr == good.addr || !slices.Contains(l.addrs, good.addr) {
				continue
			}
			e.prefer = good.addr
			e.dial(l, good.addr, true, whyFollows)
		}
		return
	}
	if e.now < e.nextScoutNS {
		return
	}
	var scout *link
	for _, l := range e.links {
		if l.next != nil {
			if l.next.moving {
				return // one at a time
			}
			continue
		}
		if l.cur == nil || !l.cur.up {
			continue
		}
		if !e.stuckOn(l.cur) {
			return
		}
		if len(l.addrs) > 1 && (scout == nil || l.cur.est.rate < scout.cur.est.rate) {
			scout = l
		}
	}
	if scout == nil {
		return
	}
	e.scoutWaitNS = min(max(2*e.scoutWaitNS, scoutFirstNS), scoutMaxNS)
	e.nextScoutNS = e.now + e.scoutWaitNS
	i := slices.Index(scout.addrs, scout.cur.addr)
	e.dial(scout, scout.addrs[(i+1)%len(scout.addrs)], true, whyScouts)
}

// goodConnection returns a connection that leads to an instance without trouble.
func (e *Engine) goodConnection() *connection {
	for _, l := range e.links {
		for _, c := range [...]*connection{l.cur, l.next} {
			if c == nil || !c.up || c.dead {
				continue
			}
			for _, h := range c.heard {
				if h.v.fresh(e.now) && e.now-h.ns < silentAfterNS && h.v.troubledNS == 0 {
					return c
				}
			}
		}
	}
	return nil
}

// stuckOn reports whether every instance behind c has been in trouble for 2 s.
func (e *Engine) stuckOn(c *connection) bool {
	if !c.up {
		return false
	}
	n := 0
	for _, h := range c.heard {
		if !h.v.fresh(e.now) || e.now-h.ns >= silentAfterNS {
			continue
		}
		if h.v.troubledNS == 0 || (e.now-h.v.troubledNS < stalledNS && !h.v.draining()) {
			return false
		}
		n++
	}
	return n > 0
}
