package uplink

import (
	"slices"

	"telemetry/wire"
)

const dayNS = 24 * 3600 * 1000 * ms

// metered counts what a link has carried of its budget.
type metered struct {
	Meter
	startNS int64  // of this day
	bytes   uint64 // in it
}

// count adds n bytes; every 24 h it begins anew.
func (m *metered) count(now int64, n int) {
	m.turn(now)
	m.bytes += uint64(n)
}

func (m *metered) turn(now int64) {
	switch {
	case m.startNS == 0:
		m.startNS = now
	case now-m.startNS >= dayNS:
		m.startNS += (now - m.startNS) / dayNS * dayNS
		m.bytes = 0
	}
}

// allows reports whether the link may carry size bytes more of lane l.
func (m *metered) allows(now int64, l wire.Lane, size int64) bool {
	if len(m.Lanes) > 0 && !slices.Contains(m.Lanes, l) {
		return false
	}
	if m.DayBytes == 0 || l == wire.LaneCritical {
		return true
	}
	m.turn(now)
	return m.bytes+uint64(size) <= m.DayBytes
}

// bar marks the paths of this step that may not carry a batch.
func (e *Engine) bar(l wire.Lane, size int64) {
	for i, c := range e.paths {
		e.pathsBuf[i].Barred = !e.links[c.link].meter.allows(e.now, l, size)
	}
}
