package simulate

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"telemetry/lab/simulate/kafkasim"
	"telemetry/receiver/ingest"
	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/jsonrow"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// receiver is one instance: an ingest core and a sequencer in one process.
type receiver struct {
	w      *world
	no     int
	end    *endpoint // its own broker, or the one in front of all
	rng    *rand.Rand
	starts int

	// Of one start; core is nil while it is dead.
	core     *ingest.Core
	proc     *kafkasim.Process
	cancel   context.CancelFunc
	budget   *sequence.Budget
	run      *sequence.Runner
	frozen   bool
	draining bool
	shares   bool     // has its share of the external broker's messages
	inbox    []func() // what came while it was frozen
	tickAt   int64
	lastDone int64 // when Kafka has the newest record: the producer keeps its order
	known    int   // catalogues that it has been told of
	failNext int   // so many records yet are refused by Kafka for now
	refuse   int   // so many records yet can never be taken
}

func (w *world) buildReceivers() {
	if w.plan.External {
		w.ends = append(w.ends, &endpoint{w: w, addr: "tcp://broker:1883"})
	}
	for i := range w.plan.Instances {
		r := &receiver{w: w, no: i, rng: w.rng(fmt.Sprint("receiver-", i))}
		if w.plan.External {
			r.end = w.ends[0]
		} else {
			r.end = &endpoint{w: w, addr: fmt.Sprintf("tcp://pit%d:1883", i), owner: r}
			w.ends = append(w.ends, r.end)
		}
		w.rcvs = append(w.rcvs, r)
		r.start()
	}
}

func (r *receiver) String() string { return fmt.Sprint("pit", r.no) }

// start starts the process.
func (r *receiver) start() {
	if r.core != nil {
		return
	}
	w := r.w
	r.starts++
	r.core = ingest.NewCore(ingest.Config{
		Instance: r.String(), Nonce: r.rng.Uint64() | 1, Names: w.names, Shared: w.plan.External,
		CarCredit: carCredit, TotalCredit: 2 * carCredit,
	})
	r.frozen, r.shares, r.inbox, r.tickAt, r.known, r.lastDone = false, true, nil, 0, 0, 0
	r.failNext, r.refuse = 0, 0
	r.proc = w.kafka.NewProcess(fmt.Sprint(r, ".", r.starts))
	ctx, cancel := context.WithCancel(w.ctx)
	r.cancel = cancel
	run, err := sequence.NewRunner(w.sequenceConfig(r), r.proc.Backend())
	if err != nil {
		panic("simulate: internal error: " + err.Error())
	}
	r.run, r.draining = run, false
	w.tracef("%s starts (%d)", r, r.starts)
	w.wg.Go(func() { _ = run.Run(ctx) })
	core := r.core
	w.after(r.rng.Int64N(20*ms), func() { r.loaded(core) })
	r.tick(core)
}

// carCredit is as small as the core takes it.
const carCredit = 4 * wire.MaxBatchBytes

func (w *world) sequenceConfig(r *receiver) sequence.Config {
	c := sequence.Defaults()
	c.Topics, c.NewFormat = w.names, func() sequence.Format { return jsonrow.New() }
	c.Clock = sequence.NewSystemClock()
	c.Log = w.log.With("instance", r.String())
	c.Budget, c.CarBytes = sequence.NewBudget(w.plan.HeldBytes), max(1, w.plan.HeldBytes)
	r.budget = c.Budget
	c.CommitBytes = 8 << 10
	window := w.plan.Window
	if w.plan.NoWindow {
		window = -1
	}
	c.Reorder.Windows[wire.LaneCritical], c.Reorder.Windows[wire.LaneFull] = window, window
	c.Reorder.AnchorWait = w.plan.AnchorWait
	c.Reorder.Retention, c.Reorder.Forget = retention, 2*retention
	return c
}

// retention of telemetry.batches, which the plan's faults make short.
const retention = time.Hour

// loaded tells the core what the topic of catalogues has, now and then again.
func (r *receiver) loaded(core *ingest.Core) {
	if r.core != core {
		return
	}
	if !r.frozen && r.w.kafka.Stalled() == 0 {
		first := r.known == 0
		for _, h := range r.w.kafka.Catalogues(r.known) {
			r.known++
			core.CatalogueKnown(r.w.now(), h)
		}
		if first {
			core.CataloguesLoaded()
		}
		r.carryOut()
	}
	r.w.after(40*ms+r.rng.Int64N(40*ms), func() { r.loaded(core) })
}

// do gives the core something to do, once it runs.
func (r *receiver) do(f func()) {
	switch {
	case r.core == nil:
	case r.frozen:
		r.inbox = append(r.inbox, f)
	default:
		f()
		r.carryOut()
	}
}

func (r *receiver) message(from ingest.Peer, topic string, payload []byte) {
	r.do(func() { r.core.Message(r.w.now(), from, topic, payload) })
}

// tick lets time act on the core.
func (r *receiver) tick(core *ingest.Core) {
	if r.core != core || r.frozen {
		return
	}
	now := r.w.now()
	next := core.Tick(now)
	r.carryOut()
	if r.w.plan.External {
		r.shares = core.Snapshot(now).State == wire.InstanceOK
	}
	r.w.o.core(r)
	r.tickAt = max(next, now+ms)
	r.w.after(r.tickAt-now, func() { r.tick(core) })
}

// carryOut does what the core has decided.
func (r *receiver) carryOut() {
	out := r.core.Take()
	for i := range out.Produce {
		r.produce(out.Produce[i])
	}
	for _, p := range out.Publish {
		rest, _ := strings.CutPrefix(p.Topic, "ctl/")
		car, link, _ := strings.Cut(rest, "/")
		no, err := strconv.Atoi(link)
		if err != nil {
			r.w.o.violate("ingest", "%s publishes to %s", r, p.Topic)
			continue
		}
		r.end.publish(car, no, p.Payload)
	}
	for _, l := range out.Lost {
		r.w.tracef("%s gives the catalogue %s of %s up", r, l.Hash, l.Car)
	}
}

var errKafka = errors.New("simulate: kafka does not take it now")

// produce is the producer: records of one instance stay in order.
func (r *receiver) produce(p ingest.Produce) {
	w, core := r.w, r.core
	took := 2*ms + r.rng.Int64N(8*ms)
	r.lastDone = max(w.now()+took, r.lastDone+1)
	var do func()
	do = func() {
		if d := w.kafka.Stalled(); d > 0 {
			r.lastDone = max(r.lastDone, w.now()+int64(d)) + 1
			w.after(r.lastDone-w.now(), do)
			return
		}
		var err error
		switch alive := r.core == core; {
		case !alive && r.rng.IntN(2) == 0:
			return // died with the process; the other half was on its way already
		case r.failNext > 0 && alive:
			r.failNext--
			w.happened(KindProduceError)
			if err = errKafka; r.rng.IntN(2) == 0 {
				w.o.append(p.Record) // written, but the answer got lost
			}
		case r.refuse > 0 && alive && p.Record.Topic == w.names.Batches:
			r.refuse--
			err = fmt.Errorf("simulate: %w", topic.ErrUnacceptable)
			if info, herr := topic.ParseBatchHeaders(p.Record.Headers); herr == nil {
				w.o.fact(info.ID).refused = true
			}
		default:
			w.o.append(p.Record)
		}
		if r.core == core {
			r.do(func() { core.Produced(w.now(), p.Token, err) })
		}
	}
	w.after(r.lastDone-w.now(), do)
}

// die ends the process without a word.
func (r *receiver) die() {
	if r.core == nil {
		return
	}
	r.w.tracef("%s is killed", r)
	r.countReread()
	r.core, r.shares = nil, false
	r.proc.Kill()
	r.cancel()
	if r.end.owner == r {
		r.end.die()
	}
}

// drain ends the process in good order: it takes nothing new, waits until Kafka
// has the rest, leaves the group, and starts again later.
func (r *receiver) drain(pause int64) {
	w, core := r.w, r.core
	w.tracef("%s drains", r)
	r.draining = true
	core.Drain()
	r.cancel()
	leave, deadline := w.now()+200*ms, w.now()+5*sec
	var look func()
	look = func() {
		switch {
		case r.core != core:
		case r.frozen || w.now() < leave || core.Waiting() > 0 && w.now() < deadline:
			w.after(20*ms, look)
		default:
			core.Tick(w.now() + int64(ingest.AckInterval))
			r.carryOut()
			r.die()
			w.after(pause, r.start)
		}
	}
	look()
}

// countReread adds what the sequencer has read again.
func (r *receiver) countReread() {
	if r.core == nil {
		return
	}
	for _, p := range r.run.Snapshot().Partitions {
		r.w.reread += int(p.Reread)
	}
}

// freeze stops the process, thaw lets it go on.
func (r *receiver) freeze() {
	if r.core == nil || r.frozen {
		return
	}
	r.w.tracef("%s is frozen", r)
	r.frozen = true
	r.proc.Freeze()
	core := r.core
	r.w.after(6*sec, func() { // the external broker takes its share away
		if r.core == core && r.frozen {
			r.shares = false
		}
	})
}

func (r *receiver) thaw() {
	if r.core == nil || !r.frozen {
		return
	}
	r.w.tracef("%s goes on", r)
	r.frozen, r.shares = false, true
	r.proc.Thaw()
	todo := r.inbox
	r.inbox = nil
	for _, f := range slices.Clone(todo) {
		f()
		r.carryOut()
	}
	r.tick(r.core)
}

// abandon ends the process at the end of a run.
func (r *receiver) abandon() {
	if r.core != nil {
		r.core = nil
		r.proc.Kill()
		r.cancel()
	}
}

func (r *receiver) unsettled() string {
	if r.core == nil || r.frozen {
		return fmt.Sprintf("%s does not run", r)
	}
	if n := r.core.Waiting(); n > 0 {
		return fmt.Sprintf("%s has %d records on their way to kafka", r, n)
	}
	return ""
}
