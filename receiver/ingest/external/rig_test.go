package external_test

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"telemetry/receiver/ingest"
	"telemetry/receiver/ingest/external"
	"telemetry/receiver/topic"
	"telemetry/uplink"
	"telemetry/uplink/mqtt"
	"telemetry/wire"
)

const (
	carName  = "car-1"
	patience = 60 * time.Second
	links    = 3
)

var epoch = wire.Epoch{Counter: 4, Nonce: 0x1122334455667788}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool, show ...func() any) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			for _, f := range show {
				t.Logf("%+v", f())
			}
			t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

// kafka is what all instances write to.
type kafka struct {
	mu      sync.Mutex
	batches map[wire.ID]int // copies
	records int
}

// writer is the producer of one instance.
type writer struct {
	k    *kafka
	mu   sync.Mutex
	held []func() // guarded by mu
	hold bool     // guarded by mu: Kafka takes nothing
	dead bool     // guarded by mu: the process is gone
}

func (w *writer) Produce(r topic.Record, done func(error)) {
	finish := func() {
		w.k.take(r)
		done(nil)
	}
	w.mu.Lock()
	dead, hold := w.dead, w.hold
	if hold {
		w.held = append(w.held, finish)
	}
	w.mu.Unlock()
	if !dead && !hold {
		finish()
	}
}

func (w *writer) State() error { return nil }

func (w *writer) set(hold, dead bool) {
	w.mu.Lock()
	w.hold, w.dead = hold, dead
	var held []func()
	if !hold {
		held, w.held = w.held, nil
	}
	w.mu.Unlock()
	for _, f := range held {
		f()
	}
}

func (k *kafka) take(r topic.Record) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.records++
	if b, _, err := wire.Parse(r.Value); err == nil {
		k.batches[b.Header.ID()]++
	}
}

func (k *kafka) count() (batches, copies int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, n := range k.batches {
		copies += n
	}
	return len(k.batches), copies
}

// relay stands between an instance and the broker, so that a test can cut it off.
type relay struct {
	l     net.Listener
	to    string
	mu    sync.Mutex
	conns []net.Conn    // guarded by mu
	held  chan struct{} // guarded by mu: nothing passes until it is closed; nil = all passes
	wg    sync.WaitGroup
}

func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{l: l, to: to}
	r.wg.Go(r.run) // ends with the listener
	t.Cleanup(r.cut)
	return r
}

func (r *relay) run() {
	for {
		near, err := r.l.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", r.to)
		if err != nil {
			_ = near.Close()
			continue
		}
		r.mu.Lock()
		r.conns = append(r.conns, near, far)
		r.mu.Unlock()
		pipe := func(to, from net.Conn) {
			_, _ = io.Copy(to, gate{r, from})
			_, _ = to.Close(), from.Close()
		}
		r.wg.Go(func() { pipe(near, far) })
		r.wg.Go(func() { pipe(far, near) })
	}
}

// gate passes what comes while its relay is not frozen.
type gate struct {
	r    *relay
	from io.Reader
}

func (g gate) Read(p []byte) (int, error) {
	n, err := g.from.Read(p)
	g.r.mu.Lock()
	held := g.r.held
	g.r.mu.Unlock()
	if held != nil {
		<-held
	}
	return n, err
}

// freeze stops all connections, both ways, and keeps them; it returns what lets
// them go on.
func (r *relay) freeze() (thaw func()) {
	held := make(chan struct{})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = held
	return sync.OnceFunc(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.held = nil
		close(held)
	})
}

// cut ends all connections and takes no more.
func (r *relay) cut() {
	_ = r.l.Close()
	r.mu.Lock()
	for _, c := range r.conns {
		_ = c.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
}

// instance is one receiver's ingest.
type instance struct {
	broker  *external.Broker
	service *ingest.Service
	writer  *writer
	relay   *relay
	stop    func()
}

// place is where a broker is, and how to speak to it.
type place struct {
	addr   string // host:port
	scheme string
	tls    func(t *testing.T, name string) *tls.Config
}

func (p place) client(t *testing.T, name string) *tls.Config {
	if p.tls == nil {
		return nil
	}
	return p.tls(t, name)
}

func startInstance(t *testing.T, p place, k *kafka, name string) *instance {
	t.Helper()
	in := &instance{writer: &writer{k: k}, relay: newRelay(t, p.addr)}
	var err error
	log := slog.New(slog.NewTextHandler(&logWriter{t: t}, nil)).With("instance", name)
	if in.broker, err = external.New(external.Config{
		Address: p.scheme + in.relay.l.Addr().String(), TLS: p.client(t, "receiver"), Log: log,
	}); err != nil {
		t.Fatal(err)
	}
	if in.service, err = ingest.New(ingest.Options{
		Core:   ingest.Config{Instance: name, Nonce: uint64(time.Now().UnixNano()), Names: topic.NewNames("")},
		Broker: in.broker, Producer: in.writer, Log: log, DrainTimeout: time.Second,
	}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- in.service.Run(ctx) }() // ends with stop
	in.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("instance %s: %v", name, err)
		}
	})
	t.Cleanup(in.stop)
	eventually(t, name+" is connected", func() bool { return in.broker.Status().State == external.StateConnected }, func() any { return in.broker.Status() })
	return in
}

// kill takes an instance away as SIGKILL does: what it has is lost, the broker
// sees the end of the connection.
func (in *instance) kill() {
	in.writer.set(false, true)
	in.relay.cut()
}

// logWriter writes to the test's log until the test ends.
type logWriter struct {
	mu sync.Mutex
	t  *testing.T // guarded by mu; nil after the test
}

func (w *logWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.t != nil {
		w.t.Log(string(b[:len(b)-1]))
	}
	return len(b), nil
}

// store is a spool in memory, with one stream a lane.
type store struct {
	mu      sync.Mutex
	items   map[wire.Lane][]wire.Item // by number; guarded by mu
	sealed  map[wire.ID][]byte        // guarded by mu
	next    map[wire.Lane]uint64      // guarded by mu
	settled int                       // guarded by mu
	sealer  wire.Sealer               // guarded by mu
	wake    chan struct{}
	cat     []byte
	hash    wire.CatalogueHash
}

func newStore() *store {
	c := wire.Catalogue{Car: carName}
	for i := range 400 {
		c.Groups = append(c.Groups, wire.Group{
			Name: fmt.Sprint("group", i), Lane: wire.LaneFull,
			Channels: []wire.Channel{{Name: hex.EncodeToString([]byte{byte(i), byte(i * 7), byte(i >> 8), 3}), Type: wire.TypeInt}},
		})
	}
	cat := c.Append(nil)
	return &store{
		items: map[wire.Lane][]wire.Item{}, sealed: map[wire.ID][]byte{}, next: map[wire.Lane]uint64{},
		wake: make(chan struct{}, 1), cat: cat, hash: wire.HashCatalogue(cat),
	}
}

func (s *store) add(t *testing.T, l wire.Lane, n int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next[l]++
	id := wire.ID{Stream: wire.Stream{Car: carName, Epoch: epoch, Lane: l}, Seq: s.next[l]}
	payload := make([]byte, n)
	for i := range payload {
		payload[i] = byte(s.next[l] * uint64(i*i+1) >> 3)
	}
	b := wire.Body{Lane: l, FirstNS: 1, LastNS: 2, Samples: 1, Payload: payload}
	if l != wire.LaneCritical {
		b.Catalogue = s.hash
	}
	raw, err := s.sealer.Seal(nil, id, b)
	if err != nil {
		t.Fatal(err)
	}
	s.sealed[id] = raw
	s.items[l] = append(s.items[l], wire.Item{ID: id, Size: len(raw), FirstNS: 1, LastNS: 2, Catalogue: b.Catalogue})
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *store) Next(l wire.Lane, after wire.ID) (wire.Item, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	items := s.items[l]
	i, found := slices.BinarySearchFunc(items, after.Seq, func(it wire.Item, seq uint64) int { return int(it.ID.Seq) - int(seq) })
	if found {
		i++
	}
	if i >= len(items) {
		return wire.Item{}, false
	}
	return items[i], true
}

func (s *store) NextIn(l wire.Lane, after wire.ID, _, _ int64) (wire.Item, bool) {
	return s.Next(l, after)
}

var errGone = errors.New("gone")

func (s *store) Read(id wire.ID, dst []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.sealed[id]
	if !ok {
		return dst, errGone
	}
	return append(dst, b...), nil
}

func (s *store) Base(st wire.Stream) uint64 {
	if it, ok := s.Next(st.Lane, wire.ID{}); ok {
		return it.ID.Seq
	}
	return 1
}

func (s *store) Settle(st wire.Stream, durable wire.Ranges) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.items[st.Lane] = slices.DeleteFunc(s.items[st.Lane], func(it wire.Item) bool {
		if !durable.Contains(it.ID.Seq) {
			return false
		}
		delete(s.sealed, it.ID)
		s.settled++
		return true
	})
}

func (s *store) Refuse(id wire.ID, why wire.Reason) { panic(fmt.Sprint("refused: ", id, why)) }
func (s *store) Wake() <-chan struct{}              { return s.wake }

func (s *store) Catalogue(wire.CatalogueHash) ([]byte, error) { return s.cat, nil }

// made returns how many batches were added, done how many of them are settled.
func (s *store) made() (made, done int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.next {
		made += int(n)
	}
	return made, s.settled
}

type bootClock struct{ start time.Time }

func (c bootClock) BootNS() int64 { return int64(time.Since(c.start)) + int64(time.Hour) }

// startCar runs an uplink over three links until the test ends.
func startCar(t *testing.T, p place, st *store) *uplink.Uplink {
	t.Helper()
	var ls []uplink.Link
	for i := range links {
		ls = append(ls, uplink.Link{
			Name: fmt.Sprint("modem", i), Addrs: []string{p.scheme + p.addr},
			Dialer: &mqtt.Dialer{TLS: p.client(t, carName)},
		})
	}
	u, err := uplink.New(uplink.Config{Car: carName, Epoch: epoch}, st, ls, bootClock{time.Now()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- u.Run(ctx) }() // ends with the test
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("uplink: %v", err)
		}
	})
	return u
}

// run serves a broker for nobody until the test ends.
func run(t *testing.T, cfg external.Config) *external.Broker {
	t.Helper()
	cfg.Log = slog.New(slog.DiscardHandler)
	b, err := external.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx, nobody{}) }() // ends with the test
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("run: %v", err)
		}
	})
	return b
}

// nobody takes messages and forgets them.
type nobody struct{}

func (nobody) Message(ingest.Peer, string, []byte) {}

func (nobody) Attached(string, uint8, bool) {}
