package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"telemetry/internal/clock"
)

// keepAgain is how long Run waits after a write that failed.
const keepAgain = 2 * time.Second

// load continues the session that is on disk.
func (s *sessions) load() error {
	b, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("agent: read session: %w", err)
	}
	s.changed()
	var on Session
	if len(b) > maxSessionFile || json.Unmarshal(b, &on) != nil || on.ID == "" {
		// A session that cannot be read must not keep the car from running.
		s.log.Error("session file is damaged, the session is over", "file", s.path)
		return nil
	}
	s.timer.State = on.Timer
	s.seen, s.lapRaw = on.SeenNS, on.LapRaw
	if on.BootID != s.bootID {
		// The car's units have been without power, too: what they count begins anew.
		on.BootID, on.BootNS, s.seen, s.lapRaw = s.bootID, 0, 0, nil
		s.timer.Unknown()
	}
	s.resumed = s.seen != 0
	s.current = &on
	return nil
}

// state returns the session under way as it is kept. The caller holds mu.
func (s *sessions) state() Session {
	c := *s.current
	c.Timer, c.SeenNS, c.LapRaw, c.Unkept = s.timer.State, s.seen, s.lapRaw, ""
	return c
}

// changed notes that there is something to keep, and wakes Run. The caller holds
// mu.
func (s *sessions) changed() {
	s.changes++
	select {
	case s.dirty <- struct{}{}:
	default: // it will look anyway
	}
}

// Run writes what changes until ctx ends, and then once more. A disk that refuses
// is asked again.
func (s *sessions) Run(ctx context.Context) error {
	for {
		select {
		case <-s.dirty:
		case <-ctx.Done():
			s.mu.Lock()
			if s.current != nil {
				s.changed() // when the car was seen last
			}
			s.mu.Unlock()
			_ = s.keep() // it is in the log
			return ctx.Err()
		}
		for s.keep() != nil {
			if err := clock.Sleep(ctx, keepAgain); err != nil {
				break
			}
		}
	}
}

// keep brings the file up to date, unless it is.
func (s *sessions) keep() error {
	s.file.Lock()
	defer s.file.Unlock()
	s.mu.Lock()
	changes := s.changes
	if changes == s.kept {
		s.mu.Unlock()
		return nil
	}
	var b []byte
	var err error
	if s.current != nil {
		b, err = json.Marshal(s.state())
	}
	s.mu.Unlock()
	switch {
	case err != nil:
	case b == nil:
		if err = os.Remove(s.path); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	default:
		err = s.write(s.path, b)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		err = fmt.Errorf("agent: keep session: %w", err)
		if s.unkept == nil {
			s.log.Error("session not kept on disk, a restart would lose what is new", "error", err)
		}
		s.unkept = err
		return err
	}
	s.kept, s.unkept = changes, nil
	return nil
}

// writeDurably replaces a file: after a power cut it is the old one or the new.
func writeDurably(path string, b []byte) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
