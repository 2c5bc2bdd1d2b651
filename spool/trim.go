package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"telemetry/wire"
)

// Deleting what nothing waits for. Owner of the disk only.

// cursorEvery is the least time between two cursors, but for a chunk that must go
// at once.
const cursorEvery = time.Second

func (s *Spool) laneDir(l wire.Lane) string { return filepath.Join(s.cfg.Dir, l.String()) }
func (s *Spool) trashDir() string           { return filepath.Join(s.cfg.Dir, trashName) }

func chunkName(no uint64) string { return fmt.Sprintf("%010d", no) }

// storeCursor makes durable what is settled.
func (s *Spool) storeCursor(now time.Time) error {
	s.mu.Lock()
	if !s.moved {
		s.mu.Unlock()
		return nil
	}
	s.moved = false
	value := encodeCursor(s.cursor())
	s.mu.Unlock()
	s.cursorTime, s.cursorTwice = now, false
	err := s.curSlots.store(value)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.moved = true
		s.count.CursorErrors++
		return fmt.Errorf("spool: cursor: %w", err)
	}
	s.count.Cursors++
	return nil
}

// cursor lists what is settled of every stream. Called with mu held.
func (s *Spool) cursor() []cursorStream {
	out := make([]cursorStream, 0, len(s.streams))
	for _, lane := range wire.Lanes {
		for _, st := range s.order[lane] {
			high := st.high
			if st.doubt > 0 {
				high = min(high, st.doubt-1)
			}
			if id := st.id; len(st.settled) > 0 || high > 0 {
				out = append(out, cursorStream{epoch: id.Epoch, lane: id.Lane, shard: id.Shard, high: high, settled: st.settled})
			}
		}
	}
	return out
}

// storeBoth is storeCursor for what is about to be deleted: both slots say that it may
// be, so that whichever is torn or rots, the other one tells what was deleted from what
// was lost.
func (s *Spool) storeBoth(now time.Time) error {
	if err := s.storeCursor(now); err != nil {
		return err
	}
	if s.cursorTwice {
		return nil
	}
	s.mu.Lock()
	s.moved = true
	s.mu.Unlock()
	if err := s.storeCursor(now); err != nil {
		return err
	}
	s.cursorTwice = true
	return nil
}

// trim deletes sealed chunks in which nothing is pending: the cursor first, so
// that a restart does not miss them.
func (s *Spool) trim(now time.Time) error {
	var gone []*chunk
	s.mu.Lock()
	for _, lane := range wire.Lanes { // in a fixed order, so that a seed can repeat it
		for _, c := range s.chunks[lane] {
			if s.unlock(c); c.sealed && c.pending == 0 && len(c.locked) == 0 {
				gone = append(gone, c)
			}
		}
	}
	s.mu.Unlock()
	if len(gone) == 0 {
		return nil
	}
	if err := s.storeBoth(now); err != nil {
		return err
	}
	for _, c := range gone {
		if err := s.unlink(c); err != nil {
			return err
		}
	}
	s.forgetStreams()
	return nil
}

// unlink deletes one chunk. After the rename is durable it cannot come back.
func (s *Spool) unlink(c *chunk) error {
	trash := filepath.Join(s.trashDir(), fmt.Sprintf("%s-%s", c.lane, chunkName(c.no)))
	err := s.disk.Rename(c.path, trash)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // an earlier try got this far
	}
	if err == nil {
		err = s.disk.SyncDir(s.laneDir(c.lane))
	}
	if err == nil {
		err = s.disk.RemoveAll(trash)
	}
	if err != nil {
		return fmt.Errorf("spool: delete chunk %s: %w", c.path, err)
	}
	s.files.drop(filepath.Join(c.path, SegmentName))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetChunk(c)
	s.count.Trimmed++
	return nil
}

// forgetStreams drops the books of earlier epochs that nothing refers to: the
// lineage no longer names them and no chunk holds anything of them.
func (s *Spool) forgetStreams() {
	s.mu.Lock()
	defer s.mu.Unlock()
	keep := map[wire.Epoch]bool{s.epoch: true}
	for _, e := range s.ident.lineage {
		keep[e] = true
	}
	for id, st := range s.streams {
		if st.ours || st.pending > 0 || len(st.lost) > 0 || keep[id.Epoch] {
			continue
		}
		delete(s.streams, id)
		s.dropOrder(st)
	}
}

func (s *Spool) dropOrder(st *stream) {
	ss := s.order[st.id.Lane]
	for i, x := range ss {
		if x == st {
			s.order[st.id.Lane] = append(ss[:i:i], ss[i+1:]...)
			return
		}
	}
}

// storeLineage makes durable which predecessors the cloud knows to be closed: they
// are not named again.
func (s *Spool) storeLineage() error {
	s.mu.Lock()
	if !s.lineageNew {
		s.mu.Unlock()
		return nil
	}
	s.lineageNew = false
	value := s.ident.encode()
	s.mu.Unlock()
	err := s.idSlots.store(value)
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.lineageNew = true
		return fmt.Errorf("spool: epoch file: %w", err)
	}
	return nil
}
