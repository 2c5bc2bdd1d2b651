package agent

import (
	"sync"

	"telemetry/sensors"
	"telemetry/wire"
)

// anchorJudge numbers the time anchors of all sources, and keeps back those that
// a better one contradicts: a clock that nobody has set would else pull the time
// of the whole recording away from the satellites' every few seconds. The zero
// value is ready; it is safe for concurrent use.
type anchorJudge struct {
	mu      sync.Mutex
	id      uint32      // guarded by mu: of the latest one
	best    wire.Anchor // guarded by mu: the latest of the best kind
	refused uint64      // guarded by mu
}

// Limits of the judgement.
const (
	bestForNS = int64(600_000_000_000) // for so long the better kind is believed
	driftPPM  = 100                    // by which the boot clock may run away from it
)

// admit numbers a, or reports that it is not to be sent.
func (j *anchorJudge) admit(a *wire.Anchor) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	since := a.BootNS - j.best.BootNS
	holds := j.best.ID != 0 && max(since, -since) < bestForNS
	if holds && a.Source < j.best.Source {
		d := (a.UTCNS - j.best.UTCNS) - since
		if max(d, -d) > a.UncertaintyNS+j.best.UncertaintyNS+max(since, -since)/1_000_000*driftPPM {
			j.refused++
			return false
		}
	}
	j.id++
	a.ID = j.id
	if !holds || a.Source >= j.best.Source {
		j.best = *a
	}
	return true
}

var _ sensors.AnchorSink = (*sink)(nil)

// Anchor takes a time anchor of a source that knows UTC.
func (s *sink) Anchor(a wire.Anchor) error { return s.enc.anchor(s.stop, a) }
