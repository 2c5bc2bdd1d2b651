package spool

import (
	"context"
	"errors"
	"fmt"
	"time"

	"telemetry/wire"
)

// tidyEvery is how often the owner looks for what time alone changes.
const tidyEvery = 200 * time.Millisecond

// Run owns the disk until ctx ends: it commits, rotates, trims and keeps the
// quota. When it returns, everything that was appended is durable, or the error
// says how much is not; the spool takes nothing more. It is run once.
func (s *Spool) Run(ctx context.Context) error {
	select {
	case s.owner <- struct{}{}:
	case <-ctx.Done():
		return nil
	}
	defer func() { <-s.owner }()
	s.mu.Lock()
	stopping := s.stopping
	s.mu.Unlock()
	if stopping {
		return nil
	}
	s.running = true
	defer func() { s.settleBeside(); s.running = false }()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for wait := time.Duration(0); ; {
		if timer.Reset(max(wait, 0)); wait <= 0 { // due now: a kick has nothing to add
			select {
			case <-s.kick:
			default:
			}
		}
		select {
		case <-ctx.Done():
			s.refuse()
			return s.flush()
		case <-s.stop:
			return s.flush()
		case <-s.kick:
		case <-timer.C:
		}
		select { // the end goes before what else has happened
		case <-s.stop:
			return s.flush()
		default:
		}
		wait = s.step(time.Now())
	}
}

// step does all that is due and returns how long nothing will be.
func (s *Spool) step(now time.Time) time.Duration {
	s.mu.Lock()
	urgent := s.urgent
	s.urgent = false
	s.mu.Unlock()
	s.sayLost(now, false)
	wait := tidyEvery
	for _, l := range s.lanes() {
		queued, full := l.load()
		if queued == 0 {
			continue
		}
		if l.trouble.err != nil && now.Before(l.trouble.retry) && !urgent {
			wait = min(wait, l.trouble.retry.Sub(now))
			continue
		}
		if l.due.IsZero() { // a slow disk has used up the time already
			if l.due = l.begun.Add(l.interval); l.due.Before(now) {
				l.due = now
			}
		}
		if !full && !urgent && now.Before(l.due) {
			wait = min(wait, l.due.Sub(now))
			continue
		}
		if !s.darkness() {
			s.makeRoom(int64(queued), now)
		}
		if err := s.commit(l); err != nil {
			s.failed(l, err, now)
			wait = min(wait, max(0, l.trouble.retry.Sub(now)))
			continue
		}
		s.recovered(l, now)
	}
	if now.Sub(s.tidyTime) >= tidyEvery && !s.darkness() {
		s.tidyTime = now
		s.tidy(now)
	}
	return wait
}

// tidy does what time alone makes due.
func (s *Spool) tidy(now time.Time) {
	s.lateKeys(now)
	if base, ok := s.live.untold(s.cfg.Clock.BootNS()); ok { // rule 6
		s.putControl(wire.AppendBase(nil, &wire.Base{Epoch: s.epoch, Lane: wire.LaneLive, Base: base}))
		signal(s.kick)
	}
	for _, l := range s.lanes() {
		if l.chunk != nil && l.chunk.bytes > 0 && now.Sub(l.since) >= chunkMaxAge {
			s.seal(l)
		}
	}
	var err error
	if now.Sub(s.cursorTime) >= cursorEvery {
		err = errors.Join(s.storeCursor(now), s.trim(now), s.storeLineage())
		s.boundTable()
	}
	if err != nil {
		s.cursorTime = now // once a second is enough for a failing disk too
		if s.seldom("tidy") {
			s.log.Warn("tidying the spool failed", "err", err)
		}
	}
	if now.Sub(s.catTime) >= catalogueEvery {
		s.catTime = now
		s.dropCatalogues()
	}
	if !s.reserved && !s.ails() && now.Sub(s.spaceTime) >= time.Minute {
		s.spaceTime = now
		s.keepReserve()
	}
}

// urge asks the owner to commit at once.
func (s *Spool) urge() {
	s.mu.Lock()
	s.urgent = true
	s.mu.Unlock()
	signal(s.kick)
}

// refuse stops taking batches and frees who is blocked in Append.
func (s *Spool) refuse() {
	s.mu.Lock()
	s.stopping = true
	s.mu.Unlock()
	s.live.close()
	for _, l := range s.lanes() {
		l.close()
	}
}

// flush makes everything durable that is queued. Owner only.
func (s *Spool) flush() error {
	now := time.Now()
	s.sayLost(now, true)
	var errs []error
	dark := s.darkness()
	for _, l := range s.lanes() {
		queued, _ := l.load()
		if !dark {
			s.makeRoom(int64(queued), now)
		}
		err := s.commit(l)
		for err != nil && s.failed(l, err, now) {
			err = s.commit(l)
		}
		if err != nil {
			left, _ := l.load()
			errs = append(errs, fmt.Errorf("spool: %d bytes of %s are not durable: %w", left, l.id.Lane, err))
			continue
		}
		if queued > 0 {
			s.recovered(l, now)
		}
	}
	if len(errs) == 0 && !dark {
		errs = append(errs, s.storeCursor(now))
	}
	s.announce()
	return errors.Join(errs...)
}

// Close ends Run if it runs, makes everything durable that was appended, and
// gives the directory free. The spool takes nothing afterwards. A second call does
// nothing.
func (s *Spool) Close() error {
	s.refuse()
	s.halt()
	s.owner <- struct{}{} // Run has ended
	defer func() { <-s.owner }()
	if s.closed {
		return nil
	}
	s.closed = true
	err := s.flush()
	now := time.Now()
	for _, l := range s.lanes() {
		s.seal(l)
	}
	err = errors.Join(err, s.trim(now), s.storeLineage())
	s.closeMark()
	s.closeTable()
	s.files.close()
	return errors.Join(err, s.lock.Close())
}
