package uplink

import (
	"slices"

	"telemetry/wire"
)

// AllLinks stands for every link in Restrict.
const AllLinks = -1

// Restrict limits what a link may carry beyond its Meter, until the next call:
// lanes is all it may, nil is no limit. Its owner knows what the engine cannot,
// as that the radio is about to fade or that the board is too hot. Batches in
// flight stay where they are.
func (e *Engine) Restrict(link int, lanes []wire.Lane) {
	for i, l := range e.links {
		if link == AllLinks {
			l.meter.shed = slices.Clone(lanes)
		} else if link == i {
			l.meter.only = slices.Clone(lanes)
		}
	}
}

// Restrict is [Engine.Restrict]; it is safe for concurrent use.
func (u *Uplink) Restrict(link int, lanes []wire.Lane) {
	lanes = slices.Clone(lanes)
	u.post(func(u *Uplink, _ int64) { u.engine.Restrict(link, lanes) })
}
