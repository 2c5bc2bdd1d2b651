package sequence

import (
	"time"

	"telemetry/reorder"
	"telemetry/wire"
)

// Counters counts what one lane of one car, or all of a partition, has seen
// since its present owner began. Every batch read is counted as exactly one of
// released, late, spent, dead letter or duplicate, now or when it stops waiting.
type Counters struct {
	Batches     uint64 `json:"batches"`      // records read, duplicates included
	Released    uint64 `json:"released"`     // batches written in order
	Late        uint64 `json:"late"`         // batches written to late
	Spent       uint64 `json:"spent"`        // control records that acted before their turn and of which the format makes nothing
	Pulled      uint64 `json:"pulled"`       // batches written to pulled, also counted when in order
	Duplicates  uint64 `json:"duplicates"`   // batches seen before
	DeadLetters uint64 `json:"dead_letters"` // records that could not be used
	Undecodable uint64 `json:"undecodable"`  // of these: batches that were in order, but broken
	Foreign     uint64 `json:"foreign"`      // of these: cars on a partition that is not theirs
	Rows        uint64 `json:"rows"`         // records written to samples, live, late, pulled and events
	Skipped     uint64 `json:"skipped"`      // records found written by an owner that died (embedded only)
	Missing     uint64 `json:"missing"`      // numbers reported in gaps
	Found       uint64 `json:"found"`        // of these: withdrawn again
	Alarms      uint64 `json:"alarms"`       // see [reorder.Alarm]
	Reread      uint64 `json:"reread"`       // batches read again: memory had no room
	Clamped     uint64 `json:"clamped"`      // records whose timestamp was moved into bounds
	Anchors     uint64 `json:"anchors"`      // time anchors taken
}

func (c *Counters) add(o *Counters) {
	for _, p := range [...]struct {
		to   *uint64
		from uint64
	}{
		{&c.Batches, o.Batches},
		{&c.Released, o.Released},
		{&c.Late, o.Late},
		{&c.Spent, o.Spent},
		{&c.Pulled, o.Pulled},
		{&c.Duplicates, o.Duplicates},
		{&c.DeadLetters, o.DeadLetters},
		{&c.Undecodable, o.Undecodable},
		{&c.Foreign, o.Foreign},
		{&c.Rows, o.Rows},
		{&c.Skipped, o.Skipped},
		{&c.Missing, o.Missing},
		{&c.Found, o.Found},
		{&c.Alarms, o.Alarms},
		{&c.Reread, o.Reread},
		{&c.Clamped, o.Clamped},
		{&c.Anchors, o.Anchors},
	} {
		*p.to += p.from
	}
}

// Gaps counts the numbers reported in gaps by reason; reasons of later versions are
// counted as [wire.ReasonNone].
type Gaps [wire.ReasonLimit + 1]uint64

func (g *Gaps) add(why wire.Reason, n uint64) {
	if int(why) >= len(g) {
		why = wire.ReasonNone
	}
	g[why] += n
}

// LaneSnapshot is one lane of one car.
type LaneSnapshot struct {
	Counters
	Gaps        Gaps       `json:"gaps"`
	Epoch       wire.Epoch `json:"epoch"`         // of the newest batch written in order
	Floor       uint64     `json:"floor"`         // its number
	ReadMS      int64      `json:"read_ms"`       // LogAppendTime of the newest record read
	WrittenMS   int64      `json:"written_ms"`    // LogAppendTime of the newest batch written in order
	EventUTCNS  int64      `json:"event_utc_ns"`  // event time of its newest sample; 0 while unsynced
	Queued      int        `json:"queued"`        // decided, not yet written
	HoleSinceMS int64      `json:"hole_since_ms"` // when the oldest open hole opened; 0: none
	HoleSeqs    uint64     `json:"hole_seqs"`     // numbers waited for
}

// CarSnapshot is one car.
type CarSnapshot struct {
	Car       string     `json:"car"`
	Held      int        `json:"held"`       // batches that wait for a hole or an anchor
	HeldBytes int64      `json:"held_bytes"` // of these, in memory
	Synced    bool       `json:"synced"`     // the newest epoch has a time anchor
	Epoch     wire.Epoch `json:"epoch"`      // newest seen
	// Lanes is indexed by wire.Lane; index 0 is not used.
	Lanes [wire.LaneFull + 1]LaneSnapshot `json:"lanes"`
}

// LagMS is how far what a lane has written lags behind what was read of it, ms
// of LogAppendTime; 0 while nothing waits: control records are never written.
func (c *CarSnapshot) LagMS(lane wire.Lane) int64 {
	l := &c.Lanes[lane]
	if l.Queued == 0 && l.HoleSeqs == 0 && c.Held == 0 {
		return 0
	}
	return max(0, l.ReadMS-l.WrittenMS)
}

// PartitionSnapshot is one partition that this process owns or is loading.
type PartitionSnapshot struct {
	Counters                // all cars, and records of no car
	Partition int32         `json:"partition"`
	State     string        `json:"state"` // "loading", "rebuilding", "running", "retrying", "stopped"
	Error     string        `json:"error,omitempty"`
	Failing   string        `json:"failing,omitempty"` // what is retried: "load", "fetch", "read", "catalogue", "tick"
	Position  int64         `json:"position"`          // next offset to read
	Committed int64         `json:"committed"`         // the group's offset
	End       int64         `json:"end"`               // of the partition, as last heard
	NowMS     int64         `json:"now_ms"`            // the sequencer's time
	Commits   uint64        `json:"commits"`
	CommitFor time.Duration `json:"commit_ns"` // of the last commit
	Cars      []CarSnapshot `json:"cars"`
}

// Snapshot is all partitions of this process, by number.
type Snapshot struct {
	Partitions []PartitionSnapshot `json:"partitions"`
	HeldBytes  int64               `json:"held_bytes"`
	Member     bool                `json:"member"`          // of the group; with no partition, if there are too few
	Error      string              `json:"error,omitempty"` // of the group membership
}

// snapshot copies what is known of the car. holes is scratch memory.
func (c *car) snapshot(holes []reorder.Hole) (CarSnapshot, []reorder.Hole) {
	s := c.stats
	s.Held, s.HeldBytes = c.core.Held(), c.cache.bytes
	s.Synced = c.maps.Map(s.Epoch) != nil
	for i := range c.queue {
		for _, it := range c.queue[i].items[c.queue[i].head:] {
			s.Lanes[laneIndex(it.id.Stream.Lane)].Queued++
		}
	}
	holes = holes[:0]
	if s.Held > 0 {
		holes = c.core.Holes(holes)
	}
	for i := range holes {
		l := &s.Lanes[laneIndex(holes[i].Stream.Lane)]
		l.HoleSeqs += holes[i].Range.Len()
		if t := holes[i].SinceMS; t != 0 && (l.HoleSinceMS == 0 || t < l.HoleSinceMS) {
			l.HoleSinceMS = t
		}
	}
	return s, holes
}

// laneIndex makes a lane an index; what is no lane is counted as lane 0.
func laneIndex(l wire.Lane) int {
	if l.Valid() {
		return int(l)
	}
	return 0
}
