package udp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"telemetry/sensors"
	"telemetry/sensors/packed"
	"telemetry/wire"
)

// Clock is what a source needs of the machine's clocks.
type Clock interface{ BootNS() int64 }

// Stream is one kind of datagram.
type Stream struct {
	ID   uint16
	Rows *packed.Stream // with a packet of NewPacket
}

// Config says what to listen to.
type Config struct {
	Listen        netip.AddrPort // address and port; the unspecified address takes all
	Group         netip.Addr     // multicast group to join; zero: none
	Interface     string         // where the group is joined; empty: the system decides
	From          netip.Addr     // the only sender that is taken; zero: any
	ReceiveBuffer int            // of the kernel, bytes; 0 means 8 MiB
	Gather        time.Duration  // how long datagrams may gather before they are read; 0 means 2 ms, negative not at all
	Streams       []Stream
	Clock         Clock
	Log           *slog.Logger // nil: nothing is logged
}

// Defaults and limits of a [Config].
const (
	DefaultBuffer = 8 << 20
	DefaultGather = 2 * time.Millisecond
	maxGather     = 100 * time.Millisecond
	maxStreams    = 4096
)

// Pace of the loop.
const (
	idleWait     = 50 * time.Millisecond // bounds how late a stop is seen
	maxPending   = 64 << 10              // values of a stream before a flush
	flushMostNS  = int64(10 * time.Millisecond)
	tellEveryNS  = int64(time.Second) // between events about losses
	lookEveryNS  = int64(time.Second) // at what the kernel dropped
	lossEvent    = "datagrams_lost"
	restartEvent = "device_restart"
)

// Source listens to one socket.
type Source struct {
	cfg    Config
	groups []wire.Group
	byID   map[uint16]*packed.Stream
	all    []*packed.Stream
	log    *slog.Logger
	count  struct {
		opens, datagrams, bytes, foreign, unknown, misfit, long, strangers    atomic.Uint64
		lost, late, repeated, restarts, strange, dropped, reads, rows, buffer atomic.Uint64
		clocks                                                                atomic.Uint64
	}
}

var (
	_ sensors.Source = (*Source)(nil)
	_ sensors.Health = (*Source)(nil)
)

// New checks cfg. It opens nothing.
func New(cfg Config) (*Source, error) {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf("udp: "+format, args...)) }
	if !cfg.Listen.IsValid() || cfg.Listen.Port() == 0 {
		fault("listen %v (want an address and a port, as 0.0.0.0:5600)", cfg.Listen)
	}
	if cfg.Group.IsValid() && (!cfg.Group.IsMulticast() || cfg.Group.Is4() != cfg.Listen.Addr().Is4()) {
		fault("group %v is no multicast address of listen's kind", cfg.Group)
	}
	if cfg.Gather > maxGather || cfg.ReceiveBuffer < 0 {
		fault("gather %v, receive buffer %d (want at most %v, and no negative one)", cfg.Gather, cfg.ReceiveBuffer, maxGather)
	}
	if len(cfg.Streams) == 0 || len(cfg.Streams) > maxStreams || cfg.Clock == nil {
		fault("%d streams (want 1 to %d, and a clock)", len(cfg.Streams), maxStreams)
	}
	if cfg.ReceiveBuffer == 0 {
		cfg.ReceiveBuffer = DefaultBuffer
	}
	if cfg.Gather == 0 {
		cfg.Gather = DefaultGather
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Source{cfg: cfg, byID: map[uint16]*packed.Stream{}, log: cfg.Log}
	for _, st := range cfg.Streams {
		if s.byID[st.ID] != nil {
			fault("stream %d is there twice", st.ID)
		}
		s.byID[st.ID] = st.Rows
		s.all = append(s.all, st.Rows)
		s.groups = append(s.groups, st.Rows.WireGroup())
	}
	return s, errors.Join(errs...)
}

// Groups lists one group a stream.
func (s *Source) Groups() []wire.Group { return s.groups }

// Counters returns what was counted over all runs.
func (s *Source) Counters() []sensors.Counter {
	c := &s.count
	return []sensors.Counter{
		{Name: "opens", Help: "times that the socket was opened", Value: c.opens.Load()},
		{Name: "reads", Help: "calls that brought datagrams", Value: c.reads.Load()},
		{Name: "datagrams", Help: "datagrams read", Value: c.datagrams.Load()},
		{Name: "bytes", Help: "bytes in them", Value: c.bytes.Load()},
		{Name: "rows", Help: "rows in those that were taken", Value: c.rows.Load()},
		{Name: "datagrams_foreign", Help: "datagrams of another format or version", Value: c.foreign.Load()},
		{Name: "datagrams_unknown", Help: "datagrams of a stream that is not configured", Value: c.unknown.Load()},
		{Name: "datagrams_misfit", Help: "datagrams whose length does not fit their rows", Value: c.misfit.Load()},
		{Name: "datagrams_long", Help: "datagrams that are too long", Value: c.long.Load()},
		{Name: "datagrams_strangers", Help: "datagrams of senders that are not taken", Value: c.strangers.Load()},
		{Name: "datagrams_lost", Help: "numbers that never came", Value: c.lost.Load()},
		{Name: "datagrams_late", Help: "datagrams that came after a later one", Value: c.late.Load()},
		{Name: "datagrams_repeated", Help: "datagrams that came twice", Value: c.repeated.Load()},
		{Name: "datagrams_dropped", Help: "datagrams that found the receive buffer full", Value: c.dropped.Load()},
		{Name: "restarts", Help: "times that a stream began to count anew", Value: c.restarts.Load()},
		{Name: "stamps_strange", Help: "times of the sender that made no sense", Value: c.strange.Load()},
		{Name: "clock_resets", Help: "times that a sender's time was begun anew", Value: c.clocks.Load()},
		{Name: "receive_buffer", Help: "bytes of the receive buffer, as the kernel counts them", Value: c.buffer.Load()},
	}
}

// run is the state of one Run.
type run struct {
	*Source
	out    sensors.Sink
	wrote  int64                     // boot time of the latest flush
	told   int64                     // boot time of the latest event about losses
	looked int64                     // of the latest look at what the kernel dropped
	untold map[string]uint64         // lost and not yet in an event, by stream
	anew   map[string]*sensors.Burst // streams that counted anew
	err    error                     // of the sink
}

// take takes one datagram that came at now.
func (r *run) take(b []byte, now int64) {
	r.count.bytes.Add(uint64(len(b)))
	id, ok := streamOf(b)
	if !ok {
		r.count.foreign.Add(1)
		return
	}
	s := r.byID[id]
	if s == nil {
		r.count.unknown.Add(1)
		return
	}
	info, ok := s.Match(b)
	if !ok {
		r.count.misfit.Add(1)
		return
	}
	v, lost := s.Add(info, now)
	switch v {
	case packed.Repeat:
		return
	case packed.AfterGap:
		r.untold[s.Name] += lost
	case packed.Restart:
		b := r.anew[s.Name]
		if b == nil {
			b = &sensors.Burst{}
			r.anew[s.Name] = b
		}
		if b.Tell(now) { // two senders of one stream count anew with every datagram
			r.event(now, restartEvent, "stream "+s.Name+" counts anew")
		}
	}
	r.count.rows.Add(uint64(info.Rows))
	if s.Pending()*s.Width() >= maxPending && r.err == nil {
		r.err = s.Flush(r.out)
	}
}

func (r *run) event(now int64, name, detail string) {
	if r.err == nil {
		r.err = r.out.Event(wire.Event{BootNS: now, Name: name, Detail: detail})
	}
}

// flush hands on what is gathered, and tells what was lost.
func (r *run) flush(now int64, last bool) error {
	r.wrote = now
	for _, s := range r.all {
		if s.Pending() > 0 && r.err == nil {
			r.err = s.Flush(r.out)
		}
	}
	n, clocks := packed.Totals(r.all)
	r.count.lost.Store(n.Lost)
	r.count.late.Store(n.Late)
	r.count.repeated.Store(n.Repeated)
	r.count.restarts.Store(n.Restarts)
	r.count.strange.Store(clocks.Strange)
	r.count.clocks.Store(clocks.Restarts)
	for name, b := range r.anew {
		if n := b.Rest(now, last); n > 0 {
			r.event(now, restartEvent, fmt.Sprintf("stream %s has counted anew %d times more", name, n))
		}
	}
	if len(r.untold) > 0 && (last || now-r.told >= tellEveryNS) {
		for name, lost := range r.untold {
			r.event(now, lossEvent, fmt.Sprintf("%d datagrams of stream %s", lost, name))
			r.log.Warn("datagrams lost", "stream", name, "datagrams", lost)
		}
		clear(r.untold)
		r.told = now
	}
	return r.err
}

// Run listens until ctx ends. It fails when the socket cannot be opened or fails.
func (s *Source) Run(ctx context.Context, out sensors.Sink) error {
	sock, err := open(&s.cfg)
	if err != nil {
		return err
	}
	s.count.opens.Add(1)
	s.count.buffer.Store(uint64(sock.buffer))
	if sock.buffer < s.cfg.ReceiveBuffer {
		s.log.Warn("receive buffer is smaller than wanted: raise net.core.rmem_max or give CAP_NET_ADMIN", "wanted_bytes", s.cfg.ReceiveBuffer, "bytes", sock.buffer)
	}
	r := &run{Source: s, out: out, untold: map[string]uint64{}, anew: map[string]*sensors.Burst{}, looked: s.cfg.Clock.BootNS()}
	err = r.loop(ctx, sock)
	s.count.dropped.Add(uint64(sock.newDrops()))
	err = errors.Join(err, r.flush(s.cfg.Clock.BootNS(), true), sock.close())
	if ctx.Err() != nil {
		return errors.Join(ctx.Err(), err)
	}
	return err
}

// loop reads until ctx ends.
func (r *run) loop(ctx context.Context, sock *socket) error {
	for ctx.Err() == nil {
		n, err := sock.read(idleWait)
		if err != nil {
			return err
		}
		now := r.cfg.Clock.BootNS()
		for i := range n {
			d := sock.datagram(i)
			switch {
			case d.long:
				r.count.long.Add(1)
			case r.cfg.From.IsValid() && d.from != r.cfg.From:
				r.count.strangers.Add(1)
			default:
				r.take(d.data, now)
			}
		}
		if n > 0 {
			r.count.reads.Add(1)
			r.count.datagrams.Add(uint64(n))
		}
		if n < batchSize || now-r.wrote >= flushMostNS { // while more wait, flushing can, too
			if err := r.flush(now, false); err != nil {
				return err
			}
		}
		if now-r.looked >= lookEveryNS {
			r.looked = now
			r.count.dropped.Add(uint64(sock.newDrops()))
		}
		if r.err != nil {
			return r.err
		}
		if n > 0 && n < batchSize && r.cfg.Gather > 0 {
			time.Sleep(r.cfg.Gather)
		}
	}
	return nil
}
