// Package framed reads sensor boards that send binary packets over a serial port:
// stuffed with COBS or SLIP, with a 16-bit checksum at the end, and laid out as
// the configuration says.
//
// The entry point is [New]. It sends nothing to the board, never takes a packet
// whose checksum is wrong, and counts whatever it does not take.
package framed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"telemetry/sensors"
	"telemetry/sensors/cobs"
	"telemetry/sensors/packed"
	"telemetry/sensors/serialport"
	"telemetry/wire"
)

// Clock is what a source needs of the machine's clocks.
type Clock interface{ BootNS() int64 }

// Config says which board to read and how.
type Config struct {
	Port    string // serial port; best one below /dev/serial/by-id
	Baud    int
	Framing cobs.Framing
	CRC     *cobs.CRC // nil: packets have none
	CRCBig  bool      // its byte order: big endian
	Streams []*packed.Stream
	Clock   Clock
	Log     *slog.Logger // nil: nothing is logged
}

// Pace of the loop.
const (
	flushEveryNS = int64(5 * time.Millisecond) // so that rows come in runs
	maxPending   = 4096                        // rows before a flush
	idleWait     = 20 * time.Millisecond
	silentNS     = int64(15 * time.Second) // without a byte: the device hangs
	tellEveryNS  = int64(time.Second)      // between events about losses
	readBytes    = 8192
	salvageBytes = 1024 // that are looked at for a whole packet behind foreign bytes
	crcBytes     = 2
)

// Source reads one board.
type Source struct {
	cfg    Config
	groups []wire.Group
	log    *slog.Logger
	count  struct {
		opens, bytes, packets, stuffing, long, checksum, unknown, salvaged atomic.Uint64
		lost, repeated, late, restarts, strange, clocks                    atomic.Uint64
	}
}

var (
	_ sensors.Source = (*Source)(nil)
	_ sensors.Health = (*Source)(nil)
)

// New checks cfg. It does not open the port. The streams belong to the source.
func New(cfg Config) (*Source, error) {
	var errs []error
	if cfg.Port == "" {
		errs = append(errs, errors.New("framed: port is missing (want the path of a serial port, best one below /dev/serial/by-id)"))
	}
	if cfg.Baud < serialport.MinBaud || cfg.Baud > serialport.MaxBaud {
		errs = append(errs, fmt.Errorf("framed: baud is %d (want %d to %d)", cfg.Baud, serialport.MinBaud, serialport.MaxBaud))
	}
	if cfg.Framing != cobs.COBS && cfg.Framing != cobs.SLIP {
		errs = append(errs, fmt.Errorf("framed: framing %d is unknown", cfg.Framing))
	}
	if len(cfg.Streams) == 0 || cfg.Clock == nil {
		errs = append(errs, errors.New("framed: packets or clock are missing"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Source{cfg: cfg, log: cfg.Log}
	for _, st := range cfg.Streams {
		s.groups = append(s.groups, st.WireGroup())
	}
	return s, nil
}

// Groups lists one group a kind of packet.
func (s *Source) Groups() []wire.Group { return s.groups }

// Counters returns what was counted over all runs.
func (s *Source) Counters() []sensors.Counter {
	c := &s.count
	return []sensors.Counter{
		{Name: "opens", Help: "times that the port was opened", Value: c.opens.Load()},
		{Name: "bytes", Help: "bytes read", Value: c.bytes.Load()},
		{Name: "packets", Help: "packets taken", Value: c.packets.Load()},
		{Name: "packets_stuffing", Help: "packets whose stuffing is broken", Value: c.stuffing.Load()},
		{Name: "packets_long", Help: "packets that are too long", Value: c.long.Load()},
		{Name: "packets_checksum", Help: "packets with a wrong checksum", Value: c.checksum.Load()},
		{Name: "packets_unknown", Help: "packets of no known kind or length", Value: c.unknown.Load()},
		{Name: "packets_salvaged", Help: "packets found whole behind foreign bytes", Value: c.salvaged.Load()},
		{Name: "packets_lost", Help: "numbers that never came", Value: c.lost.Load()},
		{Name: "packets_repeated", Help: "packets that came twice", Value: c.repeated.Load()},
		{Name: "packets_late", Help: "packets that came after a later one", Value: c.late.Load()},
		{Name: "restarts", Help: "times that the board began to count anew", Value: c.restarts.Load()},
		{Name: "stamps_strange", Help: "times of the board that made no sense", Value: c.strange.Load()},
		{Name: "clock_resets", Help: "times that the board's time was begun anew", Value: c.clocks.Load()},
	}
}

// Run reads the board until ctx ends. It fails when the port cannot be opened or
// is gone.
func (s *Source) Run(ctx context.Context, out sensors.Sink) error {
	if err := serialport.Await(ctx, s.cfg.Port); err != nil {
		return err
	}
	p, err := serialport.Open(s.cfg.Port, s.cfg.Baud)
	if err != nil {
		return err
	}
	s.count.opens.Add(1)
	if ftdi, err := serialport.LowLatency(s.cfg.Port); ftdi && err != nil {
		s.log.Warn("usb latency timer not set, packets arrive late by up to 16 ms", "port", s.cfg.Port, "error", err)
	}
	s.log.Info("sensor board opened", "port", s.cfg.Port, "baud", s.cfg.Baud)
	r := &run{Source: s, out: out, port: p, split: cobs.Splitter{Framing: s.cfg.Framing}}
	err = errors.Join(r.loop(ctx), r.flush(r.flushed, true), p.Close())
	if ctx.Err() != nil {
		return errors.Join(ctx.Err(), err)
	}
	return err
}

// run is the state of one Run.
type run struct {
	*Source
	out     sensors.Sink
	port    *serialport.Port
	split   cobs.Splitter
	plain   []byte
	flushed int64         // boot time of the latest flush
	heard   int64         // of the latest byte
	told    int64         // of the latest event about losses
	untold  uint64        // packets lost since
	anew    sensors.Burst // times that the board counted anew
	err     error         // of the sink
}

// loop reads until ctx ends or the port is gone.
func (r *run) loop(ctx context.Context) error {
	buf := make([]byte, readBytes)
	r.heard = r.cfg.Clock.BootNS()
	for ctx.Err() == nil {
		wait := idleWait
		if r.pending() > 0 {
			wait = time.Duration(flushEveryNS)
		}
		n, err := r.port.Read(buf, wait)
		now := r.cfg.Clock.BootNS()
		if n > 0 {
			r.heard = now
			r.count.bytes.Add(uint64(n))
			r.take(buf[:n], now)
		}
		if err == nil && now-r.heard > silentNS {
			err = fmt.Errorf("framed: board at %s has been silent for %d s: is it powered? replug it if this goes on", r.cfg.Port, silentNS/1e9)
		}
		if pending := r.pending(); pending >= maxPending || pending > 0 && now-r.flushed >= flushEveryNS {
			err = errors.Join(err, r.flush(now, false))
		}
		if err = errors.Join(err, r.err); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) pending() int {
	n := 0
	for _, s := range r.cfg.Streams {
		n += s.Pending()
	}
	return n
}

func (r *run) flush(now int64, last bool) error {
	r.flushed = now
	for _, s := range r.cfg.Streams {
		if err := s.Flush(r.out); err != nil {
			return err
		}
	}
	n, clocks := packed.Totals(r.cfg.Streams)
	c := &r.count
	c.lost.Store(n.Lost)
	c.repeated.Store(n.Repeated)
	c.late.Store(n.Late)
	c.restarts.Store(n.Restarts)
	c.strange.Store(clocks.Strange)
	c.clocks.Store(clocks.Restarts)
	if n := r.anew.Rest(now, last); n > 0 {
		if err := r.out.Event(wire.Event{BootNS: now, Name: "device_restart", Detail: fmt.Sprintf("the board has counted packets anew %d times more", n)}); err != nil {
			return err
		}
	}
	if r.untold > 0 && (last || now-r.told >= tellEveryNS) {
		err := r.out.Event(wire.Event{BootNS: now, Name: "packets_lost", Detail: fmt.Sprintf("%d packets of %s were lost", r.untold, r.cfg.Port)})
		r.told, r.untold = now, 0
		return err
	}
	return nil
}

// take cuts bytes that came at now into packets.
func (r *run) take(b []byte, now int64) {
	for len(b) > 0 {
		stuffed, n, ok, long := r.split.Next(b)
		b = b[n:]
		switch {
		case long:
			r.count.long.Add(1)
		case ok:
			r.stuffed(stuffed, now)
		}
	}
}

// stuffed takes one packet as it came over the line.
func (r *run) stuffed(stuffed []byte, now int64) {
	bad := r.packet(stuffed, now)
	if bad == nil {
		return
	}
	// A packet whose end was lost has become one with the next: a whole packet of
	// a known kind and length may stand at the end.
	for i := max(1, len(stuffed)-salvageBytes); i < len(stuffed) && r.cfg.CRC != nil; i++ {
		if r.packet(stuffed[i:], now) == nil {
			r.count.salvaged.Add(1)
			break
		}
	}
	bad.Add(1)
}

// packet takes the packet that stuffed bytes stand for, or returns the counter of
// what is wrong with them.
func (r *run) packet(stuffed []byte, now int64) (bad *atomic.Uint64) {
	var err error
	if r.plain, err = r.cfg.Framing.Decode(r.plain[:0], stuffed); err != nil {
		return &r.count.stuffing
	}
	b := r.plain
	if r.cfg.CRC != nil {
		if len(b) < crcBytes {
			return &r.count.checksum
		}
		x, y := uint16(b[len(b)-2]), uint16(b[len(b)-1])
		want := y<<8 | x
		if r.cfg.CRCBig {
			want = x<<8 | y
		}
		if b = b[:len(b)-crcBytes]; r.cfg.CRC.Sum(b) != want {
			return &r.count.checksum
		}
	}
	for _, s := range r.cfg.Streams {
		info, ok := s.Match(b)
		if !ok {
			continue
		}
		r.count.packets.Add(1)
		v, lost := s.Add(info, now)
		r.untold += lost
		if v == packed.Restart && r.err == nil && r.anew.Tell(now) {
			r.err = r.out.Event(wire.Event{BootNS: now, Name: "device_restart", Detail: "the board counts packets anew: " + s.Name})
		}
		return nil
	}
	return &r.count.unknown
}
