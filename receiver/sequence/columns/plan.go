package columns

import (
	"slices"

	"telemetry/internal/physical"
	"telemetry/wire"
)

// maxCatalogues bounds the prepared catalogues that are kept.
const maxCatalogues = 64

// Plans prepares catalogues. It is not safe for concurrent use.
type Plans struct {
	take     func(group, channel string) bool
	reserved []string
	of       map[wire.CatalogueHash][]Group
	kept     int // bytes of the catalogues in of
}

// NewPlans returns plans with nothing prepared; see [NewReader].
func NewPlans(take func(group, channel string) bool, reserved ...string) *Plans {
	return &Plans{take: take, reserved: reserved, of: map[wire.CatalogueHash][]Group{}}
}

// Group is a group of a catalogue.
type Group struct {
	Name     string
	Channels []Channel
	Any      bool // a channel of it is taken
}

// Channel is a channel of a catalogue.
type Channel struct {
	wire.Channel
	physical.Conversion
	Field string // its name, told from names that are taken
	Taken bool
}

// Of returns the groups of a catalogue; the caller must not change them.
func (p *Plans) Of(h wire.CatalogueHash, c *wire.Catalogue) []Group {
	if g, ok := p.of[h]; ok {
		return g
	}
	n := c.Size()
	if len(p.of) >= maxCatalogues || p.kept+n > wire.MaxKeptBytes {
		clear(p.of)
		p.kept = 0
	}
	p.kept += n
	groups := make([]Group, len(c.Groups))
	for i := range groups {
		in, g := &c.Groups[i], &groups[i]
		g.Name, g.Channels = in.Name, make([]Channel, len(in.Channels))
		for k := range in.Channels {
			g.Channels[k] = p.channel(in, k)
			g.Any = g.Any || g.Channels[k].Taken
		}
	}
	p.of[h] = groups
	return groups
}

func (p *Plans) channel(g *wire.Group, k int) Channel {
	c := Channel{Channel: g.Channels[k], Field: g.Channels[k].Name}
	c.Taken = p.take == nil || p.take(g.Name, c.Name)
	for slices.Contains(p.reserved, c.Field) ||
		c.Field != c.Name && slices.ContainsFunc(g.Channels, func(o wire.Channel) bool { return o.Name == c.Field }) {
		c.Field += "_"
	}
	if c.Scale == 0 {
		c.Scale = 1
	}
	c.Conversion = physical.Of(&c.Channel)
	return c
}
