package spool

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"telemetry/wire"
)

// Everything in this file is done by the owner of the disk.

const (
	// chunkMaxAge seals a chunk that fills slowly, so that it can be deleted.
	chunkMaxAge = 30 * time.Second
	// A failing disk is tried again after retryMin, doubling up to retryMax.
	retryMin = 100 * time.Millisecond
	retryMax = 5 * time.Second
)

// trouble is the state of a disk that does not take what it should.
type trouble struct {
	err   error     // nil: all is well
	since time.Time // of the first failure in a row
	wait  time.Duration
	retry time.Time // of the next try
}

// commit makes everything that is queued in a lane durable, group by group. After
// an error the rest stays queued.
func (s *Spool) commit(l *lane) error {
	l.due = time.Time{}
	for {
		g := l.take()
		if g == nil {
			return nil
		}
		if err := s.write(l, g); err != nil {
			l.giveBack()
			return err
		}
		l.done()
		s.announce()
	}
}

// announce wakes the uplink and who waits in Sync.
func (s *Spool) announce() {
	s.mu.Lock()
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	signal(s.wake)
}

// write makes one group durable. An error of the disk poisons the chunk, and the
// whole group goes to a new one; two in a row are returned.
func (s *Spool) write(l *lane, g *group) error {
	if l.early != g && l.chunk != nil && l.chunk.bytes > 0 && l.overfull(g.framed(), s.cfg.ChunkBytes) {
		s.seal(l)
	}
	var err error
	for range 2 {
		if err = s.openChunk(l); err != nil {
			continue
		}
		if l.early != g {
			err = l.log.Append(l.records(g))
		}
		l.early = nil
		var next error
		if err == nil {
			next, err = s.sync(l, g)
		}
		if err == nil {
			s.setMark(l.id.Lane, g.items[len(g.items)-1].seq)
			s.publish(l, g)
			if next != nil {
				s.poison(l, next)
			}
			s.prepare(l)
			return nil
		}
		s.poison(l, err)
	}
	clear(l.recs)
	return fmt.Errorf("spool: commit %d batches of %s: %w", len(g.items), l.id.Lane, err)
}

// sync makes durable what was appended: group g. While the disk works, the next
// group is appended behind it if it is whole; next is the error of that.
func (s *Spool) sync(l *lane, g *group) (next, err error) {
	start := time.Now()
	defer func() { s.tookSync(time.Since(start)) }()
	early := l.nextFull()
	if !s.running || early == nil || l.overfull(g.framed()+early.framed(), s.cfg.ChunkBytes) {
		return nil, l.log.Sync()
	}
	log, synced := l.log, make(chan error, 1)
	go func() { synced <- log.Sync() }() // ends with the sync, awaited below
	if next = log.Append(l.records(early)); next == nil {
		l.early = early
	}
	return next, <-synced
}

// overfull reports that the open chunk ends before n more bytes: it may exceed its
// size by a quarter, so that whole groups fill it.
func (l *lane) overfull(n, chunkBytes int64) bool {
	return l.chunk.bytes >= chunkBytes || l.chunk.bytes+n > chunkBytes+chunkBytes/4
}

// records lists the batches of a group; valid until the next call.
func (l *lane) records(g *group) [][]byte {
	l.recs = l.recs[:0]
	for i := range g.items {
		l.recs = append(l.recs, g.record(i))
	}
	return l.recs
}

func (s *Spool) tookSync(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count.Syncs++
	s.count.SyncTime += d
	s.count.SyncMax = max(s.count.SyncMax, d)
}

// publish puts a durable group into the index.
func (s *Spool) publish(l *lane, g *group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, st := l.chunk, s.streams[l.id]
	for i := range g.items {
		q := g.items[i]
		e := q.entry
		framed := frameLen(int(e.size))
		e.off = uint32(c.bytes + framed - int64(e.size))
		e.cat = s.cats.ref(q.hash)
		c.bytes += framed
		s.count.DiskBytes += framed
		st.add(c, e)
		if e.control {
			s.controlDurable(wire.ID{Stream: st.id, Seq: e.seq}, c)
		}
	}
	s.moved = true // the cursor says how far the stream is durable
	s.count.Commits++
	s.count.Committed += uint64(len(g.items))
	s.count.CommittedBytes += uint64(len(g.buf))
}

// openChunk gives a lane an empty chunk if it has none.
func (s *Spool) openChunk(l *lane) error {
	if l.chunk != nil {
		return nil
	}
	r := s.nextReady(l)
	if r.err != nil {
		return fmt.Errorf("open chunk %s: %w", r.c.path, r.err)
	}
	l.chunk, l.log, l.since = r.c, r.log, time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.chunks[l.id.Lane] = append(s.chunks[l.id.Lane], l.chunk)
	s.count.Chunks++
	return nil
}

// seal closes a lane's open chunk. All of it is durable already.
func (s *Spool) seal(l *lane) {
	if l.chunk == nil {
		return
	}
	s.closeLog(l.chunk, l.log)
	s.mu.Lock()
	defer s.mu.Unlock()
	l.chunk.sealed = true
	s.keepChunkWarm(s.streams[l.id], l.chunk)
	l.chunk, l.log = nil, nil
}

// poison gives a chunk up after an error: what was durable stays, what the failed
// write left behind is cut off if the disk allows; if not, the next start finds
// those batches twice and keeps one.
func (s *Spool) poison(l *lane, cause error) {
	c := l.chunk
	l.early = nil
	_ = l.log.Close() // its state is unknown; only what was synced before counts
	s.mu.Lock()
	s.count.Poisoned++
	c.sealed = true
	keep := c.bytes
	if keep == 0 {
		s.forgetChunk(c)
	}
	s.mu.Unlock()
	l.chunk, l.log = nil, nil
	s.log.Warn("chunk poisoned", "chunk", c.path, "durable_bytes", keep, "err", cause)
	var err error
	if keep == 0 {
		err = s.disk.RemoveAll(c.path)
	} else {
		err = s.disk.Truncate(filepath.Join(c.path, SegmentName), keep)
	}
	if err != nil {
		s.log.Warn("poisoned chunk not cut", "chunk", c.path, "err", err)
	}
}

// forgetChunk takes a chunk out of the books. Called with mu held.
func (s *Spool) forgetChunk(c *chunk) {
	s.chunks[c.lane] = slices.DeleteFunc(s.chunks[c.lane], func(x *chunk) bool { return x == c })
	s.count.Chunks--
	s.count.DiskBytes -= c.bytes
}

// outOfSpace reports that an error means a full disk.
func outOfSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// failed notes that the disk did not take a commit and says when to try again. A
// full disk is answered with what is settled and the reserve, and when memory runs
// out too, by dropping the oldest chunk; relieved says that this freed something.
func (s *Spool) failed(err error, now time.Time) (relieved bool) {
	t := &s.trouble
	if t.err == nil {
		t.since, t.wait = now, retryMin
		s.log.Error("spool degraded: batches stay in memory", "err", err)
	} else {
		t.wait = min(2*t.wait, retryMax)
	}
	t.err = err
	t.retry = now.Add(t.wait)
	if outOfSpace(err) && s.relieve(s.pressed()) {
		t.wait, t.retry, relieved = retryMin, now, true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count.Failures++
	s.count.Degraded = true
	s.count.LastError = err.Error()
	return relieved
}

// recovered notes that the disk takes commits again.
func (s *Spool) recovered(now time.Time) {
	if s.trouble.err == nil {
		return
	}
	s.log.Info("spool recovered", "after_ms", now.Sub(s.trouble.since).Milliseconds())
	s.trouble = trouble{}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count.Degraded = false
}
