package ingest

import (
	"strconv"

	"telemetry/receiver/topic"
	"telemetry/wire"
)

// batch takes one message of a lane: a send header and a sealed batch.
func (c *Core) batch(now int64, name string, lane wire.Lane, payload []byte) {
	s, n, err := wire.ParseSend(payload)
	if err != nil {
		c.n.Undecodable++
		return
	}
	k := c.car(now, name)
	if k == nil {
		return
	}
	if !k.heard(now, s, len(payload)) {
		c.n.Undecodable++
		return
	}
	raw := payload[n:]
	h, ok := c.check(k, lane, raw)
	if !ok {
		return
	}
	st := c.stream(k, keyOf(h))
	if st == nil {
		return
	}
	st.lastAt = max(st.lastAt, now)
	s.Base = min(s.Base, h.Seq) // base never settles what it travels with
	st.raiseBase(s.Base)
	c.take(now, k, st, h, s, raw)
}

// check parses the batch. What fails here is neither taken nor refused: a
// refusal makes the car write the batch off, and all that fails here may be a
// fault of the way, of an access rule or of this version, so the car keeps it.
func (c *Core) check(k *car, lane wire.Lane, raw []byte) (wire.Header, bool) {
	b, n, err := wire.Parse(raw)
	if err == nil && n == len(raw) {
		if b.Header.Stream.Car != k.name || b.Header.Stream.Lane != lane {
			c.n.Forbidden++
			return b.Header, false
		}
		return b.Header, true
	}
	if h, herr := wire.ParseHeader(raw); herr == nil && h.Stream.Car == k.name {
		c.n.Damaged++
	} else {
		c.n.Undecodable++
	}
	return wire.Header{}, false
}

// take produces a batch, or holds it for its catalogue, unless this instance
// already lists it.
func (c *Core) take(now int64, k *car, st *stream, h wire.Header, s wire.Send, raw []byte) {
	first := !st.listed(h.Seq)
	switch {
	case first:
	case st.conflict(h.Seq, h.PayloadCRC):
		c.n.Conflicts++ // the sequencer sends it to dead-letter and raises the alarm
	case s.Pulled && !st.pulled.Contains(h.Seq):
		c.n.PulledAgain++ // rule 16
	default:
		c.n.Duplicates++
		k.dups++
		return
	}
	p := &pending{
		car: k, st: st, seq: h.Seq, bytes: int64(len(raw)) + recordCost, hash: h.Catalogue, control: h.Control,
		rec: topic.Record{
			Topic: c.cfg.Names.Batches, Partition: -1, Key: []byte(k.name), Value: raw,
			Headers: topic.BatchHeaders(h.ID(), s, c.cfg.Instance),
		},
	}
	if c.cfg.Wall != nil && wire.Sampled(h.Seq) {
		p.rec.Headers = append(p.rec.Headers, topic.Header{Key: topic.HeaderReceivedNS, Value: strconv.AppendInt(nil, c.cfg.Wall(), 10)})
	}
	hold := c.holds(k, st, p)
	if c.draining || !c.room(k, p, hold) || hold && !c.want(now, k, h.Catalogue) {
		c.n.Overflow++ // not listed, so the car sends it again
		return
	}
	if first {
		c.n.Batches++
		k.batches++
		st.received = st.received.Add(h.Seq, h.Seq)
		st.remember(h.Seq, h.PayloadCRC)
		if c.cfg.Tap != nil {
			c.cfg.Tap.Received(h.ID(), s, raw)
		}
	}
	if s.Pulled {
		st.pulled = st.pulled.Add(h.Seq, h.Seq)
		bound(&st.pulled)
	}
	if hold {
		c.hold(p)
		return
	}
	c.produce(now, p)
}

// produce hands a record to Kafka for the first time.
func (c *Core) produce(now int64, p *pending) {
	if len(c.pend) == 0 {
		c.progressAt = now
	}
	c.token++
	c.pend[c.token] = p
	c.waiting += p.bytes
	p.car.waiting += p.bytes
	c.out.Produce = append(c.out.Produce, Produce{c.token, p.rec})
}

func keyOf(h wire.Header) streamKey {
	return streamKey{h.Stream.Epoch, h.Stream.Lane, h.Stream.Shard}
}
