// Package demo shows the whole path on one machine: a simulated car with the
// real agent, three bad links, the real receiver with everything embedded, and a
// consumer that counts what comes out.
//
// The entry point is [New], the command. The package never trusts one side: what
// was made is told by the sources, what is there is read back from Kafka by
// identity, and every value is compared with the simulation.
package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"telemetry/internal/agent"
	"telemetry/lab/link"
	"telemetry/lab/simtrack"
	"telemetry/lab/stack"
	"telemetry/sensors/sim"
)

// Options says what is shown.
type Options struct {
	For      time.Duration // how long the car drives; 0: until stopped
	Channels int           // of the car
	RateHz   int           // of its fastest channels
	Seed     uint64        // of the car, the links and what happens to them
	Keep     bool          // the folder for state is not removed
	Bin      string        // folder of edgeagent and receiver
	Live     string        // host:port of the live page; "" = a free loopback port
}

// The links: two LTE modems and one that fell back to UMTS. Together they carry
// the default car about twice.
func links(seed uint64) []stack.Link {
	spec := func(kbit int64, delay, jitter time.Duration) link.Spec {
		return link.Spec{BitRate: kbit * 1000, Delay: delay, Jitter: jitter}
	}
	return []stack.Link{
		{Name: "lte-a", Up: spec(3000, 35*time.Millisecond, 25*time.Millisecond), Down: spec(8000, 25*time.Millisecond, 15*time.Millisecond), Seed: seed},
		{Name: "lte-b", Up: spec(2000, 60*time.Millisecond, 50*time.Millisecond), Down: spec(6000, 40*time.Millisecond, 25*time.Millisecond), Seed: seed + 10},
		{Name: "umts-c", Up: spec(1200, 90*time.Millisecond, 70*time.Millisecond), Down: spec(2000, 70*time.Millisecond, 40*time.Millisecond), Seed: seed + 20},
	}
}

const carName = "demo-car"

// phaseDriving is the phase in which the script happens.
const phaseDriving = "driving"

// demo is one run.
type demo struct {
	opt    Options
	screen *Screen
	stack  *stack.Stack
	reader *Reader
	links  []stack.Link
	script Script
	told   map[int]int // owned by drive: how much was said of an incident
	begun  time.Time   // of the command
	start  time.Time   // of the drive

	mu    sync.Mutex
	phase string       // guarded by mu
	agent agent.Status // guarded by mu: the latest answer
	final bool         // guarded by mu: agent is what it said after the drain
}

// Outcome is what a run ends with.
type Outcome struct {
	Critical, Full Result
	Read           Read
	FirstData      time.Duration // from the command's start; 0: none came
	Faults         []string      // what should not be, besides missing and double
	Kept           string        // the folder for state, when it was not removed
}

// Good reports whether the run showed what it was to show.
func (o *Outcome) Good() bool {
	return o.Critical.Good() && o.Full.Good() && len(o.Faults) == 0
}

// Run drives until opt.For is over or stop is closed, then drains and counts.
// ctx ends it at once, with an error. Everything it started has ended when it
// returns, and its folder is gone unless it is to be kept or something failed.
func Run(ctx context.Context, opt Options, stop <-chan struct{}, screen *Screen) (out Outcome, err error) {
	dir, err := os.MkdirTemp("", "telemetry-demo-")
	if err != nil {
		return out, fmt.Errorf("demo: folder for state: %w", err)
	}
	d := &demo{opt: opt, screen: screen, begun: time.Now(), links: links(opt.Seed), told: map[int]int{}}
	defer func() {
		if opt.Keep || ctx.Err() == nil && (err != nil || !out.Good()) {
			out.Kept = dir
			return
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	checker, err := NewChecker(opt.car())
	if err != nil {
		return out, err
	}
	cfg, err := d.config(dir)
	if err != nil {
		return out, err
	}
	if d.stack, err = stack.Start(ctx, cfg); err != nil {
		return out, err
	}
	defer func() {
		end := d.stack.Close
		if err != nil {
			end = d.stack.Kill
		}
		err = errors.Join(err, end())
	}()
	defer context.AfterFunc(ctx, func() { _ = d.stack.Kill() })() // what waits for a child ends at once; Kill below tells errors
	if d.reader, err = OpenReader(ctx, d.stack.Brokers(), checker, slog.New(slog.DiscardHandler)); err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, d.reader.Close()) }()
	return d.run(ctx, stop)
}

// lapTime is short, so that a lap has something to be compared with within a
// minute.
const lapTime = 25 * time.Second

// car is what is simulated.
func (o *Options) car() sim.Config {
	return sim.Config{Channels: o.Channels, RateMilliHz: uint64(o.RateHz) * 1000, Seed: int64(o.Seed), LapTime: lapTime}
}

// What is shown unless something else is asked for.
const (
	usualChannels = 200
	usualRateHz   = 1000
	usualSeed     = 1
)

// Usual returns the car and the links that a demo has unless others are asked for.
func Usual() (sim.Config, []stack.Link) {
	o := Options{Channels: usualChannels, RateHz: usualRateHz, Seed: usualSeed}
	return o.car(), links(o.Seed)
}

// sectors of a lap.
const sectors = 3

func (d *demo) config(dir string) (stack.Config, error) {
	car := d.opt.car()
	session, err := simtrack.Session(car, "Demo ring", sectors)
	if err != nil && !errors.Is(err, simtrack.ErrNoPosition) {
		return stack.Config{}, err
	}
	return stack.Config{
		Dir: dir, Bin: d.opt.Bin, Car: carName, Links: d.links, LiveListen: d.opt.Live, Agent: session,
		Sources: fmt.Sprintf("- name: car\n  sim:\n    channels: %d\n    rate: %dHz\n    seed: %d\n    lap_time: %v\n", car.Channels, d.opt.RateHz, d.opt.Seed, car.LapTime),
		Windows: map[string]string{"critical": "none", "full": "none"},
	}, nil
}

// run is the demo with everything started: reading and drawing beside the story.
func (d *demo) run(ctx context.Context, stop <-chan struct{}) (Outcome, error) {
	d.start = time.Now()
	length := d.opt.For
	if length == 0 {
		length = 24 * time.Hour
	}
	d.script = WriteScript(length, len(d.links), d.opt.Seed)
	side, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	failed := make(chan error, 1)
	wg.Go(func() { // ends with side
		if err := d.reader.Run(side); err != nil {
			failed <- err
		}
	})
	wg.Go(func() { d.draw(side) }) // ends with side
	d.hello()
	err := d.drive(ctx, stop, failed)
	var out Outcome
	if err == nil {
		out, err = d.finish(ctx)
	}
	if err != nil && ctx.Err() == nil { // a part failed: what is known is told all the same
		out.Faults = append(out.Faults, err.Error())
		d.judge(&out)
		err = nil
	}
	return out, err
}

func (d *demo) say(text string) { d.screen.Say(time.Since(d.start), text) }

func (d *demo) hello() {
	if d.screen.size != nil {
		return // the summary says it all
	}
	d.say("simulated car: " + d.car())
	if u := d.stack.LiveURL(); u != "" {
		d.say("live page: " + u)
	}
	d.say("kafka: " + d.kafka())
}

func (d *demo) car() string {
	return fmt.Sprintf("%d channels, up to %d Hz, seed %d", d.opt.Channels, d.opt.RateHz, d.opt.Seed)
}

func (d *demo) kafka() string {
	return fmt.Sprintf("%s, topic telemetry.samples (embedded)", d.stack.Brokers()[0])
}

// heard notes an answer of the agent. One that was asked for before the drain
// must not replace what it said after.
func (d *demo) heard(st *agent.Status, final bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.final {
		d.agent, d.final = *st, final
	}
}

func (d *demo) setPhase(p string) {
	d.mu.Lock()
	d.phase = p
	d.mu.Unlock()
}

// drive lets the script happen until the time is over, somebody stops it, or a
// part fails.
func (d *demo) drive(ctx context.Context, stop <-chan struct{}, failed <-chan error) error {
	d.setPhase(phaseDriving)
	var end <-chan time.Time
	if d.opt.For > 0 {
		t := time.NewTimer(d.opt.For)
		defer t.Stop()
		end = t.C
	}
	for {
		at := time.Since(d.start)
		d.act(at)
		wait := time.Hour
		if next := d.script.Next(at); next > 0 {
			wait = next - at
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
			continue
		case <-end:
			d.say("time is over")
		case <-stop:
			d.say("stopped; a second Ctrl-C ends without a tally")
		case err := <-failed:
			t.Stop()
			return err
		case <-d.stack.Failed():
			t.Stop()
			return d.stack.Err()
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		}
		t.Stop()
		return nil
	}
}

// act puts every link into the state that the script has for it.
func (d *demo) act(at time.Duration) {
	for i := range d.links {
		if want := d.script.StateAt(i, at); want != d.stack.Relay(i).State() {
			d.stack.Relay(i).Set(want)
		}
	}
	for i := range d.script {
		inc := &d.script[i]
		name := d.links[inc.Link].Name
		if !inc.Told {
			continue
		}
		if inc.From <= at && d.told[i] == 0 {
			d.told[i]++
			d.say(inc.Begun(name))
		}
		if inc.To <= at && d.told[i] == 1 {
			d.told[i]++
			r := d.reader.Snapshot()
			d.say(fmt.Sprintf("%s; lost so far: %d, double: %d", inc.Ended(name), r.Gaps, r.Full.Duplicates+r.Critical.Duplicates))
		}
	}
}

// Limits of the end.
const (
	drainLimit  = 2 * time.Minute
	stopLimit   = 10 * time.Second
	stallLimit  = 15 * time.Second // nothing new is read any more
	idleConfirm = 300 * time.Millisecond
	lookEvery   = 50 * time.Millisecond
)

// finish takes no more samples, waits until all are where they belong, and
// counts.
func (d *demo) finish(ctx context.Context) (Outcome, error) {
	var out Outcome
	for i := range d.links {
		d.stack.Relay(i).Set(link.Up)
	}
	d.setPhase("draining")
	d.say("no more samples are taken; waiting until what is made is in Kafka")
	st, err := d.stack.Drain(ctx, drainLimit)
	if ctx.Err() != nil {
		return out, context.Cause(ctx)
	}
	if err != nil {
		out.Faults = append(out.Faults, err.Error())
		if st, err = d.stack.AgentStatus(ctx); err != nil {
			return out, fmt.Errorf("demo: count what was made: %w", err)
		}
	}
	d.heard(&st, true)
	if _, err := d.stack.StopAgent(stopLimit); err != nil {
		out.Faults = append(out.Faults, err.Error())
	}
	d.setPhase("counting")
	if err := d.settled(ctx, madeOf(&st)); err != nil {
		return out, err
	}
	d.judge(&out)
	return out, nil
}

// settled waits until the receiver has written everything that it will, as far as
// anybody can tell: all is there and it is idle, or nothing moves any more.
func (d *demo) settled(ctx context.Context, m made) error {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	var last uint64
	moved := time.Now()
	idleSince := time.Time{}
	for {
		r := d.reader.Snapshot()
		n := r.Critical.Records + r.Full.Records
		now := time.Now()
		if n != last {
			last, moved = n, now
		}
		if now.Sub(moved) > stallLimit {
			return nil
		}
		complete := r.Full.Samples >= m.full && r.Critical.Samples >= m.critical
		if complete && d.idle(ctx) {
			if idleSince.IsZero() {
				idleSince = now
			}
			if now.Sub(idleSince) >= idleConfirm {
				return nil
			}
		} else {
			idleSince = time.Time{}
		}
		select {
		case <-t.C:
		case <-d.stack.Failed():
			return d.stack.Err()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// judge fills in the outcome, with what the agent said last.
func (d *demo) judge(out *Outcome) {
	d.mu.Lock()
	m := madeOf(&d.agent)
	d.mu.Unlock()
	out.Read = d.reader.Final()
	out.Critical, out.Full = settle(m.critical, out.Read.Critical), settle(m.full, out.Read.Full)
	if at := out.Read.FirstAt; !at.IsZero() {
		out.FirstData = at.Sub(d.begun)
	}
	if out.Read.Wrong > 0 {
		out.Faults = append(out.Faults, fmt.Sprintf("%d values are not what the car measured; the first: %s", out.Read.Wrong, out.Read.Fault))
	} else if out.Read.Fault != "" {
		out.Faults = append(out.Faults, out.Read.Fault)
	}
	if out.Read.Gaps > 0 {
		out.Faults = append(out.Faults, fmt.Sprintf("%d gaps are reported, the last for reason %q", out.Read.Gaps, out.Read.GapReason))
	}
	if m.note != "" {
		out.Faults = append(out.Faults, m.note)
	}
	if n := d.reader.Open(); n > 0 {
		out.Faults = append(out.Faults, fmt.Sprintf("%d batches are in Kafka only in part", n))
	}
}
