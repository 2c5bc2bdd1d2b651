package spoolcmd

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"telemetry/sensors/can"
	"telemetry/wire"
)

// candump writes the raw frames of all interfaces in the log format of can-utils.
type candump struct {
	w      io.Writer
	frames int
	buf    []byte
}

func newCandump(w io.Writer) (exporter, error) { return &candump{w: w}, nil }

func (e *candump) batch(wire.Batch) error { return nil }

// errNoRaw says why there is nothing to write.
var errNoRaw = errors.New("the spool holds no raw CAN frames: set `raw: true` at the source to record them")

func (e *candump) end() error {
	if e.frames == 0 {
		return errNoRaw
	}
	return nil
}

func (e *candump) rows(_ wire.Header, g *wire.Group, at *utc, b *wire.Block) error {
	iface, raw := strings.CutSuffix(g.Name, ".raw")
	if !raw || !isRaw(g, iface) {
		return nil
	}
	if b.FirstColumn != 0 || len(b.Columns) != len(g.Channels) {
		return fmt.Errorf("a block of %s holds only some columns of its frames", g.Name)
	}
	cols := columns(b)
	row := make([]int64, len(cols))
	for i, tick := range b.Ticks {
		for c := range cols {
			row[c], _ = cols[c].next(i) // absent is 0, as RawFrame wants it
		}
		f, err := can.RawFrame(row)
		if err != nil {
			return err
		}
		ns, _ := at.at(tick)
		e.buf = appendLine(e.buf[:0], ns, iface, &f)
		if _, err := e.w.Write(e.buf); err != nil {
			return err
		}
		e.frames++
	}
	return nil
}

// isRaw reports whether a group is what the CAN source makes of an interface.
func isRaw(g *wire.Group, iface string) bool {
	want := can.RawGroup(iface)
	if len(g.Channels) != len(want.Channels) {
		return false
	}
	for i := range want.Channels {
		if g.Channels[i].Name != want.Channels[i].Name {
			return false
		}
	}
	return true
}

// appendLine writes "(seconds.micros) interface id#data". What a classic log cannot
// say (an error frame's class, a raw DLC) is said as can-utils does.
func appendLine(dst []byte, ns int64, iface string, f *can.Frame) []byte {
	dst = fmt.Appendf(dst, "(%010d.%06d) %s ", ns/1e9, ns%1e9/1e3, iface)
	switch {
	case f.Err:
		dst = fmt.Appendf(dst, "%08X#", f.ID|1<<29)
	case f.Extended:
		dst = fmt.Appendf(dst, "%08X#", f.ID)
	default:
		dst = fmt.Appendf(dst, "%03X#", f.ID)
	}
	switch {
	case f.FD:
		flags := 0
		if f.BRS {
			flags |= 1
		}
		if f.ESI {
			flags |= 2
		}
		dst = fmt.Appendf(dst, "#%X%X", flags, f.Data())
	case f.RTR:
		dst = append(dst, 'R')
		if f.Len > 0 {
			dst = fmt.Appendf(dst, "%d", f.Len)
		}
	default:
		dst = fmt.Appendf(dst, "%X", f.Data())
	}
	if f.DLC > 0 {
		dst = fmt.Appendf(dst, "_%X", f.DLC)
	}
	if f.TX {
		return append(dst, " T\n"...)
	}
	return append(dst, '\n')
}
