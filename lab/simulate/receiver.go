package simulate

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"telemetry/lab/simulate/kafkasim"
	"telemetry/receiver/ingest"
	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/jsonrow"
	"telemetry/receiver/sequence/sealed"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// receiver is one instance: an ingest service and a sequencer in one process.
type receiver struct {
	w      *world
	no     int
	end    *endpoint // its own broker, or the one in front of all
	rng    *rand.Rand
	starts int

	// Of one start; inst is nil while it is dead.
	inst     *instance
	cancel   context.CancelFunc
	budget   *sequence.Budget
	outs     []sequencer // of each output
	frozen   bool
	draining bool
	expelled bool     // the external broker gives it nothing any more
	inbox    []func() // what came while it was frozen
	lastDone int64    // when Kafka has the newest record: the producer keeps its order
	known    int      // catalogues that it has been told of
	failNext int      // so many records yet are refused by Kafka for now
	refuse   int      // so many records yet can never be taken
}

// sequencer is that of one output in a process.
type sequencer struct {
	proc *kafkasim.Process
	run  *sequence.Runner
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
	if r.inst != nil {
		return
	}
	w := r.w
	r.starts++
	r.frozen, r.draining, r.expelled, r.inbox, r.known, r.lastDone = false, false, false, nil, 0, 0
	r.failNext, r.refuse = 0, 0
	w.tracef("%s starts (%d)", r, r.starts)
	r.inst = r.newInstance()
	ctx, cancel := context.WithCancel(w.ctx)
	r.cancel = cancel
	r.budget, r.outs = sequence.NewBudget(w.plan.HeldBytes), nil
	for _, x := range w.o.outs {
		proc := x.kafka.NewProcess(fmt.Sprint(r, x.suffix(), ".", r.starts))
		run, err := sequence.NewRunner(w.sequenceConfig(r, x), proc.Backend())
		if err != nil {
			panic("simulate: internal error: " + err.Error())
		}
		r.outs = append(r.outs, sequencer{proc, run})
		w.wg.Go(func() { _ = run.Run(ctx) })
	}
	inst := r.inst
	w.after(r.rng.Int64N(20*ms), func() { r.loaded(inst) })
	w.after(lookEvery+r.rng.Int64N(lookEvery), func() { r.look(inst) })
}

// lookEvery is how often the oracle looks into an instance.
const lookEvery = 500 * ms

// look lets the oracle see what the service keeps in memory.
func (r *receiver) look(inst *instance) {
	if r.inst != inst || inst.hasEnded() {
		return
	}
	if !r.frozen {
		r.w.o.instance(r)
	}
	r.w.after(lookEvery+r.rng.Int64N(lookEvery), func() { r.look(inst) })
}

// carCredit is as small as the core takes it.
const carCredit = 4 * wire.MaxBatchBytes

func (w *world) sequenceConfig(r *receiver, x *outcome) sequence.Config {
	c := sequence.Defaults()
	c.Topics, c.NewFormat = x.names, func() sequence.Format { return jsonrow.New() }
	if x.sealed {
		c.NewFormat = func() sequence.Format { return sealed.New() }
	}
	c.Clock = sequence.NewSystemClock()
	c.Log = w.log.With("instance", r.String()+x.suffix())
	c.Budget, c.CarBytes = r.budget, max(1, w.plan.HeldBytes)
	c.CommitBytes = 8 << 10
	window := x.wait
	if x.noWindow {
		window = -1
	}
	c.Reorder.Windows[wire.LaneCritical], c.Reorder.Windows[wire.LaneFull] = window, window
	c.Reorder.AnchorWait = w.plan.AnchorWait
	c.Reorder.Retention, c.Reorder.Forget = retention, 2*retention
	return c
}

// retention of telemetry.batches, which the plan's faults make short.
const retention = time.Hour

// loaded tells the service what the topic of catalogues has, now and then again.
func (r *receiver) loaded(inst *instance) {
	if r.inst != inst || inst.hasEnded() {
		return
	}
	if !r.frozen && r.w.kafka.Stalled() == 0 && len(inst.told) == 0 {
		first := r.known == 0
		hashes := r.w.kafka.Catalogues(r.known)
		r.known += len(hashes)
		if first || len(hashes) > 0 {
			inst.told <- func(known func(wire.CatalogueHash, []byte), caughtUp func()) {
				for _, h := range hashes {
					known(h, nil)
				}
				if first {
					caughtUp()
				}
			}
		}
	}
	r.w.after(40*ms+r.rng.Int64N(40*ms), func() { r.loaded(inst) })
}

// do gives the service something to do, once it runs.
func (r *receiver) do(f func()) {
	switch {
	case r.inst == nil:
	case r.frozen:
		r.inbox = append(r.inbox, f)
	default:
		f()
	}
}

func (r *receiver) message(from ingest.Peer, topic string, payload []byte) {
	r.do(func() { r.inst.svc.Message(from, topic, payload) })
}

func (r *receiver) attached(car string, link int, up bool) {
	r.do(func() { r.inst.svc.Attached(car, uint8(link), up) })
}

// shares reports whether the external broker gives the instance its share.
func (r *receiver) shares() bool {
	if r.inst == nil || r.expelled {
		return false
	}
	r.inst.mu.Lock()
	defer r.inst.mu.Unlock()
	return r.inst.shares
}

// collect does what the service wants done.
func (r *receiver) collect() {
	if r.inst == nil {
		return
	}
	for _, do := range r.inst.take() {
		do()
	}
}

// publish carries one message to the cars.
func (r *receiver) publish(name string, payload []byte) {
	rest, _ := strings.CutPrefix(name, "ctl/")
	car, link, _ := strings.Cut(rest, "/")
	no, err := strconv.Atoi(link)
	if err != nil {
		r.w.o.violate("ingest", "%s publishes to %s", r, name)
		return
	}
	r.end.publish(car, no, payload)
}

var errKafka = errors.New("simulate: kafka does not take it now")

// produce is the producer: records of one instance stay in order.
func (r *receiver) produce(inst *instance, rec topic.Record, done func(error)) {
	w := r.w
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
		switch alive := r.inst == inst; {
		case !alive && r.rng.IntN(2) == 0:
			return // died with the process; the other half was on its way already
		case r.failNext > 0 && alive:
			r.failNext--
			w.happened(KindProduceError)
			if err = errKafka; r.rng.IntN(2) == 0 {
				w.o.append(rec) // written, but the answer got lost
			}
		case r.refuse > 0 && alive && rec.Topic == w.names.Batches:
			r.refuse--
			err = fmt.Errorf("simulate: %w", topic.ErrUnacceptable)
			if info, herr := topic.ParseBatchHeaders(rec.Headers); herr == nil {
				w.o.fact(info.ID).refused = true
			}
		default:
			w.o.append(rec)
		}
		if r.inst == inst {
			r.do(func() { done(err) })
		}
	}
	w.after(r.lastDone-w.now(), do)
}

// die ends the process without a word.
func (r *receiver) die() {
	if r.inst == nil {
		return
	}
	r.w.tracef("%s is killed", r)
	r.countReread()
	r.inst.kill()
	r.inst = nil
	for _, q := range r.outs {
		q.proc.Kill()
	}
	r.cancel()
	if r.end.owner == r {
		r.end.die()
	}
}

// drain ends the process in good order: it takes nothing new, waits until Kafka
// has the rest, leaves the group, and starts again later.
func (r *receiver) drain(pause int64) {
	w, inst := r.w, r.inst
	w.tracef("%s drains", r)
	r.draining = true
	inst.drain()
	r.cancel()
	leave := w.now() + 200*ms
	var look func()
	look = func() {
		switch {
		case r.inst != inst:
		case r.frozen || w.now() < leave || !inst.hasEnded():
			w.after(20*ms, look)
		default:
			r.die()
			w.after(pause, r.start)
		}
	}
	look()
}

// countReread adds what the sequencer has read again.
func (r *receiver) countReread() {
	if r.inst == nil {
		return
	}
	for _, q := range r.outs {
		for _, p := range q.run.Snapshot().Partitions {
			r.w.reread += int(p.Reread)
		}
	}
}

// freeze stops the process, thaw lets it go on.
func (r *receiver) freeze() {
	if r.inst == nil || r.frozen {
		return
	}
	r.w.tracef("%s is frozen", r)
	r.frozen = true
	r.inst.freeze()
	for _, q := range r.outs {
		q.proc.Freeze()
	}
	inst := r.inst
	r.w.after(6*sec, func() { // the external broker takes its share away
		if r.inst == inst && r.frozen {
			r.expelled = true
		}
	})
}

func (r *receiver) thaw() {
	if r.inst == nil || !r.frozen {
		return
	}
	r.w.tracef("%s goes on", r)
	r.frozen, r.expelled = false, false
	for _, q := range r.outs {
		q.proc.Thaw()
	}
	todo := r.inbox
	r.inbox = nil
	r.inst.goOn()
	for _, f := range todo {
		r.w.rest() // one after the other
		f()
	}
}

// abandon ends the process at the end of a run.
func (r *receiver) abandon() {
	if r.inst != nil {
		r.inst.kill()
		r.inst = nil
		for _, q := range r.outs {
			q.proc.Kill()
		}
		r.cancel()
	}
}

func (r *receiver) unsettled() string {
	if r.inst == nil || r.frozen {
		return fmt.Sprintf("%s does not run", r)
	}
	if s, ok := r.inst.snapshot(); !ok || s.Waiting > 0 {
		return fmt.Sprintf("%s has %d records on their way to kafka", r, s.Waiting)
	}
	return ""
}
