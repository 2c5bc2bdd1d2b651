package spoolcmd

import (
	"math"
	"sort"
	"strconv"

	"telemetry/wire"
)

// utc maps an epoch's boot time: between two anchors by the earlier one, before the
// first by the first. It never slews: what it says is exact at each anchor.
type utc struct{ anchors []wire.Anchor }

func (u *utc) add(a wire.Anchor) {
	u.anchors = append(u.anchors, a)
	sort.SliceStable(u.anchors, func(i, j int) bool { return u.anchors[i].BootNS < u.anchors[j].BootNS })
}

// at returns ns since 1970 UTC, and whether that is known; else it is boot time.
func (u *utc) at(bootNS int64) (int64, bool) {
	if len(u.anchors) == 0 {
		return bootNS, false
	}
	i := sort.Search(len(u.anchors), func(i int) bool { return u.anchors[i].BootNS > bootNS })
	a := u.anchors[max(0, i-1)]
	return a.UTCNS + (bootNS - a.BootNS), true
}

// cells walks a column: next returns the raw value of each row in turn.
type cells struct {
	c  *wire.Column
	at int // in Values
}

func (x *cells) next(row int) (int64, bool) {
	if x.c.Present != nil && x.c.Present[row/64]>>(row%64)&1 == 0 {
		return 0, false
	}
	v := x.c.Values[x.at]
	x.at++
	return v, true
}

func columns(b *wire.Block) []cells {
	out := make([]cells, len(b.Columns))
	for i := range b.Columns {
		out[i].c = &b.Columns[i]
	}
	return out
}

// appendValue writes the physical value as the shortest text that reads back as it.
// Whole numbers of channels without scale are exact in 64 bits. Values that JSON
// does not have are "NaN", "+Inf" and "-Inf".
func appendValue(dst []byte, ch *wire.Channel, t wire.ValueType, raw int64) []byte {
	scale := ch.Scale
	if scale == 0 {
		scale = 1
	}
	var x float64
	switch t {
	case wire.TypeInt:
		if scale == 1 && ch.Offset == 0 {
			return strconv.AppendInt(dst, raw, 10)
		}
		x = float64(raw)
	case wire.TypeUint:
		if scale == 1 && ch.Offset == 0 {
			return strconv.AppendUint(dst, uint64(raw), 10)
		}
		x = float64(uint64(raw))
	case wire.TypeF32:
		x = float64(math.Float32frombits(uint32(raw)))
	default:
		x = math.Float64frombits(uint64(raw))
	}
	// The conversion forbids a fused multiply-add: both steps round, as in every
	// other decoder of a DBC file.
	x = float64(x*scale) + ch.Offset
	return strconv.AppendFloat(dst, x, 'g', -1, 64)
}
