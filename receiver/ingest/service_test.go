package ingest

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"telemetry/receiver/topic"
	"telemetry/wire"
)

// fakeBroker hands the handler out and keeps what is published.
type fakeBroker struct {
	handler chan Handler
	sent    chan Publish
	fail    error
}

func newFakeBroker() *fakeBroker {
	return &fakeBroker{handler: make(chan Handler, 1), sent: make(chan Publish, 10_000)}
}

func (b *fakeBroker) Run(ctx context.Context, h Handler) error {
	b.handler <- h
	if b.fail != nil {
		return b.fail
	}
	<-ctx.Done()
	return nil
}

func (b *fakeBroker) Publish(name string, payload []byte) error {
	b.sent <- Publish{name, payload}
	return nil
}

// fakeProducer takes records, at once or when it is released.
type fakeProducer struct {
	mu   sync.Mutex
	held []func(error)
	hold bool
	n    int
}

func (p *fakeProducer) Produce(_ topic.Record, done func(error)) {
	p.mu.Lock()
	p.n++
	if p.hold {
		p.held = append(p.held, done)
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	done(nil)
}

func (p *fakeProducer) State() error { return nil }

func (p *fakeProducer) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n
}

func (p *fakeProducer) release() {
	p.mu.Lock()
	held := p.held
	p.held = nil
	p.mu.Unlock()
	for _, done := range held {
		done(nil)
	}
}

func newService(t *testing.T, b *fakeBroker, p *fakeProducer) *Service {
	t.Helper()
	s, err := New(Options{
		Core:   Config{Instance: "pit", Nonce: 7, Names: topic.NewNames("")},
		Broker: b, Producer: p, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// lastAck returns the newest ack that was published.
func lastAck(t *testing.T, b *fakeBroker) *wire.Ack {
	t.Helper()
	var last *wire.Ack
	for {
		select {
		case p := <-b.sent:
			if a, _, err := wire.ParseCtl(p.Payload); err == nil && a != nil {
				last = a
			}
			continue
		default:
		}
		if last == nil {
			t.Fatal("no ack was published")
		}
		return last
	}
}

func TestServiceAcksWhatKafkaHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, p := newFakeBroker(), &fakeProducer{}
		s := newService(t, b, p)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		h := <-b.handler
		r := &rig{t: t}
		h.Attached("car-1", 0, true)
		name, payload := r.message(msg{seq: 1})
		h.Message(Peer{Car: "car-1"}, name, payload)
		time.Sleep(60 * time.Millisecond)
		if a := lastAck(t, b); len(a.Streams) != 1 || show(a.Streams[0].Durable) != "1" {
			t.Errorf("ack says %+v", a.Streams)
		}
		snap, err := s.Snapshot(ctx)
		if err != nil || len(snap.Cars) != 1 || snap.Counters.Batches != 1 {
			t.Errorf("snapshot %+v, %v", snap, err)
		}
		if _, err := s.Command(ctx, "nobody", "pull", nil, time.Second); !errors.Is(err, ErrUnreachable) {
			t.Errorf("command to nobody: %v", err)
		}
		a, err := s.Command(ctx, "car-1", "pull", nil, time.Second)
		if err != nil || a.OK {
			t.Errorf("command that nobody answers: %+v, %v", a, err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		if _, err := s.Snapshot(t.Context()); !errors.Is(err, ErrStopped) {
			t.Errorf("snapshot of a stopped service: %v", err)
		}
	})
}

func TestServiceDrainsBeforeItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, p := newFakeBroker(), &fakeProducer{hold: true}
		s := newService(t, b, p)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		h := <-b.handler
		r := &rig{t: t}
		name, payload := r.message(msg{seq: 1})
		h.Message(Peer{}, name, payload)
		synctest.Wait()
		cancel()
		time.Sleep(time.Second)
		if a := lastAck(t, b); a.State != wire.InstanceDraining || show(a.Streams[0].Received) != "1" {
			t.Errorf("while draining: state %d, %+v", a.State, a.Streams)
		}
		name, payload = r.message(msg{seq: 2})
		h.Message(Peer{}, name, payload)
		synctest.Wait()
		p.release()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		if a := lastAck(t, b); show(a.Streams[0].Durable) != "1" {
			t.Errorf("the last ack says %+v, want 1 durable", a.Streams)
		}
		if p.count() != 1 {
			t.Errorf("%d records produced, want none after draining began", p.count())
		}
		h.Message(Peer{}, name, payload) // must not block
		h.Attached("car-1", 0, false)
	})
}

func TestServiceDrainIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, p := newFakeBroker(), &fakeProducer{hold: true}
		s := newService(t, b, p)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		h := <-b.handler
		r := &rig{t: t}
		name, payload := r.message(msg{seq: 1})
		h.Message(Peer{}, name, payload)
		synctest.Wait()
		began := time.Now()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		if d := time.Since(began); d < 5*time.Second || d > 6*time.Second {
			t.Errorf("draining took %v, want the limit of 5 s", d)
		}
	})
}

func TestServiceEndsWithItsBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFakeBroker()
		b.fail = errors.New("port gone")
		err := newService(t, b, &fakeProducer{}).Run(t.Context())
		if !errors.Is(err, b.fail) {
			t.Errorf("run: %v, want the broker's error", err)
		}
	})
}

// flakyCatalogues fails once, then knows one catalogue.
type flakyCatalogues struct {
	hash  wire.CatalogueHash
	tries int
}

func (f *flakyCatalogues) Follow(ctx context.Context, known func(wire.CatalogueHash, []byte), caughtUp func()) error {
	if f.tries++; f.tries == 1 {
		return errors.New("not yet")
	}
	known(f.hash, nil)
	caughtUp()
	<-ctx.Done()
	return nil
}

func TestServiceLearnsCatalogues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, p := newFakeBroker(), &fakeProducer{}
		s := newService(t, b, p)
		h, _ := catalogue(t, 3)
		s.opt.Catalogues = &flakyCatalogues{hash: h}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		to := <-b.handler
		synctest.Wait()
		if err := s.CatalogueError(); err == nil || err.Error() != "not yet" {
			t.Errorf("while the topic cannot be read: %v", err)
		}
		r := &rig{t: t}
		name, payload := r.message(msg{seq: 1, body: wire.Body{Catalogue: h}})
		to.Message(Peer{}, name, payload)
		time.Sleep(2 * time.Second)
		if err := s.CatalogueError(); err != nil {
			t.Errorf("while the topic is followed: %v", err)
		}
		if p.count() != 1 {
			t.Errorf("%d records, want the batch whose catalogue is in the topic", p.count())
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

func TestConfigValidateNamesAllFaults(t *testing.T) {
	err := Config{CarCredit: 1, MaxCars: -1}.Validate()
	for _, want := range []string{"instance name", "nonce", "topic names", "credit of 1 bytes", "-1 cars"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v lacks %q", err, want)
		}
	}
}
