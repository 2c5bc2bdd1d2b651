package live

import (
	"encoding/json"
	"fmt"
	"time"

	"telemetry/receiver/live/coverage"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// epoch returns the full lane of an epoch, nil for one that is long over: there would
// be no end of them in what topics keep.
func (c *car) epoch(session string) *coverage.Lane {
	if l := c.cover.Known(session); l != nil || epochOf(session) < epochOf(c.session) {
		return l
	}
	return c.cover.Epoch(session)
}

// numbered notes that a batch is there, whose values are not to be shown.
func (s *store) numbered(id wire.ID, l clockLine, o origin) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.cars[id.Stream.Car]
	if c == nil {
		return
	}
	c.seen(id, o, floorMS(l.firstUTC), floorMS(l.lastUTC))
}

// seen notes instants of a batch of the full lane.
func (c *car) seen(id wire.ID, o origin, ms ...int64) {
	full := c.epoch(id.Stream.Epoch.String())
	if full == nil || id.Stream.Lane != wire.LaneFull || id.Seq == 0 {
		return
	}
	if o.to == inOrder {
		full.Begin(o.source, id.Seq, o.nowMS)
	}
	for _, at := range ms {
		full.Seen(id.Seq, sane(at, o.nowMS), o.nowMS)
	}
}

// gapRow is what the page needs of a record in the gaps topic.
type gapRow struct {
	Car    string `json:"car"`
	Epoch  uint32 `json:"epoch"`
	Nonce  string `json:"nonce"`
	Lane   string `json:"lane"`
	First  uint64 `json:"first"`
	Last   uint64 `json:"last"`
	Count  uint64 `json:"count"`
	Change string `json:"change"`
	Reason string `json:"reason"`
	AtMS   int64  `json:"at_ms"`
}

// Changes of gaps, as they stand in the topic.
const (
	gapSettled   = "settled"
	gapRefined   = "refined"
	gapWithdrawn = "withdrawn"
)

// gap takes a record of the gaps topic. One without a value deletes another.
func (f *follower) gap(rec *topic.Record) {
	if len(rec.Value) == 0 {
		return
	}
	var g gapRow
	if json.Unmarshal(rec.Value, &g) != nil || g.Count == 0 {
		f.s.store.malformed()
		return
	}
	f.s.store.gap(&g, time.Now().UnixMilli(), f.fresh(rec))
}

func (s *store) gap(g *gapRow, nowMS int64, fresh bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.car([]byte(g.Car), nowMS)
	if c == nil {
		s.n.CarsDropped++
		return
	}
	id := laneOf([]byte(g.Lane))
	if id == wire.LaneFull {
		c.settle(g)
	}
	if fresh {
		switch g.Change {
		case gapSettled:
			c.lanes[id].missing += g.Count
		case gapWithdrawn:
			c.lanes[id].missing -= min(c.lanes[id].missing, g.Count)
		}
	}
	c.addEvent(Event{
		TimeMS: g.AtMS, Kind: "gap", Text: fmt.Sprintf("%s #%d…%d %s: %s", g.Lane, g.First, g.Last, g.Change, g.Reason),
		Detail: fmt.Sprintf("%d batches", g.Count),
	})
}

// settle notes what was said of numbers of the full lane. Those whose window ran out
// may still come.
func (c *car) settle(g *gapRow) {
	l := c.epoch(fmt.Sprintf("%d-%s", g.Epoch, g.Nonce))
	switch {
	case l == nil:
	case g.Change == gapWithdrawn:
		l.Withdraw(g.First, g.Last)
	case g.Change != gapSettled && g.Change != gapRefined:
	case g.Reason == wire.ReasonGap.String():
		l.Settle(g.First, g.Last, coverage.Late, "")
	default:
		l.Settle(g.First, g.Last, coverage.Lost, g.Reason)
	}
}
