// Package doctor looks at a receiver's machine and cluster as somebody would who is
// sent to find out why no data comes: what is wrong, why it matters, and what to do.
//
// The entry point is [Examine]. It writes nothing to the cluster, opens and closes
// the ports that nobody has, and works beside a running receiver or without one.
package doctor

import (
	"context"
	"fmt"
	"time"

	"telemetry/internal/config"
	"telemetry/receiver"
	"telemetry/receiver/kafka"
)

// Level of a finding.
type Level string

// Levels.
const (
	OK   Level = "ok"
	Warn Level = "warn" // works, but not as it should
	Fail Level = "fail" // data will not get through
)

// Finding is one thing that was looked at.
type Finding struct {
	Level Level  `json:"level"`
	What  string `json:"what"`         // "kafka: transactions"
	Why   string `json:"why"`          // what was seen, and why it matters
	Do    string `json:"do,omitempty"` // what to do about it
}

// Options of an examination.
type Options struct {
	Timeout time.Duration    // of one connection attempt; 0 means 5 s
	Now     time.Time        // zero: now
	Running *receiver.Status // what the running receiver says; nil: none answers
	// Cluster reaches Kafka; Unreachable says why there is none to ask.
	Cluster     kafka.Config
	Unreachable error
	// Watch is how long arriving records are watched to compare clocks; 0 means 2 s.
	Watch time.Duration
}

// report gathers findings.
type report struct {
	cfg  *config.Receiver
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
func Examine(ctx context.Context, cfg *config.Receiver, opt Options, each func(Finding)) []Finding {
	if opt.Timeout == 0 {
		opt.Timeout = 5 * time.Second
	}
	if opt.Now.IsZero() {
		opt.Now = time.Now()
	}
	if opt.Watch == 0 {
		opt.Watch = 2 * time.Second
	}
	r := &report{cfg: cfg, opt: opt, each: each}
	r.running()
	r.certificates()
	r.ports(ctx)
	r.disk()
	r.kafka(ctx)
	r.registry(ctx)
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

// running passes on what the running receiver says of itself.
func (r *report) running() {
	s := r.opt.Running
	if s == nil {
		r.add(Warn, "receiver", "none answers on this configuration's socket: cars are not served by this one", "start it: receiver run; or set `socket` to where it is")
		return
	}
	for _, why := range s.Waits {
		r.add(Fail, "receiver", "is not ready: "+why, "docs/receiver.md, \"What the states say\"")
	}
	for _, why := range s.Degraded {
		r.add(Warn, "receiver", why, "docs/receiver.md, \"What the states say\"")
	}
	if len(s.Waits)+len(s.Degraded) == 0 {
		r.ok("receiver", "%s runs for %.0f s and is ready", s.Name, s.UptimeS)
	}
}
