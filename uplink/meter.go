package uplink

import (
	"slices"

	"telemetry/wire"
)

const dayNS = 24 * 3600 * 1000 * ms

// Spent is what a metered link has carried in one calendar day. It outlives the
// engine: see [Ledger].
type Spent struct {
	Day   int64  `json:"day"`           // days since 1970-01-01 where the car is; 0 = never known
	Top   int64  `json:"top,omitempty"` // the latest day that a clock has ever shown; 0 = Day
	Bytes uint64 `json:"bytes"`
}

// metered counts what a link has carried of its budget.
type metered struct {
	Meter
	Spent
	startNS int64 // ns since boot, of the present 24 h while no day is known

	only, shed []wire.Lane // set by Restrict, for the link and for all; nil = no limit
}

// count adds n bytes.
func (m *metered) count(now int64, n int) {
	m.age(now)
	m.Bytes += uint64(n)
}

// turn says which day it is; 0 = the clock is not set. Only a later day gives a
// new budget: a clock that is set back, as one without a battery at each start, and
// forth again to the day that had its budget must not. One that was wrong and far
// ahead does not keep the days from going on.
func (m *metered) turn(day int64) {
	if day == 0 {
		return
	}
	m.Top = max(m.Top, m.Day)
	if m.Day != 0 && day > m.Day && day != m.Top {
		m.Bytes = 0
	}
	m.Day, m.Top = day, max(m.Top, day)
}

// age gives a new budget every 24 h to a car whose clock is never set.
func (m *metered) age(now int64) {
	switch {
	case m.startNS == 0:
		m.startNS = now
	case now-m.startNS >= dayNS:
		m.startNS += (now - m.startNS) / dayNS * dayNS
		if m.Day == 0 {
			m.Bytes = 0
		}
	}
}

// allows reports whether the link may carry size bytes more of lane l.
func (m *metered) allows(now int64, l wire.Lane, size int64) bool {
	if len(m.Lanes) > 0 && !slices.Contains(m.Lanes, l) {
		return false
	}
	for _, limit := range [...][]wire.Lane{m.only, m.shed} {
		if limit != nil && !slices.Contains(limit, l) {
			return false
		}
	}
	if m.DayBytes == 0 || l == wire.LaneCritical {
		return true
	}
	m.age(now)
	return m.Bytes+uint64(size) <= m.DayBytes
}

// bar marks the paths of this step that may not carry a batch.
func (e *Engine) bar(l wire.Lane, size int64) {
	for i, c := range e.paths {
		e.pathsBuf[i].Barred = !e.links[c.link].meter.allows(e.now, l, size)
	}
}

// Day says which calendar day it is, in days since 1970-01-01; 0 = not known. A
// later day begins every link's budget anew.
func (e *Engine) Day(day int64) {
	for _, l := range e.links {
		l.meter.turn(day)
	}
}

// Spend adds what a link carried before the engine began.
func (e *Engine) Spend(link int, s Spent) {
	if link >= 0 && link < len(e.links) {
		e.links[link].meter.Spent = s
	}
}

// Spent returns what a link has carried today.
func (e *Engine) Spent(link int) Spent { return e.links[link].meter.Spent }
