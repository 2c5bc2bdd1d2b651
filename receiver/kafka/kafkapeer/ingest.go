package kafkapeer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Ingest is an MQTT broker that writes every payload to one topic, keyed by the
// second level of its MQTT topic.
type Ingest struct {
	server  *mqtt.Server
	cl      *kgo.Client
	addr    string
	written atomic.Int64
	failed  atomic.Int64
}

// NewIngest listens on a free loopback port.
func NewIngest(brokers []string, topic string) (*Ingest, error) {
	cl, err := kgo.NewClient(
		kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic(topic), kgo.DisableClientMetrics(),
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerBatchCompression(kgo.NoCompression()),
	)
	if err != nil {
		return nil, fmt.Errorf("kafkapeer: client: %w", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		cl.Close()
		return nil, fmt.Errorf("kafkapeer: listen: %w", err)
	}
	i := &Ingest{cl: cl, addr: l.Addr().String()}
	i.server = mqtt.New(&mqtt.Options{ClientNetReadBufferSize: 32 << 10, Logger: slog.New(slog.DiscardHandler)})
	err = errors.Join(i.server.AddHook(new(auth.AllowHook), nil), i.server.AddHook(&produce{i: i}, nil),
		i.server.AddListener(listeners.NewNet("cars", l)))
	if err == nil {
		err = i.server.Serve()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("kafkapeer: broker: %w", err), i.Close())
	}
	return i, nil
}

// Addr returns where it listens.
func (i *Ingest) Addr() string { return i.addr }

// Written returns how many payloads Kafka has, and how many it refused.
func (i *Ingest) Written() (ok, failed int64) { return i.written.Load(), i.failed.Load() }

// Close ends broker and client.
func (i *Ingest) Close() error {
	err := i.server.Close()
	i.cl.Close()
	return err
}

// produce is the hook.
type produce struct {
	mqtt.HookBase
	i *Ingest
}

// ID implements mqtt.Hook.
func (*produce) ID() string { return "produce" }

// Provides implements mqtt.Hook.
func (*produce) Provides(b byte) bool { return bytes.IndexByte([]byte{mqtt.OnPublish}, b) >= 0 }

// OnPublish implements mqtt.Hook.
func (p *produce) OnPublish(_ *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	_, rest, _ := strings.Cut(pk.TopicName, "/")
	car, _, _ := strings.Cut(rest, "/")
	p.i.cl.Produce(context.Background(), &kgo.Record{Key: []byte(car), Value: pk.Payload}, func(_ *kgo.Record, err error) {
		if err != nil {
			p.i.failed.Add(1)
			return
		}
		p.i.written.Add(1)
	})
	return pk, nil
}

// CreateTopic makes a topic for a peer.
func CreateTopic(ctx context.Context, brokers []string, topic string, partitions int32, replication int16) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DisableClientMetrics())
	if err != nil {
		return fmt.Errorf("kafkapeer: client: %w", err)
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).CreateTopic(ctx, partitions, replication, nil, topic); err != nil {
		return fmt.Errorf("kafkapeer: create topic %s: %w", topic, err)
	}
	return nil
}
