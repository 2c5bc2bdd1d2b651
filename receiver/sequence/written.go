package sequence

import (
	"slices"
	"strconv"
	"strings"

	"telemetry/receiver/topic"
	"telemetry/wire"
)

// Where commits are not atomic, an owner may die between its outputs and its
// state. The next one makes the same decisions from the same records, finds what
// is written already, and skips it. Samples, live, events and late are one class
// here: a batch that was begun in one is not begun again in another.

// forget empties the set of what a dead owner has written, once all that it had
// read has been read and written again: what is left then will never be made.
func (p *Partition) forget() {
	if len(p.written) > 0 && p.loadEnd >= 0 && p.position >= p.loadEnd && p.queued == 0 {
		clear(p.written)
	}
}

// writtenOf returns the numbers of a stream that a dead owner has written whole:
// one of whose rows only some are there is missing if it cannot be made again.
func (p *Partition) writtenOf(st wire.Stream) wire.Ranges {
	if len(p.written) == 0 {
		return nil
	}
	t := &p.cfg.Topics
	rows := make(map[uint64]int)
	var rs wire.Ranges
	for id := range p.written {
		if id.ID.Stream != st {
			continue
		}
		switch id.Topic {
		case t.Samples, t.Live, t.Events, t.Late:
			rows[id.ID.Seq]++
			if rows[id.ID.Seq] == rowsOf(id.Place) {
				rs = rs.Add(id.ID.Seq, id.ID.Seq)
			}
		}
	}
	return rs
}

// rowsOf returns how many records a batch makes, out of the place "i/n" of one.
func rowsOf(place string) int {
	_, total, _ := strings.Cut(place, "/")
	n, err := strconv.Atoi(total)
	if err != nil {
		return 1
	}
	return n
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
	t := &p.cfg.Topics
	names := [...]string{t.Samples, t.Live, t.Events, t.Late}
	if !slices.Contains(names[:], id.Topic) {
		_, ok = p.written[id]
		delete(p.written, id)
		return ok
	}
	for _, name := range names {
		id.Topic = name
		if _, ok := p.written[id]; ok {
			delete(p.written, id)
			return true
		}
	}
	return false
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
