package columnpb

import (
	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/columnpb/telemetrypb"
	"telemetry/receiver/sequence/columns"
	"telemetry/receiver/sequence/timemap"
	"telemetry/wire"
)

// pool fills one message again and again, with the memory of before.
type pool struct {
	m *telemetrypb.Batch

	columns []*telemetrypb.Column
	event1  *telemetrypb.Event
	part    []byte
}

func newPool() pool {
	return pool{
		m: &telemetrypb.Batch{
			Clock: &telemetrypb.Clock{}, Utc: &telemetrypb.Times{}, Boot: &telemetrypb.Times{},
		},
		event1: &telemetrypb.Event{},
	}
}

// begin fills in what all records of a batch share.
func (p *pool) begin(b *sequence.Batch, h *columns.Heads) *telemetrypb.Batch {
	st := b.ID.Stream
	m := p.m
	m.Car, m.Session, m.Epoch, m.Nonce = text(st.Car), h.Session, st.Epoch.Counter, h.Nonce
	m.Lane, m.Seq = st.Lane.String(), b.ID.Seq
	return m
}

func (p *pool) place(place, of int) {
	p.part = columns.AppendPart(p.part[:0], place, of)
	p.m.Part = string(p.part)
}

func (p *pool) clock(c columns.Clock) {
	k := p.m.Clock
	k.Synced, k.Anchor, k.Segment, k.UncertaintyNs = c.Synced, c.Anchor, c.Segment, c.UncNS
}

// table fills in a table.
func (p *pool) table(t *columns.Table) {
	m := p.m
	p.place(t.Place, t.Of)
	p.clock(t.Clock)
	m.Group, m.Rows, m.Events = text(t.Group.Name), uint32(len(t.Boot)), nil
	times(m.Utc, t.UTC)
	times(m.Boot, t.Boot)
	for len(p.columns) < len(t.Columns) {
		p.columns = append(p.columns, &telemetrypb.Column{})
	}
	m.Columns = p.columns[:len(t.Columns)]
	for i := range t.Columns {
		column(m.Columns[i], &t.Columns[i])
	}
}

// event fills in an event.
func (p *pool) event(st timemap.Stamp, e *wire.Event, place, of int) {
	m := p.m
	p.place(place, of)
	p.clock(columns.ClockOf(st))
	m.Group, m.Rows, m.Columns = "", 0, nil
	times(m.Utc, []int64{st.UTCNS})
	times(m.Boot, []int64{e.BootNS})
	p.event1.Name, p.event1.Detail = text(e.Name), text(e.Detail)
	m.Events = []*telemetrypb.Event{p.event1}
}

// times writes the times of rows, of which there is one at least.
func times(t *telemetrypb.Times, ns []int64) {
	t.Start, t.Interval, t.Offsets = ns[0], 0, t.Offsets[:0]
	if len(ns) < 2 {
		return
	}
	step := ns[1] - ns[0]
	for i := 2; i < len(ns); i++ {
		if ns[i]-ns[i-1] != step {
			for _, v := range ns {
				t.Offsets = append(t.Offsets, v-ns[0])
			}
			return
		}
	}
	t.Interval = step
}

func column(to *telemetrypb.Column, c *columns.Column) {
	to.Name, to.Unit, to.Rows = text(c.Channel.Name), text(c.Channel.Unit), c.Rows
	to.Ints, to.Uints, to.Floats, to.Doubles = nil, nil, nil, nil
	switch c.Kind {
	case columns.Int:
		to.Ints = c.Ints
	case columns.Uint:
		to.Uints = c.Uints
	case columns.Float32:
		to.Floats = c.Float32
	default:
		to.Doubles = c.Float64
	}
	to.Names = to.Names[:0]
	for i := range c.Channel.Enum {
		e := &c.Channel.Enum[i]
		if v, ok := c.EnumValue(e); ok {
			to.Names = append(to.Names, &telemetrypb.Name{Value: v, Name: text(e.Name)})
		}
	}
}

// text makes a string that every client can decode.
func text(s string) string { return columns.Text(s) }
