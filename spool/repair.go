package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"telemetry/wire"
)

// offline takes the directory of a spool that no agent uses, as far as a start does
// before it opens an epoch: the chunks are scanned and repaired.
func offline(cfg Config) (*Spool, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := newSpool(cfg.withDefaults())
	s.thorough = true
	lock, err := s.disk.Lock(filepath.Join(cfg.Dir, lockName), fmt.Sprintf("pid %d, repairing", os.Getpid()))
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	s.lock = lock
	if _, err = s.loadIdentity(); err == nil {
		err = s.loadCursor()
	}
	if err == nil {
		s.loadMark()
		err = s.layout()
	}
	if err == nil {
		err = s.recover()
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

// Repair does to a spool that no agent uses what a start would do: cuts torn tails,
// rewrites damaged chunks and puts what it replaced into quarantine. It opens no
// epoch: what is lost is reported by the next start, which finds it in the cursor.
func Repair(cfg Config) (Report, error) {
	s, err := offline(cfg)
	if err != nil {
		return Report{}, err
	}
	s.moved = true
	err = s.storeCursor(time.Now())
	for _, lane := range [...]wire.Lane{wire.LaneCritical, wire.LaneFull} {
		for _, st := range s.order[lane] {
			s.report.Batches += st.pending
			s.report.Bytes += st.bytes
			if known := st.held().Union(st.settled); len(known) > 0 {
				s.report.LostBatches += known.Missing(known[0].First, st.high).Count()
			}
		}
	}
	return s.report, errors.Join(err, s.lock.Close())
}

// PruneReport says what Prune deleted.
type PruneReport struct {
	Chunks      int   // settled ones
	Bytes       int64 // of them
	Quarantined int64 // bytes of damaged data that were kept for people
}

// Prune deletes from a spool that no agent uses what nothing waits for: chunks in
// which all is settled and, if wanted, the quarantine. It never deletes a batch that
// still waits.
func Prune(cfg Config, quarantine bool) (PruneReport, error) {
	s, err := offline(cfg)
	if err != nil {
		return PruneReport{}, err
	}
	before, bytes := s.count.Chunks, s.count.DiskBytes
	err = s.trim(time.Now())
	rep := PruneReport{Chunks: int(before - s.count.Chunks), Bytes: bytes - s.count.DiskBytes}
	if quarantine {
		rep.Quarantined = s.quarBytes
		s.empty(s.quarantineDir(), func(string) bool { return true })
	}
	return rep, errors.Join(err, s.lock.Close())
}
