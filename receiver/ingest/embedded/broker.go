package embedded

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"

	"telemetry/receiver/ingest"
)

// Config configures a [Broker].
type Config struct {
	Address string // host:port to listen on; port 0 takes a free one

	// TLS must ask for and verify client certificates; the common name of a
	// certificate is the car that it may speak for. nil needs Insecure.
	TLS *tls.Config
	// Revoked returns an error for each certificate that was taken back, nil for the
	// others. It is asked about all open connections every two seconds; nil is never.
	Revoked func([]*x509.Certificate) []error
	// Insecure serves without TLS, and believes every client that it is the car
	// that it names. For demos and trusted networks only.
	Insecure bool

	// MaxConnections bounds the connections that have proved who they are, and
	// without TLS all; 0 means DefaultMaxConnections.
	MaxConnections int
	// MaxPerCar bounds those of one car; 0 means DefaultMaxPerCar.
	MaxPerCar int
	// MaxHandshakes bounds the connections that have not proved anything yet, in
	// places of their own, and MaxPerAddress those of one remote address; 0 means
	// the defaults. Beyond them the oldest goes: of that address, or of the address
	// that has most.
	MaxHandshakes, MaxPerAddress int

	Log *slog.Logger // needed
}

// Defaults of [Config], and the limits of one connection.
const (
	DefaultMaxConnections = 4096
	DefaultMaxPerCar      = 32 // sixteen links, redialled beside old connections
	DefaultMaxHandshakes  = 512
	DefaultMaxPerAddress  = 128 // many cars may share an address of their carrier
	// maxPending bounds the messages that wait for one slow client: acks of
	// three seconds. Later ones are dropped, an ack repeats all that matters.
	maxPending = 64
	readBuffer = 32 << 10
	// maxPacket leaves room for the topic and properties of the largest message.
	maxPacket = ingest.MaxMessageBytes + 1024
)

// Counters counts events since the start.
type Counters struct {
	Connections    uint64 `json:"connections"`     // accepted
	TooMany        uint64 `json:"too_many"`        // turned away at a limit
	Refused        uint64 `json:"refused"`         // turned away: certificate, client id
	Forbidden      uint64 `json:"forbidden"`       // publishes and subscriptions that were not allowed
	Oversized      uint64 `json:"oversized"`       // connections ended for a packet larger than any of ours
	Dropped        uint64 `json:"dropped"`         // messages to clients that were too slow
	Open           int    `json:"open"`            // connections now, before or after login
	Handshakes     int    `json:"handshakes"`      // of these: nothing is proved yet
	Crowded        uint64 `json:"crowded"`         // ended before they proved anything, to make room for newer ones
	AcceptErrors   uint64 `json:"accept_errors"`   // the system did not hand out a connection
	CarConnections int    `json:"car_connections"` // after login
}

// Broker implements [ingest.Broker].
type Broker struct {
	cfg    Config
	listen *patient
	cars   *places
	server *mqtt.Server
	hook   *hook
	shakes *handshakes // nil without TLS

	ran atomic.Bool
}

var _ ingest.Broker = (*Broker)(nil)

// Listen opens the port. Cars are served by Run; until then they wait.
func Listen(cfg Config) (*Broker, error) {
	if cfg.Log == nil {
		return nil, errors.New("embedded: a log is needed")
	}
	if err := checkTLS(cfg); err != nil {
		return nil, err
	}
	cfg.MaxConnections = cmp.Or(cfg.MaxConnections, DefaultMaxConnections)
	cfg.MaxPerCar = cmp.Or(cfg.MaxPerCar, DefaultMaxPerCar)
	cfg.MaxHandshakes = cmp.Or(cfg.MaxHandshakes, DefaultMaxHandshakes)
	cfg.MaxPerAddress = cmp.Or(cfg.MaxPerAddress, DefaultMaxPerAddress)
	l, err := net.Listen("tcp", cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("embedded: cannot listen for cars (is another receiver running, or is the port below 1024?): %w", err)
	}
	return serve(cfg, l)
}

// serve makes a broker of a listener, which it closes when it fails.
func serve(cfg Config, l net.Listener) (*Broker, error) {
	b := &Broker{cfg: cfg, listen: newPatient(l, cfg.Log), cars: &places{max: cfg.MaxConnections, perCar: cfg.MaxPerCar, of: map[string]int{}}}
	b.hook = newHook(cfg, nil)
	caps := mqtt.NewDefaultServerCapabilities()
	caps.MaximumClients = int64(cfg.MaxConnections)
	caps.MaximumClientWritesPending = maxPending
	caps.MaximumSessionExpiryInterval = 0
	caps.MaximumPacketSize = maxPacket
	caps.MaximumQos = 0
	caps.RetainAvailable = 0
	caps.SharedSubAvailable = 0
	caps.SubIDAvailable = 0
	caps.TopicAliasMaximum = 0 // an alias would pass the access check without a topic
	caps.MinimumProtocolVersion = 5
	b.server = mqtt.New(&mqtt.Options{
		Capabilities: caps, InlineClient: true, Logger: slog.New(quiet{cfg.Log.Handler()}),
		ClientNetReadBufferSize: readBuffer, SysTopicResendInterval: 3600,
	})
	if err := b.server.AddHook(b.hook, nil); err != nil {
		return nil, errors.Join(fmt.Errorf("embedded: add hook: %w", err), l.Close())
	}
	var in net.Listener = &limited{b.listen, b.cars}
	if cfg.TLS != nil {
		b.shakes = newHandshakes(b.listen, b.cars, &cfg)
		in = b.shakes
	}
	if err := b.server.AddListener(listeners.NewNet("cars", in)); err != nil {
		return nil, errors.Join(fmt.Errorf("embedded: add listener: %w", err), l.Close())
	}
	return b, nil
}

func checkTLS(cfg Config) error {
	switch {
	case cfg.TLS == nil && !cfg.Insecure:
		return errors.New("embedded: no TLS configured: give a certificate, key and client CA, or say insecure for a demo or a trusted network")
	case cfg.TLS != nil && cfg.Insecure:
		return errors.New("embedded: both TLS and insecure are configured: remove one")
	case cfg.TLS != nil && cfg.TLS.ClientAuth != tls.RequireAndVerifyClientCert:
		return errors.New("embedded: TLS without verified client certificates cannot tell which car speaks: set RequireAndVerifyClientCert and the cars' CA")
	}
	return nil
}

// Addr returns the address that the broker listens on.
func (b *Broker) Addr() string { return b.listen.Addr().String() }

// Run implements [ingest.Broker]. It can run once; when it returns, the port is
// closed and every connection has ended.
func (b *Broker) Run(ctx context.Context, h ingest.Handler) error {
	if b.ran.Swap(true) {
		return errors.New("embedded: broker cannot run twice")
	}
	b.hook.handler.Store(&h)
	if err := b.server.Serve(); err != nil {
		return errors.Join(fmt.Errorf("embedded: serve: %w", err), b.listen.Close())
	}
	if b.cfg.Insecure {
		b.cfg.Log.Warn("mqtt without tls: anyone who reaches this port may speak for any car", "address", b.Addr())
	} else {
		b.cfg.Log.Info("mqtt broker listens", "address", b.Addr())
	}
	if b.cfg.Revoked != nil {
		go b.dropRevoked(ctx) // ends with ctx
	}
	<-ctx.Done()
	if err := b.server.Close(); err != nil {
		return fmt.Errorf("embedded: close: %w", err)
	}
	return nil
}

// Publish implements [ingest.Broker]: each subscriber gets the message in its own
// queue, or not at all when that is full.
func (b *Broker) Publish(topic string, payload []byte) error {
	if err := b.server.Publish(topic, payload, false, 0); err != nil {
		return fmt.Errorf("embedded: publish on %s: %w", topic, err)
	}
	return nil
}

// Close frees the port of a broker that has never run.
func (b *Broker) Close() error {
	if b.ran.Swap(true) {
		return nil
	}
	return b.listen.Close()
}

// Counters returns what was counted. It is safe for concurrent use.
func (b *Broker) Counters() Counters {
	c := b.hook.counters()
	c.Connections, c.AcceptErrors = b.listen.accepted.Load(), b.listen.failed.Load()
	open, turnedAway := b.cars.counts()
	c.Open, c.TooMany = open, c.TooMany+turnedAway
	if b.shakes != nil {
		c.Refused += b.shakes.refused.Load()
		c.Handshakes, c.Crowded = b.shakes.crowd.counts()
		c.Open += c.Handshakes
	}
	return c
}

// Err returns why no connection can be accepted now; nil when none had to fail.
func (b *Broker) Err() error { return b.listen.trouble() }

// quiet lets the broker library log at debug only: connections of cars come and
// go, its warnings have no text, and what matters is counted.
type quiet struct{ slog.Handler }

func (q quiet) Enabled(ctx context.Context, _ slog.Level) bool {
	return q.Handler.Enabled(ctx, slog.LevelDebug)
}

func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	r.Level = slog.LevelDebug
	if r.Message == "" {
		r.Message = "connection ended"
	}
	return q.Handler.Handle(ctx, r)
}

func (q quiet) WithAttrs(as []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(as)} }
func (q quiet) WithGroup(name string) slog.Handler    { return quiet{q.Handler.WithGroup(name)} }
