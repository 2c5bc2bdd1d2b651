package e2e

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"telemetry/internal/agent"
	"telemetry/lab/link"
)

// Pace of a run.
const (
	lookEvery = 100 * time.Millisecond
	tellTimes = 10 // lines of progress while the log is played
	// lastBytes is how long copies may be under way over a link that came back.
	lastBytes = 5 * time.Second
)

// event is something done to a link at a time after the start.
type event struct {
	at    time.Duration
	role  role
	state link.State
	what  string
}

// role is which of the two outages an event belongs to. The link is chosen when
// the outage begins: the one that carries most by then, to hurt most.
type role int

const (
	silenced role = iota
	closed
)

// plan spreads the outages over the middle of the log: one link is silenced, one
// is closed and opened again. They may outlive a short log.
func (r *run) plan() []event {
	silence, shut := r.length*30/100, r.length*45/100
	length := max(r.Silence/4, r.length/10)
	events := []event{
		{silence, silenced, link.Silent, fmt.Sprintf("silent for %v", r.Silence)},
		{shut, closed, link.Down, fmt.Sprintf("closed for %v", length.Round(time.Millisecond))},
		{shut + length, closed, link.Up, "open again"},
		{silence + r.Silence, silenced, link.Up, "heard again"},
	}
	slices.SortStableFunc(events, func(a, b event) int { return cmp.Compare(a.at, b.at) })
	return events
}

// busiest returns the link that sent most lately and is not in an outage.
func (r *run) busiest(st agent.Status) int {
	best, most := -1, uint64(0)
	for i, l := range st.Links {
		if lately := l.Sent - r.sent[i]; r.stack.Relay(i).State() == link.Up && (best < 0 || lately > most) {
			best, most = i, lately
		}
	}
	return best
}

// play watches the log being played, does to the links what the plan says, and
// drains the agent when the log is at its end.
func (r *run) play(ctx context.Context) error {
	begun, told := time.Now(), time.Now()
	tellEvery := min(max(r.length/tellTimes, time.Second), 10*time.Second)
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	var drained chan error
	for events := r.plan(); ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.stack.Failed():
			return r.stack.Err()
		case err := <-drained:
			if err != nil {
				return err
			}
			r.say("drained: all of it is in Kafka")
			return r.finish(ctx, begun, events)
		case <-t.C:
		}
		r.clock = append(r.clock, Now())
		if drained == nil { // until the log's end: that is what the target is for
			r.memory.look(r.stack.AgentPID())
		}
		st, err := r.stack.AgentStatus(ctx)
		if err != nil {
			return err
		}
		events = r.due(events, time.Since(begun), st)
		if time.Since(told) > tellEvery {
			told = time.Now()
			r.tell(st)
		}
		if drained == nil && atEnd(st) {
			r.say("the log is at its end; %s", r.memory)
			drained = make(chan error, 1)
			go func() { // ends with the drain's limit
				_, err := r.stack.Drain(ctx, drainLimit)
				drained <- err
			}()
		}
		if s, err := source(st); err != nil || s.Restarts > 0 {
			return errors.Join(err, fmt.Errorf("e2e: the replay failed and began anew: %s", s.Error))
		}
	}
}

// due does what is due by now and returns the rest.
func (r *run) due(events []event, since time.Duration, st agent.Status) []event {
	for len(events) > 0 && events[0].at <= since {
		ev := events[0]
		if ev.state != link.Up {
			r.hurt[ev.role] = r.busiest(st)
		}
		i := r.hurt[ev.role]
		r.stack.Relay(i).Set(ev.state)
		r.say("link %s: %s", st.Links[i].Name, ev.what)
		events = events[1:]
	}
	return events
}

// finish lets the outages end and what is still under way arrive: late copies
// must not show either. Then it looks at what the agent has counted.
func (r *run) finish(ctx context.Context, begun time.Time, events []event) error {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	var over time.Time // when the last outage ended
	for {
		r.clock = append(r.clock, Now())
		st, err := r.stack.AgentStatus(ctx)
		if err != nil {
			return err
		}
		if events = r.due(events, time.Since(begun), st); len(events) == 0 && over.IsZero() {
			over = time.Now()
		}
		flying := int64(0)
		for _, l := range st.Links {
			flying += l.InFlight
		}
		if !over.IsZero() && (flying == 0 || time.Since(over) > lastBytes) {
			return r.tally(st)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.stack.Failed():
			return r.stack.Err()
		case <-t.C:
		}
	}
}

// tally prints the agent's final counters; a sample that it gave up is an error.
func (r *run) tally(st agent.Status) error {
	s, err := source(st)
	if err != nil {
		return err
	}
	var counters []string
	for _, name := range []string{"frames", "values", "frames_unknown", "frames_unmapped", "frames_length", "frames_cut", "lines_bad", "ticks_raised", "time_steps"} {
		if n := s.Counters[name]; n > 0 {
			counters = append(counters, fmt.Sprintf("%s %d", name, n))
		}
	}
	r.say("agent: %s", strings.Join(counters, ", "))
	for _, l := range st.Links {
		r.say("link %s: %-9s sent %.0f kB, resent %.0f kB, suspected %d times, dialled %d times (%d failed)",
			l.Name, l.State, float64(l.Sent)/1e3, float64(l.Resent)/1e3, l.Suspicions, l.Dials, l.DialErrors)
	}
	if lost := st.Dropped + st.Spool.LostQuota + st.Spool.LostCorrupt + st.Spool.LostDisk; lost > 0 {
		return fmt.Errorf("e2e: the agent gave up %d samples or batches (dropped %d, spool %+v)", lost, st.Dropped, st.Spool)
	}
	return nil
}

func (r *run) tell(st agent.Status) {
	s, _ := source(st) // a missing one is told by play
	full := st.Lanes["full"]
	for i, l := range st.Links {
		r.sent[i] = l.Sent
	}
	r.say("%d values decoded, %d batches wait (%.0f kB)", s.Counters["values"], full.Pending, float64(full.PendingBytes)/1e3)
}

// atEnd reports whether the replay is at the log's end.
func atEnd(st agent.Status) bool {
	s, err := source(st)
	return err == nil && s.State == "done"
}

// Sample pairs the machine's clocks.
type Sample struct{ Boot, UTC, Width int64 }

// MarshalJSON writes a sample as a list.
func (s Sample) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "[%d,%d,%d]", s.Boot, s.UTC, s.Width), nil
}

// Now reads the clocks as close together as it can: this is the truth about UTC
// that rows are held against.
func Now() Sample {
	best := Sample{Width: 1 << 62}
	for range 5 {
		before := read(unix.CLOCK_BOOTTIME)
		utc := read(unix.CLOCK_REALTIME)
		after := read(unix.CLOCK_BOOTTIME)
		if after-before < best.Width {
			best = Sample{Boot: before + (after-before)/2, UTC: utc, Width: after - before}
		}
	}
	return best
}

func read(id int32) int64 {
	var ts unix.Timespec
	// The call cannot fail for these clocks on any kernel that Go supports.
	_ = unix.ClockGettime(id, &ts)
	return ts.Nano()
}

// memory is what a process has resided in, bytes.
type memory struct{ now, peak, high int64 }

// look reads /proc; a process that is gone leaves the figures as they are.
func (m *memory) look(pid int) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return
	}
	for sc := bufio.NewScanner(bytes.NewReader(b)); sc.Scan(); {
		name, rest, _ := strings.Cut(sc.Text(), ":")
		if name != "VmRSS" && name != "VmHWM" {
			continue
		}
		kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		switch {
		case err != nil:
		case name == "VmRSS":
			m.now, m.peak = kb<<10, max(m.peak, kb<<10)
		default:
			m.high = kb << 10
		}
	}
}

// String tells the figures against the target.
func (m memory) String() string {
	s := fmt.Sprintf("edgeagent resides in %.1f MB, at most %.1f MB (VmHWM)", float64(m.now)/1e6, float64(m.high)/1e6)
	if m.high > memoryTarget {
		return s + fmt.Sprintf(": OVER the target of %d MB", memoryTarget>>20)
	}
	return s
}
