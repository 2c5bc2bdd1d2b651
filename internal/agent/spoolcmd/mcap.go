package spoolcmd

import (
	"encoding/json"
	"fmt"
	"io"
	"math"

	"github.com/foxglove/mcap/go/mcap"

	"telemetry/wire"
)

// mcapOut writes one message a row. The message's log time is UTC where it is
// known; its publish time is the boot time.
type mcapOut struct {
	w        *mcap.Writer
	channels map[string]*mcapGroup // by group name and catalogue
	buf      []byte
}

type mcapGroup struct {
	id  uint16
	seq uint32
}

func newMCAP(w io.Writer) (exporter, error) {
	m, err := mcap.NewWriter(w, &mcap.WriterOptions{Chunked: true, ChunkSize: 1 << 20, Compression: mcap.CompressionZSTD, IncludeCRC: true})
	if err != nil {
		return nil, err
	}
	return &mcapOut{w: m, channels: map[string]*mcapGroup{}}, m.WriteHeader(&mcap.Header{Library: "edgeagent"})
}

func (e *mcapOut) batch(wire.Batch) error { return nil }
func (e *mcapOut) end() error             { return e.w.Close() }

// group writes schema and channel of a group when it is first seen.
func (e *mcapOut) group(h wire.Header, g *wire.Group) (*mcapGroup, error) {
	key := fmt.Sprintf("%s/%s/%s", h.Catalogue, h.Stream.Lane, g.Name)
	if c := e.channels[key]; c != nil {
		return c, nil
	}
	n := len(e.channels) + 1
	if n > math.MaxUint16 {
		return nil, fmt.Errorf("more than %d groups", math.MaxUint16)
	}
	c := &mcapGroup{id: uint16(n)}
	properties := map[string]any{}
	for _, ch := range g.Channels {
		p := map[string]any{"type": "number", "description": ch.Description}
		if ch.Unit != "" {
			p["unit"] = ch.Unit
		}
		properties[ch.Name] = p
	}
	schema, err := json.Marshal(map[string]any{"type": "object", "title": g.Name, "properties": properties})
	if err != nil {
		return nil, err
	}
	if err := e.w.WriteSchema(&mcap.Schema{ID: c.id, Name: g.Name, Encoding: "jsonschema", Data: schema}); err != nil {
		return nil, err
	}
	meta := map[string]string{"car": h.Stream.Car, "lane": h.Stream.Lane.String(), "catalogue": h.Catalogue.String()}
	e.channels[key] = c
	return c, e.w.WriteChannel(&mcap.Channel{ID: c.id, SchemaID: c.id, Topic: g.Name, MessageEncoding: "json", Metadata: meta})
}

func (e *mcapOut) rows(h wire.Header, g *wire.Group, at *utc, b *wire.Block) error {
	c, err := e.group(h, g)
	if err != nil {
		return err
	}
	cols := columns(b)
	for row, tick := range b.Ticks {
		e.buf = append(e.buf[:0], '{')
		for i := range cols {
			raw, ok := cols[i].next(row)
			if !ok {
				continue
			}
			ch := &g.Channels[int(b.FirstColumn)+i]
			name, err := json.Marshal(ch.Name)
			if err != nil {
				return err
			}
			mark := len(e.buf)
			if mark > 1 {
				e.buf = append(e.buf, ',')
			}
			e.buf = append(append(e.buf, name...), ':')
			start := len(e.buf)
			e.buf = appendValue(e.buf, ch, cols[i].c.Type, raw)
			if last := e.buf[len(e.buf)-1]; last == 'N' || last == 'f' { // NaN, inf: JSON has neither
				e.buf = append(e.buf[:start], "null"...)
			}
		}
		e.buf = append(e.buf, '}')
		c.seq++
		ns, _ := at.at(tick)
		err := e.w.WriteMessage(&mcap.Message{ChannelID: c.id, Sequence: c.seq, LogTime: uint64(max(0, ns)), PublishTime: uint64(max(0, tick)), Data: e.buf})
		if err != nil {
			return err
		}
	}
	return nil
}
