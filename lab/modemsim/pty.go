package modemsim

import (
	"context"
	"errors"
	"fmt"
	"time"

	"telemetry/internal/clock"
	"telemetry/lab/sensors"
)

// ServePTY plays the modem's control port on a pseudo terminal that stands at
// link while the modem is on its bus, until ctx ends: a reset hangs the line up
// and brings a new terminal under the same name, as a module on USB does.
func (m *Modem) ServePTY(ctx context.Context, link string) error {
	for ctx.Err() == nil {
		if !m.Present() {
			if err := clock.Sleep(ctx, 50*time.Millisecond); err != nil {
				return err
			}
			continue
		}
		p, err := sensors.OpenPTY(link)
		if err != nil {
			return fmt.Errorf("modemsim: %w", err)
		}
		done := make(chan struct{})
		err = m.Serve(ended{p, done})
		if errors.Is(err, ErrOffBus) {
			continue
		}
		if err != nil {
			return err
		}
		select {
		case <-done:
		case <-ctx.Done():
			m.Close()
			return ctx.Err()
		}
	}
	return ctx.Err()
}

// ended tells when the modem closes its end.
type ended struct {
	*sensors.PTY
	done chan struct{}
}

func (e ended) Close() error {
	err := e.PTY.Close()
	close(e.done)
	return err
}
