package board

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Feeder is a watchdog: the kernel's device or systemd.
type Feeder interface {
	// Interval is how long it waits before it acts.
	Interval() time.Duration
	Feed() error
	// Close disarms it.
	Close() error
}

// Guard feeds w while alive finds no fault, at a quarter of its interval, until
// ctx ends, and disarms it then. It does not feed, and so lets the watchdog act,
// once alive has found a fault in every check of half an interval. log receives
// what stood still.
func Guard(ctx context.Context, w Feeder, alive func() error, log *slog.Logger) error {
	period := w.Interval() / 4
	if period <= 0 {
		return errors.Join(fmt.Errorf("board: watchdog interval %v is too short", w.Interval()), w.Close())
	}
	t := time.NewTicker(period)
	defer t.Stop()
	for bad := 0; ; {
		if err := alive(); err != nil {
			bad++
			log.Error("watchdog is not fed", "error", err)
		} else {
			bad = 0
		}
		if bad < 2 {
			if err := w.Feed(); err != nil {
				log.Error("watchdog could not be fed", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return w.Close()
		case <-t.C:
		}
	}
}
