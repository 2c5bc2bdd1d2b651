package pagetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"

	"telemetry/receiver/kafka"
	"telemetry/receiver/topic"
	"telemetry/sensors/sim"
	"telemetry/wire"
)

// Truth is what the simulated car measured, and when: values are computed, times
// are those of the rows in Kafka. It is not safe for concurrent use.
type Truth struct {
	model  *sim.Model
	groups map[string]int
	start  int64                      // boot time of tick 0
	rows   map[string]map[int64]int64 // by group: boot time by UTC, ns
}

// row is what is read of an output row.
type row struct {
	Group  string `json:"group"`
	TSNS   int64  `json:"ts_ns"`
	BootNS int64  `json:"boot_ns"`
	Lane   string `json:"lane"`
	Event  string `json:"event"`
}

var errEnough = errors.New("all of it was read")

// readTruth reads the rows that are in Kafka now.
func readTruth(ctx context.Context, brokers []string, cfg sim.Config) (t *Truth, err error) {
	t = &Truth{groups: map[string]int{}, rows: map[string]map[int64]int64{}, start: math.MaxInt64}
	if t.model, err = sim.NewModel(cfg); err != nil {
		return nil, fmt.Errorf("pagetest: truth: %w", err)
	}
	for i, g := range t.model.Groups() {
		t.groups[g.Name], t.rows[g.Name] = i, map[int64]int64{}
	}
	c, err := kafka.Open(ctx, kafka.Config{Brokers: brokers, AllowWeak: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, fmt.Errorf("pagetest: truth: %w", err)
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	for _, name := range []string{c.Names().Samples, c.Names().Late} {
		if err := t.read(ctx, c, name); err != nil {
			return nil, fmt.Errorf("pagetest: truth: %s: %w", name, err)
		}
	}
	if t.start == math.MaxInt64 {
		return nil, errors.New("pagetest: truth: no row of the car is in Kafka")
	}
	return t, nil
}

// read takes a topic up to its present end.
func (t *Truth) read(ctx context.Context, c *kafka.Cluster, name string) error {
	ends, err := c.EndOffsets(ctx, name)
	if err != nil {
		return err
	}
	from, left := map[int32]int64{}, map[int32]bool{}
	for p, end := range ends {
		if end > 0 {
			from[p], left[p] = 0, true
		}
	}
	if len(left) == 0 {
		return nil
	}
	err = c.Follow(ctx, name, from, func(r topic.Record) error {
		if err := t.take(r.Value); err != nil {
			return err
		}
		// The last offset of a topic written in transactions is a mark that is
		// never given: the record before it ends the topic too.
		if r.Offset+2 >= ends[r.Partition] {
			delete(left, r.Partition)
		}
		if len(left) == 0 {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

func (t *Truth) take(value []byte) error {
	var r row
	if err := json.Unmarshal(value, &r); err != nil {
		return fmt.Errorf("row: %w", err)
	}
	rows, ok := t.rows[r.Group]
	if !ok || r.Event != "" || r.Lane != wire.LaneFull.String() {
		return nil
	}
	rows[r.TSNS] = r.BootNS
	t.start = min(t.start, r.BootNS)
	return nil
}

// SpanNS returns the earliest and latest time of which every group has rows.
func (t *Truth) SpanNS() (from, to int64) {
	from, to = 0, math.MaxInt64
	for _, rows := range t.rows {
		first, last := int64(math.MaxInt64), int64(0)
		for ts := range rows {
			first, last = min(first, ts), max(last, ts)
		}
		from, to = max(from, first), min(to, last)
	}
	return from, to
}

// find returns the place of a channel.
func (t *Truth) find(name string) (group, channel int, ok bool) {
	for g, group := range t.model.Groups() {
		for i := range group.Channels {
			if group.Channels[i].Name == name {
				return g, i, true
			}
		}
	}
	return 0, 0, false
}

// value is what a channel measured at a boot time; ok is false between two ticks.
func (t *Truth) value(g, channel int, bootNS int64) (x float64, ok bool) {
	at := bootNS - t.start
	tick := t.model.TickAt(g, at)
	if t.model.TickNS(g, tick) != at {
		return 0, false
	}
	c := &t.model.Groups()[g].Channels[channel]
	raw := t.model.Value(g, channel, tick)
	x = float64(raw)
	if c.Type == wire.TypeUint {
		x = float64(uint64(raw))
	}
	// The conversion forbids a fused multiply-add: both steps round.
	return float64(x*c.Scale) + c.Offset, true
}

// Compared is what a comparison found.
type Compared struct {
	Rows, Values          int
	Wrong, Missing, Extra int
	First                 string // the first fault, in words
}

func (c *Compared) fault(format string, args ...any) {
	if c.First == "" {
		c.First = fmt.Sprintf(format, args...)
	}
}

func (c *Compared) good() bool { return c.Wrong+c.Missing+c.Extra == 0 && c.Values > 0 }

// Table is a table of a file that was taken home.
type Table struct {
	TSNS, BootNS []int64
	Columns      map[string][]*float64
}

// Compare compares tables with the truth of [from, to): each row of Kafka must be
// there once, with all the channels of its group that were asked for.
func (t *Truth) Compare(tables []Table, channels []string, fromNS, toNS int64) Compared {
	var c Compared
	want := map[int][]string{} // channels by group
	for _, name := range channels {
		g, _, ok := t.find(name)
		if !ok {
			c.Wrong++
			c.fault("the car has no channel %s", name)
			continue
		}
		want[g] = append(want[g], name)
	}
	seen := map[int]map[int64]bool{}
	for i := range tables {
		t.compareTable(&c, &tables[i], want, seen, fromNS, toNS)
	}
	for g := range want {
		for ts := range t.rows[t.model.Groups()[g].Name] {
			if ts >= fromNS && ts < toNS && !seen[g][ts] {
				c.Missing++
				c.fault("the row of %s at %d is not there", t.model.Groups()[g].Name, ts)
			}
		}
	}
	return c
}

func (t *Truth) compareTable(c *Compared, tab *Table, want map[int][]string, seen map[int]map[int64]bool, fromNS, toNS int64) {
	g := -1
	for name := range tab.Columns {
		k, _, ok := t.find(name)
		if !ok || g >= 0 && k != g {
			c.Wrong++
			c.fault("column %s does not belong into this table", name)
			return
		}
		g = k
	}
	if g < 0 || len(tab.Columns) != len(want[g]) {
		c.Wrong++
		c.fault("a table has %d columns", len(tab.Columns))
		return
	}
	rows := t.rows[t.model.Groups()[g].Name]
	if seen[g] == nil {
		seen[g] = map[int64]bool{}
	}
	for i, ts := range tab.TSNS {
		c.Rows++
		boot, known := rows[ts]
		if !known || boot != tab.BootNS[i] || ts < fromNS || ts >= toNS || seen[g][ts] {
			c.Extra++
			c.fault("a row at %d (boot %d) is not in Kafka, outside of the window or double", ts, tab.BootNS[i])
			continue
		}
		seen[g][ts] = true
		for _, name := range want[g] {
			c.Values++
			_, channel, _ := t.find(name)
			wanted, ok := t.value(g, channel, boot)
			got := tab.Columns[name]
			if !ok || got == nil || got[i] == nil || *got[i] != wanted {
				c.Wrong++
				c.fault("%s at %d is not what the car measured: %v", name, ts, wanted)
			}
		}
	}
}
