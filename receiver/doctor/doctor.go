// Package doctor looks at a receiver's machine and cluster as somebody would who is
// sent to find out why no data comes: what is wrong, why it matters, and what to do.
//
// The entry point is [Examine]. It writes nothing to the cluster, opens and closes
// the ports that nobody has, and works beside a running receiver or without one.
package doctor

import (
	"context"
	"time"

	"telemetry/internal/checkup"
	"telemetry/internal/config"
	"telemetry/receiver"
	"telemetry/receiver/kafka"
)

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

// report is an examination under way.
type report struct {
	checkup.Report
	cfg *config.Receiver
	opt Options
}

// Examine looks at everything that cfg names and returns what it found, in the
// order in which data flows. each, if not nil, is told of each finding at once.
func Examine(ctx context.Context, cfg *config.Receiver, opt Options, each func(checkup.Finding)) []checkup.Finding {
	if opt.Timeout == 0 {
		opt.Timeout = 5 * time.Second
	}
	if opt.Now.IsZero() {
		opt.Now = time.Now()
	}
	if opt.Watch == 0 {
		opt.Watch = 2 * time.Second
	}
	r := &report{Report: checkup.Report{Each: each}, cfg: cfg, opt: opt}
	r.running()
	r.certificates()
	r.ports(ctx)
	r.disk()
	r.kafka(ctx)
	r.registry(ctx)
	return r.Findings
}

// running passes on what the running receiver says of itself.
func (r *report) running() {
	s := r.opt.Running
	if s == nil {
		r.Add(checkup.Warn, "receiver", "none answers on this configuration's socket: cars are not served by this one", "start it: receiver run; or set `socket` to where it is")
		return
	}
	for _, why := range s.Waits {
		r.Add(checkup.Fail, "receiver", "is not ready: "+why, "docs/receiver.md, \"What the states say\"")
	}
	for _, why := range s.Degraded {
		r.Add(checkup.Warn, "receiver", why, "docs/receiver.md, \"What the states say\"")
	}
	if len(s.Waits)+len(s.Degraded) == 0 {
		r.OK("receiver", "%s runs for %.0f s and is ready", s.Name, s.UptimeS)
	}
}
