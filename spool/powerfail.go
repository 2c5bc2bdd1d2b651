package spool

import (
	"context"
	"fmt"
	"time"
)

// PowerReport says what PowerFail did.
type PowerReport struct {
	Bytes int64         // sealed bytes that waited
	Took  time.Duration // until all of them were durable
}

// PowerFail is for the moment between the warning that power goes and its end:
// what was appended becomes durable in as few syncs as possible, and then nothing
// is written any more: no cursor, no trim. The spool takes nothing afterwards, and
// only a new start goes on. Append and Sync that wait get [ErrClosed].
//
// It takes at most the commit that is under way, and then, for q queued bytes on a
// disk that writes v bytes a second and takes t for a sync,
//
//	q/v + (2 + q/ChunkBytes) × 3t
//
// q is what came in since the last commit, 100 ms, and at most 1.25 × QueueBytes
// when the disk does not keep up. At 10 MB/s and 20 ms (a slow card), 20 ms of full
// lane at 2 MB/s and the defaults that is 0.14 s, and 1 s at the most.
func (s *Spool) PowerFail(ctx context.Context) (PowerReport, error) {
	start := time.Now()
	rep := PowerReport{}
	s.mu.Lock()
	s.dark = true
	s.mu.Unlock()
	for _, l := range s.lanes() {
		queued, _ := l.load()
		rep.Bytes += int64(queued)
		l.mergeUpTo(int(s.cfg.ChunkBytes))
	}
	s.refuse()
	s.halt()
	select {
	case s.owner <- struct{}{}: // Run has ended, and flushed
	case <-ctx.Done():
		return rep, fmt.Errorf("spool: power fail: a commit does not end: %w", ctx.Err())
	}
	defer func() { <-s.owner }()
	if s.closed {
		return rep, nil
	}
	s.closed = true
	err := s.flush()
	rep.Took = time.Since(start)
	s.closeMark()
	s.closeTable()
	s.files.close()
	if cerr := s.lock.Close(); err == nil {
		err = cerr
	}
	s.log.Info("power fail", "bytes", rep.Bytes, "took_ms", rep.Took.Milliseconds(), "err", err)
	return rep, err
}

// halt tells Run to end.
func (s *Spool) halt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.stop:
	default:
		close(s.stop)
	}
}

// darkness reports that power goes.
func (s *Spool) darkness() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dark
}

// mergeUpTo makes the next groups as large as a chunk: each costs a sync.
func (l *lane) mergeUpTo(bytes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.merge = bytes
}

// mergeInto adds the following groups of the queue to g while they fit. Called with
// mu held.
func (l *lane) mergeInto(g *group) {
	for len(l.queue) > 0 && len(g.buf)+len(l.queue[0].buf) <= l.merge {
		next := l.queue[0]
		l.queue = l.queue[1:]
		base := uint32(len(g.buf))
		g.buf = append(g.buf, next.buf...)
		for _, q := range next.items {
			q.off += base
			g.items = append(g.items, q)
		}
	}
}
