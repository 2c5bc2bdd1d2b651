package spool

import (
	"slices"
	"time"

	"telemetry/wire"
)

// Keys that the card did not give when the spool was opened. What they open was locked
// then; it shows as soon as the card gives them. Owner of the disk only.

// lateKeys asks again for the keys that the card did not give.
func (s *Spool) lateKeys(now time.Time) {
	if len(s.late) == 0 || now.Sub(s.lateTime) < keyRetry {
		return
	}
	s.lateTime = now
	for e := range s.late {
		_, err := s.keys.secretOf(e)
		if s.keys.unanswered(e) {
			continue
		}
		if err != nil || s.showLate(e) {
			delete(s.late, e)
		}
	}
}

// showLate shows what was locked of a start, and reports whether nothing of it is left for
// another try.
func (s *Spool) showLate(e wire.Epoch) bool {
	var cs []*chunk
	s.mu.Lock()
	for _, lane := range wire.Lanes {
		for _, c := range s.chunks[lane] {
			if !c.dying && !c.unsynced && slices.ContainsFunc(c.locked, func(l wire.Loss) bool { return l.Epoch == e }) {
				cs = append(cs, c)
			}
		}
	}
	s.mu.Unlock()
	all := true
	for _, c := range cs {
		p := s.peek(c)
		s.mu.Lock()
		all = p.err == nil && s.show(c, e, p.scan.records) && all
		s.mu.Unlock()
	}
	s.log.Info("the key of an earlier start can be read now", "epoch", e.String(), "chunks", len(cs))
	signal(s.wake)
	return all
}

// show puts what is locked of a start in a chunk into the index; false says that the card
// did not let it. Called with mu held.
func (s *Spool) show(c *chunk, e wire.Epoch, records []record) bool {
	by := map[wire.Stream][]record{}
	for _, r := range records {
		if id := r.header.Stream; id.Epoch == e && r.atRest && s.mine(id, c.lane) {
			by[id] = append(by[id], r)
		}
	}
	good := true
	for id, rs := range by {
		i := slices.IndexFunc(c.locked, func(l wire.Loss) bool { return l.Epoch == e && l.Lane == id.Lane && l.Shard == id.Shard })
		st := s.streams[id]
		if i < 0 || st == nil {
			continue
		}
		entries, ok := s.entriesOf(st)
		if good = good && ok; !ok {
			continue
		}
		l := &c.locked[i]
		var found []placed
		for _, r := range rs {
			seq := r.header.Seq
			if !l.Ranges.Contains(seq) || !st.lost.Contains(seq) || st.settled.Contains(seq) {
				continue
			}
			x := entryOf(r)
			x.cat = s.cats.ref(r.header.Catalogue)
			found = append(found, placed{c: c, entry: x})
			l.Ranges, st.lost = l.Ranges.Remove(seq, seq), st.lost.Remove(seq, seq)
			s.count.Locked--
		}
		st.merge(found, s.cats.unref, func(r *run) []entry { return entries[r] })
		s.keepChunkWarm(st, c)
	}
	c.locked = slices.DeleteFunc(c.locked, func(l wire.Loss) bool { return len(l.Ranges) == 0 })
	return good
}

// entriesOf reads the entries of a stream's cold runs. Called with mu held.
func (s *Spool) entriesOf(st *stream) (map[*run][]entry, bool) {
	out := map[*run][]entry{}
	for _, r := range st.runs {
		if r.cold == nil {
			continue
		}
		es, err := envelopes(s.disk, r.chunk.path, st.id)
		if err != nil {
			return nil, false
		}
		out[r.run] = es
	}
	return out, true
}
