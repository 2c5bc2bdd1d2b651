package spool

import (
	"path/filepath"
	"time"

	"telemetry/wire"
)

// Room on the disk. Owner of the disk only, except where noted.

// makeRoom drops chunks until n more bytes fit the quota.
func (s *Spool) makeRoom(n int64, now time.Time) {
	if s.room(n) {
		return
	}
	if err := s.trim(now); err != nil { // what is settled goes first
		if s.seldom("trim") {
			s.log.Warn("trim failed", "err", err)
		}
		return
	}
	for !s.room(n) {
		if !s.dropOldest(now) {
			return
		}
	}
}

func (s *Spool) room(n int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count.DiskBytes+s.quarBytes+n <= s.cfg.QuotaBytes
}

// dropShare is which part of the chunks goes at once when the quota is reached:
// one loss record for each chunk of a day without radio would fill the memory.
const dropShare = 128

// dropOldest drops the oldest chunks of the lowest lane: their loss record becomes
// durable, then they are unlinked. It reports whether any went.
func (s *Spool) dropOldest(now time.Time) bool {
	c := s.victim()
	if c == nil {
		return false
	}
	var losses []wire.Loss
	var victims []*chunk
	s.mu.Lock()
	for n := max(1, s.count.Chunks/dropShare); n > 0 && c != nil; n-- {
		for _, l := range s.lossesOf(c) {
			losses = addLoss(losses, l)
		}
		victims = append(victims, c)
		c = s.oldestSealed(c.lane)
	}
	if len(losses) == 0 { // an earlier start reported all of it
		for _, v := range victims {
			s.dropChunk(v)
		}
	}
	s.mu.Unlock()
	if len(losses) > 0 {
		s.queueLosses(losses, nil, victims)
		if err := s.commit(s.crit); err != nil {
			if s.seldom("not dropped") {
				s.log.Warn("loss record not durable, nothing dropped", "err", err)
			}
			return false
		}
	}
	if err := s.trim(now); err != nil {
		s.log.Warn("dropped chunk not deleted", "err", err)
		return false
	}
	return true
}

// victim picks the oldest chunk of the lowest lane that may go. A lane's open
// chunk is sealed for it when the lane has no other.
func (s *Spool) victim() *chunk {
	for _, l := range []*lane{s.full, s.crit} {
		s.mu.Lock()
		c := s.oldestSealed(l.id.Lane)
		s.mu.Unlock()
		if c == nil && l.chunk != nil && l.chunk.bytes > 0 {
			s.seal(l)
			s.mu.Lock()
			c = s.oldestSealed(l.id.Lane)
			s.mu.Unlock()
		}
		if c != nil {
			return c
		}
	}
	return nil
}

// oldestSealed is called with mu held.
func (s *Spool) oldestSealed(l wire.Lane) *chunk {
	for _, c := range s.chunks[l] {
		if c.sealed && !c.dying && c.opens == 0 && (c.pending > 0 || len(c.locked) > 0) {
			return c
		}
	}
	return nil
}

// lossesOf says what the drop of a chunk loses: its pending batches, but for what
// an earlier start reported already, and the ranges of the unacked loss records
// among them (rule 5). Called with mu held.
func (s *Spool) lossesOf(c *chunk) []wire.Loss {
	c.dying = true
	var losses []wire.Loss
	for _, l := range c.locked {
		if st := s.streams[wire.Stream{Car: s.cfg.Car, Epoch: l.Epoch, Lane: l.Lane, Shard: l.Shard}]; st != nil {
			l.Ranges = l.Ranges.Subtract(s.reported(st))
		}
		if len(l.Ranges) > 0 {
			losses = addLoss(losses, l)
		}
	}
	for _, st := range s.order[c.lane] {
		l := wire.Loss{Epoch: st.id.Epoch, Lane: st.id.Lane, Shard: st.id.Shard, Reason: wire.ReasonQuota}
		for _, r := range st.runs {
			if r.chunk != c {
				continue
			}
			for i := r.next(0); i >= 0; i = r.next(i + 1) {
				e := r.about(i)
				if len(l.Ranges) == 0 {
					l.FirstNS, l.LastNS = e.first, e.last
				}
				l.FirstNS, l.LastNS = min(l.FirstNS, e.first), max(l.LastNS, e.last)
				l.Ranges = l.Ranges.Add(e.seq, e.seq)
				if rec := s.losses[wire.ID{Stream: st.id, Seq: e.seq}]; e.control && rec != nil {
					for _, old := range rec.losses {
						losses = addLoss(losses, old)
					}
				}
			}
		}
		l.Ranges = l.Ranges.Subtract(s.reported(st))
		if len(l.Ranges) > 0 {
			losses = addLoss(losses, l)
		}
	}
	return losses
}

// reported returns what unacked loss records of earlier starts name of a stream.
// Called with mu held.
func (s *Spool) reported(st *stream) wire.Ranges {
	if st.ours {
		return nil
	}
	var rs wire.Ranges
	for _, rec := range s.losses {
		for _, l := range rec.losses {
			if l.Epoch == st.id.Epoch && l.Lane == st.id.Lane && l.Shard == st.id.Shard {
				rs = rs.Union(l.Ranges)
			}
		}
	}
	return rs
}

// dropChunk takes the batches of a chunk out of the index: their loss record is
// durable. They stay open until that is acked (rule 2). Called with mu held.
func (s *Spool) dropChunk(c *chunk) {
	for _, st := range s.order[c.lane] {
		for ri := 0; ri < len(st.runs); ri++ {
			r := st.runs[ri]
			if r.chunk != c {
				continue
			}
			before := len(st.runs)
			st.take(r.firstSeq(), r.lastSeq(), false, func(c *chunk, e entry) {
				c.pending--
				s.cats.unref(e.cat)
				st.lost = st.lost.Add(e.seq, e.seq)
				s.count.LostQuota++
				s.count.LostQuotaBytes += uint64(e.size)
				delete(s.losses, wire.ID{Stream: st.id, Seq: e.seq})
			})
			ri -= before - len(st.runs)
		}
	}
	for _, l := range c.locked { // they are in lost already
		s.count.LostQuota += l.Ranges.Count()
		s.count.Locked -= l.Ranges.Count()
	}
	c.locked = nil
	s.count.DroppedChunks++
}

// reserveChunks is the size of the reserve in chunks: enough for the cursor and
// the loss records that free a full disk.
const reserveChunks = 2

func (s *Spool) reservePath() string { return filepath.Join(s.cfg.Dir, reserveName) }

// keepReserve writes the reserve file while there is room for it.
func (s *Spool) keepReserve() {
	if s.reserved {
		return
	}
	err := s.disk.Write(s.reservePath(), make([]byte, reserveChunks*s.cfg.ChunkBytes))
	if err != nil {
		_ = s.disk.RemoveAll(s.reservePath()) // a part of it helps nobody
		return
	}
	s.reserved = true
}

func (s *Spool) chunkCount() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count.Chunks
}

// spare keeps the full lane from using up, on a full disk, what the reserve left to the
// critical one: the reserve comes back first.
func (s *Spool) spare(l *lane) error {
	s.mu.Lock()
	last := s.stopping
	s.mu.Unlock()
	if l == s.crit || s.reserved || last || !outOfSpace(l.trouble.err) {
		return nil
	}
	if s.keepReserve(); !s.reserved {
		return l.trouble.err
	}
	return nil
}

// relieve answers a full disk: what is settled goes. The reserve is given up for the
// critical lane, which has the loss records too, for the cursor without which nothing
// can be deleted, and at the end of a life. It reports whether there is more room than
// before.
func (s *Spool) relieve(l *lane, now time.Time) bool {
	s.mu.Lock()
	last, dark := s.stopping, s.dark
	s.mu.Unlock()
	before := s.chunkCount()
	var err error
	if !dark {
		if err = s.trim(now); err != nil && s.seldom("trim") {
			s.log.Warn("trim failed", "err", err)
		}
	}
	if s.chunkCount() < before {
		return true
	}
	if !s.reserved || l != s.crit && !last && !outOfSpace(err) {
		return false
	}
	if err := s.disk.RemoveAll(s.reservePath()); err != nil {
		if s.seldom("reserve") {
			s.log.Warn("reserve not released", "err", err)
		}
		return false
	}
	s.reserved = false
	return true
}
