package receiver

import (
	"crypto/tls"
	"fmt"
	"log/slog"

	"telemetry/internal/config"
	"telemetry/receiver/ingest"
	"telemetry/receiver/ingest/embedded"
	"telemetry/receiver/ingest/external"
)

// externalConfig reads the files that name us to an external broker.
func externalConfig(m config.MQTT, log *slog.Logger) (*external.Config, error) {
	e := &external.Config{Address: m.Broker, Group: m.Group, Username: m.User, Log: log.With("component", "mqtt")}
	if m.Password != nil {
		secret, err := readSecret(*m.Password)
		if err != nil {
			return nil, err
		}
		e.Password = []byte(secret)
	}
	if c := m.Client; c != nil {
		e.TLS = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
		if c.CA != "" {
			pool, err := readPool(c.CA)
			if err != nil {
				return nil, err
			}
			e.TLS.RootCAs = pool
		}
		if c.Cert != "" {
			cert, err := tls.LoadX509KeyPair(c.Cert, c.Key)
			if err != nil {
				return nil, fmt.Errorf("receiver: certificate for the mqtt broker: %w", err)
			}
			e.TLS.Certificates = []tls.Certificate{cert}
		}
	}
	return e, e.Validate()
}

// openBroker makes the way to the cars: a client of an external broker, or the
// embedded one, whose port is open from then on.
func (r *Receiver) openBroker(run *running) (ingest.Broker, error) {
	if r.external != nil {
		b, err := external.New(*r.external)
		if err != nil {
			return nil, err
		}
		run.external = b
		return b, nil
	}
	ec := embedded.Config{
		Address: r.cfg.MQTT.Listen, TLS: r.mqtt, Insecure: r.cfg.MQTT.Insecure, MaxPerCar: r.cfg.Ingest.PerCar.Connections, Log: r.log.With("component", "mqtt"),
	}
	if r.revoked != nil {
		ec.Revoked = r.revoked.CheckAll
	}
	b, err := embedded.Listen(ec)
	if err != nil {
		return nil, err
	}
	run.broker = b
	run.undo = append(run.undo, b.Close)
	return b, nil
}

// cars adds what is known of the way to the cars.
func (s *Status) cars(run *running) {
	if run.broker != nil {
		s.Listen.MQTT = run.broker.Addr()
		if err := run.broker.Err(); err != nil {
			s.wait("no car can connect: %v", err)
		}
	}
	if run.external == nil {
		return
	}
	if b := run.external.Status(); b.State != external.StateConnected {
		s.wait("the mqtt broker at %s is not connected: %s", b.Address, b.Error)
	}
}

// cars adds the counters of the broker in use.
func (s *IngestStatus) cars(run *running) {
	if run.broker != nil {
		s.MQTT = run.broker.Counters()
	}
	if run.revoked != nil {
		if err := run.revoked.Err(); err != nil {
			s.Revocations = err.Error()
		}
	}
	if run.external != nil {
		b := run.external.Status()
		s.Broker = &b
	}
}
