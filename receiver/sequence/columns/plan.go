package columns

import (
	"math"
	"slices"

	"telemetry/wire"
)

// maxCatalogues bounds the prepared catalogues that are kept.
const maxCatalogues = 64

// Plans prepares catalogues. It is not safe for concurrent use.
type Plans struct {
	take     func(group, channel string) bool
	reserved []string
	of       map[wire.CatalogueHash][]Group
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
	Field string // its name, told from names that are taken
	Taken bool

	exact           bool // scale and offset are integers: an integer stays one
	plain           bool // scale 1, offset 0
	iscale, ioffset int64
}

// Of returns the groups of a catalogue; the caller must not change them.
func (p *Plans) Of(h wire.CatalogueHash, c *wire.Catalogue) []Group {
	if g, ok := p.of[h]; ok {
		return g
	}
	if len(p.of) >= maxCatalogues {
		clear(p.of)
	}
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
	if isInt(c.Scale) && isInt(c.Offset) {
		c.exact, c.iscale, c.ioffset = true, int64(c.Scale), int64(c.Offset)
		c.plain = c.iscale == 1 && c.ioffset == 0
	}
	return c
}

// isInt reports whether v is an integer that float64 and int64 both hold exactly.
func isInt(v float64) bool { return v == math.Trunc(v) && math.Abs(v) <= 1<<53 }

// Plain reports that raw values are physical ones.
func (c *Channel) Plain() bool { return c.plain }

// Int returns the physical value of a raw integer as an integer; false when it is
// none, or does not fit.
func (c *Channel) Int(t wire.ValueType, raw int64) (int64, bool) {
	if !c.exact || t == wire.TypeUint && raw < 0 || t != wire.TypeInt && t != wire.TypeUint {
		return 0, false
	}
	return mulAdd(raw, c.iscale, c.ioffset)
}

// Float returns the physical value as a float64.
func (c *Channel) Float(t wire.ValueType, raw int64) float64 {
	var x float64
	switch t {
	case wire.TypeInt:
		x = float64(raw)
	case wire.TypeUint:
		x = float64(uint64(raw))
	case wire.TypeF32:
		x = float64(float32frombits(raw))
	default:
		x = math.Float64frombits(uint64(raw))
		if c.plain {
			return x // bit for bit, NaN's payload included
		}
	}
	// The conversion forbids a fused multiply-add: both steps round, as in
	// every other decoder of a DBC file.
	return float64(x*c.Scale) + c.Offset
}

func float32frombits(raw int64) float32 { return math.Float32frombits(uint32(raw)) }

// mulAdd returns raw*scale+offset, and whether it fits.
func mulAdd(raw, scale, offset int64) (int64, bool) {
	if scale == 1 && offset == 0 {
		return raw, true
	}
	n := raw * scale
	if scale != 0 && (n/scale != raw || scale == -1 && raw == math.MinInt64) {
		return 0, false
	}
	s := n + offset
	return s, (s > n) == (offset > 0) || offset == 0
}

// physical returns the value of an enumeration's entry.
func (c *Channel) physical(raw int64) (int64, bool) {
	if !c.exact {
		return 0, false
	}
	return mulAdd(raw, c.iscale, c.ioffset)
}
