package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"telemetry/receiver/topic"
)

// Producer writes records one by one: idempotent, acks=all, tried for as long as
// it lives. It is safe for concurrent use and implements ingest.Producer.
type Producer struct {
	c       *Cluster
	batches string

	mu       sync.Mutex
	cl       *kgo.Client // guarded by mu
	renewed  time.Time   // guarded by mu; when cl was replaced
	inFlight int         // guarded by mu
	progress time.Time   // guarded by mu: last success, or when the first began to wait
	lastErr  error       // guarded by mu: newest failure since the last success

	produced atomic.Uint64
	failed   atomic.Uint64
}

// slowAfter is how long Kafka may take before a producer is said to fail.
const slowAfter = 2 * time.Second

// NewProducer returns a producer; [Producer.Close] ends it.
func (c *Cluster) NewProducer() (*Producer, error) {
	p := &Producer{c: c, batches: c.names.Batches}
	cl, err := p.newClient()
	if err != nil {
		return nil, err
	}
	p.cl = cl
	return p, nil
}

func (p *Producer) newClient() (*kgo.Client, error) {
	return p.c.newClient(append(p.c.cfg.producerOpts(),
		kgo.ProducerLinger(0),
		kgo.ProducerBatchCompression(kgo.NoCompression()), // batches are compressed already
		kgo.WithHooks(connectHook{p}),
	)...)
}

func (p *Producer) client() *kgo.Client {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cl
}

// renewEvery is the least time between two clients.
const renewEvery = time.Second

// renew replaces a client that was refused a producer id: it would repeat that
// for ever, also when the right is given back. What it still holds fails.
func (p *Producer) renew(refused *kgo.Client) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cl != refused || time.Since(p.renewed) < renewEvery {
		return
	}
	cl, err := p.newClient()
	if err != nil {
		p.lastErr = err // a later failure tries again
		return
	}
	p.cl, p.renewed = cl, time.Now()
	go refused.Close() // ends by itself; a callback of its own must not wait for it
}

// producedAt is the client's time of all records that go to a LogAppendTime
// topic: the broker's replaces it. One value, so that a record batch of the
// embedded broker can be given one time.
var producedAt = time.UnixMilli(1)

// Produce writes one record without blocking; done is called once, from any
// goroutine. An error that wraps [topic.ErrUnacceptable] is final: the record is
// too large for any topic of ours. Every other means that the record was not
// written, or that it is not known. A broker's refusal never is final: it may
// follow from a setting that somebody has changed, and a batch must not be given
// up for that.
func (p *Producer) Produce(rec topic.Record, done func(err error)) {
	p.begin()
	if n := rec.Size(); n > maxBatchBytes {
		err := fmt.Errorf("kafka: write to %s: %w: %d bytes, the limit is %d", rec.Topic, topic.ErrUnacceptable, n, maxBatchBytes)
		p.end(err)
		done(err)
		return
	}
	k := toKafka(&rec)
	if k.Topic == p.batches {
		k.Timestamp = producedAt
	}
	cl := p.client()
	cl.TryProduce(bg, k, func(_ *kgo.Record, err error) {
		if errors.Is(err, kerr.ClusterAuthorizationFailed) {
			p.renew(cl)
		}
		if err != nil {
			err = fmt.Errorf("kafka: write to %s: %w", rec.Topic, withRemedy(err))
		}
		p.end(err)
		done(err)
	})
}

func (p *Producer) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.inFlight == 0 {
		p.progress = time.Now()
	}
	p.inFlight++
}

func (p *Producer) end(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inFlight--
	if err != nil {
		p.failed.Add(1)
		p.lastErr = err
		return
	}
	p.produced.Add(1)
	p.progress, p.lastErr = time.Now(), nil
}

// State returns nil while Kafka takes records, and what is wrong otherwise.
func (p *Producer) State() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.inFlight > 0 && time.Since(p.progress) > slowAfter {
		slow := fmt.Errorf("kafka: nothing written for %v, %d records wait", time.Since(p.progress).Round(time.Millisecond), p.inFlight)
		return errors.Join(slow, p.lastErr)
	}
	return p.lastErr
}

// Counts returns how many records were written, and how many attempts failed.
func (p *Producer) Counts() (written, failed uint64) { return p.produced.Load(), p.failed.Load() }

// Close waits until everything is written or ctx ends, and ends the producer.
func (p *Producer) Close(ctx context.Context) error {
	cl := p.client()
	err := cl.Flush(ctx)
	cl.Close()
	if err != nil {
		return fmt.Errorf("kafka: close producer: %w", err)
	}
	return nil
}

// connectHook notes connections that cannot be made: with unlimited tries, no
// record would ever say what is wrong.
type connectHook struct{ p *Producer }

// OnBrokerConnect implements kgo.HookBrokerConnect.
func (h connectHook) OnBrokerConnect(m kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	if err == nil {
		return
	}
	h.p.mu.Lock()
	defer h.p.mu.Unlock()
	if h.p.inFlight > 0 {
		h.p.lastErr = fmt.Errorf("kafka: connect to %s:%d: %w", m.Host, m.Port, err)
	}
}
