package spool

import (
	"errors"
	"sync"
	"syscall"
	"time"
)

const (
	// A failing disk is tried again after retryMin, doubling up to retryMax.
	retryMin = 100 * time.Millisecond
	retryMax = 5 * time.Second
	// sayEvery is the least time between two log lines about the same trouble.
	sayEvery = time.Minute
)

// trouble is the state of a lane whose batches the disk does not take. The zero value
// is that all is well.
type trouble struct {
	err   error
	since time.Time // of the first failure in a row
	wait  time.Duration
	retry time.Time // of the next try
}

// seldom keeps log lines about a disk that fails for hours apart.
type seldom struct {
	mu   sync.Mutex
	said map[string]time.Time
}

// seldom reports whether something may be logged again.
func (s *Spool) seldom(what string) bool {
	l := &s.logged
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if at, ok := l.said[what]; ok && now.Sub(at) < sayEvery {
		return false
	}
	if l.said == nil {
		l.said = map[string]time.Time{}
	}
	l.said[what] = now
	return true
}

// outOfSpace reports that an error means a full disk.
func outOfSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// failed notes that the disk did not take a lane's commit and says when to try again.
// A full disk is answered with what is settled, and for the critical lane with the
// reserve; relieved says that this freed something. What is durable stays: only the
// quota drops it. The lane keeps its batches in memory, and when that is full too, the
// oldest of those go with a loss record (reason disk).
func (s *Spool) failed(l *lane, err error, now time.Time) (relieved bool) {
	t := &l.trouble
	full := outOfSpace(err)
	if t.err == nil {
		t.since, t.wait = now, retryMin
	} else {
		t.wait = min(2*t.wait, retryMax)
	}
	t.err = err
	t.retry = now.Add(t.wait)
	if !full {
		s.letGo()
	}
	if full && s.relieve(l, now) {
		t.wait, t.retry, relieved = retryMin, now, true
	}
	if !relieved && s.seldom(l.id.Lane.String()) {
		queued, _ := l.load()
		_, drops := l.progress()
		s.log.Error("spool degraded: batches stay in memory", "reason", "disk", "disk_full", full, "lane", l.id.Lane.String(),
			"since_ms", now.Sub(t.since).Milliseconds(), "queued_bytes", queued, "dropped", drops, "err", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count.Failures++
	s.count.Degraded = true
	s.count.DiskFull, s.count.Disk = full, s.diskState()
	s.count.LastError = err.Error()
	return relieved
}

// recovered notes that the disk takes a lane's commits again.
func (s *Spool) recovered(l *lane, now time.Time) {
	if l.trouble.err == nil {
		return
	}
	if s.seldom("recovered " + l.id.Lane.String()) {
		s.log.Info("spool recovered", "lane", l.id.Lane.String(), "after_ms", now.Sub(l.trouble.since).Milliseconds())
	}
	l.trouble = trouble{}
	if s.ails() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.count.Disk = s.diskState()
		s.count.DiskFull = s.count.Disk == DiskFull
		return
	}
	s.takeUp()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count.Degraded, s.count.DiskFull, s.count.Disk = false, false, DiskOK
}

// ails reports that the disk does not take what some lane has. Owner only.
func (s *Spool) ails() bool { return s.crit.trouble.err != nil || s.full.trouble.err != nil }

// diskState is the worst that a lane has met. Owner only.
func (s *Spool) diskState() (worst DiskState) {
	for _, l := range s.lanes() {
		worst = max(worst, stateOf(l.trouble.err))
	}
	return worst
}

// stateOf says what an error of a commit tells of the disk.
func stateOf(err error) DiskState {
	switch {
	case err == nil:
		return DiskOK
	case outOfSpace(err):
		return DiskFull
	case errors.Is(err, syscall.EROFS):
		return DiskReadOnly
	}
	return DiskFailing
}

// letGo closes what is open for writing without being needed: nobody can check, remount
// or replace a card that is in use for writing. Owner only.
func (s *Spool) letGo() {
	if !s.running {
		return
	}
	for _, l := range s.lanes() {
		l.gather(true)
		for _, r := range l.ready {
			if r.err == nil {
				s.unmake(r)
			}
		}
		l.ready = nil
		s.seal(l) // what is in it is durable; the next batch begins another
	}
	s.beside.Wait()
	s.closeMark()
	s.closeTable()
}

// takeUp opens again what letGo closed.
func (s *Spool) takeUp() {
	if !s.running || s.darkness() {
		return
	}
	if s.mark.f == nil {
		f, err := s.disk.OpenMark(s.markPath())
		if err != nil {
			s.log.Warn("no mark: the end of the newest chunk has no name if it rots", "err", err)
		} else {
			s.mark.f = f
			s.setMark(s.crit.id.Lane, 0)
		}
	}
	if s.table.f == nil {
		s.writeTable()
	}
}
