package agent

import (
	"fmt"
	"strings"

	"telemetry/internal/config"
	"telemetry/sensors"
	"telemetry/sensors/filter"
)

// smoothed puts the low passes of a source's channel rules on it. What cannot have
// one goes on without, with a warning.
func (b *builder) smoothed(at string, s sensors.Source, shape config.Shape) sensors.Source {
	var cuts []filter.Cut
	refused := map[int]bool{} // rules
	groups := s.Groups()
	for g := range groups {
		for k := range groups[g].Channels {
			short := groups[g].Channels[k].Name
			rule := -1
			for i := range shape.Channels {
				if r := &shape.Channels[i]; r.LowPass != 0 && r.Match.Match(short, groups[g].Name+"."+short) >= 0 {
					rule = i
				}
			}
			if rule < 0 {
				continue
			}
			c := filter.Cut{Group: g, Column: k, Hz: float64(shape.Channels[rule].LowPass) / 1000}
			if err := c.Check(groups); err == nil {
				cuts = append(cuts, c)
			} else if !refused[rule] {
				refused[rule] = true
				b.warnings = append(b.warnings, b.cfg.Fault(fmt.Sprintf("%s.channels[%d].low_pass", at, rule), "%s: it is not filtered", strings.TrimPrefix(err.Error(), "filter: ")))
			}
		}
	}
	if len(cuts) == 0 {
		return s
	}
	out, err := filter.Smooth(s, cuts)
	if err != nil { // each was checked
		return broken{err}
	}
	return out
}
