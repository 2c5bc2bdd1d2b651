package modemsim

import (
	"context"
	"time"

	"telemetry/lab/link"
)

// tieEvery is how often a tied link follows its modem.
const tieEvery = 10 * time.Millisecond

// Tie makes an emulated link follow the modem until ctx ends: silent while
// nothing passes, down while the modem is off its bus.
func (m *Modem) Tie(ctx context.Context, r *link.Relay) {
	t := time.NewTicker(tieEvery)
	defer t.Stop()
	for ctx.Err() == nil {
		want := link.Up
		switch {
		case !m.Present():
			want = link.Down
		case !m.Data():
			want = link.Silent
		}
		if r.State() != want {
			r.Set(want)
		}
		select {
		case <-ctx.Done():
		case <-t.C:
		}
	}
}
