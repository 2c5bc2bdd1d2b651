package sequence

import "telemetry/receiver/topic"

// Where commits are not atomic, an owner may die between its outputs and its
// state. The next one makes the same decisions from the same records, finds what
// is written already, and skips it. Samples, live, events and late are one class
// here: a batch that was begun in one is not begun again in another.

// expect notes what a dead owner has written.
func (p *Partition) expect(written map[topic.Identity]struct{}) {
	if len(written) == 0 {
		return
	}
	p.written = make(map[topic.Identity]struct{}, len(written))
	for id := range written {
		p.written[p.class(id)] = struct{}{}
	}
}

func (p *Partition) class(id topic.Identity) topic.Identity {
	t := &p.cfg.Topics
	switch id.Topic {
	case t.Live, t.Events, t.Late:
		id.Topic = t.Samples
	}
	return id
}

// add adds a record to the output, unless a dead owner has written it already.
func (p *Partition) add(r topic.Record) {
	if p.found(&r) {
		p.noCar.Skipped++
		return
	}
	p.out.Add(r)
}

// found reports whether a dead owner has written a record, and forgets that.
func (p *Partition) found(r *topic.Record) bool {
	if len(p.written) == 0 {
		return false
	}
	id, ok := topic.OutputIdentity(r)
	if !ok {
		return false
	}
	id = p.class(id)
	_, ok = p.written[id]
	delete(p.written, id)
	return ok
}

// skipWritten removes the records from mark on that a dead owner has written.
func (p *Partition) skipWritten(mark int, lane *LaneSnapshot) {
	if len(p.written) == 0 {
		return
	}
	keep := mark
	for i := mark; i < len(p.out.Records); i++ {
		if p.found(&p.out.Records[i]) {
			p.out.Bytes -= p.out.Records[i].Size()
			lane.Skipped++
			continue
		}
		p.out.Records[keep] = p.out.Records[i]
		keep++
	}
	clear(p.out.Records[keep:])
	p.out.Records = p.out.Records[:keep]
}
