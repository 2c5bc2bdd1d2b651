package spool

import (
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"telemetry/wire"
)

// Everything in this file is done by the owner of the disk.

const (
	// chunkMaxAge seals a chunk that fills slowly, so that it can be deleted.
	chunkMaxAge = 30 * time.Second
)

// commit makes everything that is queued in a lane durable, group by group. After
// an error the rest stays queued.
func (s *Spool) commit(l *lane) error {
	l.due, l.begun = time.Time{}, time.Now()
	if err := s.spare(l); err != nil {
		return err
	}
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
	switch {
	case l.early != g && l.chunk != nil && l.chunk.bytes > 0 && l.overfull(s.diskSize(g), s.cfg.ChunkBytes):
		s.seal(l)
	case l.early == g && l.ahead != nil:
		s.seal(l)
		s.begin(l, *l.ahead)
		l.ahead = nil
	}
	var err error
	for range 2 {
		if err = s.openChunk(l); err != nil {
			continue
		}
		if l.early != g {
			err = s.append(l, g, l.chunk, l.log)
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

// synced is the end of a sync.
type synced struct {
	took time.Duration
	err  error
}

// append writes a group to a chunk. One append of a lane at a time.
func (s *Spool) append(l *lane, g *group, c *chunk, log Log) error {
	records, err := s.records(l, g, c)
	if err != nil {
		return err
	}
	return log.Append(records)
}

// timedSync syncs a log.
func timedSync(log Log) synced {
	start := time.Now()
	err := log.Sync()
	return synced{took: time.Since(start), err: err}
}

// sync makes durable what was appended: group g, whose sync may be under way. While the
// disk works, the next group is appended if it is whole, behind g, or to the next chunk
// where this one is full. In the same chunk its own sync begins too: a card takes the data
// of the one while it ends the other. In the next chunk that waits, or a power cut could
// leave the later group without the earlier one. next is the error of the append in this
// chunk.
func (s *Spool) sync(l *lane, g *group) (next, err error) {
	log, waiting := l.log, l.syncing
	l.syncing = nil
	end := func() error {
		var r synced
		if waiting != nil {
			r = <-waiting
		} else {
			r = timedSync(log)
		}
		s.tookSync(r.took)
		return r.err
	}
	early := l.nextFull()
	if !s.running || early == nil {
		return nil, end()
	}
	into, c := log, l.chunk
	var ahead *ready
	if l.overfull(s.diskSize(g)+s.diskSize(early), s.cfg.ChunkBytes) {
		if ahead = l.made(); ahead == nil {
			return nil, end()
		}
		into, c = ahead.log, ahead.c
	}
	appended, syncing := make(chan error, 1), make(chan synced, 1)
	go func() { // ends with append and sync; both are awaited, here and by the next call or poison
		err := s.append(l, early, c, into)
		appended <- err
		if err == nil && ahead == nil {
			syncing <- timedSync(into)
		}
	}()
	err = end()
	if next = <-appended; next == nil {
		l.early, l.ahead = early, ahead
		if ahead == nil {
			l.syncing = syncing
		}
	} else if ahead != nil { // this chunk is not harmed
		if s.seldom("not begun") {
			s.log.Warn("chunk not begun", "chunk", ahead.c.path, "err", next)
		}
		s.unmake(*ahead)
		next = nil
	}
	return next, err
}

// overfull reports that the open chunk ends before n more bytes: it may exceed its
// size by a quarter, so that whole groups fill it.
func (l *lane) overfull(n, chunkBytes int64) bool {
	return l.chunk.bytes >= chunkBytes || l.chunk.bytes+n > chunkBytes+chunkBytes/4
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
		if len(g.sizes) > 0 {
			e.size, e.extra = g.sizes[i], uint16(g.sizes[i]-q.size)
		}
		framed := frameLen(int(e.size))
		e.off = uint32(c.bytes + framed - int64(e.size))
		e.cat = s.cats.ref(q.hash)
		c.bytes += framed
		s.count.DiskBytes += framed
		st.add(c, e)
		s.stamps.note(s, wire.ID{Stream: st.id, Seq: e.seq}, e.sealed)
		c.holds.add(wire.ID{Stream: st.id, Seq: e.seq}, int(e.size), e.first, e.last, q.hash, e.control)
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
	s.begin(l, r)
	return nil
}

// begin makes a new chunk the lane's open one.
func (s *Spool) begin(l *lane, r ready) {
	l.chunk, l.log, l.since = r.c, r.log, time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.chunks[l.id.Lane] = append(s.chunks[l.id.Lane], l.chunk)
	s.count.Chunks++
}

// seal closes a lane's open chunk. All of it is durable already.
func (s *Spool) seal(l *lane) {
	if l.chunk == nil {
		return
	}
	s.closeLog(l.chunk, l.log)
	s.enterChunk(l.chunk)
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
	if l.syncing != nil { // no file is closed or cut under a sync
		<-l.syncing
		l.syncing = nil
	}
	if l.ahead != nil { // what it holds is in the queue too
		s.unmake(*l.ahead)
	}
	l.early, l.ahead = nil, nil
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
	if s.seldom("poisoned") {
		s.log.Warn("chunk poisoned", "chunk", c.path, "durable_bytes", keep, "err", cause)
	}
	var err error
	if keep == 0 {
		err = s.disk.RemoveAll(c.path)
	} else {
		err = s.disk.Truncate(filepath.Join(c.path, SegmentName), keep)
	}
	if err != nil && s.seldom("not cut") {
		s.log.Warn("poisoned chunk not cut", "chunk", c.path, "err", err)
	}
}

// forgetChunk takes a chunk out of the books. Called with mu held.
func (s *Spool) forgetChunk(c *chunk) {
	s.chunks[c.lane] = slices.DeleteFunc(s.chunks[c.lane], func(x *chunk) bool { return x == c })
	s.count.Chunks--
	s.count.DiskBytes -= c.bytes
}
