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
	"telemetry/internal/checkup"
	"telemetry/internal/config"
	"telemetry/modem/mm"
)

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

// report is an examination under way.
type report struct {
	checkup.Report
	cfg *config.Agent
	opt Options
}

// Examine looks at everything that cfg names and returns what it found, in the
// order in which data flows. each, if not nil, is told of each finding at once.
func Examine(ctx context.Context, cfg *config.Agent, opt Options, each func(checkup.Finding)) []checkup.Finding {
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
	r := &report{Report: checkup.Report{Each: each}, cfg: cfg, opt: opt}
	r.board()
	r.permissions()
	r.clock()
	r.sources()
	r.spool()
	r.certificates()
	r.links(ctx)
	return r.Findings
}

// board looks at profile, heat and storage.
func (r *report) board() {
	found, err := board.Detect(r.opt.Root)
	if err != nil {
		r.Add(checkup.Fail, "board", err.Error(), "")
		return
	}
	p, err := board.Find(r.cfg.Board)
	switch {
	case err != nil:
		r.Add(checkup.Fail, "board", err.Error(), "set board to one of these")
		return
	case found.Name != "generic" && found.Name != p.Name:
		r.Add(checkup.Warn, "board", fmt.Sprintf("configured as %s, looks like %s: pins may be wrong", p.Name, found.Name), "set board: "+found.Name)
	default:
		r.OK("board", "%s", p.Name)
	}
	b := board.Open(p, r.opt.Root)
	ts, err := b.Temperatures()
	if err != nil {
		r.Add(checkup.Warn, "temperature", err.Error(), "")
	}
	for _, t := range ts {
		if c := t.MilliC / 1000; r.cfg.Thermal.Shed > 0 && c >= int64(r.cfg.Thermal.Shed)-10 {
			r.Add(checkup.Warn, "temperature "+t.Zone, fmt.Sprintf("%d °C, load is shed from %d °C on", c, r.cfg.Thermal.Shed), "cool the board, or raise thermal.shed if it is rated for more")
		} else {
			r.OK("temperature "+t.Zone, "%d °C", c)
		}
	}
	ss, err := b.Storages()
	if err != nil {
		r.Add(checkup.Warn, "storage", err.Error(), "")
	}
	for _, s := range ss {
		switch {
		case s.ReadOnly:
			r.Add(checkup.Warn, "storage "+s.Device, "the kernel has made it read-only", "look at dmesg; replace a worn card")
		case s.Reserve == "urgent" || s.WearPercent >= 100:
			r.Add(checkup.Fail, "storage "+s.Device, fmt.Sprintf("worn out: %d %% of its life used, reserve %s", s.WearPercent, s.Reserve), "replace it before it loses data")
		case s.WearPercent >= 80 || s.Reserve == "80% used":
			r.Add(checkup.Warn, "storage "+s.Device, fmt.Sprintf("%d %% of its life used, reserve %s", s.WearPercent, s.Reserve), "plan its replacement")
		case s.WearPercent >= 0:
			r.OK("storage "+s.Device, "%d %% of its life used", s.WearPercent)
		}
	}
}
