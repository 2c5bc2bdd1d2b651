package at

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// pings are harmless reads whose information lines differ: the one whose prefix
// cannot be owed by an earlier command proves that the port is in step.
var pings = []Command{
	{Text: "AT+CMEE?", Prefix: "+CMEE", Timeout: Quick},
	{Text: "AT+CFUN?", Prefix: "+CFUN", Timeout: Quick},
	{Text: "AT+CSQ", Prefix: "+CSQ", Timeout: Quick},
	{Text: "AT+COPS?", Prefix: "+COPS", Timeout: 2 * Quick},
}

// retryWedged is how long a port that answered no ping is left alone, listening,
// before a command tries the pings again.
const retryWedged = 5 * time.Second

// quiet is how long a port that was wedged must say nothing to count as in step.
const quiet = 500 * time.Millisecond

// loop is the state of Run, owned by its goroutine.
type loop struct {
	e     *Engine
	owed  map[string]bool // prefixes of commands whose final result is still to come
	wedge time.Time       // when the port was last found wedged
	early []string        // lines that came while a command was written
	stuck chan error      // of a write that the port has not taken yet; nil if there is none
}

// Run reads and writes the port until ctx ends or the port fails, closes it,
// and returns the reason: ctx's error, or the port's wrapped one.
func (e *Engine) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return e.read(ctx) })
	g.Go(func() error {
		l := &loop{e: e, owed: map[string]bool{}}
		err := l.run(ctx)
		return errors.Join(err, ignoreClosed(e.port.Close()))
	})
	err := g.Wait()
	close(e.done)
	return err
}

func ignoreClosed(err error) error {
	if err != nil && !errors.Is(err, io.ErrClosedPipe) {
		return fmt.Errorf("at: close port: %w", err)
	}
	return nil
}

func (l *loop) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case s := <-l.e.lines:
			l.idle(s)
		case r := <-l.e.requests:
			reply, err := l.serve(ctx, r.cmd)
			r.reply <- outcome{reply, err}
			if errors.Is(err, errPort) {
				return err
			}
		}
	}
}

// idle takes a line that comes while no command is under way.
func (l *loop) idle(s string) {
	if _, is := final(s); is {
		l.e.counters.late.Add(1)
		return
	}
	l.unsolicited(s)
}

// errPort marks a failed write: nothing more can be done on this port.
var errPort = errors.New("at: write to port")

// serve brings the port into step if it is not, and exchanges cmd.
func (l *loop) serve(ctx context.Context, cmd Command) (Reply, error) {
	l.e.counters.commands.Add(1)
	if len(l.owed) > 0 {
		if err := l.resync(ctx); err != nil {
			return Reply{}, err
		}
	}
	reply, err := l.exchange(ctx, cmd, false)
	var re *ResultError
	if errors.As(err, &re) {
		l.e.counters.errors.Add(1)
	}
	return reply, err
}

// resync pings until the information line of a ping that nothing else can have
// caused came back with its OK: a modem answers in order, so every late reply
// has come by then.
func (l *loop) resync(ctx context.Context) error {
	if !l.wedge.IsZero() && time.Since(l.wedge) < retryWedged {
		return ErrWedged
	}
	for _, p := range pings {
		if l.owed[p.Prefix] && l.wedge.IsZero() {
			continue
		}
		_, err := l.exchange(ctx, p, true)
		if err == nil {
			if !l.wedge.IsZero() {
				l.settle(ctx)
			}
			clear(l.owed)
			l.wedge = time.Time{}
			return nil
		}
		if !errors.Is(err, ErrTimeout) {
			return err
		}
	}
	l.wedge = time.Now()
	l.e.counters.wedged.Add(1)
	return ErrWedged
}

// settle reads until the port has been quiet: after it was wedged the answer to
// a ping may have been that to an older one, with more still to come.
func (l *loop) settle(ctx context.Context) {
	timer := time.NewTimer(quiet)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case s := <-l.e.lines:
			l.idle(s)
			timer.Reset(quiet)
		}
	}
}

// exchange sends cmd and reads to its final result. strict takes a final result
// only after an information line of the command itself.
func (l *loop) exchange(ctx context.Context, cmd Command, strict bool) (Reply, error) {
	timer := time.NewTimer(cmd.Timeout)
	defer timer.Stop()
	defer l.flush()
	if err := l.write(ctx, cmd.Text, timer.C); err != nil {
		return Reply{}, l.late(cmd, err)
	}
	var reply Reply
	for {
		s, err := l.line(ctx, timer.C)
		if err != nil {
			return Reply{}, l.late(cmd, err)
		}
		if s == cmd.Text {
			continue // echo
		}
		if res, is := final(s); is {
			if strict && len(reply.Lines) == 0 {
				l.e.counters.late.Add(1)
				continue
			}
			return reply, res
		}
		line := ParseLine(s)
		if !solicited(cmd, s, line) || len(reply.Lines) >= maxInfo {
			l.unsolicited(s)
			continue
		}
		reply.Lines = append(reply.Lines, line)
	}
}

// flush takes what came early and belonged to no command.
func (l *loop) flush() {
	for _, s := range l.early {
		l.idle(s)
	}
	l.early = l.early[:0]
}

// late notes that the answer to cmd is owed, if err says that its time is up.
func (l *loop) late(cmd Command, err error) error {
	if !errors.Is(err, ErrTimeout) {
		return err
	}
	l.owed[cmd.Prefix] = true
	l.e.counters.timeouts.Add(1)
	return fmt.Errorf("%w: %s within %v", ErrTimeout, redact(cmd.Text), cmd.Timeout)
}

// line returns the next line, those that came early first.
func (l *loop) line(ctx context.Context, limit <-chan time.Time) (string, error) {
	if len(l.early) > 0 {
		s := l.early[0]
		l.early = l.early[1:]
		return s, nil
	}
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case <-limit:
		return "", ErrTimeout
	case s := <-l.e.lines:
		return s, nil
	}
}

// solicited reports whether a line belongs to the reply of cmd rather than
// being an unsolicited code. Registration codes have both forms: the reply to
// the read begins with the setting n and then the state, both bare numbers; the
// code has the state alone or with a quoted area code behind it.
func solicited(cmd Command, s string, l Line) bool {
	if l.Prefix == "" {
		return cmd.Plain && !plainURC[s]
	}
	if cmd.Prefix == "" || l.Prefix != cmd.Prefix {
		return false
	}
	switch l.Prefix {
	case "+CREG", "+CGREG", "+CEREG", "+C5GREG":
		_, bare := l.Int(1)
		return strings.HasSuffix(cmd.Text, "?") && bare && !l.Quoted(1)
	}
	return true
}

// plainURC are the unsolicited lines without a prefix.
var plainURC = map[string]bool{
	"RDY": true, "RING": true, "POWERED DOWN": true, "NORMAL POWER DOWN": true, "SMS DONE": true, "PB DONE": true,
	"SMS READY": true, "Call Ready": true, "APP RDY": true, "UNDER-VOLTAGE WARNING": true, "OVER-VOLTAGE WARNING": true,
}

func (l *loop) unsolicited(s string) {
	line := ParseLine(s)
	if line.Prefix == "" && !plainURC[s] {
		l.e.counters.garbage.Add(1)
		return
	}
	l.e.counters.urcs.Add(1)
	if l.e.cfg.URC != nil {
		l.e.cfg.URC(line)
	}
}

// write gives text to the port, and goes on reading meanwhile: a modem that is
// in the middle of saying something may take nothing until that is taken. A port
// that takes nothing at all is left with the write; there is never a second one
// beside it.
func (l *loop) write(ctx context.Context, text string, limit <-chan time.Time) error {
	done := l.stuck
	if done == nil {
		l.e.log.add("> ", text)
		done = make(chan error, 1)
		go func() { done <- writeAll(l.e.port, text+"\r") }() // ends when the port takes it or is closed
	} else {
		text = "" // an earlier one is still under way: this one is not sent
	}
	for {
		select {
		case err := <-done:
			l.stuck = nil
			if err != nil {
				return fmt.Errorf("%w: %w", errPort, err)
			}
			if text == "" {
				return ErrTimeout
			}
			return nil
		case s := <-l.e.lines:
			if len(l.early) == maxInfo {
				l.e.counters.garbage.Add(1)
				continue
			}
			l.early = append(l.early, s)
		case <-limit:
			l.stuck = done
			return ErrTimeout
		case <-ctx.Done():
			l.stuck = done
			return ctx.Err()
		}
	}
}

func writeAll(w io.Writer, text string) error {
	for b := []byte(text); len(b) > 0; {
		n, err := w.Write(b)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
