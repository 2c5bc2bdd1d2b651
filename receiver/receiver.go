// Package receiver wires the cloud: cars into ingest, ingest into Kafka, and
// telemetry.batches through the sequencer into the output topics.
//
// The entry points are [Prepare] and [Receiver.Run]. It keeps nothing that is
// not in Kafka, and never acknowledges what Kafka does not have.
package receiver

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"telemetry/internal/config"
	"telemetry/receiver/ingest"
	"telemetry/receiver/ingest/embedded"
	"telemetry/receiver/kafka"
	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/jsonrow"
	"telemetry/reorder"
	"telemetry/wire"
)

// Receiver is one configuration of the cloud side, ready to run once.
type Receiver struct {
	cfg   *config.Receiver
	log   *slog.Logger
	mqtt  *tls.Config // nil: insecure
	kafka kafka.Config
	name  string
}

// Prepare reads every file that cfg names: certificates and secrets.
func Prepare(cfg *config.Receiver, log *slog.Logger) (*Receiver, error) {
	r := &Receiver{cfg: cfg, log: log, name: cfg.Name}
	if r.name == "" {
		host, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("receiver: name of this instance (set `name`): %w", err)
		}
		r.name = host
	}
	if len(r.name) > wire.MaxName {
		r.name = r.name[:wire.MaxName]
	}
	if cfg.MQTT.TLS != nil {
		t, err := serverTLS(cfg.MQTT.TLS)
		if err != nil {
			return nil, err
		}
		r.mqtt = t
	}
	var err error
	if r.kafka, err = kafkaConfig(cfg.Kafka, cfg.Sequence.Group, log); err != nil {
		return nil, err
	}
	return r, nil
}

func serverTLS(c *config.ServerTLS) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(c.Cert, c.Key)
	if err != nil {
		return nil, fmt.Errorf("receiver: certificate for the cars: %w", err)
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
		AllowWeak: c.AllowUnsafe, Log: log.With("component", "kafka"),
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

// Run serves until ctx ends; then it finishes what it has and returns.
func (r *Receiver) Run(ctx context.Context) (err error) {
	cluster, err := kafka.Open(ctx, r.kafka)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cluster.Close()) }()
	g, ctx := errgroup.WithContext(ctx)
	if r.has("ingest") {
		if err := r.ingest(ctx, g, cluster); err != nil {
			return err
		}
	}
	if r.has("sequence") {
		if err := r.sequence(ctx, g, cluster); err != nil {
			return errors.Join(err, g.Wait())
		}
	}
	return g.Wait()
}

func (r *Receiver) has(role string) bool { return slices.Contains(r.cfg.Roles, role) }

// producerClose bounds the flush at the end.
const producerClose = 5 * time.Second

func (r *Receiver) ingest(ctx context.Context, g *errgroup.Group, cluster *kafka.Cluster) error {
	producer, err := cluster.NewProducer()
	if err != nil {
		return err
	}
	broker, err := embedded.Listen(embedded.Config{
		Address: r.cfg.MQTT.Listen, TLS: r.mqtt, Insecure: r.cfg.MQTT.Insecure, Log: r.log.With("component", "mqtt"),
	})
	if err != nil {
		return err
	}
	var nonce [8]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return fmt.Errorf("receiver: random nonce: %w", err)
	}
	svc, err := ingest.New(ingest.Options{
		Core: ingest.Config{
			Instance: r.name, Nonce: binary.LittleEndian.Uint64(nonce[:]) | 1, Names: cluster.Names(),
			CarCredit: int64(r.cfg.Ingest.CreditPerCar), TotalCredit: int64(r.cfg.Ingest.CreditTotal),
		},
		Broker: broker, Producer: producer, Catalogues: cluster.Catalogues(), Log: r.log.With("component", "ingest"),
	})
	if err != nil {
		return err
	}
	g.Go(func() error { // ends with ctx
		err := svc.Run(ctx)
		flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), producerClose)
		defer cancel()
		return errors.Join(err, producer.Close(flush))
	})
	return nil
}

func (r *Receiver) sequence(ctx context.Context, g *errgroup.Group, cluster *kafka.Cluster) error {
	cfg := sequence.Defaults()
	cfg.Topics = cluster.Names()
	cfg.NewFormat = func() sequence.Format { return jsonrow.New() }
	cfg.Budget = sequence.NewBudget(int64(r.cfg.Sequence.Memory))
	cfg.CommitInterval = r.cfg.Sequence.Commit.D()
	cfg.Log = r.log.With("component", "sequence")
	w := r.cfg.Sequence.Windows
	for lane, v := range map[wire.Lane]*config.Window{wire.LaneCritical: w.Critical, wire.LaneLive: w.Live, wire.LaneFull: w.Full} {
		cfg.Reorder.Windows[lane] = time.Duration(*v)
		if *v == config.WindowNone {
			cfg.Reorder.Windows[lane] = reorder.None
		}
	}
	runner, err := sequence.NewRunner(cfg, cluster.Backend())
	if err != nil {
		return err
	}
	g.Go(func() error { return runner.Run(ctx) }) // ends with ctx
	return nil
}
