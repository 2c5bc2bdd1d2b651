package slcan

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"telemetry/sensors"
	"telemetry/sensors/can"
	"telemetry/sensors/serialport"
	"telemetry/wire"
)

// The journey of a frame: loop reads bytes and the boot time at which they came;
// splitter cuts them into lines; frame parses a line; stampClock gives its
// adapter time, and boot time once the clock has settled; the decoder makes a
// row of it; loop flushes rows every few milliseconds.

// Pace of the loop.
const (
	flushEveryNS = int64(5 * time.Millisecond) // so that rows come in runs
	maxPending   = 4096                        // rows before a flush
	idleWait     = 50 * time.Millisecond       // for bytes when no row waits; bounds how late a stop is seen
	keptBadLines = 16                          // the latest run's first ones, for a message
	relearnLines = 8                           // lines in a row with other stamps than before: the adapter was set up anew
)

// Source reads one adapter. It keeps the names and order of rows' groups over
// unplugging: Run fails when the adapter is gone, and the next Run waits for the
// port to come back and sets the adapter up again.
type Source struct {
	cfg    Config
	traits traits
	dec    *can.Decoder
	raw    *can.Raw // nil: frames are not recorded
	groups []wire.Group
	log    *slog.Logger
	count  counts

	mu  sync.Mutex
	bad []can.BadLine // guarded by mu
}

type counts struct {
	bytes, lines, frames, fd, bad, long, partial, salvaged, other, bells, stale atomic.Uint64
	hostStamps, strange, restarts, steps                                        atomic.Uint64
	opens, polls, overflows, warnings, passive, busErrors                       atomic.Uint64
}

var (
	_ sensors.Source = (*Source)(nil)
	_ sensors.Health = (*Source)(nil)
)

// New checks cfg and plans the groups. It does not open the port.
func New(cfg Config) (*Source, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.complete()
	dec, err := can.NewDecoder([]can.Bus{{Name: cfg.Interface, Databases: cfg.Databases}})
	if err != nil {
		return nil, err
	}
	t, _ := cfg.Dialect.traits()
	s := &Source{cfg: cfg, traits: t, dec: dec, groups: dec.Groups(), log: cfg.Log.With("interface", cfg.Interface)}
	if cfg.Raw {
		s.raw = can.NewRaw(len(s.groups))
		s.groups = append(slices.Clone(s.groups), can.RawGroup(cfg.Interface))
	}
	return s, nil
}

// Groups lists one group per message, and that of the raw frames.
func (s *Source) Groups() []wire.Group { return s.groups }

// Unknown lists the ids that no database knows, most frames first.
func (s *Source) Unknown(n int) []can.UnknownID { return s.dec.Unknown(n) }

// BadLines returns the first bad lines since the port was last opened.
func (s *Source) BadLines() []can.BadLine {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.bad)
}

// Run reads the adapter until ctx ends. It fails when the adapter can't be
// opened or set up, or is gone.
func (s *Source) Run(ctx context.Context, out sensors.Sink) error {
	if err := serialport.Await(ctx, s.cfg.Port); err != nil {
		return err
	}
	p, err := serialport.Open(s.cfg.Port, s.cfg.Baud)
	if err != nil {
		return err
	}
	s.count.opens.Add(1)
	s.mu.Lock()
	s.bad = nil
	s.mu.Unlock()
	r := &run{session: &session{Source: s, port: p, traits: s.traits}, out: out}
	r.frame.Bus = s.cfg.Interface
	if err = r.begin(ctx); err == nil {
		err = r.loop(ctx)
	}
	if flushErr := r.finish(); err == nil {
		err = flushErr
	}
	if ctx.Err() != nil && err == nil {
		err = r.send("C") // so that it does not fill its buffers for nobody
	}
	err = errors.Join(err, p.Close())
	if ctx.Err() != nil {
		return errors.Join(ctx.Err(), err)
	}
	return err
}

// waiting is a frame whose time is not yet known.
type waiting struct {
	frame            can.Frame
	adapter, arrival int64
	stamped          bool
}

// run is the state of one Run.
type run struct {
	*session
	out     sensors.Sink
	frame   can.Frame // of the latest line
	clock   stampClock
	settled bool
	first   int64     // boot time of the first stamped frame
	held    []waiting // until the clock has settled
	flushed int64     // boot time of the latest flush
	other   int       // lines in a row with other stamp digits
	lines   int       // since the port was opened
	status  status
	refuse  error // of the sink
}

// loop reads until ctx ends or the adapter is gone.
func (r *run) loop(ctx context.Context) error {
	now := r.cfg.Clock.BootNS()
	r.clock.reset(max(r.digits, digitsMilli))
	r.settled = r.digits == digitsNone
	r.flushed, r.status.polled, r.status.heard = now, now, now
	if err := r.take(r.unread, now); err != nil {
		return err
	}
	for ctx.Err() == nil {
		wait := idleWait
		if r.pending() > 0 || len(r.held) > 0 {
			wait = time.Duration(flushEveryNS)
		}
		n, err := r.port.Read(r.buf[:], wait)
		now = r.cfg.Clock.BootNS()
		if n > 0 {
			r.status.heard = now
			r.count.bytes.Add(uint64(n))
			if err := r.take(r.buf[:n], now); err != nil {
				return err
			}
		}
		if err == nil {
			err = r.watch(now)
		}
		if err != nil {
			return err
		}
		if wait := now - r.first; len(r.held) >= settleEnough && wait >= settleNS || len(r.held) > 0 && wait >= settleMaxNS {
			r.settle()
		}
		if r.pending() > 0 && now-r.flushed >= flushEveryNS {
			if err := r.flush(now); err != nil {
				return err
			}
		}
	}
	return nil
}

// finish hands over what is left.
func (r *run) finish() error {
	if r.split.open() {
		r.count.partial.Add(1)
	}
	r.settle()
	return r.flush(r.flushed)
}

func (r *run) flush(now int64) error {
	r.flushed = now
	err := r.dec.Flush(r.out)
	if r.raw != nil {
		err = errors.Join(err, r.raw.Flush(r.out))
	}
	return err
}

// pending returns how many rows wait for a flush.
func (r *run) pending() int {
	n := r.dec.Pending()
	if r.raw != nil {
		n += r.raw.Pending()
	}
	return n
}

// take reads the lines in b, which came at now.
func (r *run) take(b []byte, now int64) error {
	for len(b) > 0 {
		tok, line, n := r.split.next(b)
		b = b[n:]
		if tok != tokenNone {
			r.count.lines.Add(1)
			r.lines++
		}
		switch tok {
		case tokenLine:
			r.line(line, now)
		case tokenBell:
			r.bell(line)
		case tokenLong:
			r.count.long.Add(1)
			r.badLine("line too long")
		}
		if r.pending() >= maxPending {
			if err := r.flush(now); err != nil {
				return err
			}
		}
	}
	return nil
}

// bell notes a refused command. Bytes before it had lost their end.
func (r *run) bell(line []byte) {
	r.count.bells.Add(1)
	r.status.refused()
	if len(line) > 0 {
		r.badLine("line ends with BEL")
	}
}

// line takes one line.
func (r *run) line(line []byte, now int64) {
	if len(line) == 0 {
		r.count.other.Add(1) // an answer
		return
	}
	stamp, digits, err := r.parse(line)
	switch {
	case err == nil:
		r.add(stamp, digits, now)
		return
	case errors.Is(err, ErrNoFrame) && r.report(line, now):
		r.count.other.Add(1)
		return
	}
	r.salvage(line, now, err)
}

// parse reads a frame with the stamp digits that lines of this adapter have.
func (r *run) parse(line []byte) (stamp uint32, digits int, err error) {
	stamp, digits, err = ParseLine(line, &r.frame)
	if err != nil {
		return 0, 0, err
	}
	if r.digits < 0 {
		r.learn(digits)
	}
	if digits == r.digits {
		r.other = 0
		return stamp, digits, nil
	}
	if r.other++; r.other < relearnLines {
		return 0, 0, lineError("line has other stamp digits than the ones before", line)
	}
	r.learn(digits)
	return stamp, digits, nil
}

// learn sets the stamp digits that lines have.
func (r *run) learn(digits int) {
	r.settle()
	r.digits, r.other = digits, 0
	r.clock.reset(max(digits, digitsMilli))
	r.settled = digits == digitsNone
}

// salvage looks for a whole frame behind or before lost or foreign bytes: no
// other part of a line has the letters that begin a classic frame.
func (r *run) salvage(line []byte, now int64, err error) {
	found := false
	for begin := 0; begin < len(line); {
		end := begin + 1
		for end < len(line) && !startsFrame(line[end]) {
			end++
		}
		if begin > 0 || end < len(line) {
			if stamp, digits, err := r.parse(line[begin:end]); err == nil {
				r.count.salvaged.Add(1)
				r.add(stamp, digits, now)
				found = true
			}
		}
		begin = end
	}
	var le *can.LineError
	switch {
	case found:
		r.badLine("line has foreign bytes or lost its end")
	case errors.As(err, &le):
		r.badLine(le.Reason)
	default:
		r.badLine("line is no frame and no answer")
	}
}

func startsFrame(c byte) bool { return c == 't' || c == 'T' || c == 'r' || c == 'R' }

func (r *run) badLine(reason string) {
	r.count.bad.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.bad) < keptBadLines {
		r.bad = append(r.bad, can.BadLine{Line: r.lines, Reason: reason})
	}
}

// add gives the frame of the latest line its time and decodes it.
func (r *run) add(stamp uint32, digits int, now int64) {
	r.count.frames.Add(1)
	if r.frame.FD {
		r.count.fd.Add(1)
	}
	w := waiting{arrival: now}
	if digits != digitsNone {
		w.adapter, w.stamped = r.clock.at(stamp, now)
		r.clock.drain(&r.count)
	}
	if r.settled {
		r.decode(&r.frame, w)
		return
	}
	if len(r.held) == 0 {
		r.first = now
	}
	w.frame = r.frame
	if r.held = append(r.held, w); len(r.held) >= settleFrames {
		r.settle()
	}
}

// settle decodes the frames that waited for the clock.
func (r *run) settle() {
	if len(r.held) > 0 {
		r.settled, r.clock.settling = true, false
	}
	for i := range r.held {
		r.decode(&r.held[i].frame, r.held[i])
	}
	r.held = nil
}

func (r *run) decode(f *can.Frame, w waiting) {
	tick := w.arrival
	if w.stamped {
		tick = r.clock.boot(w.adapter, w.arrival)
	} else {
		r.count.hostStamps.Add(1)
	}
	f.StampNS = tick
	r.dec.Add(f, tick)
	if r.raw != nil {
		r.raw.Add(f, tick)
	}
}
