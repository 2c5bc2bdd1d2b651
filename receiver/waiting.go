package receiver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"telemetry/receiver/kafka"
)

// waiting is what Run has suffered before Kafka answered.
type waiting struct {
	since time.Time // of the first try that failed
	tries uint64    // that failed
	err   error     // of the last one
	addr  string    // that answers for the page meanwhile; "" when none does
}

func (w waiting) reason() string {
	if w.tries == 0 {
		return "starting: Kafka has not answered yet"
	}
	return fmt.Sprintf("starting: Kafka has not answered for %v, %d tries: %v", time.Since(w.since).Round(time.Second), w.tries, w.err)
}

// reach opens the cluster, however long that takes, and answers for the page's
// port meanwhile. It returns nil when ctx ends before.
func (r *Receiver) reach(ctx context.Context) (*kafka.Cluster, error) {
	health := r.healthServer()
	defer func() { _ = health.Close() }() // nothing in it is worth waiting for
	served := make(chan error, 1)
	began := false
	cluster, err := kafka.OpenPatiently(ctx, r.kafka, func(err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.waiting.tries == 0 {
			r.waiting.since = time.Now()
		}
		r.waiting.tries++
		r.waiting.err = err
		if began || !r.hasPage() {
			return
		}
		l, lerr := net.Listen("tcp", r.cfg.Live.Listen)
		if lerr != nil {
			r.log.Warn("cannot answer on the page's port while kafka is waited for", "address", r.cfg.Live.Listen, "error", lerr)
			return
		}
		began = true
		r.waiting.addr = l.Addr().String()
		go func() { served <- r.door.serve(health, l) }() // ends with Close
	})
	if began {
		_ = health.Close()
		if serr := <-served; !errors.Is(serr, http.ErrServerClosed) {
			r.log.Warn("the page's port did not answer while kafka was waited for", "error", serr)
		}
	}
	r.mu.Lock()
	tries, since := r.waiting.tries, r.waiting.since
	r.waiting.addr = ""
	r.mu.Unlock()
	switch {
	case err == nil && tries > 0:
		r.log.Info("kafka answers", "tries", tries, "waited", time.Since(since).Round(time.Millisecond))
	case err != nil && ctx.Err() != nil && (tries > 0 || errors.Is(err, context.Canceled)):
		return nil, nil // stopped while it waited: nothing is wrong with this process
	}
	return cluster, err
}

// healthServer answers for the page while there is none: alive, and not ready.
func (r *Receiver) healthServer() *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET /healthz", r.healthHandler(nil))
	mux.Handle("GET /readyz", r.healthHandler(r.door))
	if r.door != nil {
		mux.Handle("GET /metrics", r.door.guard.Wrap(r.healthHandler(nil)))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "starting, see /readyz", http.StatusServiceUnavailable)
	})
	return &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second}
}
