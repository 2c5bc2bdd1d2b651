package agent

import (
	"context"
	"errors"
	"sync"

	"telemetry/sensors"
	"telemetry/wire"
)

// Limits of what waits between the sources and the encoder: together they bound
// it to 2 MiB, or chunkQueue rows of a group that is wider than a chunk.
const (
	chunkQueue = 64
	chunkCells = 4096 // values in one chunk, but at least one row
)

// chunk is what a source hands over at a time: rows, or one prepared body.
type chunk struct {
	rows *rowChunk
	body *wire.Body
	done chan struct{} // not nil: everything before it is flushed, then it is closed
}

// rowChunk is some rows of one group. It owns its memory.
type rowChunk struct {
	group   uint32 // in the catalogue
	ticks   []int64
	values  []int64
	present []uint64 // nil: every value is there
	bit     int      // of the first value in present
}

// chunks keeps the memory of row chunks between uses; it holds no state.
var chunks = sync.Pool{New: func() any { return new(rowChunk) }}

func (c *rowChunk) free() { chunks.Put(c) }

// errStopping is what a source gets from its sink when the agent ends.
var errStopping = errors.New("agent: stopping")

// put queues c; it fails when the encoder or stop has ended.
func (e *encoder) put(c chunk, stop <-chan struct{}) error {
	select {
	case e.in <- c:
		return nil
	case <-stop:
	case <-e.ended:
	}
	return errStopping
}

// event takes one event for the critical lane.
func (e *encoder) event(ev wire.Event, stop <-chan struct{}) error {
	b := wire.Body{Lane: wire.LaneCritical, FirstNS: ev.BootNS, LastNS: ev.BootNS, Samples: 1, Payload: wire.AppendEvent(nil, &ev)}
	return e.put(chunk{body: &b}, stop)
}

// anchor takes a time anchor for the critical lane.
func (e *encoder) anchor(ctx context.Context, a wire.Anchor) error {
	b := wire.Body{Lane: wire.LaneCritical, Control: true, FirstNS: a.BootNS, LastNS: a.BootNS, Payload: wire.AppendAnchor(nil, &a)}
	return e.put(chunk{body: &b}, ctx.Done())
}

// sink hands one source's rows, which the supervisor has checked, to the
// encoder. It is safe for concurrent use.
type sink struct {
	enc    *encoder
	stop   <-chan struct{} // ends the waiting of a source that goes on after it was told to stop
	groups []uint32        // by the source's group: the catalogue's
	latest []*watch        // by the catalogue's group; nil: nobody looks
}

var _ sensors.Sink = (*sink)(nil)

// Append copies r and waits while the encoder's queue is full.
func (s *sink) Append(r sensors.Rows) error {
	g := s.groups[r.Group]
	if s.latest != nil {
		s.latest[g].take(r)
	}
	width := len(s.enc.typs[g])
	for first := 0; first < len(r.Ticks); {
		n := min(len(r.Ticks)-first, max(1, chunkCells/width))
		from, end := first*width, (first+n)*width
		c := chunks.Get().(*rowChunk)
		c.group, c.bit = g, from&63
		c.ticks = append(c.ticks[:0], r.Ticks[first:first+n]...)
		c.values = append(c.values[:0], r.Values[from:end]...)
		if r.Present == nil {
			c.present = nil
		} else {
			c.present = append(c.present[:0], r.Present[from>>6:(end+63)>>6]...)
		}
		if err := s.enc.put(chunk{rows: c}, s.stop); err != nil {
			return err
		}
		first += n
	}
	return nil
}

// Event takes one event for the critical lane.
func (s *sink) Event(ev wire.Event) error { return s.enc.event(ev, s.stop) }
