package agent

import (
	"context"
	"runtime/metrics"
	"sync/atomic"
	"syscall"
	"time"

	"telemetry/board"
	"telemetry/modem/keeper"
	"telemetry/sensors"
	"telemetry/spool"
	"telemetry/uplink"
	"telemetry/wire"
)

// healthEvery is the rate of the agent's own channels. The states of its links go on the
// critical lane, as a link's fall is the news that must not wait behind what it held up:
// at once when one changes, but not within changeGap of the last time, as a bad link does
// that in bursts; and every statesEvery, for whoever comes later.
const (
	healthEvery = time.Second
	statesEvery = 10 * time.Second
	changeGap   = 100 * time.Millisecond
)

// health is the source of the agent's own channels: what a race engineer wants
// to see of the box itself, in the data like any other.
type health struct {
	clock  clocks
	board  *board.Board
	links  []string
	uplink func() uplink.Snapshot          // set before Run
	spool  func() spool.Stats              // set before Run
	modem  func(link string) keeper.Status // set before Run
	kept   []string                        // links whose modem has channels
	used   func(link string) (DataUse, bool)
	taken  *Taken

	changed <-chan struct{} // a link has changed its state; set before Run, nil without links

	channels healthGroup
	states   healthGroup   // of links
	told     atomic.Uint64 // values of states that were delivered
}

// healthGroup makes the rows of one group.
type healthGroup []healthChannel

// healthChannel is one number of a reading.
type healthChannel struct {
	channel wire.Channel
	read    func(*reading) (v int64, ok bool) // ok false: not known, absent from the row
}

// reading is one look at everything.
type reading struct {
	up     uplink.Snapshot
	spool  spool.Stats
	heap   uint64
	cpuNS  int64
	milliC int64
	nowNS  int64
	drops  uint64
	modems map[string]keeper.Status // by link
	used   func(link string) (DataUse, bool)
}

func newHealth(c clocks, b *board.Board, links []string, taken *Taken) *health {
	h := &health{clock: c, board: b, links: links, taken: taken}
	h.add("agent_heap", "B", "Go heap in use", 1, func(r *reading) int64 { return int64(r.heap) })
	h.add("agent_cpu", "s", "CPU time of the process", 1e-9, func(r *reading) int64 { return r.cpuNS })
	h.add("agent_dropped", "samples", "not encodable, or refused by the spool", 1, func(r *reading) int64 { return int64(r.drops) })
	h.add("board_temp", "degC", "hottest thermal zone", 1e-3, func(r *reading) int64 { return r.milliC })
	h.add("spool_disk", "B", "bytes of all chunks", 1, func(r *reading) int64 { return r.spool.DiskBytes })
	for _, l := range []wire.Lane{wire.LaneCritical, wire.LaneFull} {
		h.add("spool_"+l.String()+"_pending", "batches", "durable and not yet in Kafka", 1, func(r *reading) int64 { return int64(r.spool.Lanes[l].Pending) })
	}
	h.add("spool_oldest", "s", "age of the oldest pending batch of the full lane", 1e-9, func(r *reading) int64 {
		if at := r.spool.Lanes[wire.LaneFull].OldestSealedNS; at > 0 {
			return r.nowNS - at
		}
		return 0
	})
	h.add("spool_lost", "batches", "dropped by quota or damage, each in a loss record", 1, func(r *reading) int64 {
		return int64(r.spool.LostQuota + r.spool.LostCorrupt + r.spool.LostDisk)
	})
	h.add("spool_disk_state", "", "what the card does with what it is given", 1, func(r *reading) int64 { return int64(r.spool.Disk) })
	h.channels[len(h.channels)-1].channel.Enum = diskStates()
	h.add("spool_locked", "batches", "encrypted, and no key opens them", 1, func(r *reading) int64 { return int64(r.spool.Locked) })
	for i, name := range links {
		h.addLink(i, "link_"+name)
	}
	return h
}

func (h *health) addLink(i int, p string) {
	of := func(read func(uplink.LinkSnapshot) int64) func(*reading) int64 {
		return func(r *reading) int64 {
			if i >= len(r.up.Links) {
				return 0
			}
			return read(r.up.Links[i])
		}
	}
	h.add(p+"_rtt", "ms", "smoothed round trip", 1e-6, of(func(l uplink.LinkSnapshot) int64 { return l.RTTNS }))
	h.add(p+"_rate", "B/s", "delivery rate", 1, of(func(l uplink.LinkSnapshot) int64 { return l.RateBps }))
	h.add(p+"_in_flight", "B", "without delivery proof", 1, of(func(l uplink.LinkSnapshot) int64 { return l.InFlight }))
	h.add(p+"_sent", "B", "sent so far", 1, of(func(l uplink.LinkSnapshot) int64 { return int64(l.Bytes) }))
	h.add(p+"_resent", "B", "of them, copies", 1, of(func(l uplink.LinkSnapshot) int64 { return int64(l.ResentBytes) }))
	h.add(p+"_today", "B", "sent today, as its budget counts", 1, of(func(l uplink.LinkSnapshot) int64 { return int64(l.DayBytes) }))
	h.add(p+"_share", "%", "of what all links delivered lately", 0.1, of(func(l uplink.LinkSnapshot) int64 { return int64(l.Share*1000 + 0.5) }))
	h.add(p+"_wins", "", "critical batches that it delivered first", 1, of(func(l uplink.LinkSnapshot) int64 { return int64(l.Wins) }))
	h.add(p+"_suspicions", "", "times that a delivery proof was overdue", 1, of(func(l uplink.LinkSnapshot) int64 { return int64(l.Suspicions) }))
	h.states.add(wire.Channel{Name: p + "_state", Description: "state of the link", Type: wire.TypeInt, Scale: 1, Enum: linkStates()}, of(func(l uplink.LinkSnapshot) int64 { return linkState(l.State) }))
	h.states.add(wire.Channel{Name: p + "_cause", Description: "why its state changed last", Type: wire.TypeInt, Scale: 1, Enum: linkCauses()}, of(func(l uplink.LinkSnapshot) int64 { return int64(l.LastCause) }))
}

// states are the link states by their number in the data: only appended to.
var states = [...]string{"down", "dialing", "up", "suspect", "dead", "held", "quiet"}

func linkState(s string) int64 {
	for i, n := range states {
		if n == s {
			return int64(i)
		}
	}
	return 0
}

func linkStates() []wire.EnumValue {
	var e []wire.EnumValue
	for i, n := range states {
		e = append(e, wire.EnumValue{Raw: int64(i), Name: n})
	}
	return e
}

func linkCauses() (e []wire.EnumValue) {
	for i, n := range uplink.CauseNames() {
		e = append(e, wire.EnumValue{Raw: int64(i), Name: n})
	}
	return e
}

func (h *health) add(name, unit, description string, scale float64, read func(*reading) int64) {
	h.addMaybe(name, unit, description, scale, func(r *reading) (int64, bool) { return read(r), true })
}

// addMaybe adds a channel whose value is not always known. What it returns may
// be changed until the next call.
func (h *health) addMaybe(name, unit, description string, scale float64, read func(*reading) (int64, bool)) *wire.Channel {
	h.channels = append(h.channels, healthChannel{
		channel: wire.Channel{Name: name, Unit: unit, Description: description, Type: wire.TypeInt, Scale: scale},
		read:    read,
	})
	return &h.channels[len(h.channels)-1].channel
}

func (g *healthGroup) add(c wire.Channel, read func(*reading) int64) {
	*g = append(*g, healthChannel{channel: c, read: func(r *reading) (int64, bool) { return read(r), true }})
}

// row makes the row of a reading, of the group with a number.
func (g healthGroup) row(number int, r *reading) sensors.Rows {
	values, present := make([]int64, len(g)), make([]uint64, (len(g)+63)/64)
	for i, c := range g {
		v, ok := c.read(r)
		if values[i] = v; ok {
			present[i>>6] |= 1 << (i & 63)
		}
	}
	return sensors.Rows{Group: number, Ticks: []int64{r.nowNS}, Values: values, Present: present}
}

func (g healthGroup) list() (out []wire.Channel) {
	for _, c := range g {
		out = append(out, c.channel)
	}
	return out
}

// Groups returns the group of the agent's channels, and that of its links' states
// when it has links.
func (h *health) Groups() []wire.Group {
	gs := []wire.Group{{Name: "agent", Lane: wire.LaneFull, RateMilliHz: uint64(time.Second / healthEvery * 1000), Channels: h.channels.list()}}
	if len(h.states) > 0 {
		gs = append(gs, wire.Group{Name: "agent.links", Lane: wire.LaneCritical, Channels: h.states.list()})
	}
	return gs
}

// Counters returns what was delivered to another lane than the full one.
func (h *health) Counters() []sensors.Counter {
	return []sensors.Counter{{Name: "values_critical", Help: "values on the critical lane", Value: h.told.Load()}}
}

// Run delivers one row a second, and one for the changes of links, until ctx ends.
func (h *health) Run(ctx context.Context, out sensors.Sink) error {
	every := time.NewTicker(healthEvery)
	defer every.Stop()
	states := time.NewTimer(statesEvery)
	defer states.Stop()
	var told time.Time // when states went out
	for own, links := true, true; ; {
		r := h.look()
		if own {
			if err := out.Append(h.channels.row(0, &r)); err != nil {
				return err
			}
		}
		if links && len(h.states) > 0 {
			if err := out.Append(h.states.row(1, &r)); err != nil {
				return err
			}
			h.told.Add(uint64(len(h.states)))
			told = time.Now()
			states.Reset(statesEvery)
		}
		for own, links = false, false; !own && !links; {
			select {
			case <-h.changed:
				states.Reset(time.Until(told.Add(changeGap)))
			case <-states.C:
				links = true
			case <-every.C:
				own = true
			case <-ctx.Done():
				return nil
			}
		}
	}
}

func (h *health) look() reading {
	r := reading{used: h.used, modems: map[string]keeper.Status{}, up: h.uplink(), spool: h.spool(), nowNS: h.clock.BootNS(), heap: heapBytes(), drops: h.taken.Dropped.Load()}
	var ru syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &ru) == nil {
		r.cpuNS = ru.Utime.Nano() + ru.Stime.Nano()
	}
	for _, l := range h.kept {
		r.modems[l] = h.modem(l)
	}
	// A board without sensors reads as 0.
	ts, _ := h.board.Temperatures()
	for _, t := range ts {
		r.milliC = max(r.milliC, t.MilliC)
	}
	return r
}

// heapBytes reads the live heap without stopping the program.
func heapBytes() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	if s[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return s[0].Value.Uint64()
}
