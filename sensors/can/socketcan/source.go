package socketcan

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"telemetry/sensors"
	"telemetry/sensors/can"
	"telemetry/wire"
)

// The journey of a frame: loop reads a batch from the socket; take parses each
// frame, gives it a boot time and looks at the drop counter; the decoder and the
// raw recorder make rows of it, which loop flushes every few milliseconds. In
// between the kernel's buffer holds frames with their stamps, so that reading
// costs few wake-ups.

// Pace of the loop.
const (
	flushEvery  = 5 * time.Millisecond   // between two reads while frames come, so that they come in runs
	busyEvery   = 2 * flushEvery         // the same on a loaded bus
	busyFrames  = 32                     // in one read: a loaded bus
	idleWait    = 100 * time.Millisecond // for frames; bounds how late a stop is seen
	watchEvery  = time.Second            // between two looks at the interface
	maxPending  = 4096                   // rows before a flush
	eventEvery  = time.Second            // between two events of one kind
	lossEvent   = "can_loss"
	stateEvent  = "can_bus_state"
	errorEvent  = "can_bus_error"
	linkEvent   = "can_interface"
	stampEvent  = "can_stamp_source"
	listenEvent = "can_not_listen_only"
)

// Source reads one interface. It keeps the names and order of rows' groups for
// its life, whatever happens to the interface.
type Source struct {
	cfg    Config
	dec    *can.Decoder
	raw    *can.Raw // nil: frames are not recorded
	groups []wire.Group
	count  counts
}

type counts struct {
	frames, fd, odd, sent, reads                          atomic.Uint64
	lostSocket, lostKernel, overflows                     atomic.Uint64
	stamps                                                [3]atomic.Uint64 // by StampSource
	strange, utcSteps, hardRestarts                       atomic.Uint64
	opens, downs, gone                                    atomic.Uint64
	classes                                               [len(errorClasses)]atomic.Uint64
	warnings, passive, busOff, noisy, buffer, arbitration atomic.Uint64
}

var (
	_ sensors.Source = (*Source)(nil)
	_ sensors.Health = (*Source)(nil)
)

// New checks cfg and plans the groups. It does not open the interface.
func New(cfg Config) (*Source, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.complete()
	dec, err := can.NewDecoder([]can.Bus{{Name: cfg.Interface, Databases: cfg.Databases}})
	if err != nil {
		return nil, err
	}
	cfg.Log = cfg.Log.With("interface", cfg.Interface)
	s := &Source{cfg: cfg, dec: dec, groups: dec.Groups()}
	if cfg.Raw {
		s.raw = can.NewRaw(len(s.groups))
		s.groups = append(slices.Clone(s.groups), can.RawGroup(cfg.Interface))
	}
	return s, nil
}

// Groups lists one group per message, and that of the raw frames.
func (s *Source) Groups() []wire.Group { return s.groups }

// Unknown lists the ids that no database knows, most frames first. Frames that
// the kernel filters are not among them.
func (s *Source) Unknown(n int) []can.UnknownID { return s.dec.Unknown(n) }

// run is the state of one Run.
type run struct {
	*Source
	out     sensors.Sink
	clock   stampClock
	frame   can.Frame
	loss    loss
	health  health
	watched time.Time
	down    bool  // the interface was set down
	refuse  error // of the sink
}

// flush hands all rows to the sink.
func (r *run) flush() error {
	err := r.dec.Flush(r.out)
	if r.raw != nil {
		err = errors.Join(err, r.raw.Flush(r.out))
	}
	return errors.Join(err, r.refuse)
}

// pending returns how many rows wait for a flush.
func (r *run) pending() int {
	n := r.dec.Pending()
	if r.raw != nil {
		n += r.raw.Pending()
	}
	return n
}

// event hands an event to the sink; what it answers is seen at the next flush.
func (r *run) event(name, detail string) {
	if err := r.out.Event(wire.Event{BootNS: r.cfg.Clock.BootNS(), Name: name, Detail: r.cfg.Interface + ": " + detail}); err != nil {
		r.refuse = err
	}
}

// take gives a frame its time and hands it to decoder and recorder.
func (r *run) take(data []byte, utc, hard int64, sent bool, now int64) {
	if ParseFrame(data, &r.frame) != nil {
		r.count.odd.Add(1)
		return
	}
	f := &r.frame
	tick, from := r.clock.boot(utc, hard, now)
	r.count.stamps[from].Add(1)
	r.health.stamped(r, from)
	f.StampNS, f.TX = tick, sent
	switch {
	case f.Err:
		r.health.errorFrame(r, f)
	case f.FD:
		r.count.fd.Add(1)
	}
	if sent {
		r.count.sent.Add(1)
	}
	r.dec.Add(f, tick)
	if r.raw != nil {
		r.raw.Add(f, tick)
	}
}

// settleClock moves what the clock counted to the counters.
func (r *run) settleClock() {
	c := &r.clock
	if c.steps|c.strange|c.hard.restarts == 0 {
		return
	}
	r.count.utcSteps.Add(c.steps)
	r.count.strange.Add(c.strange)
	r.count.hardRestarts.Add(c.hard.restarts)
	c.steps, c.strange, c.hard.restarts = 0, 0, 0
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
