package spool

import (
	"slices"
	"time"

	"telemetry/wire"
)

// lossRecord is a loss record that the cloud has not acked yet.
type lossRecord struct {
	losses  []wire.Loss
	release []*chunk // each held back one batch until this record was durable
	victims []*chunk // to be dropped once this record is durable
}

// openRecord is an EpochOpen that the cloud has not acked yet.
type openRecord struct {
	closed []wire.Epoch // predecessors that it names with nothing held
	chunk  *chunk
	sealed []byte // of this start: without it the cloud holds everything else back
}

// lossWish is what needs a loss record, and the chunk that holds it until that is
// durable; nil when none does.
type lossWish struct {
	wire.Loss
	chunk *chunk
}

const (
	// maxLossRanges bounds one loss section, maxLossPayload one loss record, both
	// well below what a control batch may hold.
	maxLossRanges  = 256
	maxLossPayload = 8 << 10
)

// withdraw takes a batch out of the index and asks for its loss record; until
// that is durable the batch's chunk stays. Called with mu held.
func (s *Spool) withdraw(id wire.ID, reason wire.Reason) bool {
	st := s.streams[id.Stream]
	found := false
	st.take(id.Seq, id.Seq, false, func(c *chunk, e entry) {
		s.cats.unref(e.cat)
		found = true
		s.wanted = append(s.wanted, lossWish{chunk: c, Loss: wire.Loss{
			Epoch: id.Stream.Epoch, Lane: id.Stream.Lane, Shard: id.Stream.Shard, Reason: reason,
			Ranges: wire.Ranges{{First: id.Seq, Last: id.Seq}}, FirstNS: e.first, LastNS: e.last,
		}})
		if rec := s.losses[id]; rec != nil { // what it said must be said again
			delete(s.losses, id)
			for _, l := range rec.losses {
				s.wanted = append(s.wanted, lossWish{Loss: l})
			}
		}
		if s.opens[id] != nil { // an earlier start's: what it named is named again by this one's
			delete(s.opens, id)
			c.opens--
		}
	})
	if found {
		st.lost = st.lost.Add(id.Seq, id.Seq)
		signal(s.kick)
	}
	return found
}

// Refuse says that the cloud can never take a batch. It becomes a loss record with
// the reason why; the batch is settled once that record is durable here and acked
// there. A preview is only counted. A control record is never given up: the refusal
// is counted, and it stays pending.
func (s *Spool) Refuse(id wire.ID, why wire.Reason) {
	if id.Stream == s.live.id {
		s.live.remove(id.Seq, id.Seq, true)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.streams[id.Stream]
	if st == nil {
		return
	}
	r, i, ok := st.find(id.Seq)
	if !ok {
		return
	}
	s.count.Refused++
	if r.about(i).control {
		s.count.RefusedControl++
		return
	}
	s.withdraw(id, why)
}

// Settle says that batches of a stream are durable in Kafka. A number that was
// dropped meanwhile is an override: settled and counted. What this start never
// handed out by Read cannot be durable: such numbers are ignored, and a set that
// names numbers beyond the last durable one is ignored as a whole; both are counted
// as Bogus.
func (s *Spool) Settle(id wire.Stream, durable wire.Ranges) {
	if id == s.live.id {
		for _, r := range durable {
			s.live.remove(r.First, r.Last, false)
		}
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.streams[id]
	if st == nil || len(durable) == 0 {
		return
	}
	if st.ours && durable[len(durable)-1].Last > st.high {
		s.count.Bogus++
		return
	}
	for _, r := range durable {
		last := min(r.Last, st.high)
		if r.First == 0 || r.First > last || covers(st.settled, r.First, last) {
			continue
		}
		st.take(r.First, last, st.ours, func(c *chunk, e entry) {
			c.pending--
			s.cats.unref(e.cat)
			s.count.Settled++
			s.count.SettledBytes += uint64(e.size)
			if e.control {
				s.controlAcked(wire.ID{Stream: id, Seq: e.seq}, c)
			}
		})
		for _, m := range missingIn(st, wire.Range{First: r.First, Last: last}) {
			if over := overlap(st.lost, m.First, m.Last); over > 0 {
				s.count.Overrides += over
				st.lost = st.lost.Remove(m.First, m.Last)
			}
			st.settled = st.settled.Add(m.First, m.Last)
		}
		if !covers(st.settled, r.First, last) {
			s.count.Bogus++
		}
		s.moved = true
	}
}

// covers reports whether first..last lies in one range of rs.
func covers(rs wire.Ranges, first, last uint64) bool {
	i, _ := slices.BinarySearchFunc(rs, first, func(r wire.Range, seq uint64) int { return compareSeq(r.Last, seq) })
	return i < len(rs) && rs[i].First <= first && rs[i].Last >= last
}

// overlap counts the numbers of rs in first..last.
func overlap(rs wire.Ranges, first, last uint64) uint64 {
	n := uint64(0)
	for _, r := range rs {
		lo, hi := max(r.First, first), min(r.Last, last)
		if lo <= hi {
			n += hi - lo + 1
		}
	}
	return n
}

// controlDurable applies what waits for a control record to be durable here: a
// loss record lets go of what it reports (rule 1). Called with mu held.
func (s *Spool) controlDurable(id wire.ID, c *chunk) {
	if o := s.opens[id]; o != nil {
		o.chunk = c
		c.opens++
		return
	}
	rec := s.losses[id]
	if rec == nil {
		return
	}
	for _, h := range rec.release {
		h.pending--
	}
	for _, v := range rec.victims {
		s.dropChunk(v)
	}
	rec.release, rec.victims = nil, nil
}

// controlAcked applies what waits for a control record to be durable in the
// cloud. Called with mu held.
func (s *Spool) controlAcked(id wire.ID, c *chunk) {
	if o := s.opens[id]; o != nil {
		delete(s.opens, id)
		c.opens--
		before := len(s.ident.lineage)
		s.ident.lineage = slices.DeleteFunc(s.ident.lineage, func(e wire.Epoch) bool { return slices.Contains(o.closed, e) })
		s.lineageNew = s.lineageNew || len(s.ident.lineage) != before
	}
	rec := s.losses[id]
	if rec == nil {
		return
	}
	delete(s.losses, id)
	for _, l := range rec.losses { // rule 2: only now base may pass them
		st := s.streams[wire.Stream{Car: s.cfg.Car, Epoch: l.Epoch, Lane: l.Lane, Shard: l.Shard}]
		if st == nil {
			continue
		}
		for _, r := range l.Ranges {
			for _, m := range missingIn(st, r) {
				st.settled = st.settled.Add(m.First, m.Last)
			}
			st.lost = st.lost.Remove(r.First, r.Last)
		}
	}
}

// missingIn returns what of r is no longer pending in st: a loss record of an
// earlier start may name batches that turned out to be still there.
func missingIn(st *stream, r wire.Range) wire.Ranges {
	out := wire.Ranges{r}
	for ri := st.runAt(r.First); ri < len(st.runs) && st.runs[ri].firstSeq() <= r.Last; ri++ {
		x := st.runs[ri]
		for i := x.next(x.search(r.First)); i >= 0 && x.seqAt(i) <= r.Last; i = x.next(i + 1) {
			out = out.Remove(x.seqAt(i), x.seqAt(i))
		}
	}
	return out
}

// sayLostEvery keeps the loss records of a disk that stays full few.
const sayLostEvery = time.Second

// sayLost queues loss records for all wishes, and for what the lanes dropped from
// memory: once a second while it goes on, or all of it now. They are durable after the
// next commit of the critical lane. Owner only.
func (s *Spool) sayLost(now time.Time, all bool) {
	var losses []wire.Loss
	var release []*chunk
	s.mu.Lock()
	for _, l := range s.lanes() {
		if !all && l.trouble.err != nil && now.Sub(s.lossTime) < sayLostEvery {
			continue
		}
		rs, first, last := l.takeDropped()
		if len(rs) == 0 {
			continue
		}
		st := s.streams[l.id]
		st.lost = st.lost.Union(rs)
		st.high = max(st.high, rs[len(rs)-1].Last)
		s.count.LostDisk += rs.Count()
		s.lossTime = now
		losses = append(losses, wire.Loss{
			Epoch: l.id.Epoch, Lane: l.id.Lane, Shard: l.id.Shard,
			Ranges: rs, Reason: wire.ReasonDisk, FirstNS: first, LastNS: last,
		})
	}
	for _, w := range s.wanted {
		losses = addLoss(losses, w.Loss)
		if w.chunk != nil {
			release = append(release, w.chunk)
		}
	}
	s.wanted = nil
	s.mu.Unlock()
	s.queueLosses(losses, release, nil)
}

// addLoss adds to the loss of the same stream and reason.
func addLoss(losses []wire.Loss, add wire.Loss) []wire.Loss {
	for i := range losses {
		l := &losses[i]
		if l.Epoch == add.Epoch && l.Lane == add.Lane && l.Shard == add.Shard && l.Reason == add.Reason {
			l.Ranges = l.Ranges.Union(add.Ranges)
			switch { // 0 and 0: not known
			case l.FirstNS == 0 && l.LastNS == 0:
				l.FirstNS, l.LastNS = add.FirstNS, add.LastNS
			case add.FirstNS != 0 || add.LastNS != 0:
				l.FirstNS, l.LastNS = min(l.FirstNS, add.FirstNS), max(l.LastNS, add.LastNS)
			}
			return losses
		}
	}
	add.Ranges = add.Ranges.Clone()
	return append(losses, add)
}

// queueLosses puts losses into as few control records as their size allows.
// release and victims wait for the last of them. Owner only.
func (s *Spool) queueLosses(losses []wire.Loss, release, victims []*chunk) {
	var parts []wire.Loss
	for _, l := range losses {
		for len(l.Ranges) > 0 {
			n := min(len(l.Ranges), maxLossRanges)
			part := l
			part.Ranges = l.Ranges[:n].Clone()
			l.Ranges = l.Ranges[n:]
			parts = append(parts, part)
		}
	}
	for len(parts) > 0 {
		var payload []byte
		n := 0
		for n < len(parts) && len(payload) < maxLossPayload {
			payload = wire.AppendLoss(payload, &parts[n])
			n++
		}
		rec := &lossRecord{losses: parts[:n:n]}
		parts = parts[n:]
		if len(parts) == 0 {
			rec.release, rec.victims = release, victims
		}
		id, ok := s.putControl(payload)
		if !ok {
			continue
		}
		s.mu.Lock()
		s.losses[id] = rec
		s.count.LossRecords++
		s.mu.Unlock()
	}
}

// putControl queues a control record on the critical lane. Only the owner of the
// disk commits it, so it cannot be durable before the caller has noted it.
func (s *Spool) putControl(payload []byte) (wire.ID, bool) {
	now := s.cfg.Clock.BootNS()
	id, _, err := s.crit.put(wire.Body{Lane: wire.LaneCritical, FirstNS: now, LastNS: now, Control: true, Payload: payload}, now, false)
	if err != nil {
		s.log.Error("control record not sealed", "bytes", len(payload), "err", err)
		return id, false
	}
	return id, true
}
