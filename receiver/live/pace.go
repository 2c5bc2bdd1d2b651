package live

import "time"

// pace is what one viewer is sent how often, by how fast it reads: the time that
// writing a frame takes is the time that the viewer lets it wait. It takes now and
// returns decisions.
type pace struct {
	level    int
	slow     int       // frames in a row that took too long
	since    time.Time // of the level, or of the last frame that took long
	patience time.Duration
}

// paceLevel is one level: the time between two frames, and the share of the points.
type paceLevel struct {
	every  time.Duration
	divide int
}

// paceLevels begin with what a viewer gets that keeps up.
var paceLevels = [...]paceLevel{
	{frameEvery, 1}, {2 * frameEvery, 1}, {5 * frameEvery, 2}, {10 * frameEvery, 4}, {20 * frameEvery, 8},
}

// A viewer is cut down when slowFrames in a row took more than half of the time
// between two, or one took longer than stallAfter; it gets back a level when nothing
// took long for its patience, which doubles with each cut that follows soon.
const (
	slowFrames    = 4
	stallAfter    = 250 * time.Millisecond
	leastPatience = 5 * time.Second
	mostPatience  = 80 * time.Second
	minPacePoints = minPoints
)

func (p *pace) every() time.Duration { return paceLevels[p.level].every }

func (p *pace) points(wanted int) int {
	return max(wanted/paceLevels[p.level].divide, min(wanted, minPacePoints))
}

// wrote notes that a frame took a time to be written; it reports whether the level
// has changed.
func (p *pace) wrote(took time.Duration, now time.Time) bool {
	if p.since.IsZero() {
		p.since, p.patience = now, leastPatience
	}
	switch stalled := took > stallAfter; {
	case stalled || took > p.every()/2:
		p.slow++
		if !stalled && p.slow < slowFrames {
			p.since = now
			return false
		}
		return p.cut(took, now)
	case took > p.every()/10:
		p.slow, p.since = 0, now
		return false
	}
	p.slow = 0
	if p.level == 0 || now.Sub(p.since) < p.patience {
		return false
	}
	p.level--
	p.since = now
	if p.level == 0 {
		p.patience = max(leastPatience, p.patience/2)
	}
	return true
}

func (p *pace) cut(took time.Duration, now time.Time) bool {
	before := p.level
	p.level = min(p.level+1, len(paceLevels)-1)
	if took > 4*stallAfter {
		p.level = min(p.level+1, len(paceLevels)-1)
	}
	if now.Sub(p.since) < 2*p.patience && before > 0 {
		p.patience = min(2*p.patience, mostPatience)
	}
	p.slow, p.since = 0, now
	return p.level != before
}

// paceFrame is the data of the event "pace".
type paceFrame struct {
	EveryMS int64  `json:"every_ms"`
	Points  int    `json:"points"` // of a chart
	Level   int    `json:"level"`  // 0: everything again
	Why     string `json:"why"`
}

func (p *pace) frame(wanted int) paceFrame {
	f := paceFrame{EveryMS: p.every().Milliseconds(), Points: p.points(wanted), Level: p.level}
	if p.level > 0 {
		f.Why = "this browser or its connection takes the data more slowly than it comes: it gets fewer frames, with fewer points"
	}
	return f
}
