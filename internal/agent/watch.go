package agent

import (
	"math"
	"sync"

	"telemetry/sensors"
	"telemetry/wire"
)

// ChannelState is what `edgeagent channels --json` prints of one channel: a
// stable shape, fields are only added.
type ChannelState struct {
	Name   string   `json:"name"`
	Source string   `json:"source"`
	Group  string   `json:"group"`
	Lane   string   `json:"lane"`
	Unit   string   `json:"unit,omitempty"`
	Rows   uint64   `json:"rows"`             // of its group since the agent's start
	RateHz float64  `json:"rate_hz"`          // of its group; set by who has looked twice
	Value  *float64 `json:"value,omitempty"`  // the latest one in its unit; absent: none yet, or no number
	Text   string   `json:"text,omitempty"`   // its name, where the channel names its values
	TickNS int64    `json:"boot_ns"`          // of the latest value; 0: none yet
	AgeMS  int64    `json:"age_ms,omitempty"` // of it, when it was asked for
}

// watch remembers the latest row of one group.
type watch struct {
	mu     sync.Mutex
	rows   uint64  // guarded by mu, as all below
	values []int64 // by channel
	ticks  []int64 // by channel; 0: no value yet
}

// take notes the last row of r, and of channels that it lacks the row that has
// them.
func (w *watch) take(r *rowChunk) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rows += uint64(len(r.ticks))
	width, first := len(w.values), 0
	if r.present == nil {
		first = len(r.ticks) - 1
	}
	for row := first; row < len(r.ticks); row++ {
		for i := range width {
			if sensors.Bit(r.present, r.bit+row*width+i) {
				w.values[i], w.ticks[i] = r.values[row*width+i], r.ticks[row]
			}
		}
	}
}

// newWatches makes one watch for each group of a plan.
func newWatches(p *plan) []*watch {
	out := make([]*watch, len(p.catalogue.Groups))
	for i := range out {
		n := len(p.catalogue.Groups[i].Channels)
		out[i] = &watch{values: make([]int64, n), ticks: make([]int64, n)}
	}
	return out
}

// Channels lists all channels of the sources with their latest values. It is
// safe for concurrent use.
func (a *Agent) Channels() []ChannelState {
	now := a.clock.BootNS()
	out := []ChannelState{}
	for i := range a.plan.catalogue.Groups {
		g := &a.plan.catalogue.Groups[i]
		if g.Lane == wire.LaneLive {
			continue // a preview of others
		}
		w := a.plan.watches[i]
		w.mu.Lock()
		for k := range g.Channels {
			c := &g.Channels[k]
			s := ChannelState{Name: c.Name, Source: g.Source, Group: g.Name, Lane: g.Lane.String(), Unit: c.Unit, Rows: w.rows, TickNS: w.ticks[k]}
			if s.TickNS != 0 {
				s.AgeMS = max(0, now-s.TickNS) / 1e6
				s.set(c, w.values[k])
			}
			out = append(out, s)
		}
		w.mu.Unlock()
	}
	return out
}

// set fills in the value of a raw word.
func (s *ChannelState) set(c *wire.Channel, raw int64) {
	var v float64
	switch c.Type {
	case wire.TypeUint:
		v = float64(uint64(raw))
	case wire.TypeF32:
		v = float64(math.Float32frombits(uint32(raw)))
	case wire.TypeF64:
		v = math.Float64frombits(uint64(raw))
	default:
		v = float64(raw)
	}
	if v = float64(v*c.Scale) + c.Offset; !math.IsNaN(v) && !math.IsInf(v, 0) {
		s.Value = &v
	}
	for _, e := range c.Enum {
		if e.Raw == raw {
			s.Text = e.Name
		}
	}
}
