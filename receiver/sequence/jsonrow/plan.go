package jsonrow

import (
	"math"
	"slices"
	"strconv"

	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/columns"
	"telemetry/wire"
)

// reserved are the names of a row's own fields. A channel with such a name
// appears with underscores behind it.
var reserved = []string{
	"car", "session", "epoch", "nonce", "lane", "seq", "row", "group", "ts_ns",
	"ts_ms", "boot_ns", "clock", "clock_unc_ns", "segment", "event", "detail",
}

// Reserved returns the names of a row's own fields, for readers of batches that must
// call channels as rows do.
func Reserved() []string { return slices.Clone(reserved) }

// groupPlan is a group of a catalogue, prepared for writing.
type groupPlan struct {
	name     string
	text     []byte // name as a header value
	quoted   []byte // name as a JSON string
	any      bool   // a channel is taken
	channels []channelPlan
}

// channelPlan is how one channel is written.
type channelPlan struct {
	*columns.Channel
	field []byte // `,"name":`
	words bool   // integers beyond ±2^53 are strings
}

// prepare returns the plans of the batch's catalogue.
func (f *Format) prepare(b *sequence.Batch) []groupPlan {
	if p, ok := f.plans[b.Hash]; ok {
		return p
	}
	n := b.Catalogue.Size()
	if len(f.plans) >= maxCatalogues || f.kept+n > wire.MaxKeptBytes {
		clear(f.plans)
		f.kept = 0
	}
	f.kept += n
	groups := f.channels.Of(b.Hash, b.Catalogue)
	plans := make([]groupPlan, len(groups))
	for i := range plans {
		g := &groups[i]
		p := &plans[i]
		p.name, p.text, p.quoted, p.any = g.Name, []byte(g.Name), AppendString(nil, g.Name), g.Any
		p.channels = make([]channelPlan, len(g.Channels))
		for k := range g.Channels {
			c := &g.Channels[k]
			p.channels[k] = channelPlan{c, append(AppendString([]byte{','}, c.Field), ':'), f.options.TextIntegers}
		}
	}
	f.plans[b.Hash] = plans
	return plans
}

// append writes the channel's field with the physical value of raw; nothing for
// NaN and infinities, which JSON does not have.
func (p *channelPlan) append(v []byte, t wire.ValueType, raw int64) []byte {
	if !p.Taken {
		return v
	}
	if t == wire.TypeUint && raw < 0 && p.Plain() {
		v = p.open(v, true)
		return p.close(strconv.AppendUint(v, uint64(raw), 10), true)
	}
	if n, ok := p.Int(t, raw); ok {
		large := n > maxSafe || n < -maxSafe
		v = p.open(v, large)
		return p.close(strconv.AppendInt(v, n, 10), large)
	}
	x := p.Float(t, raw)
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return v
	}
	return AppendFloat(append(v, p.field...), x)
}

// maxSafe is the largest integer that readers with only float64 still tell from
// its neighbours.
const maxSafe = 1<<53 - 1

// open and close write what stands around an integer.
func (p *channelPlan) open(v []byte, large bool) []byte {
	v = append(v, p.field...)
	if large && p.words {
		v = append(v, '"')
	}
	return v
}

func (p *channelPlan) close(v []byte, large bool) []byte {
	if large && p.words {
		v = append(v, '"')
	}
	return v
}

// AppendFloat appends the shortest text that reads back as x, which must be finite. A whole number has
// no fraction.
func AppendFloat(v []byte, x float64) []byte {
	if x == math.Trunc(x) && math.Abs(x) < 1<<53 {
		return strconv.AppendInt(v, int64(x), 10)
	}
	if a := math.Abs(x); a < 1e-6 || a >= 1e21 {
		return strconv.AppendFloat(v, x, 'e', -1, 64)
	}
	return strconv.AppendFloat(v, x, 'f', -1, 64)
}
