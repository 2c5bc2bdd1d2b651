package at

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
)

// read cuts the port's bytes into lines and hands them to the loop, until ctx
// ends or the port fails. The loop closes the port, which ends a blocked Read.
func (e *Engine) read(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = e.port.Close() })
	defer stop()
	var sp splitter
	buf := make([]byte, 512)
	for {
		n, err := e.port.Read(buf)
		for _, s := range sp.add(buf[:n]) {
			e.log.add("< ", s)
			select {
			case e.lines <- s:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		e.counters.cut.Store(sp.cut)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, io.EOF):
			return fmt.Errorf("at: read from port: %w", io.ErrUnexpectedEOF)
		case err != nil:
			return fmt.Errorf("at: read from port: %w", err)
		}
	}
}

// splitter gathers lines. Carriage return and line feed both end one; empty
// lines are dropped, and so are bytes outside printable ASCII, which a wrong
// bit rate or a starting module produces.
type splitter struct {
	part  []byte
	lines []string
	cut   uint64
	skip  bool // the rest of a line that was cut
}

func (s *splitter) add(b []byte) []string {
	s.lines = s.lines[:0]
	for _, c := range b {
		switch {
		case c == '\r' || c == '\n':
			if line := string(bytes.TrimSpace(s.part)); line != "" {
				s.lines = append(s.lines, line)
			}
			s.part, s.skip = s.part[:0], false
		case s.skip || c < ' ' || c > '~':
		case len(s.part) >= maxLine:
			s.cut++
			s.skip = true
		default:
			s.part = append(s.part, c)
		}
	}
	return s.lines
}

// transcript is a ring of lines for diagnosis.
type transcript struct {
	mu    sync.Mutex
	max   int
	lines []string
	next  int
}

func (t *transcript) add(dir, s string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s = dir + redact(s)
	if len(t.lines) < t.max {
		t.lines = append(t.lines, s)
		return
	}
	t.lines[t.next] = s
	t.next = (t.next + 1) % t.max
}

func (t *transcript) get() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append(append([]string{}, t.lines[t.next:]...), t.lines[:t.next]...)
}

// redact blanks what must not stand in logs: PINs and passwords.
func redact(s string) string {
	for _, secret := range []string{"AT+CPIN=", "AT+CLCK=", "AT+CPWD=", "AT+QICSGP=", "AT+CGAUTH="} {
		if i := strings.Index(s, secret); i >= 0 {
			return s[:i+len(secret)] + "…"
		}
	}
	return s
}

type counters struct{ commands, timeouts, errors, late, urcs, garbage, cut, wedged atomic.Uint64 }

func (c *counters) get() Counters {
	return Counters{
		Commands: c.commands.Load(), Timeouts: c.timeouts.Load(), Errors: c.errors.Load(), Late: c.late.Load(),
		URCs: c.urcs.Load(), Garbage: c.garbage.Load(), Cut: c.cut.Load(), Wedged: c.wedged.Load(),
	}
}
