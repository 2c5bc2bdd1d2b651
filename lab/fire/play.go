package fire

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"

	"telemetry/internal/agent"
	"telemetry/internal/clock"
	"telemetry/lab/crash"
	"telemetry/lab/e2e"
)

// Pace of a run.
const (
	lookEvery = 100 * time.Millisecond
	lookLimit = time.Second // for one answer: the agent may be frozen
	tellTimes = 8           // lines of progress while the log is played
	// lastBytes is how long copies may be under way when all is durable.
	lastBytes = 5 * time.Second
	// lateLimit is how much longer than the log all that happens to it may take.
	lateLimit = 3 * time.Minute
)

// strikes plans the blows for one end: all of them fall while the log is played.
func (r *run) strikes(seed uint64, kills int) []crash.Strike {
	return crash.Plan(seed, crash.Spec{
		Kills: kills, Freezes: 1, From: min(2*time.Second, r.length/10), To: r.length * 95 / 100,
		Dead: 2 * time.Second, Frozen: 5 * time.Second,
	})
}

// agentEnd is the agent as a victim. It starts again when the adapter has seen
// that its reader is gone: then nothing that one life left unread is read by the
// next.
func (r *run) agentEnd() crash.Victim {
	s := r.stack
	return crash.Victim{
		Name: "edgeagent", Kill: s.KillAgent, PID: s.AgentPID, Run: s.StartAgent,
		Stop: func() error { return s.SignalAgent(syscall.SIGSTOP) },
		Cont: func() error { return s.SignalAgent(syscall.SIGCONT) },
		Rest: func(ctx context.Context) error {
			ctx, cancel := context.WithTimeoutCause(ctx, restLimit, errors.New("fire: the adapter does not see that its reader is gone"))
			defer cancel()
			return until(ctx, 5*time.Millisecond, func() bool { return !r.bus.Stats().Reading })
		},
	}
}

func (r *run) receiverEnd() crash.Victim {
	s := r.stack
	return crash.Victim{
		Name: "receiver", Kill: s.KillReceiver, PID: s.ReceiverPID, Run: s.StartReceiver,
		Stop: func() error { return s.SignalReceiver(syscall.SIGSTOP) },
		Cont: func() error { return s.SignalReceiver(syscall.SIGCONT) },
	}
}

// until looks until something is so; the error is the cause of ctx's end.
func until(ctx context.Context, every time.Duration, so func() bool) error {
	t := time.NewTicker(every)
	defer t.Stop()
	for !so() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-t.C:
		}
	}
	return nil
}

// play lets everything happen while the log is played, then drains the agent.
func (r *run) play(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.length+lateLimit, fmt.Errorf("fire: the log lasts %v and was not played after %v", r.length, r.length+lateLimit))
	defer cancel()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	begun := time.Now()
	var wg sync.WaitGroup
	var agentOuts, receiverOuts []crash.Outage
	part := func(fn func() error) {
		wg.Go(func() { // ends with ctx
			if err := fn(); err != nil {
				fail(err)
			}
		})
	}
	strike := func(v crash.Victim, seed uint64, kills int, out *[]crash.Outage) {
		part(func() (err error) {
			*out, err = crash.Run(ctx, v, begun, r.strikes(seed, kills), clock.System{}, func(o crash.Outage) { r.tellStrike(v.Name, o) })
			return err
		})
	}
	r.say("playing %.1f s; %d kills of the agent, %d of the receiver, a freeze of each, %d troubles of links", r.length.Seconds(), r.AgentKills, r.ReceiverKills, len(troubles))
	strike(r.agentEnd(), 2*r.Seed, r.AgentKills, &agentOuts)
	strike(r.receiverEnd(), 2*r.Seed+1, r.ReceiverKills, &receiverOuts)
	part(func() error { return r.runLinks(ctx, begun, linkPlan(r.Seed, r.length)) })
	over := make(chan struct{})
	go func() { wg.Wait(); close(over) }() // ends with the parts
	err := r.watch(ctx, over)
	if err != nil {
		fail(err)
	}
	<-over
	if err := errors.Join(err, context.Cause(ctx)); err != nil {
		return err
	}
	for _, o := range agentOuts {
		if o.Kind == crash.Kill {
			r.kills++
			r.deaths = append(r.deaths, [2]int64{o.AskedNS, o.GoneNS})
		}
	}
	for _, o := range receiverOuts {
		if o.Kind == crash.Kill {
			r.kills++
		}
	}
	return nil
}

func (r *run) tellStrike(name string, o crash.Outage) {
	when := ""
	if o.Early {
		when = ", which was starting"
	}
	r.say("%s of %s%s for %.1f s", o.Kind, name, when, o.For.Seconds())
}

// watch looks at the run until the log is played, all that was planned has
// happened and the agent is drained.
func (r *run) watch(ctx context.Context, over <-chan struct{}) error {
	told, every := time.Now(), max(r.length/tellTimes, 2*time.Second)
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	var drained chan error
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-r.stack.Failed():
			return r.stack.Err()
		case err := <-drained: // nil blocks
			if err != nil {
				return err
			}
			r.say("drained: all of it is in Kafka")
			return r.finish(ctx)
		case <-t.C:
		}
		r.clock = append(r.clock, e2e.Now())
		if time.Since(told) > every {
			told = time.Now()
			r.tell(ctx)
		}
		select {
		case <-over:
		default:
			continue
		}
		if drained == nil && r.bus.Done() {
			r.say("the log is at its end; the bus waited for its reader for %.1f s", float64(r.bus.Stats().PausedNS)/1e9)
			drained = make(chan error, 1)
			go func() { // ends with the drain's limit
				_, err := r.stack.Drain(ctx, drainLimit)
				drained <- err
			}()
		}
	}
}

// tell tells how far it is.
func (r *run) tell(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	st, err := r.stack.AgentStatus(ctx)
	if err != nil {
		r.say("%d frames were on the bus; the agent does not answer", r.bus.Stats().Frames)
		return
	}
	full := st.Lanes["full"]
	r.say("%d frames were on the bus, %d batches wait (%.0f kB)", r.bus.Stats().Frames, full.Pending, float64(full.PendingBytes)/1e3)
}

// finish lets what is still under way arrive: late copies must not show either.
// Then it looks at what the agent's last life has counted.
func (r *run) finish(ctx context.Context) error {
	limit, cancel := context.WithTimeout(ctx, lastBytes)
	defer cancel()
	var st agent.Status
	var err error
	_ = until(limit, lookEvery, func() bool { // what takes longer is left
		r.clock = append(r.clock, e2e.Now())
		if st, err = r.stack.AgentStatus(ctx); err != nil {
			return true
		}
		flying := int64(0)
		for _, l := range st.Links {
			flying += l.InFlight
		}
		return flying == 0
	})
	if err != nil {
		return err
	}
	for _, s := range st.Sources {
		if s.Name == sourceName {
			r.say("agent's last life: %s; a sync took %.0f ms at most", counters(s.Counters), st.Spool.SyncMaxMS)
		}
	}
	for _, l := range st.Links {
		r.say("link %s: %-9s sent %.0f kB, resent %.0f kB, suspected %d times, dialled %d times (%d failed)",
			l.Name, l.State, float64(l.Sent)/1e3, float64(l.Resent)/1e3, l.Suspicions, l.Dials, l.DialErrors)
	}
	if lost := st.Dropped + st.Spool.LostQuota + st.Spool.LostCorrupt + st.Spool.LostDisk; lost > 0 {
		return fmt.Errorf("fire: the agent gave up %d samples or batches (dropped %d, spool %+v)", lost, st.Dropped, st.Spool)
	}
	if worst, bad := r.bed.Disturbed(); bad {
		r.say("the machine held the links up by %v at worst", worst)
	}
	return nil
}

// counters prints those of a source that are not 0.
func counters(m map[string]uint64) string {
	var out []string
	for _, name := range []string{
		"frames", "values", "frames_unknown", "frames_salvaged", "lines_bad", "lines_stale", "lines_cut", "stamps_host", "stamps_strange", "stamp_restarts", "stamp_steps", "status_overflow",
	} {
		if n := m[name]; n > 0 {
			out = append(out, fmt.Sprintf("%s %d", name, n))
		}
	}
	return strings.Join(out, ", ")
}
