package config

import "math"

// Moving says when the car is at speed: then a modem beside a good link is not
// reset at once.
type Moving struct {
	Channel string  `yaml:"channel"` // its speed; default gnss_speed
	Above   float64 `yaml:"above"`   // in the channel's unit; default 5
}

func (m *Moving) preset() { *m = Moving{Channel: "gnss_speed", Above: 5} }

func (m *Moving) validate(at string, report reporter) {
	if m.Channel != "" && !(m.Above > 0) || math.IsInf(m.Above, 0) {
		report(at+".above", "is %g (want a speed above 0 in the unit of %s)", m.Above, m.Channel)
	}
}
