package jsonrow

import (
	"math"
	"slices"
	"strconv"

	"telemetry/receiver/sequence"
	"telemetry/wire"
)

// reserved are the names of a row's own fields. A channel with such a name
// appears with underscores behind it.
var reserved = []string{
	"car", "session", "epoch", "nonce", "lane", "seq", "row", "group", "ts_ns",
	"ts_ms", "boot_ns", "clock", "clock_unc_ns", "segment", "event", "detail",
}

// groupPlan is a group of a catalogue, prepared for writing.
type groupPlan struct {
	name     string
	text     []byte // name as a header value
	quoted   []byte // name as a JSON string
	channels []channelPlan
}

// channelPlan is how one channel is written.
type channelPlan struct {
	field         []byte // `,"name":`
	scale, offset float64
	exact         bool // scale and offset are integers: an integer stays one
	iscale        int64
	ioffset       int64
}

// prepare returns the plans of the batch's catalogue.
func (f *Format) prepare(b *sequence.Batch) ([]groupPlan, error) {
	if p, ok := f.plans[b.Hash]; ok {
		return p, nil
	}
	if len(f.plans) >= maxCatalogues {
		clear(f.plans)
	}
	plans := make([]groupPlan, len(b.Catalogue.Groups))
	for i := range plans {
		g := &b.Catalogue.Groups[i]
		p := &plans[i]
		p.name, p.text, p.quoted = g.Name, []byte(g.Name), AppendString(nil, g.Name)
		p.channels = make([]channelPlan, len(g.Channels))
		for c := range g.Channels {
			p.channels[c] = planChannel(&g.Channels[c], g.Channels)
		}
	}
	f.plans[b.Hash] = plans
	return plans, nil
}

func planChannel(c *wire.Channel, all []wire.Channel) channelPlan {
	name := c.Name
	for slices.Contains(reserved, name) ||
		name != c.Name && slices.ContainsFunc(all, func(o wire.Channel) bool { return o.Name == name }) {
		name += "_"
	}
	p := channelPlan{scale: c.Scale, offset: c.Offset}
	if p.scale == 0 {
		p.scale = 1
	}
	p.field = append(AppendString([]byte{','}, name), ':')
	if isInt(p.scale) && isInt(p.offset) {
		p.exact, p.iscale, p.ioffset = true, int64(p.scale), int64(p.offset)
	}
	return p
}

// isInt reports whether v is an integer that float64 and int64 both hold exactly.
func isInt(v float64) bool { return v == math.Trunc(v) && math.Abs(v) <= 1<<53 }

// append writes the channel's field with the physical value of raw; nothing for
// NaN and infinities, which JSON does not have.
func (p *channelPlan) append(v []byte, t wire.ValueType, raw int64) []byte {
	var x float64
	switch t {
	case wire.TypeInt:
		if p.exact {
			if n, ok := mulAdd(raw, p.iscale, p.ioffset); ok {
				return strconv.AppendInt(append(v, p.field...), n, 10)
			}
		}
		x = float64(raw)
	case wire.TypeUint:
		if p.exact {
			if p.iscale == 1 && p.ioffset == 0 {
				return strconv.AppendUint(append(v, p.field...), uint64(raw), 10)
			}
			if n, ok := mulAdd(raw, p.iscale, p.ioffset); ok && raw >= 0 {
				return strconv.AppendInt(append(v, p.field...), n, 10)
			}
		}
		x = float64(uint64(raw))
	case wire.TypeF32:
		x = float64(math.Float32frombits(uint32(raw)))
	default:
		x = math.Float64frombits(uint64(raw))
	}
	// The conversion forbids a fused multiply-add: both steps round, as in
	// every other decoder of a DBC file.
	x = float64(x*p.scale) + p.offset
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return v
	}
	return appendFloat(append(v, p.field...), x)
}

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

// appendFloat writes the shortest text that reads back as x. A whole number has
// no fraction.
func appendFloat(v []byte, x float64) []byte {
	if x == math.Trunc(x) && math.Abs(x) < 1<<53 {
		return strconv.AppendInt(v, int64(x), 10)
	}
	if a := math.Abs(x); a < 1e-6 || a >= 1e21 {
		return strconv.AppendFloat(v, x, 'e', -1, 64)
	}
	return strconv.AppendFloat(v, x, 'f', -1, 64)
}
