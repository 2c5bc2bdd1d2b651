package sequence

import (
	"encoding/hex"

	"telemetry/receiver/topic"
)

// Commit is what must become durable together. Its memory belongs to the
// partition until [Partition.Committed].
type Commit struct {
	Out, State []topic.Record
	Offset     int64
}

// OutputBytes estimates the output that waits for a commit.
func (p *Partition) OutputBytes() int { return p.out.Bytes }

// Unwritten returns how many decided batches are not written yet.
func (p *Partition) Unwritten() int { return p.queued }

// Dirty reports whether a commit would say anything new: output, or progress
// that a successor would have to repeat.
func (p *Partition) Dirty() bool {
	if p.Rebuilding() {
		return false
	}
	if len(p.out.Records) > 0 || p.position > p.input || p.unnamed {
		return true
	}
	for _, c := range p.byName {
		if c.dirty {
			return true
		}
	}
	if !p.settled { // an owner that died may have left the group's offset behind
		p.settled = p.lowest() <= p.committed
	}
	return !p.settled
}

// lowest returns the lowest offset that is still needed, or the position.
func (p *Partition) lowest() int64 {
	offset := p.position
	for _, c := range p.byName {
		if low, ok := c.lowest(); ok {
			offset = min(offset, low)
		}
	}
	return offset
}

// Commit returns the output so far, the state of every car that has changed and
// of the partition, last, and the offset from which a successor must read.
// Nothing may be applied between it and [Partition.Committed].
func (p *Partition) Commit() Commit {
	p.forget()
	offset := p.lowest()
	p.state = p.state[:0]
	p.states.reset()
	for _, c := range p.byName {
		if !c.dirty {
			continue
		}
		var v []byte
		v, p.buf = c.appendState(p.states.open(4096), p.buf)
		p.stateRecord([]byte(c.name), p.states.keep(v))
	}
	s := partitionState{Input: p.position, Commit: offset, NowMS: p.nowMS, Written: p.written}
	p.stateRecord([]byte(PartitionKey), p.states.keep(s.append(p.states.open(64), p.cfg.Topics.Outputs())))
	own := &p.state[len(p.state)-1]
	if p.topic != [16]byte{} {
		own.Headers = append(own.Headers, topic.Header{Key: HeaderTopicID, Value: hex.AppendEncode(nil, p.topic[:])})
	}
	if p.last.Offset >= 0 {
		p.witness, p.witnessed = WitnessOf(&p.last), true
		p.last = topic.Record{Offset: -1}
	}
	if p.witnessed {
		own.Headers = append(own.Headers, topic.Header{Key: HeaderWitness, Value: p.witness.append(nil)})
	}
	p.committed = offset
	return Commit{Out: p.out.Records, State: p.state, Offset: offset}
}

func (p *Partition) stateRecord(key, value []byte) {
	p.state = append(p.state, topic.Record{
		Topic: p.cfg.Topics.State, Partition: p.number, Key: key, Value: value, TimestampMS: p.nowMS,
	})
}

// Committed says that the last Commit is durable: its memory is free again.
func (p *Partition) Committed() {
	for _, c := range p.byName {
		if !c.dirty {
			continue
		}
		c.dirty = false
		low, ok := c.lowest()
		if !ok {
			low = p.position
		}
		c.cache.trim(low, p.cfg.Budget)
	}
	p.visible()
	p.input, p.settled, p.unnamed = p.position, true, false
	clear(p.absent)
	p.out.Reset()
}

// Close gives the memory of held batches back to the budget.
func (p *Partition) Close() {
	for _, c := range p.byName {
		c.cache.trim(1<<63-1, p.cfg.Budget)
	}
}

// Snapshot copies what the partition knows; nothing of it changes later.
func (p *Partition) Snapshot() PartitionSnapshot {
	s := PartitionSnapshot{
		Counters: p.noCar, Partition: p.number,
		Position: p.position, Committed: p.committed, NowMS: p.nowMS,
		Cars: make([]CarSnapshot, len(p.byName)),
	}
	for i, c := range p.byName {
		s.Cars[i], p.holes = c.snapshot(p.holes)
		for l := range s.Cars[i].Lanes {
			s.add(&s.Cars[i].Lanes[l].Counters)
		}
	}
	return s
}
