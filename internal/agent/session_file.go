package agent

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"telemetry/internal/clock"
)

// Pauses of Run.
const (
	// keepAgain follows a write that failed.
	keepAgain = 2 * time.Second
	// keepEvery follows one that did not: a lap channel that changes with every
	// sample must not wear the card.
	keepEvery = 250 * time.Millisecond
)

// noBoot is the id of a machine's start that could not be read.
var noBoot = hex.EncodeToString(make([]byte, 16))

// load continues the session that is on disk. One that cannot be read must not keep
// the car from running.
func (s *sessions) load() {
	b, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	s.changed()
	var on Session
	if err == nil && len(b) > maxSessionFile {
		err = fmt.Errorf("%d bytes", len(b))
	}
	if err == nil {
		err = json.Unmarshal(b, &on)
	}
	if err != nil || on.ID == "" {
		s.log.Error("session file is damaged, the session is over", "file", s.path, "error", err)
		return
	}
	s.timer.State = on.Timer
	s.seen, s.lapRaw = on.SeenNS, on.LapRaw
	if on.BootID != s.bootID || s.bootID == noBoot {
		// The car's units have been without power, too: what they count begins anew.
		on.BootID, on.BootNS, s.seen, s.lapRaw = s.bootID, 0, 0, nil
		s.timer.Unknown()
	}
	s.resumed = s.seen != 0
	s.current = &on
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
		_ = clock.Sleep(ctx, keepEvery) // its end is seen above
	}
}

// keep brings the file up to date, unless it is.
func (s *sessions) keep() error {
	s.file.Lock()
	defer s.file.Unlock()
	if s.dark {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.changes != s.kept {
			s.unkept = errDark
		}
		return s.unkept
	}
	return s.bring()
}

// last brings the file up to date once more, within ctx: power is going, and nothing
// is written afterwards.
func (s *sessions) last(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { // ends with the write under way and, within ctx, its own
		s.file.Lock()
		defer s.file.Unlock()
		again := s.dark
		s.dark = true
		if ctx.Err() != nil || again {
			done <- ctx.Err()
			return
		}
		done <- s.bring()
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("agent: keep session: %w", ctx.Err())
	}
}

// bring does what keep says. The caller holds file.
func (s *sessions) bring() error {
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
		err = s.remove(s.path)
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
	return syncDir(filepath.Dir(path))
}

// remover returns a function that takes a file away so that a power cut does not
// bring it back: sync makes its folder durable, also where an earlier call failed
// after the file was gone.
func remover(sync func(dir string) error) func(path string) error {
	return func(path string) error {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return sync(filepath.Dir(path))
	}
}

// syncDir makes the names in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
