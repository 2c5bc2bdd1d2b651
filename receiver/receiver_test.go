package receiver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"telemetry/internal/config"
	"telemetry/internal/status"
	"telemetry/receiver/kafka"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// configure reads a receiver's configuration as an operator writes it; ports are
// free ones. more goes on top level.
func configure(t *testing.T, dir, kafkaLine, more string) *config.Receiver {
	t.Helper()
	path := filepath.Join(dir, "receiver.yaml")
	text := fmt.Sprintf("version: 1\nname: test\nkafka: %s\nlive: {listen: \"127.0.0.1:0\"}\n%s\n", kafkaLine, more)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.ReadReceiver(path)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return c
}

const (
	embeddedLine = `{embedded: {dir: kafka, port: 0}, partitions: 2}`
	plainMQTT    = `mqtt: {listen: "127.0.0.1:0", insecure: true}`
)

// run starts a receiver; stop ends it and reports how.
func run(t *testing.T, c *config.Receiver) (r *Receiver, stop func() error) {
	t.Helper()
	r, err := Prepare(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }() // ends with ctx
	ended := false
	stop = func() error {
		if ended {
			return nil
		}
		ended = true
		cancel()
		return <-done
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	eventually(t, "the receiver is ready", func() bool {
		select {
		case err := <-done:
			ended = true
			t.Fatalf("run ended: %v", err)
		default:
		}
		return r.Status(t.Context()).Ready
	})
	return r, stop
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// samples reads what is in the samples topic of the cluster behind an address.
func samples(t *testing.T, broker string) []topic.Record {
	t.Helper()
	c, err := kafka.Open(t.Context(), kafka.Config{Brokers: []string{broker}, AllowWeak: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var out []topic.Record
	if _, err := c.Read(t.Context(), c.Names().Samples, nil, func(r topic.Record) error { out = append(out, r); return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

func get(t *testing.T, addr, path string) (int, string) {
	t.Helper()
	resp, err := http.Get("http://" + addr + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// TestFromCarToSamplesAndAgainAfterARestart sends batches of a car through the
// whole receiver, stops it, and goes on with the next one in the same folder.
func TestFromCarToSamplesAndAgainAfterARestart(t *testing.T) {
	dir := t.TempDir()
	cfg := configure(t, dir, embeddedLine, plainMQTT)
	r, stop := run(t, cfg)
	s := r.Status(t.Context())
	car := beginCar(t, s.Listen.MQTT)
	car.send(car.Full(2e9, 5))
	second, third := car.Full(3e9, 5), car.Full(4e9, 5)
	car.send(third)
	car.send(second)
	car.send(second)
	car.send(car.Live(4e9))
	eventually(t, "all is durable", func() bool { return car.has(wire.LaneFull, 3) && car.has(wire.LaneLive, 1) })
	eventually(t, "all rows are written", func() bool { return len(samples(t, s.Listen.Kafka)) == 15 })

	s = r.Status(t.Context())
	if n := s.Ingest.Counters; n.Batches != 6 || n.Duplicates != 1 || s.Ingest.Catalogues != 1 || s.Ingest.State != "ok" {
		t.Errorf("ingest: %+v", n)
	}
	var lane SequenceLaneStatus
	eventually(t, "the sequencer's snapshot has the car", func() bool {
		for _, p := range r.Status(t.Context()).Sequence.Partitions {
			for _, c := range p.Cars {
				lane = c.Lanes["full"]
			}
		}
		return lane.Rows == 15
	})
	if lane.Floor != 3 || lane.Missing != 0 || lane.Holes != 0 || lane.Late != 0 {
		t.Errorf("lane: %+v", lane)
	}
	eventually(t, "the page has the values", func() bool {
		_, body := get(t, s.Listen.Live, "/api/v1/cars/car-1/channels?q=rpm")
		return strings.Contains(body, `"name":"rpm"`)
	})
	if code, body := get(t, s.Listen.Live, "/readyz"); code != http.StatusOK {
		t.Errorf("readyz: %d %s", code, body)
	}
	if err := stop(); err != nil {
		t.Fatalf("stop: %v", err)
	}
	if s = r.Status(t.Context()); s.Ready || s.Listen.MQTT != "" {
		t.Errorf("status after the end: %+v", s)
	}

	r, _ = run(t, cfg)
	s = r.Status(t.Context())
	again, err := dialCar(t, s.Listen.MQTT, "car-1-1-00000abc-0-2", "car-1", nil)
	if err != nil {
		t.Fatal(err)
	}
	again.Car = car.Car
	again.send(third) // the ack was lost
	again.send(again.Full(5e9, 5))
	eventually(t, "the fourth batch is written", func() bool { return len(samples(t, s.Listen.Kafka)) >= 20 })
	seen := map[string]bool{}
	for _, rec := range samples(t, s.Listen.Kafka) {
		id, ok := topic.OutputIdentity(&rec)
		if !ok || seen[id.String()] {
			t.Errorf("double or nameless row %s", id)
		}
		seen[id.String()] = true
	}
	if len(seen) != 20 {
		t.Errorf("%d rows", len(seen))
	}
}

// TestEachRoleRunsAlone starts three receivers with one role each on one cluster.
func TestEachRoleRunsAlone(t *testing.T) {
	cluster, err := kafka.Open(t.Context(), kafka.Config{
		Embedded: kafka.Embedded{Dir: t.TempDir()}, Partitions: 2, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cluster.Close() })
	broker := cluster.Brokers()[0]
	line := fmt.Sprintf(`{brokers: [%q], partitions: 2, allow_unsafe: true}`, broker)
	roles := map[string]*Receiver{}
	for _, role := range []string{"ingest", "sequence", "live"} {
		more := fmt.Sprintf("roles: [%s]\n%s", role, plainMQTT)
		roles[role], _ = run(t, configure(t, t.TempDir(), line, more))
	}
	in, live := roles["ingest"].Status(t.Context()), roles["live"].Status(t.Context())
	if in.Sequence != nil || in.Live != nil || in.Listen.Live != "" || live.Ingest != nil || live.Listen.MQTT != "" || in.Kafka.Mode != "cluster" {
		t.Errorf("roles: %+v, %+v", in, live)
	}
	car := beginCar(t, in.Listen.MQTT)
	car.send(car.Full(2e9, 5))
	eventually(t, "the rows are written", func() bool { return len(samples(t, broker)) == 5 })
	eventually(t, "the page shows the car", func() bool {
		code, body := get(t, live.Listen.Live, "/api/v1/cars/car-1")
		return code == http.StatusOK && strings.Contains(body, `"channels":2`) && strings.Contains(body, `"sequence":false`)
	})
}

func TestSecondReceiverInAFolderIsRefused(t *testing.T) {
	dir := t.TempDir()
	run(t, configure(t, dir, embeddedLine, plainMQTT))
	second, err := Prepare(configure(t, dir, embeddedLine, plainMQTT), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	err = second.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "in use by another receiver") || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v", err)
	}
}

// TestPortThatIsTakenEndsEverything makes sure that a role that cannot start
// leaves nothing behind: the next receiver has the folder and all ports.
func TestPortThatIsTakenEndsEverything(t *testing.T) {
	first, _ := run(t, configure(t, t.TempDir(), embeddedLine, plainMQTT))
	taken := first.Status(t.Context()).Listen.Live
	dir := t.TempDir()
	cfg := configure(t, dir, embeddedLine, plainMQTT)
	cfg.Live.Listen = taken
	second, err := Prepare(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Run(t.Context()); err == nil || !strings.Contains(err.Error(), taken) {
		t.Fatalf("got %v", err)
	}
	run(t, configure(t, dir, embeddedLine, plainMQTT))
}

func TestConfigurationsThatCannotRun(t *testing.T) {
	cases := []struct{ name, more, want string }{
		{"no certificate for the broker", `mqtt: {broker: "tls://broker.example:8883", client: {cert: no.pem, key: no.key}}`, "no.pem"},
		{"identity without TLS", `mqtt: {broker: "tcp://broker.example:1883", client: {server_name: x}}`, "use tls://"},
		{"nothing to do", "roles: [live]\n" + plainMQTT, "nothing to do"},
		{"no certificate", `mqtt: {listen: "127.0.0.1:0", tls: {ca: ca.pem, cert: no.pem, key: no.key}}`, "no.pem"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			cfg := configure(t, t.TempDir(), embeddedLine, c.more)
			if c.name == "nothing to do" {
				cfg.Live.Listen = "off"
			}
			if _, err := Prepare(cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestStatusOverTheSocket(t *testing.T) {
	dir := t.TempDir()
	r, _ := run(t, configure(t, dir, embeddedLine, plainMQTT))
	socket := filepath.Join(dir, "s")
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- status.Serve(ctx, socket, r.Handler()) }() // ends with ctx
	var s Status
	eventually(t, "the socket answers", func() bool { return status.Call(ctx, socket, http.MethodGet, "/v1/status", &s) == nil })
	if !s.Ready || s.Name != "test" || s.Kafka.Mode != "embedded" || s.Kafka.Partitions != 2 || len(s.Sequence.Partitions) != 2 ||
		strings.HasSuffix(s.Listen.MQTT, ":0") || strings.HasSuffix(s.Listen.Live, ":0") || strings.HasSuffix(s.Listen.Kafka, ":0") {
		t.Errorf("got %+v", s)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// TestCarsAreWhoTheirCertificatesSay: a certificate opens the topics of its own
// car only.
func TestCarsAreWhoTheirCertificatesSay(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t, "cars")
	ca.write(t, dir, "server", ca.issue(t, "localhost", true))
	cfg := configure(t, dir, embeddedLine, `mqtt: {listen: "127.0.0.1:0", tls: {ca: ca.pem, cert: server.pem, key: server.key}}`)
	cfg.Roles = []string{"ingest", "sequence"}
	r, _ := run(t, cfg)
	addr := r.Status(t.Context()).Listen.MQTT
	as := func(cert tls.Certificate) *tls.Config {
		return &tls.Config{RootCAs: ca.pool, ServerName: "localhost", Certificates: []tls.Certificate{cert}}
	}
	own := as(ca.issue(t, "car-1", false))
	car, err := dialCar(t, addr, "car-1-1-00000abc-0-1", "car-1", own)
	if err != nil {
		t.Fatal(err)
	}
	car.send(car.Open())
	eventually(t, "the car's batch is durable", func() bool { return car.has(wire.LaneCritical, 1) })

	stranger := newAuthority(t, "others")
	for name, c := range map[string]struct {
		id, car string
		config  *tls.Config
	}{
		"certificate of another car":   {"car-1-1-00000abc-0-2", "car-1", as(ca.issue(t, "car-2", false))},
		"acks of another car":          {"car-1-1-00000abc-0-3", "car-2", own},
		"no certificate":               {"car-1-1-00000abc-0-4", "car-1", &tls.Config{RootCAs: ca.pool, ServerName: "localhost"}},
		"certificate of another CA":    {"car-1-1-00000abc-0-5", "car-1", as(stranger.issue(t, "car-1", false))},
		"plain TCP to the port of TLS": {"car-1-1-00000abc-0-6", "car-1", nil},
	} {
		_, err := dialCar(t, addr, c.id, c.car, c.config)
		if err == nil {
			t.Errorf("%s: let in", name)
		}
		if errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%s: not answered, which is no refusal: %v", name, err)
		}
	}
	// Its own connection, but another car's topic: nothing of it is taken.
	before := r.Status(t.Context()).Ingest.Counters.Batches
	foe, err := dialCar(t, addr, "car-1-1-00000abc-0-7", "car-1", own)
	if err != nil {
		t.Fatal(err)
	}
	foe.Name = "car-2"
	foe.send(foe.Open())
	eventually(t, "the forbidden publish is counted", func() bool { return r.Status(t.Context()).Ingest.MQTT.Forbidden >= 2 })
	if s := r.Status(t.Context()).Ingest; s.Counters.Batches != before || len(s.Cars) != 1 {
		t.Errorf("taken: %+v", s)
	}
}
