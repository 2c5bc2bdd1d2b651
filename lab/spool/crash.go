package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
)

// Modes lists the ways to break a spool.
func Modes() []string {
	return []string{"torn", "flip", "zero", "kill", "powercut", "enospc", "eio"}
}

// CrashConfig says what is broken, how often. Mode is needed.
type CrashConfig struct {
	Mode     string
	Runs     int // 0: every place, where there are finitely many; else a default
	Seed     uint64
	Dir      string    // where the spools stand; "": memory if there is such a file system
	Encrypt  bool      // at rest
	Keep     string    // folder that gets the spools of failed runs; "": none
	Progress io.Writer // nil: none
}

// CrashResult is what a mode showed. All numbers are sums over its runs.
type CrashResult struct {
	Mode         string   `json:"mode"`
	Encrypted    bool     `json:"encrypted,omitempty"`
	Runs         int      `json:"runs"`
	Acked        int      `json:"acked"` // batches that were acknowledged
	OpenFailures int      `json:"open_failures"`
	AckedLost    int      `json:"acked_lost"`      // of them neither read back nor taken by the cloud
	Wrong        int      `json:"wrong"`           // not the bytes that were appended, or there though named as lost
	Phantom      int      `json:"phantom"`         // batches that nobody appended, or twice
	ReportedLost int      `json:"reported_lost"`   // of acked_lost, named by a loss record
	ControlLost  int      `json:"control_lost"`    // powercut: records that the raw control lost; anything but 0 is a fault of the laboratory
	Notes        []string `json:"notes,omitempty"` // what was wrong, at most 20
}

// Err says whether the result is what the spool promises.
func (r *CrashResult) Err() error {
	var errs []string
	bad := func(name string, n int) {
		if n != 0 {
			errs = append(errs, fmt.Sprintf("%s %d", name, n))
		}
	}
	bad("open_failures", r.OpenFailures)
	bad("wrong", r.Wrong)
	bad("phantom", r.Phantom)
	bad("control_lost", r.ControlLost)
	if r.Mode == "flip" || r.Mode == "zero" {
		bad("lost in silence", r.AckedLost-r.ReportedLost)
	} else {
		bad("acked_lost", r.AckedLost)
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("lab: %s broke the spool's promise: %s", r.Mode, strings.Join(errs, ", "))
}

// crash is one call of Crash.
type crash struct {
	cfg CrashConfig
	dir string
	rnd *rand.Rand
	res CrashResult
}

// Crash breaks spools as cfg says and compares what was acknowledged with what a
// fresh process reads back. The result is valid as far as it goes when the error
// says that the laboratory failed.
func Crash(ctx context.Context, cfg CrashConfig) (*CrashResult, error) {
	c := &crash{cfg: cfg, rnd: rand.New(rand.NewPCG(cfg.Seed, 4)), res: CrashResult{Mode: cfg.Mode, Encrypted: cfg.Encrypt}}
	modes := map[string]func(context.Context) error{
		"torn": c.torn, "flip": c.flip, "zero": c.zero, "kill": c.killed,
		"powercut": c.powercut, "enospc": c.enospc, "eio": c.eio,
	}
	run := modes[cfg.Mode]
	if run == nil {
		return nil, fmt.Errorf("lab: unknown mode %q (want %s)", cfg.Mode, strings.Join(Modes(), ", "))
	}
	if cfg.Runs < 0 {
		return nil, errors.New("lab: runs must not be negative")
	}
	dir, err := scratch(cfg.Dir)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	c.dir = dir
	if cfg.Encrypt {
		ctx = context.WithValue(ctx, encrypted{}, true)
	}
	if err := run(ctx); err != nil {
		return &c.res, fmt.Errorf("lab: %s: %w", cfg.Mode, err)
	}
	return &c.res, nil
}

// scratch makes a folder in memory, or where it is told to.
func scratch(dir string) (string, error) {
	if dir == "" {
		if st, err := os.Stat("/dev/shm"); err == nil && st.IsDir() {
			dir = "/dev/shm"
		}
	}
	d, err := os.MkdirTemp(dir, "labspool")
	if err != nil {
		return "", fmt.Errorf("lab: %w", err)
	}
	return d, nil
}

// runs returns how many runs are wanted.
func (c *crash) runs(otherwise int) int {
	if c.cfg.Runs > 0 {
		return c.cfg.Runs
	}
	return otherwise
}

// count adds one run's verdict.
func (c *crash) count(what string, v verdict) {
	r := &c.res
	r.Runs++
	r.Acked += v.acked
	r.AckedLost += v.lost
	r.ReportedLost += v.reported
	r.Wrong += v.wrong
	r.Phantom += v.phantom
	for _, n := range v.notes {
		c.note("%s: %s", what, n)
	}
	if c.cfg.Progress != nil && r.Runs%500 == 0 {
		fmt.Fprintf(c.cfg.Progress, "%s: %d runs\n", r.Mode, r.Runs)
	}
}

func (c *crash) note(format string, a ...any) {
	if len(c.res.Notes) < 20 {
		c.res.Notes = append(c.res.Notes, fmt.Sprintf(format, a...))
	}
}

// check reads a spool back in a fresh process and judges it.
func (c *crash) check(ctx context.Context, what string, o *oracle, spec ChildSpec) (*seen, error) {
	s, err := readBack(ctx, spec)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if errors.Is(err, errOpen) {
		c.res.OpenFailures++
		c.note("%s: %v", what, err)
		c.keep(what, spec.Dir)
	} else if err != nil {
		return nil, err
	}
	v := o.judge(s)
	c.count(what, v)
	bad := v.wrong + v.phantom + v.lost
	if c.cfg.Mode == "flip" || c.cfg.Mode == "zero" {
		bad -= v.reported
	}
	if bad > 0 {
		c.keep(what, spec.Dir)
	}
	return s, nil
}

// keep copies a spool that shows a fault.
func (c *crash) keep(what, dir string) {
	if c.cfg.Keep == "" {
		return
	}
	to := c.cfg.Keep + "/" + strings.Map(func(r rune) rune {
		if slices.Contains([]rune(" /:,"), r) {
			return '_'
		}
		return r
	}, what)
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		c.note("%s: not kept: %v", what, err)
	}
}
