package agent

import (
	"math"
	"time"

	"telemetry/sensors"
	"telemetry/wire"
)

// view makes a preview of one group: a row per period of event time with the
// chosen statistic of each channel. It is owned by the encoder's loop.
type view struct {
	group  uint32 // of the preview in the catalogue
	period int64  // ns
	cols   []viewColumn

	open     bool      // the interval has a row
	next     int64     // end of the interval that is being filled, ns since boot
	last     int64     // tick of the latest row in it
	deadline time.Time // when the interval ends without a row behind it; zero = not open
	values   []int64   // what finish returns
	present  []uint64  // likewise
}

// viewColumn gathers one channel's values of an interval.
type viewColumn struct {
	from  int // index in the full-rate group
	typ   wire.ValueType
	stat  wire.Stat
	n     int
	value int64   // last, least or greatest raw word
	sum   float64 // of the values, for the mean
}

func (v *view) add(from int, c wire.Channel) {
	v.cols = append(v.cols, viewColumn{from: from, typ: c.Type, stat: c.Stat})
}

// over reports whether a row at tick lies outside the open interval.
func (v *view) over(tick int64) bool { return v.open && (tick >= v.next || tick < v.next-v.period) }

// take adds a full-rate row and reports whether it opened an interval.
func (v *view) take(tick int64, values []int64, present []uint64, bit int) (opened bool) {
	if !v.open {
		v.open, opened = true, true
		v.next = tick - tick%v.period + v.period
		v.last = tick
	}
	v.last = max(v.last, tick)
	for i := range v.cols {
		c := &v.cols[i]
		if sensors.Bit(present, bit+c.from) {
			c.take(values[c.from])
		}
	}
	return opened
}

// finish ends the interval and returns its row; ok is false when it has no
// value. The slices are valid until the next finish.
func (v *view) finish() (tick int64, values []int64, present []uint64, ok bool) {
	v.open, v.deadline = false, time.Time{}
	if v.values == nil {
		v.values = make([]int64, len(v.cols))
		v.present = make([]uint64, (len(v.cols)+63)/64)
	}
	clear(v.values)
	clear(v.present)
	for i := range v.cols {
		c := &v.cols[i]
		if c.n == 0 {
			continue
		}
		v.values[i] = c.result()
		v.present[i>>6] |= 1 << (i & 63)
		ok = true
		*c = viewColumn{from: c.from, typ: c.typ, stat: c.stat}
	}
	return v.last, v.values, v.present, ok
}

func (c *viewColumn) take(x int64) {
	if c.stat != wire.StatLast && math.IsNaN(toFloat(c.typ, x)) {
		return // not a number: no part of a mean, and neither least nor greatest
	}
	c.n++
	switch c.stat {
	case wire.StatMean:
		c.sum += toFloat(c.typ, x)
	case wire.StatMin:
		if c.n == 1 || less(c.typ, x, c.value) {
			c.value = x
		}
	case wire.StatMax:
		if c.n == 1 || less(c.typ, c.value, x) {
			c.value = x
		}
	default:
		c.value = x
	}
}

func (c *viewColumn) result() int64 {
	if c.stat == wire.StatMean {
		return fromFloat(c.typ, c.sum/float64(c.n))
	}
	return c.value
}

// less compares raw words exactly: a float64 cannot tell large integers apart.
func less(t wire.ValueType, a, b int64) bool {
	switch t {
	case wire.TypeUint:
		return uint64(a) < uint64(b)
	case wire.TypeF32, wire.TypeF64:
		return toFloat(t, a) < toFloat(t, b)
	}
	return a < b
}

func toFloat(t wire.ValueType, x int64) float64 {
	switch t {
	case wire.TypeUint:
		return float64(uint64(x))
	case wire.TypeF32:
		return float64(math.Float32frombits(uint32(x)))
	case wire.TypeF64:
		return math.Float64frombits(uint64(x))
	}
	return float64(x)
}

// fromFloat rounds to the nearest value of the type.
func fromFloat(t wire.ValueType, f float64) int64 {
	switch t {
	case wire.TypeUint:
		if f >= 1<<64 { // where a mean of the greatest values is rounded to
			return -1
		}
		return int64(uint64(math.Round(f)))
	case wire.TypeF32:
		return int64(math.Float32bits(float32(f)))
	case wire.TypeF64:
		return int64(math.Float64bits(f))
	}
	if f >= 1<<63 {
		return math.MaxInt64
	}
	return int64(math.Round(f))
}
