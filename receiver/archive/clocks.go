package archive

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"telemetry/receiver/sequence/timemap"
	"telemetry/wire"
)

// clocks holds the maps from boot times to UTC: those that the sequencer has written
// to telemetry.timemap, so that times are its own, and what it has written before an
// epoch had one. Where it has written none of an epoch, the anchors that are met in the
// batches make one.
type clocks struct {
	turn chan struct{} // holds one token; who has it owns the rest
	pos  map[int32]int64
	cars map[string]*carClocks
}

// carClocks are the maps of one car.
type carClocks struct {
	told map[wire.Epoch]*toldClock
	met  timemap.Car // from anchors, in the order of their reading
	open wire.Opener
}

// toldClock is a map as telemetry.timemap tells it.
type toldClock struct {
	knots   []timemap.Knot  // by boot time
	m       *timemap.Map    // of knots; nil: not made yet
	before  *timemap.Before // replaced, never changed
	firstMS int64           // when the log took its first anchor
}

func (c *clocks) init() {
	c.turn = make(chan struct{}, 1)
	c.turn <- struct{}{}
	c.pos, c.cars = map[int32]int64{}, map[string]*carClocks{}
}

// timemapRecord is what is needed of a record in telemetry.timemap.
type timemapRecord struct {
	Car     string `json:"car"`
	Epoch   uint32 `json:"epoch"`
	Nonce   string `json:"nonce"`
	Verdict string `json:"verdict"`
	Segment struct {
		Segment      uint32 `json:"segment"`
		FromBootNS   int64  `json:"from_boot_ns"`
		OffsetNS     int64  `json:"offset_ns"`
		TargetNS     int64  `json:"target_ns"`
		UncNS        int64  `json:"unc_ns"`
		Anchor       uint32 `json:"anchor"`
		AnchorBootNS int64  `json:"anchor_boot_ns"`
	} `json:"segment"`
	Unsynced *timemap.Before `json:"unsynced"`
}

// clock returns the map of a car's epoch, nil when there is none. The turn is held.
func (c *clocks) clock(car string, e wire.Epoch) *timemap.Map {
	cc := c.cars[car]
	if cc == nil {
		return nil
	}
	if t := cc.told[e]; t != nil {
		if t.m == nil {
			t.m = timemap.FromKnots(t.knots)
		}
		return t.m
	}
	return cc.met.Map(e)
}

// before returns what was written of a car's epoch before it had a map; nil: nothing.
// The turn is held.
func (c *clocks) before(car string, e wire.Epoch) *timemap.Before {
	if cc := c.cars[car]; cc != nil && cc.told[e] != nil {
		return cc.told[e].before
	}
	return nil
}

func (c *clocks) of(car string) *carClocks {
	cc := c.cars[car]
	if cc == nil {
		cc = &carClocks{told: map[wire.Epoch]*toldClock{}}
		c.cars[car] = cc
	}
	return cc
}

// meet takes what a batch says of time, for epochs of which nobody has told. The turn
// is held.
func (c *clocks) meet(h *wire.Header, value []byte) {
	cc := c.of(h.Stream.Car)
	if cc.told[h.Stream.Epoch] != nil {
		return
	}
	cc.met.See(h.Stream.Epoch, h.LastNS)
	if !h.Control {
		return
	}
	b, _, err := wire.Parse(value)
	if err != nil {
		return
	}
	payload, err := cc.open.Payload(b)
	if err != nil {
		return
	}
	cs, err := wire.Controls(payload)
	if err != nil {
		return
	}
	for i := range cs {
		if cs[i].Anchor != nil {
			cc.met.Add(h.Stream.Epoch, *cs[i].Anchor)
		}
	}
}

// begins returns when the log began to have a car's time at an instant, ms since
// 1970: shortly before the first anchor of the epoch that ran then. 0: not known.
func (c *clocks) begins(car string, atNS int64) int64 {
	cc := c.cars[car]
	if cc == nil {
		return 0
	}
	best, bestUTC, first := int64(0), int64(0), int64(0)
	for _, t := range cc.told {
		utc := t.knots[0].BootNS + t.knots[0].OffsetNS
		if utc <= atNS && (best == 0 || utc > bestUTC) {
			best, bestUTC = t.firstMS, utc
		}
		if first == 0 || t.firstMS < first {
			first = t.firstMS
		}
	}
	return cmp.Or(best, first)
}

// load reads what is new in telemetry.timemap; it takes the turn, which release
// gives back.
func (a *Archive) load(ctx context.Context) (release func(), err error) {
	c := &a.clocks
	select {
	case <-c.turn:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	release = func() { c.turn <- struct{}{} }
	if err := a.loadClocks(ctx); err != nil {
		release()
		return nil, err
	}
	return release, nil
}

func (a *Archive) loadClocks(ctx context.Context) error {
	c := &a.clocks
	name := a.src.Names().Timemap
	exts, err := a.src.Extents(ctx, name, 0)
	if errors.Is(err, ErrNoTopic) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("archive: time maps: %w", err)
	}
	for _, e := range exts {
		at := max(c.pos[e.Partition], e.Start)
		for at < e.End {
			recs, next, err := a.src.Chunk(ctx, name, e.Partition, at, e.End)
			if err != nil {
				return fmt.Errorf("archive: time maps: %w", err)
			}
			for i := range recs {
				c.tell(recs[i].Value, recs[i].TimestampMS)
			}
			at = next
		}
		c.pos[e.Partition] = at
	}
	return nil
}

// tell takes a record of telemetry.timemap; what is none is passed.
func (c *clocks) tell(value []byte, atMS int64) {
	var r timemapRecord
	if len(value) == 0 || json.Unmarshal(value, &r) != nil {
		return
	}
	nonce, err := strconv.ParseUint(r.Nonce, 16, 64)
	if err != nil || r.Car == "" || r.Segment.Segment == 0 {
		return
	}
	cc := c.of(r.Car)
	e := wire.Epoch{Counter: r.Epoch, Nonce: nonce}
	t := cc.told[e]
	if t == nil {
		t = &toldClock{firstMS: atMS}
		cc.told[e] = t
	}
	s := &r.Segment
	k := timemap.Knot{
		BootNS: s.FromBootNS, OffsetNS: s.OffsetNS, TargetNS: s.TargetNS, UncNS: s.UncNS,
		AnchorBootNS: s.AnchorBootNS, Anchor: s.Anchor, Segment: s.Segment,
	}
	i, found := slices.BinarySearchFunc(t.knots, k.BootNS, func(k timemap.Knot, at int64) int { return cmp.Compare(k.BootNS, at) })
	switch {
	case !found:
		t.knots = slices.Insert(t.knots, i, k)
	case k.Anchor >= t.knots[i].Anchor: // a better anchor of the same bend
		t.knots[i] = k
	}
	t.m = nil // readings keep the map that they have
	if r.Verdict == timemap.First.String() {
		t.before = r.Unsynced
	}
	t.firstMS = min(t.firstMS, atMS)
}
