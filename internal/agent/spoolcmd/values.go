package spoolcmd

import (
	"sort"

	"telemetry/internal/physical"
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

// appendValue writes the physical value as text, as every other writer of them does.
func appendValue(dst []byte, ch *wire.Channel, t wire.ValueType, raw int64) []byte {
	v := physical.Of(ch)
	return v.AppendText(dst, t, raw)
}
