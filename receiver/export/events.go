package export

import (
	"telemetry/receiver/sequence/columns"
	"telemetry/wire"
)

// kindText is the kind of the columns of events; bits is the index of a text.
const kindText columns.Kind = 100

// EventsName is the table of events, and its topic in an MCAP file.
const EventsName = "events"

// eventsKey is their place among the groups; no group's name begins so.
const eventsKey = "\x00events"

// AddEvent takes an event: columns event and detail.
func (w *Writer) AddEvent(id wire.ID, bootNS, utcNS int64, synced bool, name, detail string) error {
	g := w.groups[eventsKey]
	if g == nil {
		g = &group{name: EventsName, cols: make([]cells, 2)}
		for _, n := range []string{"event", "detail"} {
			g.fields = append(g.fields, field{name: n, kind: kindText, channel: columns.Channel{Channel: wire.Channel{Name: n}}})
		}
		w.groups[eventsKey] = g
	}
	if err := w.room(g, 1); err != nil {
		return err
	}
	before := g.cells()
	g.utc, g.boot = append(g.utc, utcNS), append(g.boot, bootNS)
	g.epoch, g.synced = append(g.epoch, id.Stream.Epoch.Counter), append(g.synced, synced)
	for i, text := range []string{name, detail} {
		c := &g.cols[i]
		c.grow(g.rows())
		c.set(g.rows()-1, uint64(len(c.texts)))
		c.texts = append(c.texts, columns.Text(text))
		g.fields[i].count++
	}
	w.samples++
	w.pending += g.cells() - before
	return nil
}
