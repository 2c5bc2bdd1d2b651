package can

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"telemetry/sensors"
	"telemetry/wire"
)

// The journey of a frame: Run opens the log and plays passes; play reads a
// frame, timeline gives its distance from the log's first frame, scale divides
// it by the speed; play waits until that is due and hands frames to the decoder,
// whose rows it flushes before each sleep.

// Clock is the boot clock.
type Clock interface {
	// BootNS returns ns since boot. It never goes back.
	BootNS() int64
}

// Pace of a replay.
const (
	minWake     = 10 * time.Millisecond // between wake-ups, so that rows come in runs
	maxSleep    = time.Second           // a clock that runs through a suspend is looked at again
	maxPending  = 4096                  // rows before a flush
	loopGapNS   = 1e6                   // log time between two passes
	stepBackNS  = 1e9                   // stamps that fall by more are a clock that was set
	maxSpeed    = 1e6
	minSpeed    = 1e-3
	loggedLines = 4 // bad lines named in the log per pass
	loggedIDs   = 8 // unknown ids likewise
)

// ReplayConfig says what to play and how fast.
type ReplayConfig struct {
	Path       string                        // the log; .gz and .zst are told by content
	Open       func() (io.ReadCloser, error) // used in place of Path if set
	Buses      []Bus                         // databases by interface
	Interfaces []string                      // frames of others are passed; empty: all
	Raw        bool                          // record every frame of Interfaces as it is, beside its signals
	Speed      float64                       // times as fast as recorded, in steps of 0.001; 0 means 1
	Unpaced    bool                          // as fast as rows are taken; stamps as at Speed
	Loop       bool                          // begin again at the end, for ever
	Stamps     StampMode
	MaxGap     time.Duration // a longer silence is a clock that was set, and is left out; 0 means 1 h
	Clock      Clock
	Log        *slog.Logger // nil: nothing is logged
}

// Validate reports all faults.
func (c *ReplayConfig) Validate() error {
	var errs []error
	if c.Path == "" && c.Open == nil {
		errs = append(errs, errors.New("can: replay needs the path of a log"))
	}
	if c.Clock == nil {
		errs = append(errs, errors.New("can: replay needs a clock"))
	}
	if c.Speed != 0 && !(c.Speed >= minSpeed && c.Speed <= maxSpeed) {
		errs = append(errs, fmt.Errorf("can: replay speed %v (want %v to %v)", c.Speed, minSpeed, maxSpeed))
	}
	if c.Raw && len(c.Interfaces) == 0 {
		errs = append(errs, errors.New("can: raw frames are recorded by interface, and none is named"))
	}
	if c.MaxGap < 0 {
		errs = append(errs, fmt.Errorf("can: longest gap %v is negative", c.MaxGap))
	}
	return errors.Join(errs...)
}

// Replay is a source that plays a candump log. Frame k has the boot time
//
//	start + (t[k] - t[0]) / speed
//
// to the nanosecond, computed anew for each frame; start is the boot time at
// which the log's first frame was read. Stamps that fall by up to a second, as
// between interfaces, keep their place: only rows of one group never go back.
// Stamps that fall by more, or leave a gap longer than MaxGap, are a clock that
// was set: time goes on from the frame before.
type Replay struct {
	cfg   ReplayConfig
	dec   *Decoder
	raw   map[string]*Raw // by interface; empty: frames are only decoded
	group []wire.Group
	milli uint64 // speed in thousandths
	log   *slog.Logger
	floor int64 // boot time that the next run may not start before; owned by Run

	count struct {
		lines, bad, skipped, backward, steps, damaged, passes atomic.Uint64
	}

	mu       sync.Mutex
	bad      []BadLine // guarded by mu: the first bad lines of the latest pass
	originNS [2]int64  // guarded by mu: boot and log time of the first frame
}

var (
	_ sensors.Source = (*Replay)(nil)
	_ sensors.Health = (*Replay)(nil)
)

// NewReplay checks cfg and plans the groups. It does not open the log.
func NewReplay(cfg ReplayConfig) (*Replay, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	dec, err := NewDecoder(cfg.Buses)
	if err != nil {
		return nil, err
	}
	r := &Replay{cfg: cfg, dec: dec, raw: map[string]*Raw{}, group: slices.Clone(dec.Groups()), milli: 1000, log: cfg.Log}
	for _, iface := range cfg.Interfaces {
		if cfg.Raw && r.raw[iface] == nil {
			r.raw[iface] = NewRaw(len(r.group))
			r.group = append(r.group, RawGroup(iface))
		}
	}
	if cfg.Speed != 0 {
		r.milli = uint64(math.Round(cfg.Speed * 1000))
	}
	if r.cfg.MaxGap == 0 {
		r.cfg.MaxGap = time.Hour
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	return r, nil
}

// Groups lists one group per bus and message, then those of raw frames.
func (r *Replay) Groups() []wire.Group { return r.group }

// flush hands all rows to out.
func (r *Replay) flush(out sensors.Sink) error {
	err := r.dec.Flush(out)
	for _, iface := range r.cfg.Interfaces {
		if raw := r.raw[iface]; raw != nil {
			err = errors.Join(err, raw.Flush(out))
		}
	}
	return err
}

// Unknown lists the ids that no database knows, most frames first.
func (r *Replay) Unknown(n int) []UnknownID { return r.dec.Unknown(n) }

// BadLines returns the first bad lines of the latest pass.
func (r *Replay) BadLines() []BadLine {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.bad)
}

// Origin returns the boot time and the log time of the first frame of the
// latest run, both 0 before it.
func (r *Replay) Origin() (bootNS, logNS int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.originNS[0], r.originNS[1]
}

// Counters returns what was counted over all runs.
func (r *Replay) Counters() []sensors.Counter {
	c := &r.count
	return append(r.dec.Counters(),
		sensors.Counter{Name: "lines", Help: "lines of the log", Value: c.lines.Load()},
		sensors.Counter{Name: "lines_bad", Help: "lines that are no frame", Value: c.bad.Load()},
		sensors.Counter{Name: "frames_skipped", Help: "frames of interfaces that are not played", Value: c.skipped.Load()},
		sensors.Counter{Name: "time_backward", Help: "frames stamped before the frame above", Value: c.backward.Load()},
		sensors.Counter{Name: "time_steps", Help: "jumps of the log's clock that were left out", Value: c.steps.Load()},
		sensors.Counter{Name: "logs_damaged", Help: "compressed logs that ended early", Value: c.damaged.Load()},
		sensors.Counter{Name: "passes", Help: "times that the log was played to its end", Value: c.passes.Load()})
}

// timeline turns the stamps of a log into the distance from its first frame.
type timeline struct {
	begun  bool
	offset int64 // what to add to a stamp
	high   int64 // greatest distance so far
	last   int64 // latest distance
}

// at returns the distance of a stamp in ns; backward tells that it is before the
// one above, step that the log's clock was set.
func (t *timeline) at(stamp, maxGap int64) (distance int64, backward, step bool) {
	if !t.begun {
		t.begun, t.offset = true, -stamp
	}
	d := stamp + t.offset
	backward = d < t.last
	if d < t.high-stepBackNS || d > t.high+maxGap {
		t.offset += t.high - d
		d, step = t.high, true
	}
	t.last, t.high = d, max(t.high, d)
	return d, backward, step
}

// next makes the log's first frame follow the last one of the pass before.
func (t *timeline) next(stamp int64) {
	t.high += loopGapNS
	t.offset, t.last = t.high-stamp, t.high
}

// run is the state of one Run.
type run struct {
	*Replay
	out   sensors.Sink
	time  timeline
	start int64  // boot time of the first frame
	woken int64  // boot time of the latest wake-up
	said  string // what the pass before was reported with
}

// Run plays the log. It ends without error at the log's end, or with ctx. A log
// that holds no frame at all is an error.
func (r *Replay) Run(ctx context.Context, out sensors.Sink) error {
	p := &run{Replay: r, out: out}
	for {
		frames, err := p.pass(ctx)
		if flushErr := r.flush(out); err == nil {
			err = flushErr
		}
		switch {
		case err != nil:
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return err
		case frames == 0:
			return fmt.Errorf("can: replay %s: no frame in the log: is it a candump log, and are these its interfaces?%s", r.name(), HowToConvert(r.cfg.Path))
		case !r.cfg.Loop:
			return nil
		}
	}
}

func (r *Replay) name() string {
	if r.cfg.Path == "" {
		return "log"
	}
	return r.cfg.Path
}

func (r *Replay) open() (io.ReadCloser, error) {
	if r.cfg.Open != nil {
		return r.cfg.Open()
	}
	return os.Open(r.cfg.Path)
}

// pass plays the log once and returns how many frames it played.
func (p *run) pass(ctx context.Context) (frames uint64, err error) {
	file, err := p.open()
	if err != nil {
		return 0, fmt.Errorf("can: open log: %w", err)
	}
	defer file.Close()
	reader, err := NewReader(file, p.cfg.Stamps)
	if err != nil {
		return 0, err
	}
	defer reader.Close()
	var seen ReaderStats
	defer func() { p.tally(&seen, reader.Stats()) }()
	var f Frame
	for n := 1; ; n++ {
		if n%1024 == 0 {
			p.tally(&seen, reader.Stats())
			if ctx.Err() != nil {
				return frames, ctx.Err()
			}
		}
		err := reader.Next(&f)
		if errors.Is(err, io.EOF) {
			p.report(reader.Stats())
			return frames, nil
		}
		if err != nil {
			return frames, err
		}
		if len(p.cfg.Interfaces) > 0 && !slices.Contains(p.cfg.Interfaces, f.Bus) {
			p.count.skipped.Add(1)
			continue
		}
		if frames == 0 {
			p.first(&f)
		}
		frames++
		if err := p.play(ctx, &f); err != nil {
			return frames, err
		}
	}
}

// first sets the time of a pass by its first frame.
func (p *run) first(f *Frame) {
	if p.time.begun {
		p.time.next(f.StampNS)
		return
	}
	p.start = max(p.cfg.Clock.BootNS(), p.floor)
	p.woken = p.start
	p.mu.Lock()
	p.originNS = [2]int64{p.start, f.StampNS}
	p.mu.Unlock()
	p.log.Info("replay started", "log", p.name(), "log_time_ns", f.StampNS, "boot_ns", p.start, "speed_milli", p.milli)
}

// play hands one frame to the decoder when it is due.
func (p *run) play(ctx context.Context, f *Frame) error {
	distance, backward, step := p.time.at(f.StampNS, int64(p.cfg.MaxGap))
	if backward {
		p.count.backward.Add(1)
	}
	if step {
		p.count.steps.Add(1)
	}
	due := p.start + scale(distance, p.milli)
	if p.cfg.Unpaced {
		p.floor = max(p.floor, due)
	} else if due > p.woken {
		if err := p.wait(ctx, due); err != nil {
			return err
		}
	}
	p.dec.Add(f, due)
	pending := p.dec.Pending()
	if raw := p.raw[f.Bus]; raw != nil {
		raw.Add(f, due)
		pending = max(pending, raw.Pending())
	}
	if pending < maxPending {
		return nil
	}
	return p.flush(p.out)
}

// wait flushes and sleeps until a frame is due, but always so long that rows
// come in runs. It reads the clock first: when rows were taken slowly, many
// frames are already due.
func (p *run) wait(ctx context.Context, due int64) error {
	now := p.cfg.Clock.BootNS()
	if due <= now {
		p.woken = now
		return nil
	}
	if err := p.flush(p.out); err != nil {
		return err
	}
	until := max(due, p.woken+int64(minWake))
	for {
		p.woken = p.cfg.Clock.BootNS()
		if due <= p.woken && until <= p.woken {
			return nil
		}
		timer := time.NewTimer(min(maxSleep, time.Duration(until-p.woken)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

// scale returns d*1000/milli, rounded toward zero, without overflow.
func scale(d int64, milli uint64) int64 {
	if milli == 1000 {
		return d
	}
	if d < 0 {
		return -scale(-d, milli)
	}
	whole, rest := uint64(d)/milli, uint64(d)%milli
	if whole > math.MaxInt64/1000-1 {
		return math.MaxInt64 / 2
	}
	return int64(whole*1000 + rest*1000/milli)
}

// tally adds what a reader has counted since the last call.
func (p *run) tally(seen *ReaderStats, now ReaderStats) {
	p.count.lines.Add(now.Lines - seen.Lines)
	p.count.bad.Add(now.BadLines - seen.BadLines)
	*seen = now
	p.mu.Lock()
	p.bad = now.Bad
	p.mu.Unlock()
}

// report names what was wrong with a log that has ended, unless the pass before had
// the same: a log that is played in a loop says it once.
func (p *run) report(s ReaderStats) {
	p.count.passes.Add(1)
	ids := p.dec.Unknown(loggedIDs)
	names := make([]string, len(ids))
	for i, u := range ids {
		names[i] = fmt.Sprintf("%s %X", u.Bus, u.ID)
	}
	if s.Damage != "" {
		p.count.damaged.Add(1)
	}
	c := &p.dec.count
	foreign := c.rows.Load() == 0 && c.frames.Load() > 0
	before := p.said
	if p.said = fmt.Sprint(s.Bad, s.Damage, c.cut.Load() > 0, foreign, names); p.said == before {
		return
	}
	for _, b := range s.Bad[:min(len(s.Bad), loggedLines)] {
		p.log.Warn("bad line in log", "log", p.name(), "line", b.Line, "reason", b.Reason)
	}
	if s.Damage != "" {
		p.log.Warn("compressed log ended early", "log", p.name(), "lines", s.Lines, "reason", s.Damage)
	}
	if n := c.cut.Load(); n > 0 {
		p.log.Warn("log ends inside a frame, which is left out", "log", p.name(), "lines", s.Lines, "frames_cut", n)
	}
	if foreign {
		p.log.Warn("no frame of the log is known to the database: is it the right DBC, and for this interface?",
			"log", p.name(), "frames", c.frames.Load(), "frames_unknown", c.unknown.Load(), "frames_unmapped", c.unmapped.Load())
	}
	if len(names) > 0 {
		p.log.Info("frames with ids that no database knows", "log", p.name(), "frames", c.unknown.Load(), "most", names)
	}
}
