package agent

import (
	"math"

	"telemetry/wire"
)

// view makes the preview of one group: a row per period of event time with the
// chosen statistic of each channel. It is owned by the encoder's loop.
type view struct {
	group  uint32 // of the preview in the catalogue
	stat   wire.Stat
	period int64 // ns
	cols   []viewColumn

	started bool
	next    int64 // end of the interval that is being filled, ns since boot
	last    int64 // tick of the latest row in it
}

// viewColumn gathers one channel's values of an interval.
type viewColumn struct {
	from  int // index in the full-rate group
	typ   wire.ValueType
	n     int
	value int64   // last, least or greatest raw word
	sum   float64 // of the values, for the mean
}

func (v *view) add(from int, c wire.Channel) {
	v.cols = append(v.cols, viewColumn{from: from, typ: c.Type})
}

// row takes one full-rate row. When it is the first of a new interval, emit is
// called with the finished one before it; values and present are the view's own
// until emit returns.
func (v *view) row(tick int64, values []int64, present func(ch int) bool, emit func(tick int64, values []int64, present []uint64)) {
	if !v.started {
		v.started, v.next = true, tick-tick%v.period+v.period
	}
	if tick >= v.next {
		v.flush(emit)
		v.next = tick - tick%v.period + v.period
	}
	v.last = tick
	for i := range v.cols {
		c := &v.cols[i]
		if present(c.from) {
			c.take(values[c.from], v.stat)
		}
	}
}

// flush emits what the interval has, if anything, and begins a new one.
func (v *view) flush(emit func(tick int64, values []int64, present []uint64)) {
	values := make([]int64, len(v.cols))
	present := make([]uint64, (len(v.cols)+63)/64)
	some := false
	for i := range v.cols {
		c := &v.cols[i]
		if c.n == 0 {
			continue
		}
		values[i] = c.result(v.stat)
		present[i>>6] |= 1 << (i & 63)
		some = true
		*c = viewColumn{from: c.from, typ: c.typ}
	}
	if some {
		emit(v.last, values, present)
	}
}

func (c *viewColumn) take(x int64, stat wire.Stat) {
	c.n++
	switch stat {
	case wire.StatMean:
		c.sum += toFloat(c.typ, x)
	case wire.StatMin:
		if c.n == 1 || toFloat(c.typ, x) < toFloat(c.typ, c.value) {
			c.value = x
		}
	case wire.StatMax:
		if c.n == 1 || toFloat(c.typ, x) > toFloat(c.typ, c.value) {
			c.value = x
		}
	default:
		c.value = x
	}
}

func (c *viewColumn) result(stat wire.Stat) int64 {
	if stat == wire.StatMean {
		return fromFloat(c.typ, c.sum/float64(c.n))
	}
	return c.value
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

func fromFloat(t wire.ValueType, f float64) int64 {
	switch t {
	case wire.TypeUint:
		return int64(uint64(math.Round(f)))
	case wire.TypeF32:
		return int64(math.Float32bits(float32(f)))
	case wire.TypeF64:
		return int64(math.Float64bits(f))
	}
	return int64(math.Round(f))
}
