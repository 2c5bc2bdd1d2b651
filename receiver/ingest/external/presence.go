package external

import (
	"strings"
	"sync"
	"time"

	"telemetry/receiver/ingest"
	"telemetry/wire"
)

// presence remembers which links of which cars were heard. An external broker
// does not tell who subscribes to acks; so a link counts as listening for as long
// as its car is heard on any link: an idle one needs acks to stay in use.
type presence struct {
	mu   sync.Mutex
	cars map[string]*seen // guarded by mu
}

type seen struct {
	at    time.Time
	links [ingest.MaxLinks]bool
}

// heard notes a message, and tells h of a link that is new.
func (p *presence) heard(now time.Time, h ingest.Handler, topic string, payload []byte) {
	car, leaf, ok := splitTele(topic)
	if !ok {
		return
	}
	link, known := uint8(0), false
	if _, err := wire.ParseLane(leaf); err == nil {
		s, _, err := wire.ParseSend(payload)
		link, known = s.Link, err == nil && s.Link < ingest.MaxLinks
	}
	if p.note(now, car, link, known) {
		h.Attached(car, link, true)
	}
}

// note reports whether the link is new.
func (p *presence) note(now time.Time, car string, link uint8, known bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.cars[car]
	if c == nil {
		if !known || len(p.cars) >= maxCars {
			return false
		}
		c = &seen{}
		p.cars[car] = c
	}
	c.at = now
	if !known || c.links[link] {
		return false
	}
	c.links[link] = true
	return true
}

// expire tells h of the links of cars that are gone.
func (p *presence) expire(now time.Time, h ingest.Handler) {
	gone := map[string]*seen{}
	p.mu.Lock()
	for name, c := range p.cars {
		if now.Sub(c.at) > carSilent {
			gone[name] = c
			delete(p.cars, name)
		}
	}
	p.mu.Unlock()
	for name, c := range gone {
		for i, up := range c.links {
			if up {
				h.Attached(name, uint8(i), false)
			}
		}
	}
}

func (p *presence) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.cars)
}

// splitTele splits tele/<car>/<leaf>.
func splitTele(topic string) (car, leaf string, ok bool) {
	rest, ok := strings.CutPrefix(topic, "tele/")
	if !ok {
		return "", "", false
	}
	car, leaf, ok = strings.Cut(rest, "/")
	return car, leaf, ok && wire.ValidCar(car) == nil
}

// carOf returns the car of ctl/<car>/<link>.
func carOf(topic string) string {
	rest, _ := strings.CutPrefix(topic, "ctl/")
	car, _, _ := strings.Cut(rest, "/")
	return car
}
