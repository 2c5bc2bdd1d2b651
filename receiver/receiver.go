// Package receiver wires the cloud: cars into ingest, ingest into Kafka, and
// telemetry.batches through the sequencer into the output topics, and what is
// in them onto a page for people. Each of these roles also runs alone.
//
// The entry points are [Prepare] and [Receiver.Run]. It keeps nothing that is
// not in Kafka, and never acknowledges what Kafka does not have.
package receiver

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"

	"telemetry/internal/config"
	"telemetry/receiver/ca"
	"telemetry/receiver/history"
	"telemetry/receiver/ingest/external"
	"telemetry/receiver/kafka"
	"telemetry/wire"
)

// Receiver is one configuration of the cloud side, ready to run once.
type Receiver struct {
	cfg     *config.Receiver
	log     *slog.Logger
	mqtt    *tls.Config     // nil: insecure
	revoked *ca.Revocations // nil: nothing is taken back
	kafka   kafka.Config
	name    string

	external *external.Config // nil: the embedded broker
	door     *door            // nil: no page

	history history.Reader // nil: the past is read from Kafka

	mu      sync.Mutex
	running *running // guarded by mu; nil while Run is not under way
	waiting waiting  // guarded by mu
	health  string   // guarded by mu; address of health.listen, "" while there is none
}

// Prepare reads every file that cfg names: certificates and secrets.
func Prepare(cfg *config.Receiver, log *slog.Logger) (*Receiver, error) {
	if cfg.Live.Listen == liveOff && len(cfg.Roles) == 1 && cfg.Roles[0] == roleLive {
		return nil, errors.New("receiver: nothing to do: the only role is live, and live.listen is off")
	}
	r := &Receiver{cfg: cfg, log: log, name: cfg.Name}
	if r.name == "" {
		host, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("receiver: name of this instance (set `name`): %w", err)
		}
		r.name = defaultName(host, cfg.MQTT, os.Getpid())
	}
	if cfg.MQTT.TLS != nil {
		t, err := serverTLS(cfg.MQTT.TLS)
		if err != nil {
			return nil, err
		}
		r.mqtt = t
		if crl := cfg.MQTT.TLS.CRL; crl != "" {
			if r.revoked, err = ca.NewRevocations(crl, cfg.MQTT.TLS.CA, log.With("component", "mqtt")); err != nil {
				return nil, fmt.Errorf("receiver: mqtt.tls.crl: %w", err)
			}
			r.revoked.Guard(r.mqtt)
		}
	}
	var err error
	if cfg.MQTT.Broker != "" {
		if r.external, err = externalConfig(cfg.MQTT, log); err != nil {
			return nil, err
		}
	}
	if r.hasPage() {
		if r.door, err = openDoor(&cfg.Live, log); err != nil {
			return nil, err
		}
		if r.history, err = openHistory(cfg.Live.History); err != nil {
			return nil, fmt.Errorf("receiver: live.history: %w", err)
		}
	}
	if r.kafka, err = kafkaConfig(cfg.Kafka, cfg.Sequence.Group, log); err != nil {
		return nil, err
	}
	r.kafka.Outputs = outputTopics(cfg)
	if err := r.kafka.Validate(); err != nil {
		return nil, err
	}
	return r, nil
}

// defaultName names an instance after its host and what tells it from the other
// ones there: cars take two instances of one name for one that has restarted, and
// send again what the other had. The port that cars dial is the same after a
// restart; where there is none, or a free one, the process stands in.
func defaultName(host string, m config.MQTT, pid int) string {
	own := strconv.Itoa(pid)
	if _, port, err := net.SplitHostPort(m.Listen); m.Broker == "" && err == nil && port != "0" {
		own = port
	}
	return host[:min(len(host), wire.MaxName-len(own)-1)] + "-" + own
}

func serverTLS(c *config.ServerTLS) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(c.Cert, c.Key)
	if err != nil {
		return nil, fmt.Errorf("mqtt.tls: certificate for the cars: %w", err)
	}
	pool, err := readPool(c.CA)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert},
		ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
	}, nil
}

func readPool(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("receiver: CA: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("receiver: %s holds no certificate (want PEM)", path)
	}
	return pool, nil
}

func kafkaConfig(c config.Kafka, group string, log *slog.Logger) (kafka.Config, error) {
	k := kafka.Config{
		Brokers: c.Brokers, Prefix: c.Prefix, Group: group, Partitions: int32(c.Partitions), Replication: int16(c.Replication),
		AllowWeak: c.AllowUnsafe, Compression: c.Compression, Log: log.With("component", "kafka"),
		Embedded: kafka.Embedded{Dir: c.Embedded.Dir, Port: c.Embedded.Port, SyncWrites: true},
	}
	if c.TLS != nil {
		pool, err := readPool(c.TLS.CA)
		if err != nil {
			return k, err
		}
		k.TLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, ServerName: c.TLS.ServerName}
		if c.TLS.Cert != "" {
			cert, err := tls.LoadX509KeyPair(c.TLS.Cert, c.TLS.Key)
			if err != nil {
				return k, fmt.Errorf("receiver: certificate for Kafka: %w", err)
			}
			k.TLS.Certificates = []tls.Certificate{cert}
		}
	}
	if c.SASL != nil {
		secret, err := readSecret(c.SASL.Password)
		if err != nil {
			return k, err
		}
		k.SASL = kafka.SASL{Mechanism: c.SASL.Mechanism, User: c.SASL.User, Password: secret}
	}
	return k, nil
}

func readSecret(s config.Secret) (string, error) {
	if s.File != "" {
		b, err := os.ReadFile(s.File)
		if err != nil {
			return "", fmt.Errorf("receiver: secret: %w", err)
		}
		return strings.TrimRight(string(b), "\r\n"), nil
	}
	v, ok := os.LookupEnv(s.Env)
	if !ok {
		return "", fmt.Errorf("receiver: secret: environment variable %s is not set", s.Env)
	}
	return v, nil
}
