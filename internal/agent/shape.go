package agent

import (
	"fmt"
	"maps"
	"slices"

	"telemetry/internal/config"
	"telemetry/sensors/can"
	"telemetry/wire"
)

// shaper applies a source's channel rules while its groups are laid out, and
// remembers which of them fitted nothing.
type shaper struct {
	namedSource
	channels int
	include  []bool // used, by pattern
	exclude  []bool
	rename   map[string]bool // used, by old name
	rules    []bool
	notes    []note
}

// shaped is what the configuration says of one channel.
type shaped struct {
	column  int    // in the source's group
	name    string // wanted
	renamed string // its old name as the configuration has it; empty: it keeps its own
	lane    wire.Lane
	band    *config.Band
	preview *config.ChannelPreview
}

func newShaper(s namedSource) *shaper {
	return &shaper{
		namedSource: s, include: make([]bool, len(s.shape.Include)), exclude: make([]bool, len(s.shape.Exclude)),
		rename: map[string]bool{}, rules: make([]bool, len(s.shape.Channels)),
	}
}

// apply returns the channels of g that are taken, in their order. Raw frames stay
// whole, whatever the rules say of signals.
func (s *shaper) apply(g *wire.Group) []shaped {
	var out []shaped
	if can.RawKeys(g) > 0 {
		for i := range g.Channels {
			out = append(out, shaped{column: i, name: g.Channels[i].Name, lane: g.Lane, preview: &config.ChannelPreview{Off: true}})
		}
		return out
	}
	for i := range g.Channels {
		s.channels++
		short := g.Channels[i].Name
		long := g.Name + "." + short
		taken := len(s.shape.Include) == 0
		if k := s.shape.Include.Match(short, long); k >= 0 {
			taken, s.include[k] = true, true
		}
		if k := s.shape.Exclude.Match(short, long); k >= 0 {
			taken, s.exclude[k] = false, true
		}
		if !taken {
			continue
		}
		c := shaped{column: i, name: short, lane: g.Lane}
		for _, old := range []string{long, short} {
			if name, ok := s.shape.Rename[old]; ok {
				c.name, c.renamed, s.rename[old] = name, old, true
				break
			}
		}
		for k := range s.shape.Channels {
			if r := &s.shape.Channels[k]; r.Match.Match(short, long) >= 0 {
				s.rules[k] = true
				c.take(r)
			}
		}
		out = append(out, c)
	}
	return out
}

// take notes what a rule says.
func (c *shaped) take(r *config.ChannelRule) {
	switch r.Lane {
	case "critical":
		c.lane = wire.LaneCritical
	case "full":
		c.lane = wire.LaneFull
	}
	if r.Deadband != nil {
		c.band = r.Deadband
	}
	if r.Preview != nil {
		c.preview = r.Preview
	}
}

// named notes that a channel could not have the name that was wished for it.
func (s *shaper) named(c *shaped, got string) {
	if c.renamed != "" && got != c.name {
		s.note(s.at+".rename."+c.renamed, "%q is taken: the channel is called %q", c.name, got)
	}
}

func (s *shaper) note(path, format string, args ...any) {
	s.notes = append(s.notes, note{path, fmt.Sprintf(format, args...)})
}

// unused returns what was noted, and the patterns that fit none of the channels.
func (s *shaper) unused() []note {
	if s.channels == 0 {
		return nil // a source that could not be made: that is said elsewhere
	}
	list := func(key string, patterns config.Patterns, used []bool) {
		for i, p := range patterns {
			if !used[i] && !slices.Contains(patterns[:i], p) {
				s.note(fmt.Sprintf("%s.%s[%d]", s.at, key, i), "%q fits no channel (edgeagent channels lists them)", p)
			}
		}
	}
	list("include", s.shape.Include, s.include)
	list("exclude", s.shape.Exclude, s.exclude)
	for _, old := range slices.Sorted(maps.Keys(s.shape.Rename)) {
		if !s.rename[old] {
			s.note(s.at+".rename."+old, "is no channel that is taken")
		}
	}
	for i, used := range s.rules {
		if !used {
			s.note(fmt.Sprintf("%s.channels[%d].match", s.at, i), "fits no channel that is taken")
		}
	}
	return s.notes
}
