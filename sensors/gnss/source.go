package gnss

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"telemetry/sensors"
	"telemetry/sensors/nmea"
	"telemetry/sensors/serialport"
	"telemetry/wire"
)

// The journey of a fix: loop reads bytes and the boot time at which they came;
// scanner cuts them into sentences and frames; nmea.Assembler or ubx.ParsePVT
// makes a fix; stampClock gives it its boot time; emit makes a row of it, and an
// anchor now and then.

// Pace of the loop.
const (
	readWait    = 20 * time.Millisecond         // bounds how late a stop is seen, and how soon a pause is
	pauseNS     = int64(100 * time.Millisecond) // without bytes: the sentences of an instant are all there
	detectNS    = int64(1500 * time.Millisecond)
	garbageNS   = int64(5 * time.Second)  // of bytes without a good one among them: the bit rate was changed
	silentNS    = int64(15 * time.Second) // without a byte: the device hangs
	pvtHoldNS   = int64(2 * time.Second)  // for so long a binary solution stands for the sentences
	detectGoods = 2                       // sentences or frames that settle a bit rate
	readBytes   = 4096
)

// Source reads one receiver.
type Source struct {
	cfg    Config
	groups []wire.Group
	log    *slog.Logger
	count  counts
	baud   atomic.Int64 // that was found; 0: none yet
}

type counts struct {
	opens, bytes, foreign, bad, badUBX, sentences, other, malformed, frames atomic.Uint64
	fixes, lost, rollovers, resets, strange, anchors, pulses, searches      atomic.Uint64
	refused, repeated                                                       atomic.Uint64
}

var (
	_ sensors.Source = (*Source)(nil)
	_ sensors.Health = (*Source)(nil)
)

// New checks cfg. It does not open the port.
func New(cfg Config) (*Source, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.complete()
	return &Source{cfg: cfg, groups: []wire.Group{group(uint64(cfg.RateHz) * 1000)}, log: cfg.Log}, nil
}

// Groups returns the one group.
func (s *Source) Groups() []wire.Group { return s.groups }

// Counters returns what was counted over all runs.
func (s *Source) Counters() []sensors.Counter {
	c := &s.count
	return []sensors.Counter{
		{Name: "opens", Help: "times that the port was opened", Value: c.opens.Load()},
		{Name: "bytes", Help: "bytes read", Value: c.bytes.Load()},
		{Name: "foreign_bytes", Help: "bytes that are part of nothing", Value: c.foreign.Load()},
		{Name: "sentences", Help: "sentences that were understood", Value: c.sentences.Load()},
		{Name: "sentences_other", Help: "sentences of other kinds", Value: c.other.Load()},
		{Name: "sentences_bad", Help: "sentences that were cut, damaged or without checksum", Value: c.bad.Load()},
		{Name: "sentences_malformed", Help: "sentences with a right checksum that make no sense", Value: c.malformed.Load()},
		{Name: "frames", Help: "binary frames", Value: c.frames.Load()},
		{Name: "frames_bad", Help: "binary frames that were damaged", Value: c.badUBX.Load()},
		{Name: "fixes", Help: "rows with a position", Value: c.fixes.Load()},
		{Name: "fixes_none", Help: "rows without a position", Value: c.lost.Load()},
		{Name: "fixes_repeated", Help: "fixes of an instant that was there before", Value: c.repeated.Load()},
		{Name: "rollovers", Help: "dates moved by 1024 weeks", Value: c.rollovers.Load()},
		{Name: "clock_resets", Help: "times that the receiver's time was begun anew", Value: c.resets.Load()},
		{Name: "times_strange", Help: "fixes whose time jumped", Value: c.strange.Load()},
		{Name: "anchors", Help: "time anchors given", Value: c.anchors.Load()},
		{Name: "pulses", Help: "second pulses seen", Value: c.pulses.Load()},
		{Name: "baud_searches", Help: "bit rates tried", Value: c.searches.Load()},
		{Name: "commands_refused", Help: "settings that the receiver did not take", Value: c.refused.Load()},
	}
}

// Baud returns the bit rate that was found, or 0.
func (s *Source) Baud() int { return int(s.baud.Load()) }

// Run reads the receiver until ctx ends, or the file to its end. It fails when
// the port cannot be opened or is gone.
func (s *Source) Run(ctx context.Context, out sensors.Sink) error {
	r := s.newRun(out)
	if s.cfg.File != "" {
		return r.replay(ctx)
	}
	if err := serialport.Await(ctx, s.cfg.Port); err != nil {
		return err
	}
	r.first = max(0, indexOf(s.cfg.Bauds, s.Baud()))
	p, err := serialport.Open(s.cfg.Port, s.cfg.Bauds[r.first])
	if err != nil {
		return err
	}
	s.count.opens.Add(1)
	if ftdi, err := serialport.LowLatency(s.cfg.Port); ftdi && err != nil {
		s.log.Warn("usb latency timer not set, fixes arrive late by up to 16 ms", "port", s.cfg.Port, "error", err)
	}
	r.port = p
	err = r.loop(ctx)
	if endErr := r.end(); err == nil {
		err = endErr
	}
	err = errors.Join(err, p.Close())
	if ctx.Err() != nil {
		return errors.Join(ctx.Err(), err)
	}
	return err
}

func indexOf(list []int, v int) int {
	for i, x := range list {
		if x == v {
			return i
		}
	}
	return -1
}

// run is the state of one Run.
type run struct {
	*Source
	out      sensors.Sink
	port     *serialport.Port // nil: a file
	scan     scanner
	asm      nmea.Assembler
	clock    stampClock
	pulse    pulseReader
	setup    setup
	values   []int64
	present  [1]uint64
	err      error // of the sink
	located  bool
	begun    bool  // a fix was emitted
	pvtAt    int64 // arrival of the latest binary solution; 0: none
	held     held  // it, while its high precision is awaited
	lastUTC  int64
	pacer    func(f *fix) (tick int64, err error) // of a file
	good     int                                  // sentences and frames since the bit rate was set
	goodAt   int64                                // arrival of the latest
	first    int                                  // index of the bit rate at hand
	heardAt  int64                                // arrival of the latest byte
	since    int64                                // boot time at which the bit rate was set
	detected bool
}

func (s *Source) newRun(out sensors.Sink) *run {
	r := &run{Source: s, out: out, values: make([]int64, columns)}
	r.asm.NotBefore = s.cfg.NotBefore
	r.held.wanted = true // it is not known yet whether the receiver gives it
	r.scan.line, r.scan.ubx = r.line, r.frame
	r.clock.latency, r.clock.errNS = s.cfg.latency(false)
	r.pulse = pulseReader{root: s.cfg.Root, name: s.cfg.PPS}
	return r
}

// loop reads until ctx ends or the port is gone.
func (r *run) loop(ctx context.Context) error {
	buf := make([]byte, readBytes)
	now := r.cfg.Clock.BootNS()
	r.heardAt, r.since, r.goodAt = now, now, now
	for ctx.Err() == nil {
		asked := now // nothing came until then, at least, when there is nothing
		n, err := r.port.Read(buf, readWait)
		now = r.cfg.Clock.BootNS()
		switch {
		case n > 0:
			r.heardAt = now
			r.count.bytes.Add(uint64(n))
			r.scan.feed(buf[:n], now)
		case asked-r.heardAt > pauseNS:
			r.pause()
		}
		if err == nil {
			err = r.watch(now)
		}
		if err = errors.Join(err, r.err); err != nil {
			return err
		}
	}
	return nil
}

// watch does what time asks for.
func (r *run) watch(now int64) error {
	r.tally()
	if err := r.search(now); err != nil {
		return err
	}
	if r.detected {
		r.lookAtPulse(now)
		return r.setup.step(r, now)
	}
	return nil
}

// search tries bit rates until sentences or frames come.
func (r *run) search(now int64) error {
	switch {
	case now-r.heardAt > silentNS:
		return fmt.Errorf("gnss: receiver at %s has been silent for %d s: is it powered? replug it if this goes on", r.cfg.Port, silentNS/1e9)
	case !r.detected && r.good >= detectGoods:
		r.detected = true
		baud := r.cfg.Bauds[r.first]
		r.baud.Store(int64(baud))
		r.log.Info("receiver found", "port", r.cfg.Port, "baud", baud)
	case r.detected && now-r.goodAt > garbageNS && r.heardAt > r.goodAt:
		r.detected, r.good, r.since = false, 0, now
		r.log.Warn("receiver is not understood any more, bit rates are tried", "port", r.cfg.Port)
	case !r.detected && r.good == 0 && now-r.since > detectNS && len(r.cfg.Bauds) > 1,
		!r.detected && now-r.since > 2*detectNS && len(r.cfg.Bauds) > 1:
		r.first = (r.first + 1) % len(r.cfg.Bauds)
		r.good, r.since = 0, now
		r.count.searches.Add(1)
		r.scan.idle()
		return r.port.SetBaud(r.cfg.Bauds[r.first])
	}
	return nil
}

// end takes what is left when the bytes have ended.
func (r *run) end() error {
	r.pause()
	r.tally()
	return r.err
}

// pause takes what will not go on.
func (r *run) pause() {
	r.scan.idle()
	r.release()
	if f, ok := r.asm.Flush(); ok {
		r.nmeaFix(&f)
	}
}

// line takes one sentence.
func (r *run) line(body []byte, arrival int64) {
	r.good++
	r.goodAt = arrival
	if r.cfg.Protocol == UBX {
		r.count.other.Add(1)
		return
	}
	if f, ok := r.asm.Add(body, arrival); ok {
		r.nmeaFix(&f)
	}
}

// nmeaFix takes an instant that sentences spoke of.
func (r *run) nmeaFix(n *nmea.Fix) {
	if r.pvtAt != 0 && n.ArrivalNS-r.pvtAt < pvtHoldNS {
		return // the same, told less well
	}
	if r.pvtAt != 0 {
		r.pvtAt = 0
		r.clock.latency, r.clock.errNS = r.cfg.latency(false)
	}
	f := fromNMEA(n)
	r.emit(&f)
}

// tally brings the counters of the parts up to date.
func (r *run) tally() {
	move := func(to *atomic.Uint64, from *uint64) {
		to.Add(*from)
		*from = 0
	}
	move(&r.count.bad, &r.scan.bad)
	move(&r.count.badUBX, &r.scan.badUBX)
	move(&r.count.foreign, &r.scan.foreign)
	move(&r.count.sentences, &r.asm.Counts.Sentences)
	move(&r.count.other, &r.asm.Counts.Other)
	move(&r.count.malformed, &r.asm.Counts.Malformed)
	move(&r.count.rollovers, &r.asm.Counts.Rollovers)
	move(&r.count.resets, &r.clock.resets)
	move(&r.count.strange, &r.clock.strange)
	move(&r.count.pulses, &r.clock.pulse.edges)
}
