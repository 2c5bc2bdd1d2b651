// Package physical turns raw values of channels into physical ones, and those into
// text, for everything that writes them on either side. The entry points are [Of] and
// [AppendFloat].
//
// An integer whose channel's scale and offset are integers stays one as long as it
// fits 64 bits. Everything else is a float64 by two roundings, as in every decoder of
// a DBC file.
package physical

import (
	"math"
	"strconv"

	"telemetry/wire"
)

// Conversion is how a channel's raw values become physical ones. The zero value is
// that of no channel.
type Conversion struct {
	exact, plain    bool
	iscale, ioffset int64
	scale, offset   float64
}

// Of returns a channel's conversion. A scale of 0 is 1.
func Of(c *wire.Channel) Conversion {
	v := Conversion{scale: c.Scale, offset: c.Offset}
	if v.scale == 0 {
		v.scale = 1
	}
	if isInt(v.scale) && isInt(v.offset) {
		v.exact, v.iscale, v.ioffset = true, int64(v.scale), int64(v.offset)
		v.plain = v.iscale == 1 && v.ioffset == 0
	}
	return v
}

// isInt reports whether v is an integer that float64 and int64 both hold exactly.
func isInt(v float64) bool { return v == math.Trunc(v) && math.Abs(v) <= 1<<53 }

// Plain reports that raw values are physical ones.
func (c *Conversion) Plain() bool { return c.plain }

// Exact reports that scale and offset are integers: integers stay integers.
func (c *Conversion) Exact() bool { return c.exact }

// Int returns the physical value of a raw integer as an integer; false when it is
// none, or does not fit.
func (c *Conversion) Int(t wire.ValueType, raw int64) (int64, bool) {
	if !c.exact || t == wire.TypeUint && raw < 0 || t != wire.TypeInt && t != wire.TypeUint {
		return 0, false
	}
	return mulAdd(raw, c.iscale, c.ioffset)
}

// Float returns the physical value as a float64.
func (c *Conversion) Float(t wire.ValueType, raw int64) float64 {
	var x float64
	switch t {
	case wire.TypeInt:
		x = float64(raw)
	case wire.TypeUint:
		x = float64(uint64(raw))
	case wire.TypeF32:
		x = float64(math.Float32frombits(uint32(raw)))
	default:
		x = math.Float64frombits(uint64(raw))
		if c.plain {
			return x // bit for bit, NaN's payload included
		}
	}
	// The conversion forbids a fused multiply-add: both steps round, as in
	// every other decoder of a DBC file.
	return float64(x*c.scale) + c.offset
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

// AppendText appends a value as the shortest text that reads back as it: an integer's
// digits, or what [AppendFloat] writes.
func (c *Conversion) AppendText(dst []byte, t wire.ValueType, raw int64) []byte {
	if t == wire.TypeUint && raw < 0 && c.plain {
		return strconv.AppendUint(dst, uint64(raw), 10)
	}
	if n, ok := c.Int(t, raw); ok {
		return strconv.AppendInt(dst, n, 10)
	}
	return AppendFloat(dst, c.Float(t, raw))
}

// AppendFloat appends the shortest text that reads back as x. It has a point or an
// exponent, so that nobody takes it for an integer; what is no number is NaN, inf or
// -inf, which pandas and polars both read.
func AppendFloat(dst []byte, x float64) []byte {
	switch {
	case math.IsNaN(x):
		return append(dst, "NaN"...)
	case math.IsInf(x, 1):
		return append(dst, "inf"...)
	case math.IsInf(x, -1):
		return append(dst, "-inf"...)
	}
	if a := math.Abs(x); a != 0 && (a < 1e-6 || a >= 1e21) {
		return strconv.AppendFloat(dst, x, 'e', -1, 64)
	}
	dst = strconv.AppendFloat(dst, x, 'f', -1, 64)
	if x == math.Trunc(x) {
		dst = append(dst, ".0"...)
	}
	return dst
}
