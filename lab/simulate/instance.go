package simulate

import (
	"context"
	"errors"
	"sync"

	"telemetry/receiver/ingest"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// instance is one start of an ingest process: the real service, with models of what
// it speaks to. The service's goroutines hand over what they want done, and the loop
// does it once they have come to rest.
type instance struct {
	r     *receiver
	svc   *ingest.Service
	drain context.CancelFunc // ends the service in good order
	death chan struct{}      // closed when it is killed
	ended chan struct{}      // closed when the service has ended
	told  chan func(known func(wire.CatalogueHash, []byte), caughtUp func())

	mu     sync.Mutex
	thaw   chan struct{} // guarded by mu: closed when a freeze ends; nil while it runs
	dead   bool          // guarded by mu
	shares bool          // guarded by mu: it wants its share of the external broker's messages
	out    []func()      // guarded by mu: what it wants done, in order
	trying int           // guarded by mu: records that Kafka has not answered
	failed error         // guarded by mu: Kafka's last answer
}

// errKilled ends a service without a word: its broker is gone.
var errKilled = errors.New("simulate: killed")

func (r *receiver) newInstance() *instance {
	w := r.w
	i := &instance{r: r, death: make(chan struct{}), ended: make(chan struct{}), shares: true}
	i.told = make(chan func(func(wire.CatalogueHash, []byte), func()), 64)
	var b ingest.Broker = bus{i}
	if w.plan.External {
		b = sharedBus{bus{i}}
	}
	svc, err := ingest.New(ingest.Options{
		Core: ingest.Config{
			Instance: r.String(), Nonce: r.rng.Uint64() | 1, Names: w.names, Shared: w.plan.External,
			CarCredit: carCredit, TotalCredit: 2 * carCredit,
		},
		Broker: b, Producer: kafkaWriter{i}, Catalogues: follower{i}, Log: w.log.With("instance", r.String()),
	})
	if err != nil {
		panic("simulate: internal error: " + err.Error())
	}
	i.svc = svc
	ctx, cancel := context.WithCancel(context.Background())
	i.drain = cancel
	w.wg.Go(func() {
		defer close(i.ended)
		_ = svc.Run(ctx)
	})
	return i
}

// want hands something over to the loop. A frozen process stands still in here.
func (i *instance) want(do func()) {
	i.mu.Lock()
	for i.thaw != nil && !i.dead {
		thaw := i.thaw
		i.mu.Unlock()
		select {
		case <-thaw:
		case <-i.death:
		}
		i.mu.Lock()
	}
	if !i.dead {
		i.out = append(i.out, do)
	}
	i.mu.Unlock()
	i.r.w.notify()
}

// take returns what the service wants done.
func (i *instance) take() []func() {
	i.mu.Lock()
	defer i.mu.Unlock()
	out := i.out
	i.out = nil
	return out
}

func (i *instance) freeze() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.thaw == nil {
		i.thaw = make(chan struct{})
	}
}

func (i *instance) goOn() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.thaw != nil {
		close(i.thaw)
		i.thaw = nil
	}
}

func (i *instance) kill() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.dead {
		i.dead, i.out = true, nil
		close(i.death)
		i.drain()
	}
}

func (i *instance) hasEnded() bool {
	select {
	case <-i.ended:
		return true
	default:
		return false
	}
}

// snapshot asks a running service for its state; false when it does not run.
func (i *instance) snapshot() (ingest.Snapshot, bool) {
	s, err := i.svc.Snapshot(i.r.w.ctx)
	return s, err == nil
}

// bus is the instance's side of a broker.
type bus struct{ i *instance }

func (b bus) Run(ctx context.Context, _ ingest.Handler) error {
	select {
	case <-ctx.Done():
		return nil
	case <-b.i.death:
		return errKilled
	}
}

func (b bus) Publish(name string, payload []byte) error {
	b.i.want(func() { b.i.r.publish(name, payload) })
	return nil
}

// sharedBus is that of a broker in front of all instances.
type sharedBus struct{ bus }

func (b sharedBus) Share(take bool) {
	b.i.mu.Lock()
	defer b.i.mu.Unlock()
	b.i.shares = take
}

// kafkaWriter is the instance's producer.
type kafkaWriter struct{ i *instance }

func (p kafkaWriter) Produce(rec topic.Record, done func(error)) {
	p.i.answered(1, nil)
	p.i.want(func() {
		p.i.r.produce(p.i, rec, func(err error) {
			p.i.answered(-1, err)
			done(err)
		})
	})
}

// State implements [ingest.Producer].
func (p kafkaWriter) State() error {
	p.i.mu.Lock()
	defer p.i.mu.Unlock()
	if p.i.trying > 0 && p.i.r.w.kafka.Stalled() > 0 {
		return errors.Join(errKafka, p.i.failed)
	}
	return p.i.failed
}

// answered counts the records that wait for Kafka.
func (i *instance) answered(more int, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.trying += more; more < 0 {
		i.failed = err
	}
}

// follower reads the topic of catalogues.
type follower struct{ i *instance }

func (f follower) Follow(ctx context.Context, known func(wire.CatalogueHash, []byte), caughtUp func()) error {
	for {
		select {
		case tell := <-f.i.told:
			tell(known, caughtUp)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

var (
	_ ingest.Sharer     = sharedBus{}
	_ ingest.Producer   = kafkaWriter{}
	_ ingest.Catalogues = follower{}
)
