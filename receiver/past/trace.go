package past

import (
	"math"
	"slices"
	"sort"
	"strings"

	"telemetry/receiver/sequence/columns"
	"telemetry/wire"
)

// maxTrace bounds the samples that are kept of one channel in one lap: denser ones
// are thinned evenly in time.
const maxTrace = 40_000

// trace is one channel over a lap.
type trace struct {
	name, unit string
	step       bool      // integers and enumerations: a value holds until the next
	t          []float64 // s since the lap's start, increasing
	v          []float64
	gap        float64 // s between two samples from which on nothing is between them
}

// lap is what was read of one lap.
type lap struct {
	from, to int64 // UTC, ns
	complete bool
	traces   []*trace
	at       map[*columns.Channel]*trace
	thin     float64
}

func newLap(from, to int64, complete bool) *lap {
	return &lap{from: from, to: to, complete: complete, at: map[*columns.Channel]*trace{}, thin: float64(to-from) / 1e9 / maxTrace}
}

// seconds is how long the lap took.
func (l *lap) seconds() float64 { return float64(l.to-l.from) / 1e9 }

func (l *lap) trace(name string) *trace {
	i := slices.IndexFunc(l.traces, func(t *trace) bool { return t.name == name })
	if i < 0 {
		return nil
	}
	return l.traces[i]
}

// table keeps a table's values.
func (l *lap) table(t *columns.Table) error {
	for i := range t.Columns {
		c := &t.Columns[i]
		tr := l.at[c.Channel]
		if tr == nil {
			name := t.Group.Name + "." + c.Channel.Name
			if tr = l.trace(name); tr == nil {
				if len(l.traces) == 2*MaxSeries {
					return bad("these are more than %d channels: choose fewer", MaxSeries)
				}
				tr = &trace{name: name}
				l.traces = append(l.traces, tr)
			}
			tr.unit, tr.step = c.Channel.Unit, stepped(c.Channel)
			l.at[c.Channel] = tr
		}
		each(c, func(row int, x float64) { l.add(tr, t.UTC[row], x) })
	}
	return nil
}

// stepped reports whether there is nothing between two values of a channel.
func stepped(c *columns.Channel) bool {
	return len(c.Enum) > 0 || (c.Type == wire.TypeInt || c.Type == wire.TypeUint) && c.Plain()
}

// add keeps a sample if it is later than the ones before it, and not too close.
func (l *lap) add(tr *trace, ns int64, x float64) {
	t := float64(ns-l.from) / 1e9
	if t < 0 || ns >= l.to || math.IsNaN(x) {
		return
	}
	if n := len(tr.t); n > 0 && t < tr.t[n-1]+max(l.thin, 1e-9) {
		return
	}
	tr.t, tr.v = append(tr.t, t), append(tr.v, x)
}

// Gaps: what lies between two samples further apart than this is not known.
const (
	leastGap  = 1.0 // s
	gapPeriod = 10  // of the channel's usual period
)

// settle works out the gap from the usual period.
func (tr *trace) settle() {
	var d []float64
	for i := 1; i < len(tr.t); i++ {
		d = append(d, tr.t[i]-tr.t[i-1])
	}
	slices.Sort(d)
	tr.gap = leastGap
	if len(d) > 0 {
		tr.gap = max(leastGap, gapPeriod*d[len(d)/2])
	}
}

// value returns the value at a time, NaN where it is not known.
func (tr *trace) value(t float64) float64 {
	i := sort.SearchFloat64s(tr.t, t)
	switch {
	case i < len(tr.t) && tr.t[i] == t:
		return tr.v[i]
	case i == 0:
		if len(tr.t) > 0 && tr.t[0]-t <= tr.gap {
			return tr.v[0]
		}
		return math.NaN()
	case i == len(tr.t):
		if t-tr.t[i-1] <= tr.gap {
			return tr.v[i-1]
		}
		return math.NaN()
	case tr.t[i]-tr.t[i-1] > tr.gap:
		return math.NaN()
	case tr.step:
		return tr.v[i-1]
	}
	part := (t - tr.t[i-1]) / (tr.t[i] - tr.t[i-1])
	return tr.v[i-1] + part*(tr.v[i]-tr.v[i-1])
}

// path is how far the car had come: m at t, neither ever falling.
type path struct{ t, m []float64 }

func (p *path) length() float64 {
	if len(p.m) == 0 {
		return 0
	}
	return p.m[len(p.m)-1]
}

// add goes on to a time and a distance.
func (p *path) add(t, m float64) {
	if n := len(p.m); n > 0 {
		m = max(m, p.m[n-1])
	}
	p.t, p.m = append(p.t, t), append(p.m, m)
}

// where returns how far the car had come at a time; NaN outside.
func (p *path) where(t float64) float64 { return interpolate(p.t, p.m, t) }

// when returns the time at which the car had first come so far; NaN outside.
func (p *path) when(m float64) float64 { return interpolate(p.m, p.t, m) }

// interpolate returns y at x; xs does not fall. Of equal ones the first counts.
func interpolate(xs, ys []float64, x float64) float64 {
	i := sort.SearchFloat64s(xs, x)
	switch {
	case i == len(xs) && i > 0 && x-xs[i-1] <= 1e-9*x:
		return ys[i-1] // x is the end but for its rounding
	case i == len(xs) || i == 0 && xs[0] > x:
		return math.NaN()
	case xs[i] == x || i == 0:
		return ys[i]
	}
	return ys[i-1] + (x-xs[i-1])/(xs[i]-xs[i-1])*(ys[i]-ys[i-1])
}

// letters are a name in lower case without what stands between words.
func letters(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, strings.ToLower(s))
}
