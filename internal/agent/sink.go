package agent

import (
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
	bits    []uint64 // memory of present
	bit     int      // of the first value in present
}

// chunks keeps the memory of row chunks between uses; it holds no state.
var chunks = sync.Pool{New: func() any { return new(rowChunk) }}

func (c *rowChunk) free() { chunks.Put(c) }

// errStopping is what a source gets from its sink when the agent ends.
var errStopping = errors.New("agent: stopping")

// put queues c; it fails when the encoder or stop has ended. What it took in before the
// encoder ended is encoded: see Run.
func (e *encoder) put(c chunk, stop <-chan struct{}) error {
	select {
	case e.in <- c:
		select {
		case <-e.ended: // it came to a queue that nobody reads
		default:
			return nil
		}
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

// anchor takes a time anchor for the critical lane and numbers it, unless a better
// one contradicts it.
func (e *encoder) anchor(stop <-chan struct{}, a wire.Anchor) error {
	if !e.judge.admit(&a) {
		return nil
	}
	b := wire.Body{Lane: wire.LaneCritical, Control: true, FirstNS: a.BootNS, LastNS: a.BootNS, Payload: wire.AppendAnchor(nil, &a)}
	return e.put(chunk{body: &b}, stop)
}

// sink hands one source's rows, which the supervisor has checked, to the
// encoder. It is safe for concurrent use.
type sink struct {
	enc    *encoder
	stop   <-chan struct{} // ends the waiting of a source that goes on after it was told to stop
	routes []route         // by the source's group
	latest []*watch        // by the catalogue's group; nil: nobody looks
}

var _ sensors.Sink = (*sink)(nil)

// Append copies r and waits while the encoder's queue is full.
func (s *sink) Append(r sensors.Rows) error {
	for _, p := range s.routes[r.Group] {
		if err := s.part(&p, r); err != nil {
			return err
		}
	}
	return nil
}

// part hands one group its part of the rows.
func (s *sink) part(p *part, r sensors.Rows) error {
	out := s.enc.widths[p.group] // values of a row here
	in := len(r.Values) / len(r.Ticks)
	for first := 0; first < len(r.Ticks); {
		n := min(len(r.Ticks)-first, max(1, chunkCells/out))
		c := chunks.Get().(*rowChunk)
		c.group = p.group
		if p.columns == nil {
			c.copy(&r, first, n, in)
		} else {
			c.pick(&r, first, n, in, p.columns)
		}
		first += n
		if len(c.ticks) == 0 {
			c.free()
			continue
		}
		if s.latest != nil {
			s.latest[p.group].take(c)
		}
		if err := s.enc.put(chunk{rows: c}, s.stop); err != nil {
			return err
		}
	}
	return nil
}

// copy takes n rows of r, width values each.
func (c *rowChunk) copy(r *sensors.Rows, first, n, width int) {
	from, end := first*width, (first+n)*width
	c.bit = from & 63
	c.ticks = append(c.ticks[:0], r.Ticks[first:first+n]...)
	c.values = append(c.values[:0], r.Values[from:end]...)
	c.present = c.bits[:0]
	if r.Present != nil {
		c.present = append(c.present, r.Present[from>>6:(end+63)>>6]...)
	}
	c.keep(r.Present != nil)
}

// pick takes some columns of n rows of r. Rows without a value in them are left
// out.
func (c *rowChunk) pick(r *sensors.Rows, first, n, width int, columns []int) {
	c.bit = 0
	c.ticks, c.values, c.present = c.ticks[:0], c.values[:0], c.bits[:0]
	for row := first; row < first+n; row++ {
		at, some := len(c.values), r.Present == nil
		for i, col := range columns {
			k := row*width + col
			c.values = append(c.values, r.Values[k])
			if r.Present == nil {
				continue
			}
			if (at+i)>>6 == len(c.present) {
				c.present = append(c.present, 0)
			}
			if sensors.Bit(r.Present, k) {
				c.present[(at+i)>>6] |= 1 << ((at + i) & 63)
				some = true
			}
		}
		if !some {
			// Its bits are 0: the next row finds them so.
			c.values = c.values[:at]
			continue
		}
		c.ticks = append(c.ticks, r.Ticks[row])
	}
	c.keep(r.Present != nil)
}

// keep ends a chunk: the memory of its bitmap is kept, and it stands for
// something only if values may be absent.
func (c *rowChunk) keep(sparse bool) {
	c.bits = c.present
	if !sparse {
		c.present = nil
	}
}

// Event takes one event for the critical lane.
func (s *sink) Event(ev wire.Event) error { return s.enc.event(ev, s.stop) }
