package links

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"telemetry/receiver/ingest"
	"telemetry/receiver/ingest/embedded"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// kafkaDelay is how long the producer in memory takes: a local Kafka's.
const kafkaDelay = 3 * time.Millisecond

// arrival is one batch as ingest gave it to Kafka.
type arrival struct {
	atNS    int64
	header  wire.Header
	send    wire.Send
	size    int    // sealed bytes
	control []byte // the sealed bytes of one with control records
}

// sink is the receiver: the real broker and ingest service, and a Kafka that only
// takes notes.
type sink struct {
	broker  *embedded.Broker
	service *ingest.Service
	faults  error // guarded by mu: records that cannot be read

	mu       sync.Mutex
	arrivals []arrival // guarded by mu
}

func newSink(address string) (*sink, error) {
	s := &sink{}
	log := slog.New(slog.DiscardHandler)
	var err error
	if s.broker, err = embedded.Listen(embedded.Config{Address: address, Insecure: true, Log: log}); err != nil {
		return nil, fmt.Errorf("links: broker: %w", err)
	}
	s.service, err = ingest.New(ingest.Options{
		Core:   ingest.Config{Instance: "lab", Nonce: uint64(bootNS()) | 1, Names: topic.NewNames("telemetry")},
		Broker: s.broker, Producer: s, Log: log,
	})
	if err != nil {
		return nil, fmt.Errorf("links: ingest: %w", err)
	}
	return s, nil
}

// run serves until ctx ends.
func (s *sink) run(ctx context.Context) error { return s.service.Run(ctx) }

// Produce implements ingest.Producer.
func (s *sink) Produce(rec topic.Record, done func(error)) {
	now := bootNS()
	if h, err := wire.ParseHeader(rec.Value); err == nil {
		info, herr := topic.ParseBatchHeaders(rec.Headers)
		s.mu.Lock()
		if herr != nil {
			s.faults = herr
		}
		a := arrival{atNS: now, header: h, send: info.Send, size: len(rec.Value)}
		if h.Control {
			a.control = rec.Value
		}
		s.arrivals = append(s.arrivals, a)
		s.mu.Unlock()
	}
	time.AfterFunc(kafkaDelay, func() { done(nil) })
}

// State implements ingest.Producer.
func (s *sink) State() error { return nil }

func (s *sink) take() ([]arrival, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.arrivals, s.faults
}
