package receivercmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"

	"telemetry/internal/cli"
	"telemetry/internal/config"
	"telemetry/internal/status"
	"telemetry/receiver"
)

func run(ctx context.Context, path string, stderr io.Writer) error {
	cfg, err := config.ReadReceiver(path)
	if err != nil {
		return err
	}
	log, level := cli.Logger(cfg.Log, stderr)
	first, err := receiver.Prepare(cfg, log)
	if err != nil {
		return &cli.ExitError{Code: cli.ExitConfig, Err: err}
	}
	// The socket outlives a reload: whoever asks is answered by the receiver
	// that runs now.
	var now atomic.Pointer[receiver.Receiver]
	now.Store(first)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	served := make(chan error, 1)
	socket := cfg.Socket
	go func() { // ends with ctx
		err := serve(ctx, socket, &now)
		if err != nil {
			cancel()
		}
		served <- err
	}()
	err = cli.Loop(ctx, log, first, func() (cli.Service, error) {
		changed, next, err := reload(path, cfg, log)
		if err != nil {
			return nil, err
		}
		cli.SetLevel(level, changed.Log)
		cfg = changed
		next.Adopt(now.Load())
		now.Store(next)
		return next, nil
	})
	cancel()
	return errors.Join(err, <-served)
}

func serve(ctx context.Context, socket string, now *atomic.Pointer[receiver.Receiver]) error {
	if socket == "" {
		return nil
	}
	return status.Serve(ctx, socket, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now.Load().Handler().ServeHTTP(w, r)
	}))
}

// reload prepares the receiver of the changed file. A change that a running
// process cannot take is an error that names it, and so is an address that
// somebody else has: the old receiver would have ended for nothing.
func reload(path string, old *config.Receiver, log *slog.Logger) (*config.Receiver, *receiver.Receiver, error) {
	cfg, err := config.ReadReceiver(path)
	if err != nil {
		return nil, nil, err
	}
	if cfg.Socket != old.Socket || cfg.Log.Format != old.Log.Format {
		return nil, nil, errors.New("socket or log.format changed: these need a restart")
	}
	next, err := receiver.Prepare(cfg, log)
	if err != nil {
		return nil, nil, err
	}
	had := listens(old)
	for _, a := range listens(cfg) {
		if slices.Contains(had, a) {
			continue // ours until the old receiver has ended
		}
		l, err := net.Listen("tcp", a)
		if err != nil {
			return nil, nil, fmt.Errorf("cannot listen on %s: %w", a, err)
		}
		if err := l.Close(); err != nil {
			return nil, nil, fmt.Errorf("close %s: %w", a, err)
		}
	}
	return cfg, next, nil
}

// listens returns the addresses that a configuration opens.
func listens(c *config.Receiver) []string {
	var as []string
	if slices.Contains(c.Roles, "ingest") {
		as = append(as, c.MQTT.Listen)
	}
	if slices.Contains(c.Roles, "live") && c.Live.Listen != "off" {
		as = append(as, c.Live.Listen)
	}
	if c.Health.Listen != "" {
		as = append(as, c.Health.Listen)
	}
	if len(c.Kafka.Brokers) == 0 {
		as = append(as, net.JoinHostPort("127.0.0.1", strconv.Itoa(c.Kafka.Embedded.Port)))
	}
	return as
}
