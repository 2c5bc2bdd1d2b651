package kafkatest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"telemetry/lab/simulate/kafkasim"
	"telemetry/lab/simulate/kafkatest"
	"telemetry/receiver/kafka"
	"telemetry/receiver/sequence"
	"telemetry/receiver/topic"
)

// model is the simulation's Kafka.
type model struct {
	c     *kafkasim.Cluster
	names topic.Names
	n     int
}

func (m *model) Names() topic.Names                              { return m.names }
func (m *model) Partitions() int32                               { return 2 }
func (m *model) Produce(_ context.Context, r topic.Record) error { _, err := m.c.Append(r); return err }

func (m *model) Retain(_ context.Context, part int32, below int64) error {
	m.c.Retain(part, below)
	return nil
}

func (m *model) Committed(_ context.Context, name string) ([]topic.Record, error) {
	return m.c.Output(name), nil
}

func (m *model) Backend() sequence.Backend {
	m.n++
	return m.c.NewProcess(fmt.Sprint("process ", m.n)).Backend()
}

func TestModel(t *testing.T) {
	for _, atomic := range []bool{true, false} {
		for _, k := range kafkatest.Cases() {
			t.Run(fmt.Sprintf("transactions %v/%s", atomic, k.Name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					names := topic.NewNames("")
					k.Run(t, &model{names: names, c: kafkasim.New(kafkasim.Options{Partitions: 2, Atomic: atomic, Seed: 1, Names: names})})
				})
			})
		}
	}
}

// real is a cluster behind package kafka.
type real struct {
	*kafka.Cluster
	p *kafka.Producer
}

func (r *real) Backend() sequence.Backend { return r.Cluster.Backend() }

func (r *real) Retain(ctx context.Context, part int32, below int64) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(r.Brokers()...))
	if err != nil {
		return err
	}
	defer client.Close()
	cut := kadm.Offsets{}
	cut.Add(kadm.Offset{Topic: r.Names().Batches, Partition: part, At: below})
	resp, err := kadm.NewClient(client).DeleteRecords(ctx, cut)
	return errors.Join(err, resp.Error())
}

func (r *real) Produce(ctx context.Context, rec topic.Record) error {
	done := make(chan error, 1)
	r.p.Produce(rec, func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *real) Committed(ctx context.Context, name string) (recs []topic.Record, err error) {
	_, err = r.Read(ctx, name, nil, func(r topic.Record) error { recs = append(recs, r); return nil })
	return recs, err
}

func config() kafka.Config {
	return kafka.Config{Partitions: 2, AllowWeak: true, SessionTimeout: 6 * time.Second, Log: slog.New(slog.DiscardHandler)}
}

func open(t *testing.T, cfg kafka.Config) *real {
	t.Helper()
	c, err := kafka.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	p, err := c.NewProducer()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = p.Close(ctx)
	})
	return &real{c, p}
}

// embedded is the in-process broker, as the receiver runs it by default.
func embedded(t *testing.T) *real {
	cfg := config()
	cfg.Embedded.Dir = t.TempDir()
	return open(t, cfg)
}

// TestEmbedded: without transactions. It has one member only, so that nothing is
// shared.
func TestEmbedded(t *testing.T) {
	for _, k := range kafkatest.Cases() {
		if k.Shared {
			continue
		}
		t.Run(k.Name, func(t *testing.T) { k.Run(t, embedded(t)) })
	}
}

// TestInProcessCluster: the same broker, used as a cluster, with transactions. It
// gives the log's time only to the topic of the receiver that has it embedded.
func TestInProcessCluster(t *testing.T) {
	base := embedded(t)
	for _, k := range kafkatest.Cases() {
		if k.Stamps {
			continue
		}
		t.Run(k.Name, func(t *testing.T) { k.Run(t, open(t, clusterOf(base.Brokers()))) })
	}
}

// clusterOf is a configuration with topics of its own.
func clusterOf(brokers []string) kafka.Config {
	cfg := config()
	cfg.Brokers, cfg.Prefix = brokers, fmt.Sprintf("conform%08x", rand.Uint32())
	return cfg
}
