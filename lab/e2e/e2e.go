// Package e2e plays a CAN log through the real edgeagent, three bad links and
// the real receiver, and has what arrives in Kafka compared with the log by
// programs that are not ours: cantools and confluent-kafka (check.py).
//
// The entry point is [Run]. The package never looks into the outputs itself, so
// that no mistake of ours can hide another one.
package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"telemetry/internal/agent"
	"telemetry/lab/link"
	"telemetry/lab/stack"
)

// Config says what is played. Bin, Log, DBC, Python and Scripts are needed.
type Config struct {
	Bin       string // folder of edgeagent and receiver
	Log, DBC  string
	OracleDBC string        // what cantools reads; "" is DBC
	Speed     float64       // times as fast as recorded; 0 means 10
	Play      time.Duration // the log is cut to what fits; 0: all of it
	Silence   time.Duration // how long a link says nothing; 0 means 10 s
	Kafka     string        // name of the Kafka in the result
	Brokers   []string      // nil: embedded
	Python    string        // interpreter with cantools and confluent-kafka
	Scripts   string        // folder of check.py
	Dir       string        // state and logs; "": a new one, removed after success
	Cache     string        // where the decoded log is kept; "" is Dir
	Progress  io.Writer     // for people
}

// Result is the line that a run prints.
type Result struct {
	Kafka          string  `json:"kafka"`
	Expected       int64   `json:"expected"`  // values that the log holds
	Delivered      int64   `json:"delivered"` // values that arrived, second copies not counted
	Missing        int64   `json:"missing"`
	Duplicates     int64   `json:"duplicates"`
	ValueErrors    int64   `json:"value_errors"`
	MaxTimeErrorUS float64 `json:"max_time_error_us"` // of the boot times, against the log's
	Seconds        float64 `json:"seconds"`           // the whole run
}

// Names that the configurations of a run use.
const (
	carName    = "e2e-car"
	sourceName = "bus"
	prefix     = "telemetry"
	links      = 3
)

// Limits of waiting.
const (
	startLimit  = 60 * time.Second
	drainLimit  = 10 * time.Minute // the agent's own bound; a log played too fast for the links needs it
	settleLimit = 90 * time.Second
)

// memoryTarget is the resident memory that edgeagent should stay below.
const memoryTarget = 64 << 20

// ErrDiffers says that what arrived is not what the log says.
var ErrDiffers = errors.New("e2e: what arrived differs from the log")

// run is one run under way.
type run struct {
	Config
	dir    string
	begun  time.Time
	stack  *stack.Stack
	clock  []Sample
	memory memory
	length time.Duration // that the log plays
	sent   [links]uint64 // by link: bytes sent when last told
	hurt   [2]int        // by role: the link
}

// Run plays the log once. A result is returned whenever outputs were compared,
// together with [ErrDiffers] when they differ.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	r := &run{Config: cfg, begun: time.Now()}
	if r.Speed == 0 {
		r.Speed = 10
	}
	if r.Silence == 0 {
		r.Silence = 10 * time.Second
	}
	if r.OracleDBC == "" {
		r.OracleDBC = r.DBC
	}
	if r.Progress == nil {
		r.Progress = io.Discard
	}
	dir, remove, err := StateDir(r.Dir, "e2e")
	if err != nil {
		return nil, err
	}
	r.dir = dir
	res, err := r.all(ctx)
	if err != nil {
		r.say("state and logs of this run are in %s", r.dir)
		return res, err
	}
	return res, remove()
}

// StateDir returns the folder of a run: dir, which stays, or a temporary one that
// remove takes away.
func StateDir(dir, name string) (path string, remove func() error, err error) {
	if dir == "" {
		path, err = os.MkdirTemp("", name)
		remove = func() error { return os.RemoveAll(path) }
	} else {
		if path, err = filepath.Abs(dir); err == nil {
			err = os.MkdirAll(path, 0o755)
		}
		remove = func() error { return nil }
	}
	if err != nil {
		return "", nil, fmt.Errorf("%s: folder for state: %w", name, err)
	}
	return path, remove, nil
}

// say writes a line for people.
func (r *run) say(format string, args ...any) {
	// Nobody to read it is no reason to stop.
	_, _ = fmt.Fprintf(r.Progress, "e2e: %5.1f s  "+format+"\n", append([]any{time.Since(r.begun).Seconds()}, args...)...)
}

func (r *run) all(ctx context.Context) (res *Result, err error) {
	if err := r.prepareLog(); err != nil {
		return nil, err
	}
	if err := fits(r.Log, r.DBC); err != nil {
		return nil, err
	}
	if err := r.decode(ctx); err != nil {
		return nil, err
	}
	start, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if r.stack, err = stack.Start(start, r.stackConfig()); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.stack.Close()) }()
	r.say("playing %s at x%g, %.1f s; Kafka %s", filepath.Base(r.Log), r.Speed, r.length.Seconds(), r.Kafka)
	if err := r.play(ctx); err != nil {
		return nil, err
	}
	return r.compare(ctx)
}

// stackConfig lays out the car, its links and the receiver. Nothing is given up:
// the sequencer's windows are open for ever.
func (r *run) stackConfig() stack.Config {
	mbit := func(up int64, delay time.Duration) (a, b link.Spec) {
		s := link.Spec{BitRate: up * 1e6, Delay: delay, Jitter: delay / 4}
		return s, s
	}
	cfg := stack.Config{
		Dir: r.dir, Bin: r.Bin, Car: carName, Brokers: r.Brokers, Prefix: prefix, LiveListen: "off",
		Windows: map[string]string{"critical": "none", "full": "none"},
		Sources: fmt.Sprintf("- name: %s\n  candump:\n    file: %q\n    dbc: %q\n    speed: x%g\n", sourceName, r.Log, r.DBC, r.Speed),
	}
	for i := range links {
		l := stack.Link{Name: string(rune('a' + i)), Seed: uint64(i + 1)}
		l.Up, l.Down = mbit(int64(10-2*i), time.Duration(20+10*i)*time.Millisecond)
		cfg.Links = append(cfg.Links, l)
	}
	return cfg
}

// source returns the status of the replay.
func source(st agent.Status) (agent.SourceStatus, error) {
	for _, s := range st.Sources {
		if s.Name == sourceName {
			return s, nil
		}
	}
	return agent.SourceStatus{}, fmt.Errorf("e2e: the agent has no source %q", sourceName)
}
