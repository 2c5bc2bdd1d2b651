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
// read has been read and written again, and what is gone of it is told: what is left
// then will never be made.
func (p *Partition) forget() {
	if len(p.written) == 0 || p.loadEnd < 0 || p.position < p.loadEnd || p.queued > 0 {
		return
	}
	if !slices.ContainsFunc(p.byName, func(c *car) bool { return c.core.Restoring() }) {
		clear(p.written)
	}
}

// Wrote enters an output record that a dead owner has written into the set of
// [Loaded.Written], with what it says of its batch.
func Wrote(set map[topic.Identity]struct{}, r *topic.Record) {
	id, ok := topic.OutputIdentity(r)
	if !ok {
		return
	}
	set[id] = struct{}{}
	if n, ok := r.Get(HeaderMade); ok {
		id.Place = madePlace + n
		set[id] = struct{}{}
	}
}

// madePlace begins the place of an element of Written that is no record: "made/n"
// says that its batch makes n records.
const madePlace = "made/"

// sayMade gives the records from mark on, which one batch makes, the header
// [HeaderMade] where their places do not tell how many they are.
func (p *Partition) sayMade(mark int) {
	recs := p.out.Records[mark:]
	if len(recs) == 0 {
		return
	}
	place, ok := recs[0].Get(topic.HeaderRow)
	if !ok {
		place, ok = recs[0].Get(topic.HeaderPart)
	}
	if !ok || rowsOf(place) == len(recs) {
		return
	}
	n := p.out.Keep(strconv.AppendInt(p.out.Value(10), int64(len(recs)), 10))
	for i := range recs {
		r := &recs[i]
		p.out.Bytes -= r.Size()
		r.Headers = append(r.Headers, topic.Header{Key: HeaderMade, Value: n})
		p.out.Bytes += r.Size()
	}
}

// writtenOf returns the numbers of a stream that a dead owner has written whole:
// one of whose records only some are there is missing if it cannot be made again.
func (p *Partition) writtenOf(st wire.Stream) wire.Ranges {
	if len(p.written) == 0 {
		return nil
	}
	t := &p.cfg.Topics
	sealed := p.takesSealed(st.Lane)
	type count struct{ found, of, made int }
	counts := make(map[uint64]count)
	var rs wire.Ranges
	for id := range p.written {
		if id.ID.Stream != st || !slices.Contains([]string{t.Samples, t.Live, t.Events, t.Late}, id.Topic) {
			continue
		}
		if sealed {
			if id.Place == PlaceBatch {
				rs = rs.Add(id.ID.Seq, id.ID.Seq)
			}
			continue
		}
		n := counts[id.ID.Seq]
		if strings.HasPrefix(id.Place, madePlace) {
			n.made = rowsOf(id.Place)
		} else {
			n.found, n.of = n.found+1, rowsOf(id.Place)
		}
		counts[id.ID.Seq] = n
	}
	for seq, n := range counts {
		if n.made > 0 {
			n.of = n.made
		}
		if n.found > 0 && n.found >= n.of {
			rs = rs.Add(seq, seq)
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
