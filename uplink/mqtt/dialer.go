package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"telemetry/uplink"
)

var (
	_ uplink.Dialer = (*Dialer)(nil)
	_ uplink.Conn   = (*conn)(nil)

	_ uplink.Watched = (*conn)(nil)
	_ uplink.Prompt  = (*conn)(nil)
	_ uplink.Paced   = (*conn)(nil)
)

// DialFunc opens a connection; package modem gives one that is bound to a
// modem's interface.
type DialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// Dialer makes MQTT connections of one link. It is safe for concurrent use and
// must not change after its first use.
type Dialer struct {
	// Net opens the TCP connection; nil means the standard dialer.
	Net DialFunc
	// TLS is for tls:// addresses; nil means the system's roots and no client
	// certificate. An empty ServerName becomes the address's host.
	TLS *tls.Config
	// Username and Password are for brokers that ask for them; may be empty.
	Username string
	Password []byte
	// KeepAlive is the MQTT keep-alive in whole seconds; 0 means 10 s. It only
	// buries connections: trouble is noticed by missing acks long before.
	KeepAlive time.Duration
	// ConnectTimeout limits the TCP connect, so that a dial on a path that heals
	// is soon tried afresh; 0 means 2 s.
	ConnectTimeout time.Duration
	// WriteTimeout limits one packet's writing; 0 means 15 s. A connection is
	// closed after it: half a packet may be out.
	WriteTimeout time.Duration
	// Congestion names the TCP congestion control of the link, as "bbr". Empty, or
	// one that the kernel doesn't have, means Cubic, or Reno where there is none, and BBR once the link has lost
	// 1 % of its packets for a while.
	Congestion string
}

const (
	defaultKeepAlive      = 10 * time.Second
	defaultConnectTimeout = 2 * time.Second
	defaultWriteTimeout   = 15 * time.Second
	goodbyeTimeout        = 500 * time.Millisecond
	maxPacketBytes        = 64 << 10 // inbound: acks have at most 32 KiB
	receiveMaximum        = 32       // also the length of paho's inbound queue
)

// ParseAddr splits "tcp://host:port" or "tls://host:port".
func ParseAddr(addr string) (hostPort string, secure bool, err error) {
	scheme, hostPort, ok := strings.Cut(addr, "://")
	if ok && (scheme == "tcp" || scheme == "tls") {
		if host, port, err := net.SplitHostPort(hostPort); err == nil && host != "" && port != "" {
			return hostPort, scheme == "tls", nil
		}
	}
	return "", false, fmt.Errorf("uplink/mqtt: receiver address %q (want tcp://host:port or tls://host:port)", addr)
}

// Dial opens, authenticates and subscribes one connection; ctx limits all of it.
func (d *Dialer) Dial(ctx context.Context, req uplink.DialRequest) (uplink.Conn, error) {
	sock, err := d.open(ctx, req.Addr)
	if err != nil {
		return nil, err
	}
	c := &conn{sock: sock, onDown: req.OnDown, pinger: paho.NewDefaultPinger()}
	c.client = paho.NewClient(paho.ClientConfig{
		ClientID:    req.ClientID,
		Conn:        sock,
		PingHandler: c.pinger,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			if p.Packet.Topic == req.Subscribe && !p.Packet.Retain {
				req.OnMessage(p.Packet.Payload)
			}
			return true, nil
		}},
		OnClientError: c.down,
		OnServerDisconnect: func(p *paho.Disconnect) {
			c.down(fmt.Errorf("uplink/mqtt: %s ended the connection: %s", req.Addr, (&packets.Disconnect{ReasonCode: p.ReasonCode}).Reason()))
		},
	})
	if err := d.connect(ctx, c.client, req); err != nil {
		_ = sock.Close()
		return nil, err
	}
	if err := subscribe(ctx, c.client, req); err != nil {
		c.silent.Store(true)
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// open dials and, for tls://, shakes hands.
func (d *Dialer) open(ctx context.Context, addr string) (*socket, error) {
	hostPort, secure, err := ParseAddr(addr)
	if err != nil {
		return nil, err
	}
	dial := d.Net
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	connectCtx, cancel := context.WithTimeout(ctx, orDefault(d.ConnectTimeout, defaultConnectTimeout))
	defer cancel()
	raw, err := dial(connectCtx, "tcp", hostPort)
	if err != nil {
		return nil, fmt.Errorf("uplink/mqtt: dial %s: %w", addr, err)
	}
	out := newOutbox(raw)
	s := &socket{Conn: out, raw: raw, out: out, tuner: tune(raw, d.Congestion), timeout: orDefault(d.WriteTimeout, defaultWriteTimeout)}
	if secure {
		cfg := &tls.Config{MinVersion: tls.VersionTLS12}
		if d.TLS != nil {
			cfg = d.TLS.Clone()
		}
		if cfg.ServerName == "" {
			cfg.ServerName, _, _ = net.SplitHostPort(hostPort)
		}
		t := tls.Client(out, cfg)
		if err := t.HandshakeContext(ctx); err != nil {
			_ = raw.Close()
			return nil, fmt.Errorf("uplink/mqtt: TLS with %s: %w", addr, err)
		}
		s.Conn = t
	}
	out.keep = out.fd != nil
	return s, nil
}

func (d *Dialer) connect(ctx context.Context, client *paho.Client, req uplink.DialRequest) error {
	var noExpiry uint32
	maxPacket, inbound := uint32(maxPacketBytes), uint16(receiveMaximum)
	ack, err := client.Connect(ctx, &paho.Connect{
		ClientID:     req.ClientID,
		CleanStart:   true,
		KeepAlive:    uint16(max(1, min(orDefault(d.KeepAlive, defaultKeepAlive)/time.Second, 65535))),
		Username:     d.Username,
		UsernameFlag: d.Username != "",
		Password:     d.Password,
		PasswordFlag: len(d.Password) > 0,
		Properties: &paho.ConnectProperties{
			SessionExpiryInterval: &noExpiry,
			MaximumPacketSize:     &maxPacket,
			ReceiveMaximum:        &inbound,
			RequestProblemInfo:    true,
		},
	})
	if err == nil {
		return nil
	}
	if ack != nil && ack.ReasonCode >= 0x80 {
		refused := &uplink.RefusedError{Addr: req.Addr, Step: "connect", Code: ack.ReasonCode, Reason: (&packets.Connack{ReasonCode: ack.ReasonCode}).Reason()}
		if ack.Properties != nil && ack.Properties.ReasonString != "" {
			refused.Reason = ack.Properties.ReasonString
		}
		return refused
	}
	return fmt.Errorf("uplink/mqtt: connect to %s: %w", req.Addr, err)
}

func subscribe(ctx context.Context, client *paho.Client, req uplink.DialRequest) error {
	ack, err := client.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: req.Subscribe}}})
	if err == nil {
		return nil
	}
	if ack != nil && len(ack.Reasons) == 1 && ack.Reasons[0] >= 0x80 {
		refused := &uplink.RefusedError{Addr: req.Addr, Step: "subscription to " + req.Subscribe, Code: ack.Reasons[0], Reason: (&packets.Suback{Reasons: ack.Reasons}).Reason(0)}
		if ack.Properties != nil && ack.Properties.ReasonString != "" {
			refused.Reason = ack.Properties.ReasonString
		}
		return refused
	}
	return fmt.Errorf("uplink/mqtt: subscribe to %s at %s: %w", req.Subscribe, req.Addr, err)
}

func orDefault(d, def time.Duration) time.Duration {
	if d <= 0 {
		return def
	}
	return d
}

// conn is one established MQTT connection.
type conn struct {
	client *paho.Client
	pinger paho.Pinger
	sock   *socket
	onDown func(error)
	silent atomic.Bool // onDown was called, or must not be any more
	once   sync.Once
}

var errClosed = errors.New("uplink/mqtt: connection is closed")

// Send publishes at QoS 0 and returns when the socket has taken the packet.
func (c *conn) Send(topic string, payload []byte) error {
	c.sock.out.announce(len(payload))
	defer c.sock.out.announce(0)
	if _, err := c.client.Publish(context.Background(), &paho.Publish{Topic: topic, Payload: payload}); err != nil {
		return fmt.Errorf("uplink/mqtt: publish on %s: %w", topic, err)
	}
	// The packet leaves in one write when paho unlocks the socket, too late for
	// paho to see an error.
	if err := c.sock.failure(); err != nil {
		return fmt.Errorf("uplink/mqtt: publish on %s: %w", topic, err)
	}
	return nil
}

// Try implements [uplink.Prompt]. The packet is what [paho.Client.Publish] writes.
func (c *conn) Try(topic string, payload []byte) (uplink.Taken, error) {
	took, err := c.sock.try(topic, payload)
	if err != nil {
		return took, fmt.Errorf("uplink/mqtt: publish on %s: %w", topic, err)
	}
	if took != uplink.NotTaken {
		c.pinger.PacketSent()
	}
	return took, nil
}

// Flush implements [uplink.Prompt].
func (c *conn) Flush() error {
	if err := c.sock.rest(); err != nil {
		return fmt.Errorf("uplink/mqtt: publish: %w", err)
	}
	return nil
}

// Unacked implements [uplink.Watched].
func (c *conn) Unacked() (int64, bool) { return c.sock.out.unacked() }

// Pace implements [uplink.Paced].
func (c *conn) Pace(bytesPerS int64) { pace(c.sock.raw, bytesPerS) }

// Close says goodbye if the socket takes it within half a second, and returns
// after the client's goroutines have ended.
func (c *conn) Close() error {
	c.once.Do(func() {
		c.silent.Store(true)
		c.sock.leave(time.Now().Add(goodbyeTimeout))
		_ = c.client.Disconnect(&paho.Disconnect{})
	})
	<-c.client.Done()
	return nil
}

func (c *conn) down(err error) {
	if !c.silent.Swap(true) {
		if err == nil {
			err = errClosed
		}
		c.onDown(err)
	}
}
