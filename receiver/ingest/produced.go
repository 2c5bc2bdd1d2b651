package ingest

import (
	"errors"

	"telemetry/receiver/topic"
	"telemetry/wire"
)

// Produced takes the result of a Produce. Any error but one that wraps
// [topic.ErrUnacceptable] means that the record is tried again for as long as
// the instance lives: a received batch is never forgotten (rule 18).
func (c *Core) Produced(now int64, token uint64, err error) {
	p := c.pend[token]
	if p == nil {
		return
	}
	if err != nil && !errors.Is(err, topic.ErrUnacceptable) {
		c.n.ProduceErrors++
		p.retryAt = now + int64(retryDelay)
		c.retry = append(c.retry, token)
		return
	}
	delete(c.pend, token)
	c.waiting -= p.bytes
	p.car.waiting -= p.bytes
	c.progressAt = max(c.progressAt, now)
	if p.st == nil {
		c.catalogueProduced(now, p, err)
		return
	}
	p.st.lastAt = max(p.st.lastAt, now)
	if err != nil {
		c.unacceptable(p)
		return
	}
	c.n.Produced++
	if p.st.settle(p.seq) {
		c.n.Forgotten++
	}
}

// unacceptable turns a received batch into a refused one: the car writes it off
// with a loss record. Only the batch's own size can bring it here.
func (c *Core) unacceptable(p *pending) {
	c.n.ProduceErrors++
	if p.st.durable.Contains(p.seq) {
		return
	}
	c.n.Refused++
	p.car.refused++
	p.st.received = p.st.received.Remove(p.seq, p.seq)
	p.st.refused = p.st.refused.Add(p.seq, p.seq)
	bound(&p.st.refused)
}

// again produces what failed and is due.
func (c *Core) again(now int64) {
	n := 0
	for _, token := range c.retry {
		p := c.pend[token]
		if p.retryAt > now {
			break
		}
		n++
		c.n.Retries++
		c.out.Produce = append(c.out.Produce, Produce{token, p.rec})
	}
	c.retry = append(c.retry[:0], c.retry[n:]...)
}

// state returns what the instance says of itself.
func (c *Core) state(now int64) wire.InstanceState {
	switch {
	case c.draining:
		return wire.InstanceDraining
	case len(c.pend) > 0 && now-c.progressAt > int64(c.cfg.StallAfter):
		return wire.InstanceStalled
	}
	return wire.InstanceOK
}
