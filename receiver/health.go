package receiver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"telemetry/wire"
)

// States of Kafka in [KafkaStatus].
const (
	KafkaOK      = "ok"
	KafkaWaiting = "waiting" // it has not answered since the start
	KafkaFailing = "failing" // it takes nothing, or a partition cannot be served
)

// kafkaState adds why Kafka does not do what it should, as the roles suffer it.
func (s *Status) kafkaState(run *running) {
	s.Kafka.State = KafkaOK
	fail := func(format string, args ...any) {
		s.Kafka.State = KafkaFailing
		if s.Kafka.Error == "" {
			s.Kafka.Error = fmt.Sprintf(format, args...)
		}
	}
	if run.producer != nil {
		if err := run.producer.State(); err != nil {
			fail("%v", err)
			if s.Ingest != nil && s.Ingest.State == instanceState(wire.InstanceStalled) {
				s.wait("kafka does not take what the cars send: %v", err)
			}
		}
	}
	if s.Ingest != nil && s.Ingest.CatalogueErr != "" {
		fail("catalogues: %s", s.Ingest.CatalogueErr)
	}
	if s.Live != nil && s.Live.KafkaError != "" {
		fail("live: %s", s.Live.KafkaError)
	}
	if s.Sequence != nil {
		for i := range s.Sequence.Partitions {
			if p := &s.Sequence.Partitions[i]; p.Error != "" {
				fail("partition %d: %s", p.Partition, p.Error)
			}
		}
		if s.Sequence.Error != "" {
			fail("%s", s.Sequence.Error)
		}
	}
}

// healthHandler answers machines: liveness, readiness, metrics; with a door it
// tells no reasons.
func (r *Receiver) healthHandler(d *door) http.Handler {
	told := func(reasons []string) []string { return reasons }
	if d != nil {
		told = d.outside
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		s := r.Status(req.Context())
		if len(s.Waits) > 0 {
			http.Error(w, strings.Join(told(s.Waits), "\n"), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
		for _, why := range told(s.Degraded) {
			fmt.Fprintln(w, "degraded:", why)
		}
	})
	mux.HandleFunc("GET /metrics", r.metrics)
	return mux
}

func (r *Receiver) metrics(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Content-Type", metricsType)
	s := r.Status(req.Context())
	_ = s.Metrics(w) // the client has gone
}

// serveHealth answers on health.listen until the returned function is called;
// also while Kafka is waited for.
func (r *Receiver) serveHealth(ctx context.Context) (stop func(), err error) {
	if r.cfg.Health.Listen == "" {
		return func() {}, nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", r.cfg.Health.Listen)
	if err != nil {
		return nil, fmt.Errorf("receiver: cannot listen for health.listen: %w", err)
	}
	srv := &http.Server{Handler: r.healthHandler(nil), ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second}
	done := make(chan struct{})
	r.mu.Lock()
	r.health = l.Addr().String()
	r.mu.Unlock()
	go func() { // ends with stop
		defer close(done)
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			r.log.Error("health.listen does not answer any more", "error", err)
		}
	}()
	return func() {
		_ = srv.Close() // nothing in it is worth waiting for
		<-done
	}, nil
}
