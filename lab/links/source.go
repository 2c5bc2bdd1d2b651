package links

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"telemetry/sensors"
	"telemetry/wire"
)

// source makes the load as samples: random values that nothing compresses.
type source struct {
	load    load
	pending func() int64 // bytes of the full lane that wait in the spool
	random  []int64      // drawn once: making the load shall not cost what is measured
	at      int          // in random
}

// randomValues is more than anything of the encoder's or zstd's looks back at.
const randomValues = 1 << 18

// fullColumns is how wide a row of the full and the live group is.
const fullColumns = 64

const (
	runEvery     = 20 * time.Millisecond  // of the full lane at a steady load: sources deliver rows in runs
	pendingEvery = 100 * time.Millisecond // the backlog of saturation is filled up
)

// Groups implements sensors.Source.
func (s *source) Groups() []wire.Group {
	group := func(name string, lane wire.Lane, n int) wire.Group {
		g := wire.Group{Name: name, Lane: lane}
		for i := range n {
			g.Channels = append(g.Channels, wire.Channel{Name: fmt.Sprintf("%s_%d", name, i), Type: wire.TypeInt, Bits: 64})
		}
		return g
	}
	return []wire.Group{
		group("load_critical", wire.LaneCritical, criticalBytes/8),
		group("load_live", wire.LaneLive, fullColumns),
		group("load_full", wire.LaneFull, fullColumns),
	}
}

// Run implements sensors.Source.
func (s *source) Run(ctx context.Context, out sensors.Sink) error {
	rng := rand.New(rand.NewPCG(uint64(s.load.StartNS), 7))
	s.random = make([]int64, randomValues)
	for i := range s.random {
		s.random[i] = int64(rng.Uint64())
	}
	critical, live, full := s.load.StartNS, s.load.StartNS+int64(liveEvery)/2, s.load.StartNS
	due := full // of the next message of the full lane: they come in runs
	for {
		next := min(critical, live, full)
		if next >= s.load.EndNS {
			return nil
		}
		if err := sleepUntil(ctx, next); err != nil {
			return nil // told to stop
		}
		var err error
		switch next {
		case critical:
			critical += int64(criticalEvery)
			err = s.emit(out, 0, 1, criticalBytes/8)
		case live:
			live += int64(liveEvery)
			err = s.emit(out, 1, liveBytes/8/fullColumns, fullColumns)
		default:
			if every := s.load.fullEvery(); every > 0 {
				for ; due <= next && err == nil; due += int64(every) {
					err = s.emit(out, 2, fullBytes/8/fullColumns, fullColumns)
				}
				full = max(due, full+int64(runEvery))
				break
			}
			full = bootNS() + int64(pendingEvery)
			for n := s.pending(); n < s.load.Backlog && err == nil; n += fullBytes {
				err = s.emit(out, 2, fullBytes/8/fullColumns, fullColumns)
			}
		}
		if err != nil {
			return err
		}
	}
}

// emit hands over one message's rows, with the present moment as their time.
func (s *source) emit(out sensors.Sink, group, rows, columns int) error {
	n := rows * columns
	if s.at+n > len(s.random) {
		s.at = 0
	}
	r := sensors.Rows{Group: group, Ticks: make([]int64, rows), Values: s.random[s.at : s.at+n]}
	s.at += n
	now := bootNS()
	for i := range r.Ticks {
		r.Ticks[i] = now
	}
	return out.Append(r)
}
