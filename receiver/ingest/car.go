package ingest

import (
	"telemetry/wire"
)

// car is what the instance knows of one car.
type car struct {
	name      string
	heardAt   int64
	counter   uint64 // of acks
	waiting   int64  // bytes on their way to Kafka
	linkAt    [MaxLinks]int64
	attached  [MaxLinks]int // connections that subscribe to the link's acks
	links     map[linkGen]*linkState
	streams   map[streamKey]*stream
	wanted    map[wire.CatalogueHash]*wanted
	lost      map[wire.CatalogueHash]bool // the car does not have them any more
	rotate    int                         // where a truncated ack begins next
	cursor    int                         // through the ranges that a truncated set leaves out
	heldBytes int64                       // of batches that wait for a catalogue
	batches   uint64
	dups      uint64
	refused   uint64

	sent         meter
	slowed       uint64 // messages beyond its rates
	slowedSaidAt int64
}

// linkGen names one connection of a car.
type linkGen struct {
	link uint8
	gen  uint32
}

// linkState counts what came over one connection.
type linkState struct {
	messages   uint64
	bytes      uint64
	lastSentNS int64
	lastAt     int64
}

// car returns the record of a car, made if need be; nil when there are too many.
func (c *Core) car(now int64, name string) *car {
	if k := c.cars[name]; k != nil {
		k.heardAt = max(k.heardAt, now)
		return k
	}
	if len(c.cars) >= c.cfg.MaxCars {
		c.n.Overflow++
		return nil
	}
	k := &car{
		name: name, heardAt: now, counter: c.counterFloor, links: map[linkGen]*linkState{}, streams: map[streamKey]*stream{},
		wanted: map[wire.CatalogueHash]*wanted{}, lost: map[wire.CatalogueHash]bool{},
	}
	for i := range k.linkAt {
		k.linkAt[i] = never
	}
	c.cars[name] = k
	return k
}

// never is a time so long ago that no limit includes it.
const never = -1 << 62

// heard counts one message of a connection: proof of delivery, whatever is in
// it. It is false when the link's number is impossible.
func (k *car) heard(now int64, s wire.Send, bytes int) bool {
	if s.Link >= MaxLinks {
		return false
	}
	id := linkGen{s.Link, s.Gen}
	l := k.links[id]
	if l == nil {
		k.dropOldestGen(s.Link)
		l = &linkState{lastSentNS: s.SentNS}
		k.links[id] = l
	}
	l.messages++
	l.bytes += uint64(bytes)
	l.lastSentNS = max(l.lastSentNS, s.SentNS)
	l.lastAt = max(l.lastAt, now)
	k.linkAt[s.Link] = max(k.linkAt[s.Link], now)
	return true
}

// dropOldestGen makes room for one more connection of a link.
func (k *car) dropOldestGen(link uint8) {
	var oldest linkGen
	n, at := 0, int64(0)
	for id, l := range k.links {
		if id.link != link {
			continue
		}
		if n == 0 || l.lastAt < at || l.lastAt == at && id.gen < oldest.gen {
			oldest, at = id, l.lastAt
		}
		n++
	}
	if n >= MaxGens {
		delete(k.links, oldest)
	}
}

// usable reports whether acks for a link go out.
func (k *car) usable(now int64, link uint8) bool {
	return k.attached[link] > 0 || now-k.linkAt[link] <= int64(linkHeard)
}

// bestLink returns the usable link that was heard last, or false.
func (k *car) bestLink(now int64) (uint8, bool) {
	best, found := uint8(0), false
	for i := range uint8(MaxLinks) {
		if k.usable(now, i) && (!found || k.linkAt[i] > k.linkAt[best]) {
			best, found = i, true
		}
	}
	return best, found
}

// clock estimates the car's boot clock from the connection that was heard last.
// It is behind by what the way up took: a command ends that much too early.
func (k *car) clock(now int64) int64 {
	var last *linkState
	for _, l := range k.links {
		if last == nil || l.lastAt > last.lastAt || l.lastAt == last.lastAt && l.lastSentNS > last.lastSentNS {
			last = l
		}
	}
	if last == nil {
		return 0
	}
	return last.lastSentNS + now - last.lastAt
}

// expire forgets connections, drained streams and silent cars.
func (c *Core) expire(now int64) {
	for name, k := range c.cars {
		for id, l := range k.links {
			// Kept while its owner may come back: the count must go on.
			if now-l.lastAt > int64(carIdle) && k.attached[id.link] == 0 {
				delete(k.links, id)
			}
		}
		for key, st := range k.streams {
			if len(st.received) == 0 && now-st.lastAt > int64(streamIdle) {
				delete(k.streams, key)
			}
		}
		if len(k.streams) == 0 && k.waiting == 0 && now-k.heardAt > int64(carIdle) && k.attached == [MaxLinks]int{} {
			for h, w := range k.wanted {
				c.unwant(k, h, w)
			}
			c.counterFloor = max(c.counterFloor, k.counter)
			delete(c.cars, name)
		}
	}
}
