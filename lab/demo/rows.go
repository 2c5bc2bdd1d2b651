package demo

import (
	"encoding/json"
	"fmt"
	"strconv"

	"telemetry/sensors/sim"
	"telemetry/wire"
)

// rowFields are the fields of an output row that are no channels.
var rowFields = map[string]bool{
	"car": true, "session": true, "epoch": true, "nonce": true, "lane": true, "shard": true, "seq": true, "row": true, "group": true,
	"ts_ns": true, "ts_ms": true, "boot_ns": true, "clock": true, "clock_unc_ns": true, "segment": true, "event": true, "detail": true,
}

// Checker compares output rows with what the simulated car must have sent: its
// values depend on the configuration and the tick alone. It is not safe for
// concurrent use.
type Checker struct {
	model  *sim.Model
	groups map[string]int
	start  int64 // boot time of tick 0; 0 = not known
	values []int64
	absent map[tickOf]map[string]bool // channels that no row of a tick has brought yet, where one has come

	Checked uint64 // values compared
	Wrong   uint64 // of these: not what the car measured, or absent
	First   string // the first wrong one, in words
}

// tickOf names a tick of a group. Its channels may come in several rows: a group
// whose columns did not fit one batch goes on in the next.
type tickOf struct {
	group string
	tick  int64
}

// row is a decoded record: what all rows have, and the channels' texts.
type row struct {
	group    string
	event    bool
	bootNS   int64
	channels map[string]json.RawMessage
}

// NewChecker returns a checker for one configuration of the simulated car.
func NewChecker(cfg sim.Config) (*Checker, error) {
	m, err := sim.NewModel(cfg)
	if err != nil {
		return nil, err
	}
	c := &Checker{model: m, groups: map[string]int{}, absent: map[tickOf]map[string]bool{}}
	for i, g := range m.Groups() {
		c.groups[g.Name] = i
	}
	return c, nil
}

// parseRow decodes the JSON of one output record.
func parseRow(value []byte) (row, error) {
	var r row
	if err := json.Unmarshal(value, &r.channels); err != nil {
		return r, fmt.Errorf("demo: row is no JSON object: %w", err)
	}
	if g, ok := r.channels["group"]; ok {
		if err := json.Unmarshal(g, &r.group); err != nil {
			return r, fmt.Errorf("demo: group of a row: %w", err)
		}
	}
	_, r.event = r.channels["event"]
	var err error
	if r.bootNS, err = strconv.ParseInt(string(r.channels["boot_ns"]), 10, 64); err != nil {
		return r, fmt.Errorf("demo: boot_ns of a row: %w", err)
	}
	for k := range r.channels {
		if rowFields[k] {
			delete(r.channels, k)
		}
	}
	return r, nil
}

// samples is how many readings the row holds: an event is one.
func (r *row) samples() int {
	if r.event {
		return 1
	}
	return len(r.channels)
}

// Check compares one row; End says when there are no more. Rows of other groups than the car's are not judged.
// The first row of the car that it sees must be of its first tick.
func (c *Checker) Check(r *row) {
	g, ok := c.groups[r.group]
	if !ok || r.event {
		return
	}
	if c.start == 0 {
		c.start = r.bootNS
	}
	channels := c.model.Groups()[g].Channels
	c.Checked += uint64(len(r.channels))
	at := r.bootNS - c.start
	tick := c.model.TickAt(g, at)
	if c.model.TickNS(g, tick) != at {
		c.wrong(len(r.channels), "a row of %s is stamped %d ns after the start, which is no tick", r.group, at)
		return
	}
	if cap(c.values) < len(channels) {
		c.values = make([]int64, len(channels))
	}
	values := c.values[:len(channels)]
	c.model.Fill(g, tick, values)
	known := 0
	for i := range channels {
		text, ok := r.channels[channels[i].Name]
		if !ok {
			continue
		}
		known++
		want := physical(&channels[i], values[i])
		got, err := strconv.ParseFloat(string(text), 64)
		if err != nil || got != want {
			c.wrong(1, "%s of tick %d of %s is %q, the car measured %v", channels[i].Name, tick, r.group, text, want)
		}
	}
	if extra := len(r.channels) - known; extra > 0 {
		c.wrong(extra, "a row of %s has %d channels that the car does not have there", r.group, extra)
	}
	if key := (tickOf{r.group, tick}); known < len(channels) || c.absent[key] != nil {
		c.join(key, channels, r)
	}
}

// join notes which channels of a tick one of its rows has brought.
func (c *Checker) join(key tickOf, channels []wire.Channel, r *row) {
	left := c.absent[key]
	if left == nil {
		left = make(map[string]bool, len(channels))
		for i := range channels {
			left[channels[i].Name] = true
		}
		c.absent[key] = left
	}
	for name := range r.channels {
		delete(left, name)
	}
	if len(left) == 0 {
		delete(c.absent, key)
	}
}

// End judges what no row has brought: nothing more will come.
func (c *Checker) End() {
	for key, left := range c.absent {
		c.Checked += uint64(len(left))
		for name := range left {
			c.wrong(1, "%s of tick %d of %s is in no row", name, key.tick, key.group)
		}
	}
	clear(c.absent)
}

func (c *Checker) wrong(n int, format string, args ...any) {
	c.Wrong += uint64(n)
	if c.First == "" {
		c.First = fmt.Sprintf(format, args...)
	}
}

// physical is the value of a raw integer, as every decoder computes it.
func physical(c *wire.Channel, raw int64) float64 {
	x := float64(raw)
	if c.Type == wire.TypeUint {
		x = float64(uint64(raw))
	}
	// The conversion forbids a fused multiply-add: both steps round.
	return float64(x*c.Scale) + c.Offset
}
