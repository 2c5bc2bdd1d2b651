package agent

import (
	"math"

	"telemetry/sensors"
	"telemetry/wire"
)

// bandRest is the longest that a channel with a deadband says nothing while its
// source goes on.
const bandRest = int64(1e9) // ns

// bands leaves out the values of one group that have hardly changed since the
// last one that went out. It is owned by the encoder's loop.
type bands struct {
	cols    []bandColumn
	present []uint64 // what filter returns
}

// bandColumn follows one channel.
type bandColumn struct {
	width float64 // in raw units; negative: every value goes out
	typ   wire.ValueType
	sent  bool  // last and tick are of a value that went out
	last  int64 // raw word
	tick  int64 // ns since boot
}

// newBands returns nil for a group without a deadband.
func newBands(g *wire.Group, channels []*shaped) *bands {
	b := &bands{cols: make([]bandColumn, len(channels)), present: make([]uint64, (len(channels)+63)/64)}
	some := false
	for i, s := range channels {
		c := &g.Channels[i]
		b.cols[i] = bandColumn{width: -1, typ: c.Type}
		if s.band == nil {
			continue
		}
		some = true
		scale := math.Abs(c.Scale)
		if scale == 0 {
			scale = 1
		}
		// A width that is a whole number of steps must not become more than
		// that by rounding.
		b.cols[i].width = float64(*s.band) / scale * (1 - 1e-9)
	}
	if !some {
		return nil
	}
	return b
}

// filter returns which values of a row go out; some is false when none does. The
// map is valid until the next call.
func (b *bands) filter(tick int64, values []int64, present []uint64, bit int) (out []uint64, some bool) {
	clear(b.present)
	for i := range b.cols {
		if sensors.Bit(present, bit+i) && b.cols[i].passes(tick, values[i]) {
			b.present[i>>6] |= 1 << (i & 63)
			some = true
		}
	}
	return b.present, some
}

func (c *bandColumn) passes(tick, v int64) bool {
	if c.width < 0 {
		return true
	}
	if c.sent && tick >= c.tick && tick-c.tick < bandRest && !c.changed(v) {
		return false
	}
	c.sent, c.last, c.tick = true, v, tick
	return true
}

func (c *bandColumn) changed(v int64) bool {
	if v == c.last {
		return false
	}
	d := math.Abs(toFloat(c.typ, v) - toFloat(c.typ, c.last))
	return !(d < c.width) // also when one is no number
}
