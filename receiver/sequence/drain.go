package sequence

import (
	"errors"
	"slices"

	"telemetry/receiver/topic"
	"telemetry/reorder"
	"telemetry/wire"
)

// turnItems is how many batches of one queue are written before it is the next
// car's turn: a car that empties a long queue does not hold the others up.
const turnItems = 16

// maxNeeds is how many records are asked for at once.
const maxNeeds = 64

// Needs is what Drain must be told before it can go on.
type Needs struct {
	Offsets    []int64              // records to read: answer with Provide, or Gone
	Catalogues []wire.CatalogueHash // catalogues to look up: answer with Learn
}

// Any reports whether anything is needed.
func (n *Needs) Any() bool { return len(n.Offsets)+len(n.Catalogues) > 0 }

// Drain writes queued batches, fresh lanes first and cars in turn, until
// maxBytes of output wait or something is needed; answer that and drain again.
func (p *Partition) Drain(maxBytes int) Needs {
	var n Needs
	if p.Rebuilding() {
		return n
	}
	for q := range queues {
		for again := p.queued > 0; again; {
			again = false
			for range p.byName {
				p.turn = (p.turn + 1) % len(p.byName)
				c := p.byName[p.turn]
				if p.drainQueue(c, &c.queue[q], maxBytes, &n) {
					again = true
				}
				if p.out.Bytes >= maxBytes {
					return Needs{}
				}
			}
		}
	}
	return n
}

// drainQueue writes up to turnItems batches of one queue; more is true when it
// could go on at once.
func (p *Partition) drainQueue(c *car, q *fifo, maxBytes int, n *Needs) (more bool) {
	for range turnItems {
		if q.len() == 0 || p.out.Bytes >= maxBytes {
			return false
		}
		it := q.first()
		h, ok := p.recall(c, it.offset)
		if !ok {
			if len(n.Offsets) < maxNeeds && !slices.Contains(n.Offsets, it.offset) {
				n.Offsets = append(n.Offsets, it.offset)
			}
			return false
		}
		if hash, ok := p.write(c, it, &h); !ok {
			p.keepRead(it.offset, h)
			if len(n.Catalogues) < maxNeeds && !slices.Contains(n.Catalogues, hash) {
				n.Catalogues = append(n.Catalogues, hash)
			}
			return false
		}
		if it.kind == reorder.KindPulled { // its turn in the main topic comes, or has come
			c.cache.put(it.offset, h, p.cfg.CarBytes, p.cfg.Budget)
		}
		q.pop()
		p.queued--
		c.dirty = true
	}
	return q.len() > 0
}

// Learn gives a catalogue that Drain asked for; nil when there is none: batches
// that name it become dead letters.
func (p *Partition) Learn(h wire.CatalogueHash, c *wire.Catalogue) {
	if c == nil {
		p.absent[h] = struct{}{}
		return
	}
	n := c.Size()
	if len(p.known) >= maxCatalogues || p.kept+n > wire.MaxKeptBytes {
		clear(p.known)
		p.kept = 0
	}
	p.known[h] = c
	p.kept += n
}

// recall takes a record out of memory.
func (p *Partition) recall(c *car, offset int64) (held, bool) {
	if h, ok := p.read[offset]; ok {
		delete(p.read, offset)
		p.readBytes -= len(h.value)
		return h, true
	}
	return c.cache.take(offset, p.cfg.Budget)
}

// keepRead keeps a record until its batch is written.
func (p *Partition) keepRead(offset int64, h held) {
	if old, ok := p.read[offset]; ok {
		p.readBytes -= len(old.value)
	}
	p.read[offset] = h
	p.readBytes += len(h.value)
}

// Provide gives a record that Drain asked for.
func (p *Partition) Provide(r *topic.Record) {
	h := held{value: r.Value, key: r.Key, headers: r.Headers, appendMS: r.TimestampMS}
	if info, err := topic.ParseBatchHeaders(r.Headers); err == nil {
		h.link = info.Send.Link
	}
	p.keepRead(r.Offset, h)
	p.noCar.Reread++
}

// Gone says that a record that Drain asked for has been deleted by retention:
// its batch becomes a gap (rule 15), unless a dead owner has written it.
func (p *Partition) Gone(offset int64) {
	for _, c := range p.byName {
		for i := range c.queue {
			q := &c.queue[i]
			if q.len() == 0 || q.first().offset != offset {
				continue
			}
			it := *q.first()
			q.pop()
			p.queued--
			c.dirty = true
			lost := it.kind == reorder.KindRelease || it.kind == reorder.KindLate || it.kind == reorder.KindDeadLetter && tellsGap(it.why)
			if lost && !p.writtenOf(it.id.Stream).Contains(it.id.Seq) {
				stats := &c.stats.Lanes[laneIndex(it.id.Stream.Lane)]
				stats.Missing++
				stats.Gaps.add(wire.ReasonRetention, 1)
				p.gap(it.id, it.id.Seq, reorder.GapSettled, wire.ReasonRetention.String(), wire.ReasonNone, &offset, "")
			}
		}
	}
}

// tellsGap reports whether a dead letter is a batch that is in no other topic.
func tellsGap(w reorder.Why) bool { return w == reorder.WhyCatalogue || w == reorder.WhyLimit }

// write turns one batch into records. It is false when it needs a catalogue first.
func (p *Partition) write(c *car, it *item, h *held) (need wire.CatalogueHash, ok bool) {
	lane := &c.stats.Lanes[laneIndex(it.id.Stream.Lane)]
	if it.kind == reorder.KindDeadLetter {
		lane.DeadLetters++
		p.deadLetter(it.offset, h, it.why.String(), "")
		if tellsGap(it.why) {
			p.gap(it.id, it.id.Seq, reorder.GapSettled, it.why.String(), wire.ReasonNone, &it.offset, "in the dead-letter topic")
		}
		return need, true
	}
	b := &p.batch
	*b = Batch{ID: it.id, AppendMS: h.appendMS, Link: h.link, Blocks: b.Blocks[:0], Events: b.Events[:0]}
	if !it.unsynced {
		b.Clock = c.maps.Map(it.id.Stream.Epoch)
	}
	p.route(b, it)
	known, err := p.decode(b, h)
	if err == nil && !known {
		return b.Hash, false
	}
	mark, clamped := len(p.out.Records), p.out.Clamped
	if err == nil {
		err = p.format.Append(&p.out, b)
	}
	if err != nil {
		p.out.truncate(mark)
		p.out.Clamped = clamped
		p.undecodable(c, it, h, err)
		return need, true
	}
	if !p.takesSealed(it.id.Stream.Lane) {
		p.sayMade(mark)
	}
	p.skipWritten(mark, lane)
	p.sessions(b, it.kind)
	lane.Rows += uint64(len(p.out.Records) - mark)
	lane.Clamped += uint64(p.out.Clamped - clamped)
	switch it.kind {
	case reorder.KindRelease:
		lane.Released++
		lane.Epoch, lane.Floor, lane.WrittenMS = it.id.Stream.Epoch, it.id.Seq, h.appendMS
		lane.EventUTCNS = 0
		if s := b.Stamp(b.LastNS); s.Synced {
			lane.EventUTCNS = s.UTCNS
		}
		p.note(b, it, h)
	case reorder.KindLate:
		lane.Late++
	case reorder.KindPulled:
		lane.Pulled++
	}
	return need, true
}

// route chooses the batch's topics.
func (p *Partition) route(b *Batch, it *item) {
	t := &p.cfg.Topics
	b.BehindMS, b.ByGroup = p.cfg.RecordAge.Milliseconds(), true
	switch {
	case it.kind == reorder.KindLate:
		b.Rows, b.Event = t.Late, t.Late
	case it.kind == reorder.KindPulled:
		b.Rows, b.Event = t.Pulled, t.Pulled
	case it.id.Stream.Lane == wire.LaneLive:
		b.Rows, b.Event, b.ByGroup = t.Live, t.Events, false
		b.BehindMS = p.cfg.LiveAge.Milliseconds()
	default:
		b.Rows, b.Event = t.Samples, t.Events
	}
}

// decode fills the batch from its record. It is false when its catalogue is not
// known yet.
func (p *Partition) decode(b *Batch, h *held) (bool, error) {
	sealed, err := parseSealed(h.value)
	if err != nil {
		return false, err
	}
	b.Hash = sealed.Header.Catalogue
	columns := p.sealed == nil || !p.sealed.TakesSealed(b.ID.Stream.Lane)
	if columns && b.Hash != (wire.CatalogueHash{}) {
		if b.Catalogue = p.known[b.Hash]; b.Catalogue == nil {
			if _, ok := p.absent[b.Hash]; ok {
				return false, errNoCatalogue
			}
			return false, nil
		}
	}
	b.Sealed = h.value
	return true, p.decoder.sections(b, sealed, columns)
}

// errNoCatalogue says that telemetry.catalogues does not have the batch's.
var errNoCatalogue = errors.New("no catalogue")

// undecodable gives up a batch that was in order but can't be written: it goes
// to the dead-letter topic, and its number is reported, so that nothing is
// missing in silence.
func (p *Partition) undecodable(c *car, it *item, h *held, err error) {
	lane := &c.stats.Lanes[laneIndex(it.id.Stream.Lane)]
	lane.DeadLetters++
	lane.Undecodable++
	why := wire.ReasonUndecodable
	if errors.Is(err, errNoCatalogue) {
		why = wire.ReasonCatalogue
	}
	p.deadLetter(it.offset, h, why.String(), err.Error())
	p.alarm(Alarm{Car: c.name, What: "batch that cannot be written: " + err.Error(), ID: it.id, Offset: it.offset})
	lane.Alarms++
	if it.kind != reorder.KindPulled {
		lane.Missing++
		lane.Gaps.add(why, 1)
		p.gap(it.id, it.id.Seq, reorder.GapSettled, why.String(), wire.ReasonNone, &it.offset, text(err.Error()))
	}
}
