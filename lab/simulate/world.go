// Package simulate runs the whole system under one seed: the real spool, uplink,
// ingest service, sequencer and reorder, with models of disk, links, MQTT
// and Kafka between them, in virtual time, while faults happen to all of them.
//
// The entry point is [Run], inside a testing/synctest bubble: [NewPlan] turns a
// seed into a [Plan], which names the shape of the system and every fault; the
// same plan gives the same run, to the last event. The oracle knows what every
// car has handed to its spool, and checks every message, record and commit
// against that while the run goes on, and everything once it has ended.
//
// It never sleeps in real time, and it never touches a disk or a network.
package simulate

import (
	"container/heap"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"telemetry/lab/simulate/kafkasim"
	"telemetry/receiver/topic"
)

const (
	ms  = int64(time.Millisecond)
	sec = int64(time.Second)
)

// Options of one run.
type Options struct {
	// Trace gets every event; nil means no trace.
	Trace func(line string)
	// Logs adds what the code itself logs to the trace.
	Logs bool
}

// Result is what one run found.
type Result struct {
	Seed       uint64
	Violations []string       // empty: all invariants held
	Coverage   map[string]int // how often each kind of fault had an effect
	Stats      map[string]int // what was carried
	Virtual    time.Duration
	Digest     uint64 // of all outputs, in order
}

// world is everything of one run. It belongs to the loop of the goroutine that
// called Run, which holds mu but while it waits; goroutines of the agents have it by
// act, others only reach what says so.
type world struct {
	plan  *Plan
	opt   Options
	began time.Time
	q     eventQueue
	n     int
	names topic.Names
	log   *slog.Logger
	ctx   context.Context
	stop  context.CancelFunc
	wg    sync.WaitGroup // every goroutine that a life or a receiver has started

	wake chan struct{} // capacity 1: something happened between two events

	mu     sync.Mutex // guards what is below and all models; held by who acts
	asleep int64      // the loop sleeps until then
	kafka  *kafkasim.Cluster
	boxes  []*box
	ends   []*endpoint
	rcvs   []*receiver
	o      *oracle
	rngs   map[string]*rand.Rand

	traceMu    sync.Mutex
	coverage   map[string]int
	reread     int  // batches that sequencers have read again
	calm       bool // the faults are over
	forksEnded bool // the operator has ended the forks
	done       bool
}

type simEvent struct {
	at int64
	n  int
	do func()
}

type eventQueue []simEvent

func (q eventQueue) Len() int      { return len(q) }
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(x any)   { *q = append(*q, x.(simEvent)) }
func (q eventQueue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].n < q[j].n
}

func (q *eventQueue) Pop() any {
	o := *q
	x := o[len(o)-1]
	o[len(o)-1] = simEvent{}
	*q = o[:len(o)-1]
	return x
}

// now is the virtual time since the run began, ns.
func (w *world) now() int64 { return int64(time.Since(w.began)) }

// after does something later; a negative time means at once.
func (w *world) after(d int64, do func()) {
	w.n++
	heap.Push(&w.q, simEvent{w.now() + max(d, 0), w.n, do})
}

// rng returns the generator of one purpose: what one part draws never moves what
// another one draws, so that a plan with a fault less stays like the whole.
func (w *world) rng(purpose string) *rand.Rand {
	r := w.rngs[purpose]
	if r == nil {
		r = rand.New(rand.NewPCG(w.plan.Seed, hash(purpose)))
		w.rngs[purpose] = r
	}
	return r
}

func hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// tracef notes an event. Safe for any goroutine of the bubble.
func (w *world) tracef(format string, args ...any) {
	if w.opt.Trace != nil {
		w.traceMu.Lock()
		defer w.traceMu.Unlock()
		w.opt.Trace(fmt.Sprintf("%10.3f ms  ", float64(w.now())/1e6) + fmt.Sprintf(format, args...))
	}
}

// happened counts the effect of a fault.
func (w *world) happened(kind Kind) { w.coverage[string(kind)]++ }

// notify wakes the loop. Safe for any goroutine.
func (w *world) notify() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// act gives the world to a goroutine of an agent for a moment.
func (w *world) act(f func()) {
	w.mu.Lock()
	f()
	sooner := len(w.q) > 0 && w.q[0].at < w.asleep || len(w.o.violations) > 0
	w.mu.Unlock()
	if sooner {
		w.notify()
	}
}

// rest waits until all goroutines of this instant have come to rest.
func (w *world) rest() { w.outside(synctest.Wait) }

// outside calls what may need the world itself.
func (w *world) outside(f func()) {
	w.mu.Unlock()
	defer w.mu.Lock()
	f()
}

// Run carries out a plan. It must be called inside a synctest bubble.
func Run(plan *Plan, opt Options) *Result {
	w := newWorld(plan, opt)
	defer w.end()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.build()
	w.loop()
	w.o.final()
	w.countEffects()
	res := &Result{
		Seed: plan.Seed, Violations: w.o.violations, Coverage: w.coverage, Stats: w.o.stats(),
		Virtual: time.Duration(w.now()), Digest: w.o.digest,
	}
	return res
}

func newWorld(plan *Plan, opt Options) *world {
	w := &world{
		plan: plan, opt: opt, began: time.Now(), names: topic.NewNames(""), wake: make(chan struct{}, 1),
		rngs: map[string]*rand.Rand{}, coverage: map[string]int{},
	}
	w.log = w.logOf(func() bool { return true })
	w.ctx, w.stop = context.WithCancel(context.Background())
	w.o = newOracle(w)
	return w
}

// logOf returns a log that goes into the trace while somebody lives.
func (w *world) logOf(lives func() bool) *slog.Logger {
	if !w.opt.Logs || w.opt.Trace == nil {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(traceWriter{w, lives}, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// traceWriter puts lines of a log into the trace.
type traceWriter struct {
	w     *world
	lives func() bool
}

func (t traceWriter) Write(b []byte) (int, error) {
	if !t.lives() {
		return len(b), nil
	}
	_, line, _ := strings.Cut(strings.TrimSuffix(string(b), "\n"), " ")
	t.w.tracef("log %s", line)
	return len(b), nil
}

// build makes the system and schedules the plan.
func (w *world) build() {
	p := w.plan
	w.kafka = kafkasim.New(kafkasim.Options{Partitions: p.Partitions, Atomic: !p.Embedded, Seed: p.Seed, Names: w.names, Trace: w.tracef})
	w.o.outs = append(w.o.outs, newOutcome(w.o, w.kafka, w.names))
	if p.Two {
		names := topic.NewOutput("", "group", "second", "").Names
		x := newOutcome(w.o, w.kafka.Beside(names), names)
		x.no, x.sealed, x.wait, x.noWindow = 1, true, p.Window2, p.Window2 == 0
		w.o.outs = append(w.o.outs, x)
	}
	w.buildReceivers()
	for i := range p.Cars {
		w.boxes = append(w.boxes, newBox(w, fmt.Sprintf("car-%d", i+1), i))
	}
	for _, b := range w.boxes {
		w.after(w.rng("boot").Int64N(300*ms), b.powerOn)
	}
	for i := range p.Faults {
		if !p.dropped(i) {
			f := &p.Faults[i]
			w.after(int64(f.At), func() { w.strike(f) })
		}
	}
	w.after(int64(p.CalmAt), w.calmDown)
}

// loop lets virtual time pass from event to event until everything that the cars
// have is where it belongs, or the time for that is over.
func (w *world) loop() {
	t := time.NewTimer(0)
	defer t.Stop()
	for !w.done && len(w.q) > 0 && len(w.o.violations) == 0 {
		if d := w.q[0].at - w.now(); d > 0 {
			w.asleep = w.q[0].at
			t.Reset(time.Duration(d))
			w.outside(func() {
				select {
				case <-t.C:
				case <-w.wake:
				}
			})
			w.asleep = 0
		}
		// What else woke at this instant goes first, to its end.
		w.rest()
		w.collect()
		for len(w.q) > 0 && w.q[0].at <= w.now() && !w.done {
			ev := heap.Pop(&w.q).(simEvent)
			ev.do()
			w.rest()
			w.collect()
		}
	}
}

// collect takes over what other goroutines have done since the last event.
func (w *world) collect() {
	for _, r := range w.rcvs {
		r.collect()
	}
	for _, b := range w.boxes {
		b.collect()
	}
	for _, k := range w.kafka.TakeCommits() {
		w.o.outs[k.Output].commit(&k)
	}
}

// end stops everything that runs.
func (w *world) end() {
	for _, b := range w.boxes {
		b.abandon()
	}
	for _, r := range w.rcvs {
		r.abandon()
	}
	w.stop()
	w.wg.Wait()
}

// settleEvery is how often the end of a run is looked for.
const settleEvery = 100 * ms

// calmDown ends all faults: from here on everything must come right, within the
// plan's bound.
func (w *world) calmDown() {
	w.calm = true
	w.tracef("CALM: the faults are over")
	w.heal()
	w.after(2*sec, w.abandonRetired)
	w.after(int64(w.plan.Tail), func() {
		for _, b := range w.boxes {
			b.quiet = true
		}
		w.tracef("the sources are silent")
	})
	w.after(int64(w.plan.Tail)+settleEvery, w.settled)
}

// settled ends the run when nothing is left to do.
func (w *world) settled() {
	why := w.unsettled()
	switch {
	case why == "":
		w.tracef("everything has arrived")
		w.done = true
	case w.now() > int64(w.plan.CalmAt+w.plan.Bound):
		w.o.violate("progress", "%v after the last fault: %s", w.plan.Bound, why)
		w.done = true
	default:
		w.after(settleEvery, w.settled)
	}
}

// unsettled says what is not where it belongs, "" when all is.
func (w *world) unsettled() string {
	for _, b := range w.boxes {
		if why := b.unsettled(); why != "" {
			return why
		}
	}
	for _, r := range w.rcvs {
		if why := r.unsettled(); why != "" {
			return why
		}
	}
	if !w.forksEnded {
		w.endForks()
	}
	for _, x := range w.o.outs {
		for part := range w.plan.Partitions {
			if _, group, end := x.kafka.Bounds(part); group < end && end > 0 {
				return fmt.Sprintf("partition %d: the group%s is at %d of %d", part, x.suffix(), group, end)
			}
		}
	}
	return ""
}
