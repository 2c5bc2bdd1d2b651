// Package fade tells from a modem's signal that its link is about to stop
// carrying data, a moment before it does.
//
// The entry point is [Predictor.Step], a pure function of readings and time. A
// prediction is a hint for the scheduler: it never closes a link.
package fade

import (
	"slices"
	"time"
)

// Reading is what a modem says of its signal at one moment.
type Reading struct {
	Now     time.Duration // boot clock
	RSRPdBm float64       // 0: nothing new is known, only time has passed
	SINRdB  float64       // NaN = unknown
	Cell    uint64
}

// Config of a [Predictor]; zero fields mean the defaults.
type Config struct {
	FloorDBm  float64       // below this RSRP nothing passes (−118)
	FloorSINR float64       // below this SINR nothing passes (−6)
	Horizon   time.Duration // how far ahead is looked (1.5 s)
	Window    time.Duration // over which the slope is taken (3 s)
	Hold      time.Duration // a prediction stays at least this long (0.5 s)
}

// Limits of what is kept.
const (
	maxReadings = 64
	// maxSlope bounds the slope of RSRP, dB/s: a step between two cells is no fade.
	maxSlope = 20
)

// Predictor looks at one modem's signal. The zero value with Config{} is ready;
// it is not safe for concurrent use.
type Predictor struct {
	Config Config

	seen   []Reading
	until  time.Duration // the prediction stands to here
	fading bool
	Stats  Stats
}

// Stats counts predictions.
type Stats struct {
	Fades   uint64 `json:"fades"`   // times a fade was announced
	Changes uint64 `json:"changes"` // of the serving cell
}

func or[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// Step takes a reading and reports whether the link will fade within the
// horizon. What was read before the window is forgotten: a port that has died
// announces nothing.
func (p *Predictor) Step(r Reading) bool {
	from := r.Now - or(p.Config.Window, 3*time.Second)
	p.seen = slices.DeleteFunc(p.seen, func(o Reading) bool { return o.Now < from })
	if r.RSRPdBm != 0 {
		p.take(r)
	}
	c := p.Config
	if p.falls(or(c.Horizon, 1500*time.Millisecond), or(c.FloorDBm, -118), or(c.FloorSINR, -6)) {
		p.until = r.Now + or(c.Hold, 500*time.Millisecond)
	}
	now := r.Now < p.until
	if now && !p.fading {
		p.Stats.Fades++
	}
	p.fading = now
	return now
}

// take keeps a reading; a new cell begins a new history.
func (p *Predictor) take(r Reading) {
	if n := len(p.seen); n > 0 && p.seen[n-1].Cell != r.Cell {
		p.Stats.Changes++
		p.seen = p.seen[:0]
	}
	if len(p.seen) == maxReadings {
		p.seen = slices.Delete(p.seen, 0, 1)
	}
	p.seen = append(p.seen, r)
}

// falls reports whether power or quality will be below its floor.
func (p *Predictor) falls(ahead time.Duration, floor, floorSINR float64) bool {
	n := len(p.seen)
	if n == 0 {
		return false
	}
	last := p.seen[n-1]
	if last.RSRPdBm < floor || last.SINRdB < floorSINR {
		return true
	}
	if n < 3 {
		return false
	}
	power := p.ahead(ahead, func(r Reading) float64 { return r.RSRPdBm })
	quality := p.ahead(ahead, func(r Reading) float64 { return r.SINRdB })
	return power < floor || quality < floorSINR
}

// ahead extends the line of least squares through a value; a rising one is its
// last reading.
func (p *Predictor) ahead(d time.Duration, of func(Reading) float64) float64 {
	last := p.seen[len(p.seen)-1]
	var st, sv, stt, stv float64
	n := float64(len(p.seen))
	for _, r := range p.seen {
		t := (r.Now - last.Now).Seconds()
		v := of(r)
		st, sv, stt, stv = st+t, sv+v, stt+t*t, stv+t*v
	}
	den := n*stt - st*st
	if den == 0 {
		return of(last)
	}
	slope := (n*stv - st*sv) / den
	if slope >= 0 {
		return of(last)
	}
	return (sv-slope*st)/n + max(slope, -maxSlope)*d.Seconds()
}
