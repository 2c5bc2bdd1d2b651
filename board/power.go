package board

import (
	"context"
	"fmt"
	"time"

	"periph.io/x/conn/v3/gpio"
)

// Power-fail watching.
const (
	// powerDebounce is how long the pin must stay active: shorter dips are
	// bridged by the board's capacitors.
	powerDebounce = 2 * time.Millisecond
	// edgePoll bounds one wait: WaitForEdge of some drivers is not ended by
	// Halt, so the context is looked at this often.
	edgePoll = 250 * time.Millisecond
)

// WatchPowerFail blocks until pin, described by p, has been active for the
// debounce time, and returns nil; or until ctx ends, and returns its error.
func WatchPowerFail(ctx context.Context, pin gpio.PinIn, p Pin) error {
	pull, edge, active := gpio.PullDown, gpio.RisingEdge, gpio.High
	if p.ActiveLow {
		pull, edge, active = gpio.PullUp, gpio.FallingEdge, gpio.Low
	}
	if err := pin.In(pull, edge); err != nil {
		return fmt.Errorf("board: power-fail pin %s: %w", p.Line, err)
	}
	for ctx.Err() == nil {
		if !pin.WaitForEdge(edgePoll) && pin.Read() != active {
			continue
		}
		if heldFor(ctx, pin, active, powerDebounce) {
			return nil
		}
	}
	return ctx.Err()
}

// heldFor reports whether pin reads level at the start and at the end of d.
func heldFor(ctx context.Context, pin gpio.PinIn, level gpio.Level, d time.Duration) bool {
	if pin.Read() != level {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return pin.Read() == level
	case <-ctx.Done():
		return false
	}
}
