package config

import (
	"maps"
	"slices"
)

// Candump replays a recorded CAN log.
type Candump struct {
	File       string           `yaml:"file"`
	Speed      Speed            `yaml:"speed"` // default x1; max = as fast as it can be read
	Loop       bool             `yaml:"loop"`
	Interfaces []string         `yaml:"interfaces"` // empty = all
	DBC        Files            `yaml:"dbc"`        // for the log's first interface
	BusDBC     map[string]Files `yaml:"bus_dbc"`    // by interface
	Raw        bool             `yaml:"raw"`        // records every frame as it is, beside its signals
}

func (c *Candump) preset() { c.Speed = 1 }

func (c *Candump) resolve(dir string) {
	abs(dir, &c.File)
	c.DBC.resolve(dir)
	for _, f := range c.BusDBC {
		f.resolve(dir)
	}
}

func (c *Candump) validate(at string, report reporter) {
	if c.File == "" {
		report(at+".file", "is missing (want a candump log, plain, .gz or .zst)")
	}
	if c.Raw && len(c.Interfaces) == 0 {
		report(at+".raw", "needs interfaces (want those of the log whose frames are recorded)")
	}
	if len(c.DBC) == 0 && len(c.BusDBC) == 0 && !c.Raw {
		report(at+".dbc", "is missing (want a DBC file for the log's first interface, bus_dbc with one for each, or raw: true)")
	}
	c.DBC.validate(at+".dbc", report)
	for _, bus := range slices.Sorted(maps.Keys(c.BusDBC)) {
		c.BusDBC[bus].validate(at+".bus_dbc."+bus, report)
	}
}
