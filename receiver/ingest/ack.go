package ingest

import (
	"cmp"
	"slices"
	"strconv"

	"telemetry/wire"
)

// Tick does what is due: records that failed, acks, requests, forgetting. It
// should be called every few milliseconds, and returns when it wants to be
// called next at the latest.
func (c *Core) Tick(now int64) int64 {
	c.again(now)
	if now >= c.nextAckNS {
		c.nextAckNS = now + int64(AckInterval)
		c.expire(now)
		c.requests(now)
		for _, name := range sortedKeys(c.cars) {
			c.ack(now, c.cars[name])
		}
	}
	next := c.nextAckNS
	if len(c.retry) > 0 {
		next = min(next, c.pend[c.retry[0]].retryAt)
	}
	return next
}

// ack makes one statement to a car, the same on every link that is heard.
func (c *Core) ack(now int64, k *car) {
	var payload []byte
	for link := range uint8(MaxLinks) {
		if !k.usable(now, link) {
			continue
		}
		if payload == nil {
			k.counter++
			payload = wire.AppendAck(nil, c.statement(now, k))
			c.n.Acks++
		}
		c.out.Publish = append(c.out.Publish, Publish{ctlTopic(k.name, link), payload})
	}
}

func (c *Core) statement(now int64, k *car) *wire.Ack {
	a := &wire.Ack{
		Instance: c.cfg.Instance,
		Nonce:    c.cfg.Nonce,
		Counter:  k.counter,
		State:    c.state(now),
		Credit:   c.credit(now, k),
	}
	if c.cfg.Shared && a.State != wire.InstanceOK {
		a.Credit = 0 // what comes now reaches another instance, or none
	}
	a.Links = c.links(now, k)
	a.Streams = c.streamAcks(k)
	return a
}

// links returns the echoes of the connections heard of.
func (c *Core) links(now int64, k *car) []wire.LinkEcho {
	var out []wire.LinkEcho
	for id, l := range k.links {
		if now-l.lastAt > int64(linkHeard) && k.attached[id.link] == 0 {
			continue
		}
		out = append(out, wire.LinkEcho{
			Link: id.link, Gen: id.gen, Messages: l.messages, Bytes: l.bytes,
			LastSentNS: l.lastSentNS, HeldNS: max(0, now-l.lastAt),
		})
	}
	slices.SortFunc(out, func(x, y wire.LinkEcho) int {
		return cmp.Or(cmp.Compare(x.Link, y.Link), cmp.Compare(x.Gen, y.Gen))
	})
	return out
}

// streamAcks lists the sets of all streams, the lowest ranges first (rule 18).
// When not all fit, the next ack begins with another stream.
func (c *Core) streamAcks(k *car) []wire.StreamAck {
	keys := k.sortedStreams()
	left, cut := MaxAckRanges, false
	pick := func(rs wire.Ranges) wire.Ranges {
		n := min(len(rs), MaxAckStreamRanges, left)
		cut = cut || n < len(rs)
		left -= n
		return choose(rs, n, k.cursor)
	}
	var out []wire.StreamAck
	for i := range keys {
		key := keys[(i+k.rotate)%len(keys)]
		st := k.streams[key]
		s := wire.StreamAck{Epoch: key.epoch, Lane: key.lane, Shard: key.shard}
		s.Durable, s.Received, s.Refused = pick(st.durable), pick(st.received), pick(st.refused)
		if len(s.Durable)+len(s.Received)+len(s.Refused) > 0 {
			out = append(out, s)
		}
	}
	if cut {
		k.rotate = (k.rotate + 1) % len(keys)
		k.cursor++
		c.n.AcksCut++
	} else {
		k.rotate = 0
	}
	return out
}

// choose returns n ranges of a set: half of them the lowest, which let base
// rise, a quarter the highest, which are the newest, and a quarter that moves
// through the rest, so that each range is told in the end. The set's memory is
// not shared when it is cut.
func choose(rs wire.Ranges, n, cursor int) wire.Ranges {
	if n >= len(rs) {
		return rs
	}
	high, middle := n/4, n/4
	low := n - high - middle
	out := append(make(wire.Ranges, 0, n), rs[:low]...)
	rest := rs[low : len(rs)-high]
	if middle > 0 {
		at := min(cursor*middle%len(rest), len(rest)-middle)
		out = append(out, rest[at:at+middle]...)
	}
	return append(out, rs[len(rs)-high:]...)
}

// sortedStreams returns the keys of a car's streams in a fixed order.
func (k *car) sortedStreams() []streamKey {
	keys := make([]streamKey, 0, len(k.streams))
	for key := range k.streams {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, compareStreams)
	return keys
}

// compareStreams orders critical before the rest, then old epochs before new.
func compareStreams(a, b streamKey) int {
	return cmp.Or(
		cmp.Compare(a.lane, b.lane),
		cmp.Compare(a.epoch.Counter, b.epoch.Counter),
		cmp.Compare(a.epoch.Nonce, b.epoch.Nonce),
		cmp.Compare(a.shard, b.shard),
	)
}

// ctlTopic names the topic of one link's acks and commands.
func ctlTopic(car string, link uint8) string {
	return "ctl/" + car + "/" + strconv.Itoa(int(link))
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
