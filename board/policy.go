package board

import "time"

// Ignition decides what follows when the key is turned off. It is a pure state
// machine; with Drain 0 it stops at once. A line that was never seen on may be one
// that cannot be read: it does nothing until it was.
type Ignition struct {
	Seen   bool          // on, since the start or earlier; Step sets it
	Drain  time.Duration // how long the backlog may still be sent
	Settle time.Duration // the line must be off this long: cranking dips it; 0 means 2 s

	off   bool
	since time.Duration // boot clock at which the line went off
}

// Power is what the policy says.
type Power uint8

// Answers of [Ignition.Step].
const (
	Run   Power = iota // sample and send
	Drain              // sampling may end, the backlog is sent
	Stop               // make everything durable and power off
)

// Step takes the line's state and the bytes still to be sent.
func (g *Ignition) Step(now time.Duration, on bool, backlog int64) Power {
	if on {
		g.off, g.Seen = false, true
		return Run
	}
	if !g.Seen {
		return Run
	}
	if !g.off {
		g.off, g.since = true, now
	}
	settle := g.Settle
	if settle == 0 {
		settle = 2 * time.Second
	}
	switch off := now - g.since; {
	case off < settle:
		return Run
	case backlog > 0 && off < settle+g.Drain:
		return Drain
	}
	return Stop
}

// Heat sheds load while the board is too hot, the lowest lane first, with
// hysteresis. The zero value sheds from 85 °C on.
type Heat struct {
	ShedMilliC int64         // from here on one more level is shed; 0 means 85,000
	BackMilliC int64         // below here one level comes back; 0 means ShedMilliC − 5,000
	Every      time.Duration // between two steps; 0 means 10 s

	level Shed
	moved time.Duration
	began bool
}

// Shed is how much is given up. Samples are always taken and spooled: only
// sending waits.
type Shed uint8

// Levels, the gentlest first.
const (
	ShedNothing Shed = iota
	ShedLive         // no previews
	ShedFull         // the full lane waits in the spool as well
	shedMost    = ShedFull
)

// String names the level as status shows it.
func (s Shed) String() string { return [...]string{"nothing", "live", "full"}[s] }

// Step takes the hottest zone's temperature and returns the level.
func (h *Heat) Step(now time.Duration, hottestMilliC int64) Shed {
	shed, back, every := h.ShedMilliC, h.BackMilliC, h.Every
	if shed == 0 {
		shed = 85_000
	}
	if back == 0 {
		back = shed - 5_000
	}
	if every == 0 {
		every = 10 * time.Second
	}
	if h.began && now-h.moved < every {
		return h.level
	}
	switch {
	case hottestMilliC >= shed && h.level < shedMost:
		h.level++
	case hottestMilliC < back && h.level > ShedNothing:
		h.level--
	default:
		return h.level
	}
	h.began, h.moved = true, now
	return h.level
}
