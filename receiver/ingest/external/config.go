package external

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"telemetry/receiver/ingest"
	"telemetry/wire"
)

// Config configures a [Broker]. Address and Log are needed.
type Config struct {
	Address string // tcp://host:port or tls://host:port
	// TLS is for tls:// addresses: who we are and whom we trust. nil means the
	// system's authorities and no certificate; an empty ServerName becomes the
	// address's host.
	TLS *tls.Config
	// Username and Password are for brokers that ask for them; may be empty.
	Username string
	Password []byte
	// Group is the name of the shared subscription, the same for all instances
	// that share the cars; "" means DefaultGroup.
	Group string
	// ClientID must differ between instances: two with one id end each other's
	// connections for ever. "" makes one of the group and 64 random bits.
	ClientID string

	Log *slog.Logger
}

// DefaultGroup is the shared subscription's name unless there is another.
const DefaultGroup = "ingest"

// Limits of one connection, and times.
const (
	// maxPacket leaves room for the topic and properties of the largest message.
	maxPacket = ingest.MaxMessageBytes + 1024
	// inboundQueue bounds the messages that are read ahead of the instance. It
	// is announced as Receive Maximum, too, which means nothing at QoS 0.
	inboundQueue = 64
	// outboundQueue bounds the messages that wait for the socket; the oldest
	// goes first, as a later ack says all that matters again.
	outboundQueue = 1024
	// maxChecks bounds the access checks under way.
	maxChecks = 16
	// maxCars bounds the cars whose presence is followed. Others get acks for
	// as long as ingest remembers a message on the link.
	maxCars = 4096

	// keepAlive is short: while an instance is frozen the broker goes on giving
	// it its share, and only this ends that, after one and a half times as much.
	keepAlive    = 4 * time.Second
	dialTimeout  = 5 * time.Second
	openTimeout  = 10 * time.Second // TCP, TLS, CONNECT and all subscriptions
	writeTimeout = 5 * time.Second  // of one packet; half of it may be out after that
	goodbye      = time.Second      // the last messages and DISCONNECT
	// carSilent is how long a car may be unheard until its links get no more
	// acks: longer than any silence of a car that lives.
	carSilent = 30 * time.Second

	firstWait   = 100 * time.Millisecond // before the second try; then doubling
	lostWait    = 3 * time.Second        // the longest while the broker is away
	refusedWait = 10 * time.Second       // the longest while it says no: only people change that
)

// Validate reports all faults at once.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("external: "+format, args...)) }
	if c.Log == nil {
		bad("a log is needed")
	}
	if _, secure, err := parseAddress(c.Address); err != nil {
		errs = append(errs, err)
	} else if !secure && c.TLS != nil {
		bad("%s is without TLS, but an identity for TLS is configured (use tls://, or remove it)", c.Address)
	}
	// A filter's share name must not hold what separates and what matches.
	if strings.ContainsAny(c.Group, "/+#\x00") || len(c.Group) > wire.MaxName {
		bad("group %q cannot name a shared subscription (want at most %d bytes without '/', '+' and '#')", c.Group, wire.MaxName)
	}
	return errors.Join(errs...)
}

// withDefaults replaces zero values.
func (c Config) withDefaults() (Config, error) {
	if c.Group == "" {
		c.Group = DefaultGroup
	}
	if c.ClientID == "" {
		var b [8]byte
		if _, err := rand.Read(b[:]); err != nil {
			return c, fmt.Errorf("external: random client id: %w", err)
		}
		c.ClientID = c.Group + "-" + hex.EncodeToString(b[:])
	}
	return c, nil
}

// parseAddress splits tcp://host:port and tls://host:port.
func parseAddress(a string) (hostPort string, secure bool, err error) {
	scheme, hostPort, ok := strings.Cut(a, "://")
	if ok && (scheme == "tcp" || scheme == "tls") {
		if host, port, err := net.SplitHostPort(hostPort); err == nil && host != "" && port != "" {
			return hostPort, scheme == "tls", nil
		}
	}
	return "", false, fmt.Errorf("external: broker %q (want tcp://host:port or tls://host:port)", a)
}
