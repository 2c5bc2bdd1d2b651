package mqtt_test

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	broker "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"telemetry/uplink"
	"telemetry/wire"
)

const car = "car-7"

var epoch = wire.Epoch{Counter: 4, Nonce: 0x1122334455667788}

// bootClock counts from its making.
type bootClock struct{ start time.Time }

func (c bootClock) BootNS() int64 { return int64(time.Since(c.start)) + int64(time.Hour) }

// memStore holds sealed batches in memory. It is safe for concurrent use.
type memStore struct {
	mu      sync.Mutex
	changed *sync.Cond
	items   map[wire.Lane][]wire.Item
	sealed  map[wire.ID][]byte
	next    map[wire.Lane]uint64
	settled int
	wake    chan struct{}
	sealer  wire.Sealer
	cat     []byte
}

func newMemStore() *memStore {
	s := &memStore{items: map[wire.Lane][]wire.Item{}, sealed: map[wire.ID][]byte{}, next: map[wire.Lane]uint64{}, wake: make(chan struct{}, 1)}
	s.changed = sync.NewCond(&s.mu)
	return s
}

func (s *memStore) add(t testing.TB, l wire.Lane, payload []byte) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next[l]++
	id := wire.ID{Stream: wire.Stream{Car: car, Epoch: epoch, Lane: l}, Seq: s.next[l]}
	b, err := s.sealer.Seal(nil, id, wire.Body{Lane: l, FirstNS: 1, LastNS: 2, Samples: 1, Payload: payload})
	if err != nil {
		t.Fatal(err)
	}
	s.sealed[id] = b
	s.items[l] = append(s.items[l], wire.Item{ID: id, Size: len(b), FirstNS: 1, LastNS: 2})
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *memStore) Next(l wire.Lane, after wire.ID) (wire.Item, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, it := range s.items[l] {
		if it.ID.Seq > after.Seq {
			return it, true
		}
	}
	return wire.Item{}, false
}

func (s *memStore) NextIn(l wire.Lane, after wire.ID, _, _ int64) (wire.Item, bool) {
	return s.Next(l, after)
}

var errGone = errors.New("gone")

func (s *memStore) Read(id wire.ID, dst []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.sealed[id]
	if !ok {
		return dst, errGone
	}
	return append(dst, b...), nil
}

func (s *memStore) Base(st wire.Stream) uint64 {
	if it, ok := s.Next(st.Lane, wire.ID{}); ok {
		return it.ID.Seq
	}
	return 1
}

func (s *memStore) Settle(st wire.Stream, durable wire.Ranges) {
	s.mu.Lock()
	defer s.mu.Unlock()
	keep := s.items[st.Lane][:0]
	for _, it := range s.items[st.Lane] {
		if durable.Contains(it.ID.Seq) {
			delete(s.sealed, it.ID)
			s.settled++
		} else {
			keep = append(keep, it)
		}
	}
	s.items[st.Lane] = keep
	s.changed.Broadcast()
}

func (s *memStore) Refuse(wire.ID, wire.Reason) {}
func (s *memStore) Wake() <-chan struct{}       { return s.wake }
func (s *memStore) Catalogue(wire.CatalogueHash) ([]byte, error) {
	return s.cat, nil
}

// waitSettled returns when n batches are settled; the test's context ends it.
func (s *memStore) waitSettled(ctx context.Context, t testing.TB, n int, state func() any) {
	t.Helper()
	stop := context.AfterFunc(ctx, func() { s.mu.Lock(); s.changed.Broadcast(); s.mu.Unlock() })
	defer stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.settled < n {
		if ctx.Err() != nil {
			t.Fatalf("%d of %d batches settled: %+v", s.settled, n, state())
		}
		s.changed.Wait()
	}
}

// hook is the broker's access rules: it may turn clients or subscriptions away.
type hook struct {
	broker.HookBase
	refuseClient func(id string) bool
	refuseTopic  func(topic string, write bool) bool
}

func (h *hook) ID() string { return "test" }
func (h *hook) Provides(b byte) bool {
	return b == broker.OnConnectAuthenticate || b == broker.OnACLCheck
}

func (h *hook) OnConnectAuthenticate(cl *broker.Client, _ packets.Packet) bool {
	return h.refuseClient == nil || !h.refuseClient(cl.ID)
}

func (h *hook) OnACLCheck(_ *broker.Client, topic string, write bool) bool {
	return h.refuseTopic == nil || !h.refuseTopic(topic, write)
}

// ingest is a broker with one instance behind it that acks every 50 ms.
type ingest struct {
	addr string
	srv  *broker.Server

	mu      sync.Mutex
	nonce   uint64
	counter uint64
	links   map[[2]uint32]*wire.LinkEcho
	at      map[[2]uint32]time.Time
	durable map[wire.Lane]wire.Ranges
	copies  int
	pulled  int
	joiner  wire.CatalogueJoiner
	cat     []byte
	answers chan *wire.Answer
}

func newIngest(t *testing.T, secure *tls.Config, h *hook) *ingest {
	t.Helper()
	in := &ingest{
		nonce: uint64(time.Now().UnixNano()), links: map[[2]uint32]*wire.LinkEcho{}, at: map[[2]uint32]time.Time{},
		durable: map[wire.Lane]wire.Ranges{}, answers: make(chan *wire.Answer, 16),
	}
	in.srv = broker.New(&broker.Options{InlineClient: true, Logger: slog.New(slog.DiscardHandler)})
	if h == nil {
		h = &hook{}
	}
	if err := in.srv.AddHook(h, nil); err != nil {
		t.Fatal(err)
	}
	l := listeners.NewTCP(listeners.Config{ID: "t", Address: "127.0.0.1:0", TLSConfig: secure})
	if err := in.srv.AddListener(l); err != nil {
		t.Fatal(err)
	}
	in.addr = l.Address()
	if err := in.srv.Subscribe("tele/#", 1, func(_ *broker.Client, _ packets.Subscription, pk packets.Packet) {
		in.take(t, pk.TopicName, pk.Payload)
	}); err != nil {
		t.Fatal(err)
	}
	go func() { _ = in.srv.Serve() }() // ends with Close
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { // ends with the test
		defer close(done)
		in.ackLoop(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		_ = in.srv.Close()
	})
	return in
}

func (in *ingest) take(t *testing.T, topic string, payload []byte) {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case strings.HasSuffix(topic, "/answer"):
		if a, err := wire.ParseAnswer(payload); err == nil {
			in.answers <- a
		} else {
			t.Errorf("answer: %v", err)
		}
		return
	case strings.HasSuffix(topic, "/catalogue"):
		p, err := wire.ParseCataloguePart(payload)
		if err != nil {
			t.Errorf("catalogue part: %v", err)
			return
		}
		if c, done, err := in.joiner.Add(p); err != nil {
			t.Errorf("join: %v", err)
		} else if done {
			in.cat = c
		}
		return
	}
	s, n, err := wire.ParseSend(payload)
	if err != nil {
		t.Errorf("send header: %v", err)
		return
	}
	b, _, err := wire.Parse(payload[n:])
	if err != nil {
		t.Errorf("batch: %v", err)
		return
	}
	if want := "tele/" + car + "/" + b.Header.Stream.Lane.String(); topic != want {
		t.Errorf("topic %q, want %q", topic, want)
	}
	key := [2]uint32{uint32(s.Link), s.Gen}
	e := in.links[key]
	if e == nil {
		e = &wire.LinkEcho{Link: s.Link, Gen: s.Gen}
		in.links[key] = e
	}
	e.Messages++
	e.Bytes += uint64(len(payload))
	e.LastSentNS = s.SentNS
	in.at[key] = time.Now()
	in.copies++
	if s.Pulled {
		in.pulled++
	}
	l := b.Header.Stream.Lane
	in.durable[l] = in.durable[l].Add(b.Header.Seq, b.Header.Seq)
}

func (in *ingest) ackLoop(ctx context.Context) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		in.mu.Lock()
		in.counter++
		a := &wire.Ack{Instance: "fake", Nonce: in.nonce, Counter: in.counter, State: wire.InstanceOK, Credit: 1 << 20}
		for key, e := range in.links {
			echo := *e
			echo.HeldNS = int64(time.Since(in.at[key]))
			a.Links = append(a.Links, echo)
		}
		for l, rs := range in.durable {
			a.Streams = append(a.Streams, wire.StreamAck{Epoch: epoch, Lane: l, Durable: rs.Clone()})
		}
		in.mu.Unlock()
		b := wire.AppendAck(nil, a)
		for i := range 3 {
			_ = in.srv.Publish(uplink.ControlTopic(car, i), b, false, 0)
		}
	}
}

func (in *ingest) command(t *testing.T, link int, c *wire.Command) {
	t.Helper()
	if err := in.srv.Publish(uplink.ControlTopic(car, link), wire.AppendCommand(nil, c), false, 0); err != nil {
		t.Fatal(err)
	}
}

// taps remembers the connections of one link, so that a test can hurt them.
type taps struct {
	mu    sync.Mutex
	conns []net.Conn
	wrap  func(net.Conn) net.Conn
}

func (p *taps) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if p.wrap != nil {
		c = p.wrap(c)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns = append(p.conns, c)
	return c, nil
}

func (p *taps) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}
