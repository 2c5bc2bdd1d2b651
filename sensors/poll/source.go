// Package poll reads devices that must be asked: at a rate that is held by
// absolute deadlines on a thread of its own, up to 1.5 kHz and beyond.
//
// The entry point is [New], which makes a source of a [Device]. Rows are stamped
// with the moment at which they were read and handed on in runs. Reads that come
// more than a period late are made and counted, never in silence, and a slow
// sink never holds up the clock: what it cannot take is dropped, counted and told.
package poll

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"telemetry/sensors"
	"telemetry/wire"
)

// Device is what is polled. Only one goroutine calls it.
type Device interface {
	// Group describes a row; it is asked before Open.
	Group() wire.Group
	// Open begins; it is called again after Close.
	Open() error
	// Read fills in one row. An error ends the run; the source is opened again.
	Read(row []int64) error
	Close() error
}

// Fastest is an optional capability of a [Device]: more reads a second than it says
// cannot be made, as each takes its time. 0 means that none is known.
type Fastest interface{ FastestMilliHz() uint64 }

// Clock is what a source needs of the machine's clocks.
type Clock interface{ BootNS() int64 }

// Config says what to poll and how.
type Config struct {
	Device      Device
	RateMilliHz uint64
	Thread      Thread
	Clock       Clock
	Log         *slog.Logger // nil: nothing is logged
}

// Limits of a source.
const (
	MaxRateMilliHz = 20_000_000
	runNS          = int64(10 * time.Millisecond) // of rows that are handed on at a time
	maxRunRows     = 256
	waiting        = 16                 // runs between the reading thread and the sink: 160 ms, or 16 rows of a slow device
	tellEveryNS    = int64(time.Second) // between events
)

// Source polls one device.
type Source struct {
	cfg   Config
	group wire.Group
	log   *slog.Logger
	hist  histogram
	count struct{ reads, missed, skipped, dropped, opens, refused atomic.Uint64 }
}

var (
	_ sensors.Source = (*Source)(nil)
	_ sensors.Health = (*Source)(nil)
	_ sensors.Timed  = (*Source)(nil)
)

// New checks cfg. It opens nothing.
func New(cfg Config) (*Source, error) {
	if cfg.Device == nil || cfg.Clock == nil {
		return nil, errors.New("poll: device or clock are missing")
	}
	if cfg.RateMilliHz == 0 || cfg.RateMilliHz > MaxRateMilliHz {
		return nil, fmt.Errorf("poll: rate of %d mHz (want 1 to %d)", cfg.RateMilliHz, MaxRateMilliHz)
	}
	if t := cfg.Thread; t.Realtime < 0 || t.Realtime > 99 || t.CPU < 0 {
		return nil, fmt.Errorf("poll: priority %d, CPU %d (want priority 0 to 99)", t.Realtime, t.CPU)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Source{cfg: cfg, group: cfg.Device.Group(), log: cfg.Log}
	s.group.RateMilliHz = cfg.RateMilliHz
	if len(s.group.Channels) == 0 {
		return nil, errors.New("poll: a device without channels")
	}
	return s, nil
}

// Groups returns the device's group.
func (s *Source) Groups() []wire.Group { return []wire.Group{s.group} }

// Lateness returns how late reads were.
func (s *Source) Lateness() sensors.Lateness { return s.hist.read() }

// Counters returns what was counted over all runs.
func (s *Source) Counters() []sensors.Counter {
	c := &s.count
	return []sensors.Counter{
		{Name: "opens", Help: "times that the device was opened", Value: c.opens.Load()},
		{Name: "reads", Help: "rows read", Value: c.reads.Load()},
		{Name: "reads_missed", Help: "rows read more than a period late", Value: c.missed.Load()},
		{Name: "reads_skipped", Help: "rows not read after a stall", Value: c.skipped.Load()},
		{Name: "rows_dropped", Help: "rows read that the encoder could not take in time", Value: c.dropped.Load()},
		{Name: "thread_refused", Help: "times that the kernel refused what the thread asked for", Value: c.refused.Load()},
	}
}

// rows is one run.
type rows struct {
	ticks  []int64
	values []int64
	state  troubles // when it was handed on
}

// troubles is what has gone wrong since the source was made.
type troubles struct{ missed, skipped, dropped uint64 }

func (t troubles) sum() uint64 { return t.missed + t.skipped + t.dropped }

func (s *Source) troubles() troubles {
	return troubles{s.count.missed.Load(), s.count.skipped.Load(), s.count.dropped.Load()}
}

// event tells what has gone wrong between two moments.
func (s *Source) event(at int64, now, before troubles) wire.Event {
	return wire.Event{BootNS: at, Name: "poll_late", Detail: fmt.Sprintf("%s: %d reads late, %d skipped, %d rows dropped",
		s.group.Name, now.missed-before.missed, now.skipped-before.skipped, now.dropped-before.dropped)}
}

// Run polls until ctx ends or the device fails.
func (s *Source) Run(ctx context.Context, out sensors.Sink) error {
	if err := s.cfg.Device.Open(); err != nil {
		return err
	}
	s.count.opens.Add(1)
	if f, ok := s.cfg.Device.(Fastest); ok && f.FastestMilliHz() != 0 && s.cfg.RateMilliHz > f.FastestMilliHz() {
		s.log.Warn("device is slower than its rate, reads will be skipped: ask for less, or for fewer inputs", "rate_mhz", s.cfg.RateMilliHz, "fastest_mhz", f.FastestMilliHz())
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	full, free := make(chan *rows, waiting), make(chan *rows, waiting)
	for range waiting {
		free <- &rows{}
	}
	ended := make(chan error, 1)
	go func() { // ends with ctx or the device
		err := s.read(ctx, full, free)
		close(full)
		ended <- err
	}()
	err := s.hand(full, free, out, stop)
	readErr := <-ended
	if err == nil {
		err = readErr
	}
	return errors.Join(err, s.cfg.Device.Close())
}

// read is the reading thread.
func (s *Source) read(ctx context.Context, full, free chan *rows) error {
	undo, err := s.cfg.Thread.setUp()
	if err != nil {
		s.count.refused.Add(1)
		s.log.Warn("reading thread is not as wanted, reads will be less punctual", "error", err)
	}
	defer undo()
	p := &pacer{rateMilliHz: s.cfg.RateMilliHz, now: monotonic, sleep: sleepUntil}
	width := len(s.group.Channels)
	most := int(min(maxRunRows, max(1, runNS/int64(p.period()))))
	row := make([]int64, width)
	missed, skipped := s.count.missed.Load(), s.count.skipped.Load() // of runs before
	var run *rows
	defer func() {
		if run != nil && len(run.ticks) > 0 {
			full <- run // there is room for every run
		}
	}()
	return p.run(ctx, func(late int64, _ bool) error {
		tick := s.cfg.Clock.BootNS()
		if err := s.cfg.Device.Read(row); err != nil {
			return err
		}
		s.count.reads.Add(1)
		s.count.missed.Store(missed + p.missed)
		s.count.skipped.Store(skipped + p.skipped)
		s.hist.add(late)
		if run == nil {
			select {
			case run = <-free:
			default:
				s.count.dropped.Add(1)
				return nil
			}
		}
		run.ticks = append(run.ticks, tick)
		run.values = append(run.values, row...)
		if len(run.ticks) >= most {
			run.state = s.troubles()
			full <- run
			run = nil
		}
		return nil
	})
}

// hand hands runs on until the reading thread has ended, and then tells what is left
// to tell. After an error of the sink it only empties the channel.
func (s *Source) hand(full, free chan *rows, out sensors.Sink, stop context.CancelFunc) (err error) {
	told := s.troubles()
	var toldAt int64
	for r := range full {
		if err == nil {
			err = out.Append(sensors.Rows{Ticks: r.ticks, Values: r.values})
		}
		last := r.ticks[len(r.ticks)-1]
		if err == nil && last-toldAt >= tellEveryNS && r.state.sum() > told.sum() {
			err = out.Event(s.event(last, r.state, told))
			toldAt, told = last, r.state
		}
		if err != nil {
			stop()
		}
		r.ticks, r.values = r.ticks[:0], r.values[:0]
		free <- r
	}
	if now := s.troubles(); err == nil && now.sum() > told.sum() {
		err = out.Event(s.event(s.cfg.Clock.BootNS(), now, told))
	}
	return err
}
