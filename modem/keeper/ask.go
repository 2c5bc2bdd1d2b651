package keeper

import (
	"context"
	"errors"
	"fmt"

	"telemetry/modem/ladder"
)

// Commander is a Control that takes commands of an operator.
type Commander interface {
	// Command sends one command and returns the lines of its reply.
	Command(ctx context.Context, text string) ([]string, error)
}

// Errors of an operator's wishes.
var (
	// ErrNoControl says that the modem's control is not open.
	ErrNoControl = errors.New("keeper: the modem's control is not open")
	// ErrBusy says that something else is under way, and what.
	ErrBusy = errors.New("keeper: the modem is busy")
)

// ask is a wish of an operator, for the run loop.
type ask struct {
	control bool // needs the modem's control, which does one thing at a time
	do      func(context.Context, *loop) answer
	answer  chan answer // buffered, one
}

type answer struct {
	lines []string
	err   error
}

// serve does what is asked, or says what is in its way.
func (l *loop) serve(ctx context.Context, a ask) {
	if l.busy != "" && (a.control || l.acting) {
		a.answer <- answer{err: fmt.Errorf("%w: %s", ErrBusy, l.busy)}
		return
	}
	a.answer <- a.do(ctx, l)
}

// ask has do done by the run loop, between two polls.
func (k *Keeper) ask(ctx context.Context, control bool, do func(context.Context, *loop) answer) ([]string, error) {
	a := ask{control: control, do: do, answer: make(chan answer, 1)}
	select {
	case k.asks <- a:
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %s: %w", ErrBusy, k.parts.Name, ctx.Err())
	}
	select {
	case got := <-a.answer:
		return got.lines, got.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Command sends an operator's command to the modem, between two polls.
func (k *Keeper) Command(ctx context.Context, text string) ([]string, error) {
	return k.ask(ctx, true, func(ctx context.Context, l *loop) (got answer) {
		c, ok := l.ctl.(Commander)
		if l.ctl == nil {
			return answer{err: ErrNoControl}
		}
		if !ok {
			return answer{err: errors.New("keeper: this modem's control takes no commands")}
		}
		err := l.during(ctx, "an operator's command", func(ctx context.Context) (err error) {
			got.lines, err = c.Command(ctx, text)
			return err
		})
		got.err = err
		return got
	})
}

// Force does rung r now, whatever the ladder thinks, with the same budget and
// the same care that only one modem is off its bus.
func (k *Keeper) Force(ctx context.Context, r ladder.Rung) error {
	if !k.can(r) || r == ladder.Wait {
		return fmt.Errorf("keeper: modem %s cannot do %s on this board", k.parts.Name, r)
	}
	_, err := k.ask(ctx, r < ladder.USB, func(ctx context.Context, l *loop) answer {
		if r.Disruptive() && !k.group.claim(k) {
			return answer{err: errors.New("keeper: another modem is being reset: one at a time")}
		}
		k.log.Warn("modem recovery by an operator", "rung", r.String())
		l.lad.Force(r, k.group.now())
		return answer{err: l.perform(ctx, r)}
	})
	return err
}
