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

// ErrNoControl says that the modem's control is not open.
var ErrNoControl = errors.New("keeper: the modem's control is not open")

// ask has f done by the run loop, between two polls.
func (k *Keeper) ask(ctx context.Context, f func(context.Context, *loop) error) error {
	done := make(chan error, 1)
	select {
	case k.asks <- func(lctx context.Context, l *loop) { done <- f(lctx, l) }:
	case <-ctx.Done():
		return fmt.Errorf("keeper: modem %s is busy: %w", k.parts.Name, ctx.Err())
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Command sends an operator's command to the modem, between two polls.
func (k *Keeper) Command(ctx context.Context, text string) (reply []string, err error) {
	err = k.ask(ctx, func(ctx context.Context, l *loop) error {
		c, ok := l.ctl.(Commander)
		if l.ctl == nil {
			return ErrNoControl
		}
		if !ok {
			return errors.New("keeper: this modem's control takes no commands")
		}
		reply, err = c.Command(ctx, text)
		return err
	})
	return reply, err
}

// Force does rung r now, whatever the ladder thinks, with the same budget and
// the same care that only one modem is off its bus.
func (k *Keeper) Force(ctx context.Context, r ladder.Rung) error {
	if !k.can(r) || r == ladder.Wait {
		return fmt.Errorf("keeper: modem %s cannot do %s on this board", k.parts.Name, r)
	}
	return k.ask(ctx, func(ctx context.Context, l *loop) error {
		if r.Disruptive() && !k.group.claim(k) {
			return errors.New("keeper: another modem is being reset: one at a time")
		}
		k.log.Warn("modem recovery by an operator", "rung", r.String())
		l.lad.Force(r, k.group.now())
		err := l.act(ctx, r)
		l.lad.Done(k.group.now())
		l.save()
		return err
	})
}
