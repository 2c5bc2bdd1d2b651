package can

import (
	"encoding/binary"
	"errors"
	"fmt"

	"telemetry/sensors"
	"telemetry/wire"
)

// Columns of a raw group: id, flags, length, then the payload, eight bytes a
// column.
const (
	rawID = iota
	rawFlags
	rawLength
	rawData
	rawWords   = maxFD / 8
	rawColumns = rawData + rawWords
)

// Bits of the flags of a raw row. Bits 4 to 7 hold a raw DLC, if it has one.
const (
	rawFD = 1 << iota
	rawBRS
	rawESI
	rawTX
)

// Raw records the frames of one interface as they are, also those that no
// database knows, so that a better database can be applied later: [RawFrame]
// gives a frame back. It belongs to one goroutine.
type Raw struct {
	group   int
	tick    int64
	ticks   []int64
	values  []int64
	present []uint64
}

// NewRaw returns a recorder whose rows belong to the group of the given index.
func NewRaw(group int) *Raw { return &Raw{group: group} }

// RawGroup describes the rows of the raw frames of an interface.
func RawGroup(iface string) wire.Group {
	g := wire.Group{Name: iface + ".raw", Lane: wire.LaneFull}
	add := func(name, description string, bits uint8) {
		g.Channels = append(g.Channels, wire.Channel{
			Name: g.Name + "." + name, Description: description, Type: wire.TypeUint, Bits: bits, Scale: 1,
		})
	}
	add("id", "id; bit 31 extended, bit 30 remote request, bit 29 error frame", 32)
	add("flags", "bit 0 CAN FD, bit 1 bit rate switch, bit 2 error passive sender, bit 3 sent by this machine, bits 4 to 7 raw DLC", 8)
	add("len", "payload in bytes", 7)
	for i := range rawWords {
		add(fmt.Sprintf("d%d", 8*i), fmt.Sprintf("bytes %d to %d, the first one lowest", 8*i, 8*i+7), 64)
	}
	return g
}

// RawKeys returns how many of the first channels of a group say what its rows are
// about, if the group is one of raw frames, else 0.
func RawKeys(g *wire.Group) int {
	if len(g.Channels) != rawColumns {
		return 0
	}
	for i, bits := range [rawData + 1]uint8{32, 8, 7, 64} {
		if c := &g.Channels[i]; c.Type != wire.TypeUint || c.Bits != bits {
			return 0
		}
	}
	return rawData
}

// RawBlock reports whether a block has the columns of a raw group: for readers
// that lack the catalogue.
func RawBlock(b *wire.Block) bool {
	if b.FirstColumn != 0 || len(b.Columns) != rawColumns {
		return false
	}
	for i := range b.Columns {
		if c := &b.Columns[i]; c.Type != wire.TypeUint || i < rawData && len(c.Values) != len(b.Ticks) {
			return false
		}
	}
	for i, n := range b.Columns[rawLength].Values {
		if n < 0 || n > maxFD || b.Columns[rawFlags].Values[i]>>8 != 0 {
			return false
		}
	}
	return true
}

// Pending returns how many rows wait for Flush.
func (r *Raw) Pending() int { return len(r.ticks) }

// Add records a frame with the given tick, in ns since boot. A tick before the
// latest one is raised to it.
func (r *Raw) Add(f *Frame, tick int64) {
	r.tick = max(r.tick, tick)
	at := len(r.values)
	r.ticks = append(r.ticks, r.tick)
	r.values = append(r.values, int64(f.rawID()), int64(f.rawFlags()), int64(f.Len))
	used := rawData
	for i := range rawWords {
		r.values = append(r.values, int64(binary.LittleEndian.Uint64(f.Bytes[8*i:])))
		if 8*i < len(f.Data()) {
			used++
		} else {
			r.values[len(r.values)-1] = 0
		}
	}
	r.present = appendBits(r.present, at, []uint64{1<<used - 1}, rawColumns)
}

func (f *Frame) rawID() uint32 {
	id := f.ID
	if f.Extended {
		id |= flagExtended
	}
	if f.RTR {
		id |= flagRemote
	}
	if f.Err {
		id |= flagError
	}
	return id
}

func (f *Frame) rawFlags() uint8 {
	v := f.DLC << 4
	for i, set := range [...]bool{f.FD, f.BRS, f.ESI, f.TX} {
		if set {
			v |= 1 << i
		}
	}
	return v
}

// Flush hands all rows to out and forgets them, also when it fails.
func (r *Raw) Flush(out sensors.Sink) error {
	if len(r.ticks) == 0 {
		return nil
	}
	err := out.Append(sensors.Rows{Group: r.group, Ticks: r.ticks, Values: r.values, Present: r.present})
	r.ticks, r.values, r.present = r.ticks[:0], r.values[:0], r.present[:0]
	return err
}

// ErrNotRaw is returned for a row that no frame can have made.
var ErrNotRaw = errors.New("can: row is no raw frame")

// RawFrame makes the frame that a row of a raw group holds. Absent values must
// be 0. Bus, StampNS and Cut are not in it.
func RawFrame(row []int64) (Frame, error) {
	var f Frame
	if len(row) != rawColumns || row[rawID] < 0 || row[rawID] > 1<<32-1 || row[rawLength] < 0 || row[rawLength] > maxFD || row[rawFlags]>>8 != 0 {
		return f, ErrNotRaw
	}
	id, flags := uint32(row[rawID]), row[rawFlags]
	f.Extended, f.RTR, f.Err = id&flagExtended != 0, id&flagRemote != 0, id&flagError != 0
	f.ID = id & maskExtended
	f.FD, f.BRS, f.ESI, f.TX = flags&rawFD != 0, flags&rawBRS != 0, flags&rawESI != 0, flags&rawTX != 0
	f.DLC, f.Len = uint8(flags>>4), uint8(row[rawLength])
	for i := range rawWords {
		binary.LittleEndian.PutUint64(f.Bytes[8*i:], uint64(row[rawData+i]))
	}
	for i := len(f.Data()); i < maxFD; i++ {
		if f.Bytes[i] != 0 {
			return f, ErrNotRaw
		}
	}
	return f, nil
}
