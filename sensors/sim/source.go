package sim

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"telemetry/sensors"
	"telemetry/wire"
)

// Pace of the source.
const (
	chunk       = 10 * time.Millisecond // between wake-ups: rows come in runs
	maxValues   = 32 << 10              // in one Append
	lateNS      = 200_000_000           // a wake-up that finds this much undone is counted
	eventPerLap = "lap"
)

// Source plays a [Model] in time. Tick n of a group is stamped
//
//	start + n*10^12/rate in mHz
//
// where start is the boot time of the first Run. A later Run leaves out the
// ticks of the time between. At the begin of each lap it sends the event "lap",
// with the lap's number from 1 and, after the first, the time of the lap before.
type Source struct {
	model *Model
	cfg   Config
	start atomic.Int64 // boot time of tick 0; 0 before the first Run
	begun bool         // owned by Run
	next  []int64      // owned by Run: next tick of each group
	laps  int64        // owned by Run: laps begun
	ticks []int64      // owned by Run
	rows  []int64      // owned by Run

	count struct{ rows, values, late atomic.Uint64 }
}

var (
	_ sensors.Source = (*Source)(nil)
	_ sensors.Health = (*Source)(nil)
)

// New returns a source for cfg, which must have a clock.
func New(cfg Config) (*Source, error) {
	if cfg.Clock == nil {
		return nil, errors.New("sim: the source needs a clock")
	}
	m, err := NewModel(cfg)
	if err != nil {
		return nil, err
	}
	return &Source{model: m, cfg: cfg, next: make([]int64, len(m.groups))}, nil
}

// Model returns what the source plays.
func (s *Source) Model() *Model { return s.model }

// StartNS returns the boot time of tick 0, or 0 before the first Run.
func (s *Source) StartNS() int64 { return s.start.Load() }

// Groups lists the model's groups.
func (s *Source) Groups() []wire.Group { return s.model.Groups() }

// Counters returns what was counted over all runs.
func (s *Source) Counters() []sensors.Counter {
	return []sensors.Counter{
		{Name: "rows", Help: "rows that were taken", Value: s.count.rows.Load()},
		{Name: "values", Help: "values in them", Value: s.count.values.Load()},
		{Name: "wakeups_late", Help: "wake-ups that found more than 200 ms of rows undone", Value: s.count.late.Load()},
	}
}

// Run plays until the laps are driven, which is no error, or ctx ends.
func (s *Source) Run(ctx context.Context, out sensors.Sink) error {
	now := s.begin()
	end := int64(math.MaxInt64)
	if s.cfg.Laps > 0 {
		end = s.model.LapStartNS(int64(s.cfg.Laps))
	}
	timer := time.NewTimer(chunk)
	defer timer.Stop()
	for last := now; ; last = now {
		if now-last > lateNS {
			s.count.late.Add(1)
		}
		if err := s.play(ctx, out, min(now, end-1)); err != nil {
			return err
		}
		if now >= end-1 {
			return nil
		}
		if s.cfg.Unpaced {
			now += int64(chunk)
			continue
		}
		timer.Reset(chunk)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		now = s.cfg.Clock.BootNS() - s.start.Load()
	}
}

// begin returns the time since tick 0 and passes the ticks before it.
func (s *Source) begin() int64 {
	if !s.begun {
		s.begun = true
		s.start.Store(s.cfg.Clock.BootNS())
		return 0
	}
	now := s.cfg.Clock.BootNS() - s.start.Load()
	for g := range s.next {
		if s.cfg.Unpaced {
			now = max(now, s.model.TickNS(g, s.next[g]))
			continue
		}
		s.next[g] = max(s.next[g], s.model.TickAt(g, now))
	}
	return now
}

// play sends all that is due up to now.
func (s *Source) play(ctx context.Context, out sensors.Sink, now int64) error {
	for at := s.model.LapStartNS(s.laps); at <= now; at = s.model.LapStartNS(s.laps) {
		if err := out.Event(s.lapEvent(at)); err != nil {
			return err
		}
		s.laps++
	}
	for g := range s.model.groups {
		for stop := s.model.TickAt(g, now+1); s.next[g] < stop; {
			if err := ctx.Err(); err != nil {
				return err
			}
			width := len(s.model.groups[g].Channels)
			n := min(stop-s.next[g], int64(max(1, maxValues/width)))
			if err := s.send(out, g, int(n), width); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Source) lapEvent(at int64) wire.Event {
	e := wire.Event{BootNS: s.start.Load() + at, Name: eventPerLap, Detail: fmt.Sprintf("lap %d", s.laps+1)}
	if s.laps > 0 {
		e.Detail += fmt.Sprintf(", last %.3f s", float64(at-s.model.LapStartNS(s.laps-1))/1e9)
	}
	return e
}

// send computes and hands on n rows of a group.
func (s *Source) send(out sensors.Sink, g, n, width int) error {
	s.ticks = s.ticks[:0]
	if need := n * width; cap(s.rows) < need {
		s.rows = make([]int64, need)
	}
	rows := s.rows[:n*width]
	start := s.start.Load()
	for i := range n {
		tick := s.next[g] + int64(i)
		s.ticks = append(s.ticks, start+s.model.TickNS(g, tick))
		s.model.Fill(g, tick, rows[i*width:(i+1)*width])
	}
	if err := out.Append(sensors.Rows{Group: g, Ticks: s.ticks, Values: rows}); err != nil {
		return err
	}
	s.next[g] += int64(n)
	s.count.rows.Add(uint64(n))
	s.count.values.Add(uint64(len(rows)))
	return nil
}
