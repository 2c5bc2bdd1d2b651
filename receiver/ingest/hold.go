package ingest

import "telemetry/wire"

// A batch with columns is of no use without its catalogue, and a car may forget
// a catalogue once every batch that names it is durable. So such a batch is only
// received, not produced, until its catalogue is durable in its topic. Within a
// stream order is kept: what comes after a held batch is held too, except
// control records, which take effect wherever they stand.

// holds reports whether a batch must wait.
func (c *Core) holds(k *car, st *stream, p *pending) bool {
	return !p.control && len(st.held) > 0 || !c.ready(k, p.hash)
}

// ready reports whether batches with this catalogue may be produced.
func (c *Core) ready(k *car, h wire.CatalogueHash) bool {
	return h == (wire.CatalogueHash{}) || c.known[h] || k.lost[h]
}

func (c *Core) hold(p *pending) {
	c.n.Held++
	p.st.held = append(p.st.held, p)
	p.car.heldBytes += p.bytes
	c.heldBytes += p.bytes
}

// release produces what need not wait any more, of every stream of a car.
func (c *Core) release(now int64, k *car) {
	for _, key := range k.sortedStreams() {
		st := k.streams[key]
		n := 0
		for n < len(st.held) && c.ready(k, st.held[n].hash) {
			p := st.held[n]
			n++
			k.heldBytes -= p.bytes
			c.heldBytes -= p.bytes
			c.produce(now, p)
		}
		clear(st.held[:n])
		st.held = st.held[n:]
		if len(st.held) == 0 {
			st.held = nil
		}
	}
}

// room reports whether a batch may be taken. A car that keeps to its credit is
// never turned away: what it may have under way when it learns of the end of its
// credit is a quarter more. Held batches get half of a car's credit, so that
// the credit told to the car never falls to nothing while all that is missing
// is a catalogue, which has to come by the same links. Control records and
// batches without columns always find a place.
func (c *Core) room(k *car, p *pending, hold bool) bool {
	if hold {
		return k.heldBytes+p.bytes <= c.cfg.CarCredit/2 && c.heldBytes+p.bytes <= c.cfg.TotalCredit/2
	}
	car, total := c.cfg.CarCredit+c.cfg.CarCredit/4, c.cfg.TotalCredit+c.cfg.TotalCredit/4
	if p.control || p.hash == (wire.CatalogueHash{}) {
		car += controlRoom
		total += controlRoom
	}
	return k.waiting+p.bytes <= car && c.waiting+p.bytes <= total
}

// credit returns the bytes that the instance would take from a car now.
func (c *Core) credit(now int64, k *car) uint64 {
	if c.draining {
		return 0
	}
	mine := c.cfg.CarCredit - k.waiting - k.heldBytes
	all := c.cfg.TotalCredit - c.waiting - c.heldBytes
	if k.waiting == 0 {
		mine = max(mine, wire.MaxBatchBytes) // nothing but a catalogue is missing
	}
	return uint64(max(0, min(mine, all, k.sent.room(now, c.cfg.CarRates))))
}
