// Package doctor looks at a car's computer as somebody would who is sent to
// find out why no data comes: what is wrong, why it matters, and what to do.
//
// The entry point is [Examine]. It changes nothing but a scratch file beside the
// spool, sends nothing but connection attempts, and works beside a running agent.
package doctor

import (
	"context"
	"fmt"
	"io/fs"
	"time"

	"telemetry/board"
	"telemetry/internal/agent"
	"telemetry/internal/config"
	"telemetry/modem/mm"
)

// Level of a finding.
type Level string

// Levels.
const (
	OK   Level = "ok"
	Warn Level = "warn" // works, but not as it should
	Fail Level = "fail" // data will be missing
)

// Finding is one thing that was looked at.
type Finding struct {
	Level Level  `json:"level"`
	What  string `json:"what"`         // "link a: receiver tls://…"
	Why   string `json:"why"`          // what was seen
	Do    string `json:"do,omitempty"` // what to do about it
}

// Options of an examination.
type Options struct {
	Root    fs.FS         // root file system, for /sys and /proc
	Timeout time.Duration // of one connection attempt; 0 means 5 s
	Running bool          // an agent runs with this configuration: ports in use are no fault
	Now     time.Time
	// Links are what the running agent says of them; nil: it does not run.
	Links []agent.LinkStatus
	// Access says why this user cannot write to a path; nil: the kernel is asked.
	Access func(path string) error
	// ModemManager reports whether it runs; nil: the system's D-Bus is asked.
	ModemManager func(context.Context) (bool, error)
}

// report gathers findings.
type report struct {
	cfg  *config.Agent
	opt  Options
	out  []Finding
	each func(Finding) // told of each at once
}

func (r *report) add(l Level, what, why, do string) {
	f := Finding{Level: l, What: what, Why: why, Do: do}
	r.out = append(r.out, f)
	if r.each != nil {
		r.each(f)
	}
}

func (r *report) ok(what, format string, args ...any) {
	r.add(OK, what, fmt.Sprintf(format, args...), "")
}

// Examine looks at everything that cfg names and returns what it found, in the
// order in which data flows. each, if not nil, is told of each finding at once.
func Examine(ctx context.Context, cfg *config.Agent, opt Options, each func(Finding)) []Finding {
	if opt.Timeout == 0 {
		opt.Timeout = 5 * time.Second
	}
	if opt.Now.IsZero() {
		opt.Now = time.Now()
	}
	if opt.ModemManager == nil {
		opt.ModemManager = func(ctx context.Context) (bool, error) { return mm.Running(ctx, "") }
	}
	if opt.Access == nil {
		opt.Access = writable
	}
	r := &report{cfg: cfg, opt: opt, each: each}
	r.board()
	r.permissions()
	r.clock()
	r.sources()
	r.spool()
	r.certificates()
	r.links(ctx)
	return r.out
}

// Worst returns the gravest level among findings.
func Worst(fs []Finding) Level {
	worst := OK
	for _, f := range fs {
		if f.Level == Fail || (f.Level == Warn && worst == OK) {
			worst = f.Level
		}
	}
	return worst
}

// board looks at profile, heat and storage.
func (r *report) board() {
	found, err := board.Detect(r.opt.Root)
	if err != nil {
		r.add(Fail, "board", err.Error(), "")
		return
	}
	p, err := board.Find(r.cfg.Board)
	switch {
	case err != nil:
		r.add(Fail, "board", err.Error(), "set board to one of these")
		return
	case found.Name != "generic" && found.Name != p.Name:
		r.add(Warn, "board", fmt.Sprintf("configured as %s, looks like %s: pins may be wrong", p.Name, found.Name), "set board: "+found.Name)
	default:
		r.ok("board", "%s", p.Name)
	}
	b := board.Open(p, r.opt.Root)
	ts, err := b.Temperatures()
	if err != nil {
		r.add(Warn, "temperature", err.Error(), "")
	}
	for _, t := range ts {
		if c := t.MilliC / 1000; r.cfg.Thermal.Shed > 0 && c >= int64(r.cfg.Thermal.Shed)-10 {
			r.add(Warn, "temperature "+t.Zone, fmt.Sprintf("%d °C, load is shed from %d °C on", c, r.cfg.Thermal.Shed), "cool the board, or raise thermal.shed if it is rated for more")
		} else {
			r.ok("temperature "+t.Zone, "%d °C", c)
		}
	}
	ss, err := b.Storages()
	if err != nil {
		r.add(Warn, "storage", err.Error(), "")
	}
	for _, s := range ss {
		switch {
		case s.ReadOnly:
			r.add(Warn, "storage "+s.Device, "the kernel has made it read-only", "look at dmesg; replace a worn card")
		case s.Reserve == "urgent" || s.WearPercent >= 100:
			r.add(Fail, "storage "+s.Device, fmt.Sprintf("worn out: %d %% of its life used, reserve %s", s.WearPercent, s.Reserve), "replace it before it loses data")
		case s.WearPercent >= 80 || s.Reserve == "80% used":
			r.add(Warn, "storage "+s.Device, fmt.Sprintf("%d %% of its life used, reserve %s", s.WearPercent, s.Reserve), "plan its replacement")
		case s.WearPercent >= 0:
			r.ok("storage "+s.Device, "%d %% of its life used", s.WearPercent)
		}
	}
}
