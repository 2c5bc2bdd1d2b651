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
	if err := l.write(cmd.Text); err != nil {
		return Reply{}, err
	}
	timer := time.NewTimer(cmd.Timeout)
	defer timer.Stop()
	var reply Reply
	for {
		select {
		case <-ctx.Done():
			return Reply{}, ctx.Err()
		case <-timer.C:
			l.owed[cmd.Prefix] = true
			l.e.counters.timeouts.Add(1)
			return Reply{}, fmt.Errorf("%w: %s within %v", ErrTimeout, redact(cmd.Text), cmd.Timeout)
		case s := <-l.e.lines:
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

func (l *loop) write(text string) error {
	l.e.log.add("> ", text)
	b := []byte(text + "\r")
	for len(b) > 0 {
		n, err := l.e.port.Write(b)
		if err != nil {
			return fmt.Errorf("%w: %w", errPort, err)
		}
		b = b[n:]
	}
	return nil
}
