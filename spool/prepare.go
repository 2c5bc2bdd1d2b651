package spool

import (
	"errors"
	"path/filepath"

	"telemetry/wire"
)

// While Run is under way, a lane whose chunk is half full gets its next ones made
// beside the commits, and a sealed chunk is closed beside them: both would hold the
// commits up. The goroutines end by themselves; the owner of the disk waits for them
// before it lets go.

// aheadChunks is how many chunks are made at a time. Their names share the syncs of
// the directories, and a file system with a journal takes all of them at once: a sync
// and a quarter for a chunk instead of two.
const aheadChunks = 4

// ready is a chunk that waits to be used.
type ready struct {
	c   *chunk
	log Log
	err error
}

// makeChunks makes n chunks and their names durable. After an error it returns those
// that are whole, and behind them the error.
func (s *Spool) makeChunks(lane wire.Lane, no uint64, n int) []ready {
	parent := s.laneDir(lane)
	made := make([]ready, 0, n+1)
	var err error
	for i := range uint64(n) {
		r := ready{c: &chunk{lane: lane, no: no + i, path: filepath.Join(parent, chunkName(no+i))}}
		if r.log, err = s.disk.OpenLog(r.c.path, int(4*s.cfg.ChunkBytes)); err != nil {
			_ = s.disk.RemoveAll(r.c.path) // at the next start an empty chunk is removed anyway
			if s.seldom("not made") {
				s.log.Warn("chunk not made", "chunk", r.c.path, "err", err)
			}
			made = append(made, ready{err: err, c: r.c})
			break
		}
		made = append(made, r)
	}
	for i := range made {
		if r := &made[i]; r.err == nil {
			r.err = s.disk.SyncDir(r.c.path)
		}
	}
	if err := s.disk.SyncDir(parent); err != nil {
		for i := range made {
			made[i].err = errors.Join(made[i].err, err)
		}
	}
	for i := range made {
		if made[i].err != nil && made[i].log != nil {
			s.unmake(made[i])
			made[i].log = nil
		}
	}
	return made
}

// unmake removes a chunk that nobody will use: nothing in it was made durable.
func (s *Spool) unmake(r ready) {
	_ = r.log.Close()
	_ = s.disk.RemoveAll(r.c.path) // at the next start an empty chunk is removed anyway
}

// prepare has the lane's next chunks made in time. Owner only.
func (s *Spool) prepare(l *lane) {
	if !s.running || s.darkness() || l.making != nil || l.chunk == nil || len(l.ready) > 1 ||
		len(l.ready) == 0 && l.chunk.bytes < s.cfg.ChunkBytes/2 {
		return
	}
	no := s.nextChunk[l.id.Lane]
	s.nextChunk[l.id.Lane] += aheadChunks
	made := make(chan []ready, 1)
	l.making = made
	s.beside.Go(func() { made <- s.makeChunks(l.id.Lane, no, aheadChunks) })
}

// gather takes over what prepare had made; with wait it waits for that.
func (l *lane) gather(wait bool) {
	if l.making == nil || !wait && len(l.making) == 0 {
		return
	}
	l.ready = append(l.ready, <-l.making...)
	l.making = nil
}

// made returns a chunk that was prepared; nil when none is there.
func (l *lane) made() *ready {
	l.gather(false)
	for len(l.ready) > 0 {
		r := l.ready[0]
		l.ready = append(l.ready[:0], l.ready[1:]...)
		if r.err == nil {
			return &r
		}
	}
	return nil
}

// nextReady returns a chunk that was prepared, or makes one. Owner only.
func (s *Spool) nextReady(l *lane) ready {
	r := l.made()
	if r == nil {
		l.gather(true)
		r = l.made()
	}
	if r != nil {
		return *r
	}
	no := s.nextChunk[l.id.Lane]
	s.nextChunk[l.id.Lane]++
	return s.makeChunks(l.id.Lane, no, 1)[0]
}

// closeLog closes the log of a sealed chunk: all of it is durable already.
func (s *Spool) closeLog(c *chunk, log Log) {
	shut := func() {
		if err := log.Close(); err != nil {
			s.log.Warn("closing a chunk failed", "chunk", c.path, "err", err)
		}
	}
	if s.running {
		s.beside.Go(shut)
		return
	}
	shut()
}

// settleBeside waits for what goes on beside the commits and removes chunks that
// nobody will use. Owner only.
func (s *Spool) settleBeside() {
	for _, l := range s.lanes() {
		l.gather(true)
		for _, r := range l.ready {
			if r.err == nil {
				s.unmake(r)
			}
		}
		l.ready = nil
	}
	s.beside.Wait()
}
