package ingest

import (
	"hash/crc32"

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
	h, ok := c.check(now, k, lane, raw)
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

// check parses the envelope and refuses what can never be taken.
func (c *Core) check(now int64, k *car, lane wire.Lane, raw []byte) (wire.Header, bool) {
	h, err := wire.ParseHeader(raw)
	if err != nil || h.Seq == 0 || !h.Stream.Lane.Valid() {
		c.n.Undecodable++
		return h, false
	}
	switch {
	case h.Stream.Car != k.name, h.Stream.Lane != lane:
		c.n.Forbidden++
		c.refuse(now, k, h)
		return h, false
	case len(raw) > MaxBatchBytes || h.Size() > MaxBatchBytes:
		c.n.TooLarge++
		c.refuse(now, k, h)
		return h, false
	}
	if _, n, err := wire.Parse(raw); err != nil || n != len(raw) {
		c.damage(now, k, h, raw)
		return h, false
	}
	return h, true
}

// damage handles a batch whose envelope is whole and whose payload isn't. One
// copy may have been damaged on its way, so the first is only dropped, and the
// car sends again; the same damage again means that the car holds it like that.
func (c *Core) damage(now int64, k *car, h wire.Header, raw []byte) {
	c.n.Damaged++
	sum := crc32.Checksum(raw, castagnoli)
	if seen, ok := c.damaged[h.ID()]; ok && seen == sum {
		delete(c.damaged, h.ID())
		c.refuse(now, k, h)
		return
	}
	if len(c.damaged) >= maxDamaged {
		clear(c.damaged)
	}
	c.damaged[h.ID()] = sum
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// refuse lists a batch as one that can never be taken, unless it was taken.
// The identity is kept under the car that sent it, whatever the envelope says:
// nobody can refuse another car's batches.
func (c *Core) refuse(now int64, k *car, h wire.Header) {
	if c.draining {
		return
	}
	st := c.stream(k, keyOf(h))
	if st == nil {
		return
	}
	st.lastAt = max(st.lastAt, now)
	if st.listed(h.Seq) || st.refused.Contains(h.Seq) {
		return
	}
	c.n.Refused++
	k.refused++
	st.refused = st.refused.Add(h.Seq, h.Seq)
	bound(&st.refused)
}

// take produces a batch unless this instance already lists it.
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
	if c.draining || !c.room(k, int64(len(raw))) {
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
		c.want(now, k, h.Catalogue)
	}
	if s.Pulled {
		st.pulled = st.pulled.Add(h.Seq, h.Seq)
		bound(&st.pulled)
	}
	c.produce(now, &pending{
		car: k, st: st, seq: h.Seq, bytes: int64(len(raw)),
		rec: topic.Record{
			Topic: c.cfg.Names.Batches, Partition: -1, Key: []byte(k.name), Value: raw,
			Headers: topic.BatchHeaders(h.ID(), s, c.cfg.Instance),
		},
	})
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
