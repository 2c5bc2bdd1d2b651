package config

import (
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"strings"
)

// Limits of a source's channel rules.
const (
	maxRules    = 1000 // patterns of one list; each is tried on every channel, once
	maxNewName  = 200  // bytes of a new name
	maxPatterns = 1000
)

// Shape says which channels of a source are taken, and how. It applies to any
// kind. Patterns and old names mean what the source calls its channels, with or
// without the group in front: "Speed" and "Engine.Speed" are the same channel.
type Shape struct {
	Include  Patterns          `yaml:"include"`  // empty = all
	Exclude  Patterns          `yaml:"exclude"`  // wins over include
	Rename   map[string]string `yaml:"rename"`   // new names by old ones
	Channels []ChannelRule     `yaml:"channels"` // later ones win, key by key
}

// ChannelRule says how some channels travel. What it leaves out stays as it is.
type ChannelRule struct {
	Match    Patterns        `yaml:"match"`
	Lane     string          `yaml:"lane"`     // full or critical; empty = as the source says
	LowPass  Rate            `yaml:"low_pass"` // linear-phase low pass at the full rate, before everything below; absent: none
	Deadband *Band           `yaml:"deadband"` // least change that is sent, in the channel's unit; 0: any change
	Preview  *ChannelPreview `yaml:"preview"`
}

// ChannelPreview is how channels look in the live lane. Channels that have one
// are in the live lane whatever live.channels says.
type ChannelPreview struct {
	Off       bool   `yaml:"off"`
	Rate      Rate   `yaml:"rate"`      // default that of live
	Statistic string `yaml:"statistic"` // last, mean, min or max; default that of live
}

// Band is a width in a channel's unit.
type Band float64

// Patterns are names with *, ? and [a-z]: one, or a list.
type Patterns []string

func (Patterns) loneScalar() {}

// Match reports whether one of names fits one of the patterns, and which: -1
// none.
func (p Patterns) Match(names ...string) int {
	for i, pattern := range p {
		for _, n := range names {
			if ok, err := path.Match(flat(pattern), flat(n)); err == nil && ok {
				return i
			}
		}
	}
	return -1
}

// flat takes the meaning off slashes: a name is no path.
func flat(s string) string { return strings.ReplaceAll(s, "/", "\x00") }

func (p Patterns) validate(at string, report reporter) {
	if len(p) > maxPatterns {
		report(at, "has %d patterns (want at most %d)", len(p), maxPatterns)
	}
	for i, pattern := range p {
		if _, err := path.Match(flat(pattern), ""); err != nil || pattern == "" {
			report(fmt.Sprintf("%s[%d]", at, i), "%q is no pattern (want a name with *, ? and [a-z])", pattern)
		}
	}
}

func (s *Shape) validate(at string, report reporter) {
	s.Include.validate(at+".include", report)
	s.Exclude.validate(at+".exclude", report)
	taken := map[string]string{}
	for _, old := range slices.Sorted(maps.Keys(s.Rename)) {
		name, place := s.Rename[old], at+".rename."+old
		switch {
		case name == "" || len(name) > maxNewName || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
			report(place, "%q is no name (want 1 to %d bytes without control characters)", name, maxNewName)
		case taken[name] != "":
			report(place, "%q is the new name of %s too (want a name of its own)", name, taken[name])
		}
		taken[name] = old
	}
	if len(s.Channels) > maxRules {
		report(at+".channels", "has %d entries (want at most %d)", len(s.Channels), maxRules)
	}
	for i := range s.Channels {
		s.Channels[i].validate(fmt.Sprintf("%s.channels[%d]", at, i), report)
	}
}

func (r *ChannelRule) validate(at string, report reporter) {
	if len(r.Match) == 0 {
		report(at+".match", "is missing (want the name of a channel, or a pattern)")
	}
	r.Match.validate(at+".match", report)
	switch r.Lane {
	case "", "full", "critical":
	default:
		report(at+".lane", "%q is no lane of a channel (want full or critical)", r.Lane)
	}
	if b := r.Deadband; b != nil && (!(*b >= 0) || math.IsInf(float64(*b), 0)) {
		report(at+".deadband", "is %v (want 0, for any change, or a width in the channel's unit)", *b)
	}
	p := r.Preview
	switch {
	case p == nil:
		if r.Lane == "" && r.Deadband == nil && r.LowPass == 0 {
			report(at, "says nothing about its channels (want lane, low_pass, deadband or preview)")
		}
		return
	case p.Off && (p.Rate != 0 || p.Statistic != ""):
		report(at+".preview.off", "stands beside rate or statistic")
	}
	if p.Statistic != "" {
		if _, err := ParseStat(p.Statistic); err != nil {
			report(at+".preview.statistic", "%v", err)
		}
	}
	if p.Rate != 0 && (p.Rate < minPreview || p.Rate > maxPreview) {
		report(at+".preview.rate", "is out of range (want 1Hz to 1.5kHz)")
	}
}
