package spoolcmd

import (
	"encoding/csv"
	"io"
	"strconv"

	"telemetry/wire"
)

// csvOut writes one value a line.
type csvOut struct {
	w    *csv.Writer
	line []string
	buf  []byte
}

var csvHead = []string{"lane", "epoch", "seq", "boot_ns", "utc_ns", "group", "channel", "value", "unit"}

func newCSV(w io.Writer) (exporter, error) {
	e := &csvOut{w: csv.NewWriter(w), line: make([]string, len(csvHead))}
	return e, e.w.Write(csvHead)
}

func (e *csvOut) batch(wire.Batch) error { return nil }

func (e *csvOut) rows(h wire.Header, g *wire.Group, at *utc, b *wire.Block) error {
	l := e.line
	l[0], l[1], l[2], l[5] = h.Stream.Lane.String(), h.Stream.Epoch.String(), strconv.FormatUint(h.Seq, 10), g.Name
	cols := columns(b)
	for row, tick := range b.Ticks {
		l[3], l[4] = strconv.FormatInt(tick, 10), ""
		if ns, ok := at.at(tick); ok {
			l[4] = strconv.FormatInt(ns, 10)
		}
		for i := range cols {
			raw, ok := cols[i].next(row)
			if !ok {
				continue
			}
			ch := &g.Channels[int(b.FirstColumn)+i]
			e.buf = appendValue(e.buf[:0], ch, cols[i].c.Type, raw)
			l[6], l[7], l[8] = ch.Name, string(e.buf), ch.Unit
			if err := e.w.Write(l); err != nil {
				return err
			}
		}
	}
	return nil
}

func (e *csvOut) end() error {
	e.w.Flush()
	return e.w.Error()
}
