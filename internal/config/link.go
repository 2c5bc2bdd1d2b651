package config

import (
	"fmt"

	"github.com/goccy/go-yaml/ast"

	"telemetry/wire"
)

// Uplink says how the lanes share the links.
type Uplink struct {
	// FullShare is what the full lane gets of the bytes that go before it, so that
	// a backlog always drains; default 5%.
	FullShare Percent `yaml:"full_share"`
}

// Meter limits what a link that costs money carries.
type Meter struct {
	Lanes  []string `yaml:"lanes"`   // that it may carry; empty = all
	PerDay Size     `yaml:"per_day"` // of live and full in a calendar day of the system's time zone; 0B = no limit
}

// Percent is a share of a hundred, written as "5%".
type Percent int

func (*Percent) want() string { return `a whole number of per cent, as "5%"` }

// UnmarshalYAML reads a share; a bare number is refused.
func (p *Percent) UnmarshalYAML(n ast.Node) error {
	v, why := withUnit(text(n), []unit{{"%", 1}})
	if why != "" {
		return badValue(n, p, why)
	}
	*p = Percent(v)
	return nil
}

// congestions are the TCP congestion controls that a link may ask for.
var congestions = map[string]bool{"": true, "cubic": true, "reno": true, "bbr": true}

// maxFullShare leaves what is fresh at least as much as what is not.
const maxFullShare = 50

func (u *Uplink) validate(report func(path, format string, args ...any)) {
	if u.FullShare < 1 || u.FullShare > maxFullShare {
		report("uplink.full_share", "is %d%% (want 1%% to %d%%)", u.FullShare, maxFullShare)
	}
}

// validateCosts checks what one link may carry, and how.
func (l *Link) validateCosts(at string, report func(path, format string, args ...any)) {
	if !congestions[l.Congestion] {
		report(at+".congestion", "%q is not known (want bbr, cubic, reno or nothing: then the agent chooses)", l.Congestion)
	}
	if l.Meter == nil {
		return
	}
	if len(l.Meter.Lanes) == 0 && l.Meter.PerDay == 0 {
		report(at+".meter", "limits nothing (want lanes, per_day or both)")
	}
	for i, name := range l.Meter.Lanes {
		if _, err := parseLane(name); err != nil {
			report(fmt.Sprintf("%s.meter.lanes[%d]", at, i), "%v", err)
		}
	}
}

func parseLane(name string) (wire.Lane, error) {
	for _, l := range wire.Lanes {
		if l.String() == name {
			return l, nil
		}
	}
	return 0, fmt.Errorf("%q is no lane (want critical, live or full)", name)
}

// LaneList returns the lanes of a valid meter; empty = all. m may be nil.
func (m *Meter) LaneList() (out []wire.Lane) {
	if m == nil {
		return nil
	}
	for _, name := range m.Lanes {
		if l, err := parseLane(name); err == nil {
			out = append(out, l)
		}
	}
	return out
}
