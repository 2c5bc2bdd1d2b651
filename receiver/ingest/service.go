package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"telemetry/receiver/topic"
	"telemetry/wire"
)

// Broker carries MQTT messages between cars and this instance.
type Broker interface {
	// Run serves until ctx ends and calls h for what comes in, from any number
	// of goroutines. An error means that it cannot go on.
	Run(ctx context.Context, h Handler) error
	// Publish sends one message at QoS 0 to whoever subscribes to the topic. It
	// never blocks on a slow client: such a message is dropped and counted. It
	// may be called before, during and after Run.
	Publish(topic string, payload []byte) error
}

// Handler takes what a broker hears. Its methods may block for a short time
// when the instance has more to do than it can: the broker then stops reading.
type Handler interface {
	// Message takes one message; payload belongs to the handler from then on.
	Message(from Peer, topic string, payload []byte)
	// Attached says that a connection of a car has subscribed to the acks of a
	// link, or that it has ended. A broker that cannot know never calls it.
	Attached(car string, link uint8, up bool)
}

// Producer writes records to Kafka, each at least once, with acks=all.
type Producer interface {
	// Produce never blocks. It calls done exactly once, from any goroutine,
	// also before it returns. The record must not be changed until then.
	Produce(rec topic.Record, done func(err error))
	// State returns nil while Kafka takes records, and what is wrong otherwise.
	State() error
}

// Catalogues reads the topic of catalogues.
type Catalogues interface {
	// Follow calls known for each catalogue in the topic and for each that is
	// added until ctx ends, and caughtUp once, when everything that was there at
	// the start has been told.
	Follow(ctx context.Context, known func(h wire.CatalogueHash, canonical []byte), caughtUp func()) error
}

// Options is what a [Service] is made of. All but Catalogues is needed.
type Options struct {
	Core         Config
	Broker       Broker
	Producer     Producer
	Catalogues   Catalogues    // nil: every catalogue is asked for once per start
	DrainTimeout time.Duration // how long Run finishes what it has; 0 means 5 s
	Log          *slog.Logger
}

// Service runs one ingest instance.
type Service struct {
	opt    Options
	core   *Core // owned by the loop in Run
	pace   *pacer
	events chan event
	ended  chan struct{} // closed when the loop has ended
	began  time.Time

	mu           sync.Mutex
	done         []result // guarded by mu; bounded by what is under way
	catalogueErr error    // guarded by mu; why the catalogues' topic is not followed
	wake         chan struct{}

	waiters map[uint64]chan<- wire.Answer // owned by the loop
}

// event is one thing for the loop to do.
type event struct {
	at   int64
	do   func(now int64) // set for everything but messages
	from Peer
	name string
	body []byte
}

// result is the end of one Produce.
type result struct {
	at    int64
	token uint64
	err   error
}

// queueLen bounds the messages between brokers and the loop: a few
// milliseconds of work, at most MaxMessageBytes each.
const queueLen = 256

// New returns a service that has not started anything.
func New(o Options) (*Service, error) {
	if o.Broker == nil || o.Producer == nil || o.Log == nil {
		return nil, errors.New("ingest: broker, producer and log are needed")
	}
	if err := o.Core.Validate(); err != nil {
		return nil, err
	}
	if _, ok := o.Broker.(Sharer); ok {
		o.Core.Shared = true
	}
	if o.DrainTimeout == 0 {
		o.DrainTimeout = 5 * time.Second
	}
	cfg := o.Core.withDefaults()
	return &Service{
		opt:     o,
		core:    NewCore(o.Core),
		pace:    &pacer{rates: cfg.CarRates, maxCars: cfg.MaxCars, cars: map[string]*meter{}},
		events:  make(chan event, queueLen),
		ended:   make(chan struct{}),
		began:   time.Now(),
		wake:    make(chan struct{}, 1),
		waiters: map[uint64]chan<- wire.Answer{},
	}, nil
}

func (s *Service) now() int64 { return int64(time.Since(s.began)) }

// Run serves until ctx ends; then it says draining, takes nothing new, waits for
// Kafka to have the rest (at most DrainTimeout), tells the cars, and returns nil.
// It returns an error when the broker cannot go on.
func (s *Service) Run(ctx context.Context) error {
	// The broker must outlive ctx: the last acks go through it.
	inner, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	g, inner := errgroup.WithContext(inner)
	g.Go(func() error { // ends with inner or by its own failure
		if err := s.opt.Broker.Run(inner, s); err != nil && inner.Err() == nil {
			return fmt.Errorf("ingest: broker: %w", err)
		}
		return nil
	})
	if s.opt.Catalogues != nil {
		g.Go(func() error { // ends with inner
			s.followCatalogues(inner)
			return nil
		})
	} else {
		s.core.CataloguesLoaded()
	}
	g.Go(func() error { // the owner of the core; ends when drained
		defer stop()
		defer close(s.ended)
		s.loop(ctx, inner)
		return nil
	})
	return g.Wait()
}

// loop owns the core. It ends when the broker has failed, or when ctx has ended
// and everything is drained.
func (s *Service) loop(ctx, inner context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	stopping := ctx.Done()
	var deadline int64
	stalled := false
	for {
		select {
		case <-inner.Done():
			return
		case <-stopping:
			stopping = nil
			s.core.Drain()
			deadline = s.now() + int64(s.opt.DrainTimeout)
			s.opt.Log.Info("draining", "waiting_records", s.core.Waiting())
		case e := <-s.events:
			s.handle(e)
		case <-s.wake:
		case <-timer.C:
		}
		s.settle()
		next := s.core.Tick(s.now())
		s.carryOut()
		s.share()
		if stopping == nil && s.drained(deadline) {
			return
		}
		stalled = s.report(stalled)
		timer.Reset(max(time.Millisecond, time.Duration(next-s.now())))
	}
}

func (s *Service) handle(e event) {
	if e.do != nil {
		e.do(e.at)
		return
	}
	s.core.Message(e.at, e.from, e.name, e.body)
}

// settle gives the producer's results to the core.
func (s *Service) settle() {
	s.mu.Lock()
	done := s.done
	s.done = nil
	s.mu.Unlock()
	for _, r := range done {
		s.core.Produced(r.at, r.token, r.err)
	}
}

// carryOut does what the core has decided.
func (s *Service) carryOut() {
	out := s.core.Take()
	for _, p := range out.Produce {
		s.opt.Producer.Produce(p.Record, func(err error) { s.produced(p.Token, err) })
	}
	for _, p := range out.Publish {
		if err := s.opt.Broker.Publish(p.Topic, p.Payload); err != nil {
			s.opt.Log.Debug("publish failed", "topic", p.Topic, "error", err)
		}
	}
	for _, l := range out.Lost {
		s.opt.Log.Error("a car has lost the catalogue of its data: samples cannot be decoded", "car", l.Car, "catalogue", l.Hash.String())
	}
	for _, name := range out.Slowed {
		s.opt.Log.Warn("a car sends more than it may: it gets less credit and is read slower", "car", name,
			"bytes_per_second", s.core.cfg.CarRates.Bytes, "packets_per_second", s.core.cfg.CarRates.Packets)
	}
	for _, a := range out.Answered {
		if ch := s.waiters[a.Answer.ID]; ch != nil {
			ch <- a.Answer // has room for one
			delete(s.waiters, a.Answer.ID)
		}
	}
}

// produced is called by the producer, from any goroutine.
func (s *Service) produced(token uint64, err error) {
	s.mu.Lock()
	s.done = append(s.done, result{s.now(), token, err})
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// drained reports whether the loop may end, after one last statement.
func (s *Service) drained(deadline int64) bool {
	now := s.now()
	if s.core.Waiting() > 0 && now < deadline {
		return false
	}
	if n := s.core.Waiting(); n > 0 {
		s.opt.Log.Warn("stopping with records that kafka does not have; the cars keep them", "waiting_records", n)
	}
	s.core.Tick(now + int64(AckInterval))
	s.carryOut()
	return true
}

// report logs when the instance becomes stalled and when that ends.
func (s *Service) report(was bool) bool {
	is := s.core.state(s.now()) == wire.InstanceStalled
	if is && !was {
		err := s.opt.Producer.State()
		s.opt.Log.Warn("stalled: kafka takes nothing, the cars hold their data", "waiting_records", s.core.Waiting(), "error", err)
	}
	if was && !is {
		s.opt.Log.Info("kafka takes records again", "waiting_records", s.core.Waiting())
	}
	return is
}

// Message implements [Handler].
func (s *Service) Message(from Peer, name string, payload []byte) {
	s.hold(from, name, len(payload))
	s.offer(event{at: s.now(), from: from, name: name, body: payload})
}

// hold waits while a car sends beyond its rates, if only that car waits with it.
func (s *Service) hold(from Peer, name string, bytes int) {
	if !from.Own {
		return
	}
	car := from.Car
	if car == "" {
		car, _, _ = splitTopic(name)
	}
	d := s.pace.take(s.now(), car, bytes)
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.ended:
	}
}

// Attached implements [Handler].
func (s *Service) Attached(car string, link uint8, up bool) {
	s.offer(event{at: s.now(), do: func(now int64) { s.core.Attached(now, car, link, up) }})
}

// offer waits for room in the queue, unless nobody reads it any more.
func (s *Service) offer(e event) {
	select {
	case s.events <- e:
	case <-s.ended:
	}
}

// Pace of following the catalogues while that fails.
const (
	catalogueRetry = time.Second
	catalogueSaid  = time.Minute      // between two lines of the log about the same trouble
	catalogueNew   = 10 * time.Second // and about another one
)

// followCatalogues keeps the core's list of known catalogues, for as long as
// ctx lasts, whatever happens to Kafka.
func (s *Service) followCatalogues(ctx context.Context) {
	known := func(h wire.CatalogueHash, _ []byte) {
		s.post(ctx, func(now int64) { s.core.CatalogueKnown(now, h) })
	}
	loaded := func() {
		s.setCatalogueErr(nil)
		s.post(ctx, func(int64) { s.core.CataloguesLoaded() })
	}
	var said string
	var saidAt time.Time
	for ctx.Err() == nil {
		err := s.opt.Catalogues.Follow(ctx, known, loaded)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("the following has ended without an error")
		}
		s.setCatalogueErr(err)
		if past := time.Since(saidAt); past >= catalogueSaid || err.Error() != said && past >= catalogueNew {
			said, saidAt = err.Error(), time.Now()
			s.opt.Log.Warn("reading the catalogues topic failed, trying again", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(catalogueRetry):
		}
	}
}

func (s *Service) setCatalogueErr(err error) {
	s.mu.Lock()
	s.catalogueErr = err
	s.mu.Unlock()
}

// CatalogueError returns why catalogues that others have taken are not known now:
// cars are asked for them again. It is nil while the topic is followed.
func (s *Service) CatalogueError() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.catalogueErr
}

// post hands a function to the loop; it is false when ctx ended first.
func (s *Service) post(ctx context.Context, do func(now int64)) bool {
	select {
	case s.events <- event{at: s.now(), do: do}:
		return true
	case <-s.ended:
		return false
	case <-ctx.Done():
		return false
	}
}

// ErrStopped means that the service does not run any more.
var ErrStopped = errors.New("ingest: stopped")

// stopErr says why a wait has ended early.
func stopErr(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return ErrStopped
}

// Snapshot describes the instance. It needs a running service.
func (s *Service) Snapshot(ctx context.Context) (Snapshot, error) {
	ch := make(chan Snapshot, 1)
	if !s.post(ctx, func(now int64) { ch <- s.core.Snapshot(now) }) {
		return Snapshot{}, stopErr(ctx)
	}
	select {
	case v := <-ch:
		return v, nil
	case <-s.ended:
		return Snapshot{}, ErrStopped
	case <-ctx.Done():
		return Snapshot{}, ctx.Err()
	}
}

// Command sends a request to a car and waits for its answer, at most for life.
// An answer that says no is not an error. It needs a running service.
func (s *Service) Command(ctx context.Context, car, verb string, args map[string]string, life time.Duration) (wire.Answer, error) {
	answer := make(chan wire.Answer, 1)
	failed := make(chan error, 1)
	sent := s.post(ctx, func(now int64) {
		id, err := s.core.Command(now, car, verb, args, life)
		if err != nil {
			failed <- err
			return
		}
		s.waiters[id] = answer
	})
	if !sent {
		return wire.Answer{}, stopErr(ctx)
	}
	select {
	case a := <-answer:
		return a, nil
	case err := <-failed:
		return wire.Answer{}, fmt.Errorf("ingest: command %s to %s: %w", verb, car, err)
	case <-s.ended:
		return wire.Answer{}, ErrStopped
	case <-ctx.Done():
		return wire.Answer{}, ctx.Err()
	}
}
