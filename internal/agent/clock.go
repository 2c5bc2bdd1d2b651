package agent

import (
	"context"
	"log/slog"
	"time"

	"telemetry/internal/clock"
	"telemetry/wire"
)

// clocks is what the agent reads of the machine's clocks.
type clocks interface {
	BootNS() int64
	Compare() clock.Reading
}

// How far UTC may move against the boot clock between two anchors before it
// counts as a step: scheduling noise, and what a clock that is being slewed gains
// in slewShare parts of the time (500 ppm, the kernel's limit).
const (
	stepNS    = int64(10 * time.Millisecond)
	slewShare = 2000
)

// anchorLoop sends a time anchor at once and then at every interval until ctx
// ends, and an extra one, with an event, when UTC was stepped.
func anchorLoop(ctx context.Context, c clocks, every time.Duration, e *encoder, log *slog.Logger) error {
	t := time.NewTicker(every)
	defer t.Stop()
	var last wire.Anchor
	for {
		r := c.Compare()
		a := wire.Anchor{ID: last.ID + 1, BootNS: r.BootNS, UTCNS: r.UTCNS, UncertaintyNS: r.UncertaintyNS, Source: wire.AnchorRTC}
		if r.Synced {
			a.Source = wire.AnchorNTP
		}
		if step := stepOf(last, a); step != 0 {
			log.Warn("clock stepped", "step_ms", step/1e6, "source", a.Source.String())
			ev := wire.Event{BootNS: a.BootNS, Name: "clock_step", Detail: time.Duration(step).String()}
			if e.event(ev, ctx.Done()) != nil {
				return nil
			}
		}
		if e.anchor(ctx.Done(), a) != nil {
			return nil
		}
		last = a
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// stepOf returns by how many ns UTC jumped between two anchors, or 0.
func stepOf(last, a wire.Anchor) int64 {
	if last.ID == 0 {
		return 0
	}
	d := (a.UTCNS - last.UTCNS) - (a.BootNS - last.BootNS)
	if max(d, -d) <= stepNS+(a.BootNS-last.BootNS)/slewShare {
		return 0
	}
	return d
}
