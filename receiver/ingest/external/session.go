package external

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"telemetry/receiver/ingest"
	"telemetry/wire"
)

// session is one established connection.
type session struct {
	b         *Broker
	h         ingest.Handler
	client    *paho.Client
	sock      *socket
	lost      chan error // capacity 1: why it ended
	once      sync.Once
	maxPacket int  // bytes that the broker takes; 0 = any
	canCheck  bool // it takes QoS 1
	joined    bool // a member of the group; owned by open, then by membership

	checks  chan struct{}   // places of the access checks under way
	checked map[string]bool // cars; owned by the writer
	wg      sync.WaitGroup  // of what serve started
}

// own are the filters that every instance subscribes to for itself: only one
// has asked, and nobody knows which.
func own() []string { return []string{"tele/+/catalogue", "tele/+/answer"} }

// shared are the filters whose messages the members of the group divide up.
func (b *Broker) shared() []string {
	var fs []string
	for _, l := range wire.Lanes {
		fs = append(fs, "$share/"+b.cfg.Group+"/tele/+/"+l.String())
	}
	return fs
}

// open dials, logs in and subscribes.
func (b *Broker) open(ctx context.Context, h ingest.Handler) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	sock, err := b.dial(ctx)
	if err != nil {
		return nil, err
	}
	s := &session{
		b: b, h: h, sock: sock, lost: make(chan error, 1),
		checks: make(chan struct{}, maxChecks), checked: map[string]bool{},
	}
	s.client = paho.NewClient(paho.ClientConfig{
		ClientID: b.cfg.ClientID, Conn: sock, PacketTimeout: openTimeout,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){s.received},
		OnClientError:     func(err error) { s.end(endFault(b.cfg.Address, nil, err)) },
		OnServerDisconnect: func(d *paho.Disconnect) {
			s.end(endFault(b.cfg.Address, d, nil))
		},
	})
	if err := s.connect(ctx); err != nil {
		return nil, err
	}
	filters := own()
	if s.joined = b.want.Load(); s.joined {
		filters = append(filters, b.shared()...)
	}
	if err := s.subscribe(ctx, filters); err != nil {
		s.leave()
		return nil, err
	}
	b.share(s.joined)
	return s, nil
}

func (b *Broker) dial(ctx context.Context) (*socket, error) {
	d := net.Dialer{Timeout: dialTimeout, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 2 * time.Second, Interval: time.Second, Count: 3}}
	raw, err := d.DialContext(ctx, "tcp", b.hostPort)
	if err != nil {
		return nil, dialFault(b.cfg.Address, err)
	}
	s := &socket{Conn: raw, raw: raw}
	if !b.secure {
		return s, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if b.cfg.TLS != nil {
		cfg = b.cfg.TLS.Clone()
	}
	if cfg.ServerName == "" {
		cfg.ServerName, _, _ = net.SplitHostPort(b.hostPort) // it has been split before
	}
	t := tls.Client(raw, cfg)
	if err := t.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, tlsFault(b.cfg.Address, err)
	}
	s.Conn = t
	return s, nil
}

// connect logs in. On an error the socket is closed.
func (s *session) connect(ctx context.Context) error {
	cfg := &s.b.cfg
	var noExpiry uint32
	size, inbound := uint32(maxPacket), uint16(inboundQueue)
	ack, err := s.client.Connect(ctx, &paho.Connect{
		ClientID: cfg.ClientID, CleanStart: true, KeepAlive: uint16(keepAlive / time.Second),
		Username: cfg.Username, UsernameFlag: cfg.Username != "",
		Password: cfg.Password, PasswordFlag: len(cfg.Password) > 0,
		Properties: &paho.ConnectProperties{
			SessionExpiryInterval: &noExpiry, MaximumPacketSize: &size, ReceiveMaximum: &inbound, RequestProblemInfo: true,
		},
	})
	if err != nil {
		_ = s.sock.Close()
		return connectFault(cfg.Address, ack, s.sock, err)
	}
	if f := unfit(cfg.Address, ack.Properties); f != nil {
		s.leave()
		return f
	}
	s.canCheck = true
	if p := ack.Properties; p != nil {
		s.canCheck = p.MaximumQoS == nil || *p.MaximumQoS > 0
		if p.MaximumPacketSize != nil {
			s.maxPacket = int(*p.MaximumPacketSize)
		}
	}
	if s.maxPacket > 0 && s.maxPacket < maxPacket {
		cfg.Log.Warn("the mqtt broker takes smaller packets than a catalogue may need: raise its limit",
			"address", cfg.Address, "limit_bytes", s.maxPacket, "wanted_bytes", maxPacket)
	}
	return nil
}

func (s *session) subscribe(ctx context.Context, filters []string) error {
	subs := make([]paho.SubscribeOptions, len(filters))
	for i, f := range filters {
		subs[i] = paho.SubscribeOptions{Topic: f, RetainHandling: 2} // nothing retained is sent
	}
	ack, err := s.client.Subscribe(ctx, &paho.Subscribe{Subscriptions: subs})
	if err != nil {
		return subscribeFault(s.b.cfg.Address, filters, ack, err)
	}
	return nil
}

func (s *session) unsubscribe(ctx context.Context, filters []string) error {
	if _, err := s.client.Unsubscribe(ctx, &paho.Unsubscribe{Topics: filters}); err != nil {
		return &Fault{Address: s.b.cfg.Address, Step: "unsubscribe", Err: err}
	}
	return nil
}

// end notes why the connection ended; only the first reason counts.
func (s *session) end(why error) { s.once.Do(func() { s.lost <- why }) }

// received hands one message to the instance. It blocks while the instance does,
// and with it the socket.
func (s *session) received(p paho.PublishReceived) (bool, error) {
	m := p.Packet
	if m.Retain {
		s.b.n.retained.Add(1) // no batch of now
		return true, nil
	}
	s.b.n.messages.Add(1)
	s.b.cars.heard(time.Now(), s.h, m.Topic, m.Payload)
	s.h.Message(ingest.Peer{}, m.Topic, m.Payload)
	return true, nil
}

// serve writes until the connection ends, which is an error, or ctx does.
func (s *session) serve(ctx context.Context) error {
	inner, cancel := context.WithCancel(ctx)
	s.wg.Go(func() { s.membership(inner) })
	if s.canCheck {
		s.wg.Go(func() { s.check(inner, message{topic: "ctl/" + s.b.cfg.ClientID + "/0"}) }) // nobody listens there
	}
	s.b.connected.Store(true)
	err := s.write(ctx)
	s.b.connected.Store(false)
	s.flush(err == nil)
	cancel()
	s.leave()
	s.wg.Wait()
	return err
}

// write is the connection's one writer.
func (s *session) write(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-s.lost:
			return err
		case m := <-s.b.out:
			s.send(ctx, m)
		case now := <-tick.C:
			s.b.cars.expire(now, s.h)
		}
	}
}

// flush empties the queue: into the socket while there is one, which includes
// the last acks of an instance that stops.
func (s *session) flush(alive bool) {
	deadline := time.Now().Add(goodbye)
	for {
		select {
		case m := <-s.b.out:
			if alive && time.Now().Before(deadline) {
				s.publish(m)
			} else {
				s.b.n.dropped.Add(1)
			}
		default:
			return
		}
	}
}

// leave says goodbye if the socket takes it in time, and returns after all the
// client's goroutines have ended.
func (s *session) leave() {
	late := time.AfterFunc(goodbye, func() { _ = s.sock.Close() })
	defer late.Stop()
	_ = s.client.Disconnect(&paho.Disconnect{})
}

// send publishes m. The first message to a car in this connection asks for a
// word of the broker: a QoS 0 message that it forbids vanishes without one.
func (s *session) send(ctx context.Context, m message) {
	car := carOf(m.topic)
	if !s.canCheck || s.checked[car] || len(s.checked) >= maxCars {
		s.publish(m)
		return
	}
	select {
	case s.checks <- struct{}{}:
	default: // as many as there may be; another message will do
		s.publish(m)
		return
	}
	s.checked[car] = true
	s.wg.Go(func() {
		defer func() { <-s.checks }()
		s.check(ctx, m)
	})
}

func (s *session) publish(m message) {
	if s.tooLarge(m) {
		return
	}
	if _, err := s.client.Publish(context.Background(), &paho.Publish{Topic: m.topic, Payload: m.payload}); err != nil {
		s.b.n.dropped.Add(1) // the connection is ending
		return
	}
	s.b.n.sent.Add(1)
}

// overhead bounds what a PUBLISH is longer than topic and payload.
const overhead = 16

// tooLarge counts a message for which the broker would end the connection.
func (s *session) tooLarge(m message) bool {
	if s.maxPacket == 0 || len(m.topic)+len(m.payload)+overhead <= s.maxPacket {
		return false
	}
	s.b.n.tooLarge.Add(1)
	return true
}

// check publishes m at QoS 1 and tells when the broker forbids it.
func (s *session) check(ctx context.Context, m message) {
	if s.tooLarge(m) {
		return
	}
	s.b.n.sent.Add(1)
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	ack, err := s.client.Publish(ctx, &paho.Publish{Topic: m.topic, Payload: m.payload, QoS: 1})
	if err == nil || ack == nil || ack.ReasonCode < 0x80 {
		return // taken, or the connection has ended
	}
	s.b.n.denied.Add(1)
	f := &Fault{
		Address: s.b.cfg.Address, Step: "publish", Code: ack.ReasonCode, Refused: true,
		Reason: "it does not let us write to " + m.topic, Remedy: remedyAccess + "; until then cars get no acks and keep their data",
	}
	s.b.enter(StateConnected, f)
	s.b.cfg.Log.Warn("mqtt broker forbids acks", "topic", m.topic, "error", f)
}

// membership keeps the shared subscriptions as the instance wants them.
func (s *session) membership(ctx context.Context) {
	for {
		if want := s.b.want.Load(); want != s.joined {
			if err := s.member(ctx, want); err != nil {
				s.end(err)
				return
			}
			s.joined = want
			s.b.share(want)
		}
		select {
		case <-ctx.Done():
			return
		case <-s.b.changed:
		}
	}
}

func (s *session) member(ctx context.Context, join bool) error {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	var err error
	if join {
		err = s.subscribe(ctx, s.b.shared())
	} else {
		err = s.unsubscribe(ctx, s.b.shared())
	}
	if err != nil {
		return fmt.Errorf("external: change of membership: %w", err)
	}
	s.b.cfg.Log.Info("share of the cars' batches changed", "takes", join, "group", s.b.cfg.Group)
	return nil
}
