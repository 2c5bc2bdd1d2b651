package spool

import (
	"path/filepath"

	"telemetry/wire"
)

// While Run is under way, a lane whose chunk is half full gets its next one made
// beside the commits, and a sealed chunk is closed beside them: both cost syncs of
// their own. The goroutines end by themselves; the owner of the disk waits for them
// before it lets go.

// ready is a chunk that waits to be used.
type ready struct {
	c   *chunk
	log Log
	err error
}

// makeChunk makes a chunk and its names durable.
func (s *Spool) makeChunk(lane wire.Lane, no uint64) ready {
	parent := s.laneDir(lane)
	dir := filepath.Join(parent, chunkName(no))
	log, err := s.disk.OpenLog(dir, int(4*s.cfg.ChunkBytes))
	if err == nil {
		if err = s.disk.SyncDir(dir); err == nil {
			err = s.disk.SyncDir(parent)
		}
		if err != nil {
			_ = log.Close() // nothing was written to it
		}
	}
	if err != nil {
		_ = s.disk.RemoveAll(dir) // at the next start an empty chunk is removed anyway
		return ready{err: err, c: &chunk{path: dir}}
	}
	return ready{log: log, c: &chunk{lane: lane, no: no, path: dir}}
}

// prepare has the lane's next chunk made. Owner only.
func (s *Spool) prepare(l *lane) {
	if !s.running || s.darkness() || l.ready != nil || l.chunk == nil || l.chunk.bytes < s.cfg.ChunkBytes/2 {
		return
	}
	no := s.nextChunk[l.id.Lane]
	s.nextChunk[l.id.Lane]++
	got := make(chan ready, 1)
	l.ready = got
	s.beside.Go(func() { got <- s.makeChunk(l.id.Lane, no) })
}

// nextReady returns the chunk that was prepared, or makes one. Owner only.
func (s *Spool) nextReady(l *lane) ready {
	if l.ready != nil {
		r := <-l.ready
		l.ready = nil
		if r.err == nil {
			return r
		}
		s.log.Warn("chunk not prepared", "chunk", r.c.path, "err", r.err)
	}
	no := s.nextChunk[l.id.Lane]
	s.nextChunk[l.id.Lane]++
	return s.makeChunk(l.id.Lane, no)
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
		if l.ready == nil {
			continue
		}
		r := <-l.ready
		l.ready = nil
		if r.err == nil {
			_ = r.log.Close()              // nothing was written to it
			_ = s.disk.RemoveAll(r.c.path) // at the next start an empty chunk is removed anyway
		}
	}
	s.beside.Wait()
}
