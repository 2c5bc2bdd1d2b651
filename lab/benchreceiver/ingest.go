package benchreceiver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"telemetry/receiver/ingest"
	"telemetry/receiver/ingest/embedded"
	"telemetry/receiver/kafka"
	"telemetry/receiver/kafka/kafkapeer"
	"telemetry/receiver/sequence/sequencetest"
	"telemetry/receiver/topic"
	"telemetry/uplink"
	"telemetry/uplink/mqtt"
	"telemetry/wire"
)

// The load of ingest and sequence: sealed batches of 16 KiB.
const (
	loadCars    = 12   // three to a partition
	ingestPer   = 1280 // batches of each car
	sequencePer = 1280
	columns     = 32
	rows        = 61 // × columns × 8 bytes of noise: as much as a batch may hold
	// creditBytes is what a car has under way at most, below its credit.
	creditBytes = 6 << 20
	partitions  = 4
	pollEvery   = 2 * time.Millisecond
)

// carNames returns the cars, as many on each partition.
func carNames() []string {
	var out []string
	var on [partitions]int
	for i := 0; len(out) < loadCars; i++ {
		name := fmt.Sprintf("bench-%d", i)
		if p := topic.Partition([]byte(name), partitions); on[p] < loadCars/partitions {
			on[p]++
			out = append(out, name)
		}
	}
	return out
}

// noise makes a car's batches: EpochOpen and an anchor, then n of the full lane.
func noise(car string, n int) []topic.Record {
	rng := rand.New(rand.NewPCG(uint64(len(car)), 5))
	c := sequencetest.NewCar(car, 1, rng.Uint64())
	recs := []topic.Record{c.Open(), c.Anchor(1, 0, time.Now().UnixNano(), 1e6)}
	block := wire.Block{Ticks: make([]int64, rows), Columns: make([]wire.Column, columns)}
	for i := range n {
		for k := range block.Ticks {
			block.Ticks[k] = int64(i*rows+k) * 1e6
		}
		for k := range block.Columns {
			v := make([]int64, rows)
			for j := range v {
				v[j] = int64(rng.Uint64())
			}
			block.Columns[k] = wire.Column{Type: wire.TypeInt, Values: v}
		}
		payload, err := wire.AppendBlock(nil, &block)
		if err != nil {
			panic("benchreceiver: block: " + err.Error()) // its shape is a constant
		}
		recs = append(recs, c.Seal(wire.Body{
			Lane: wire.LaneFull, FirstNS: block.Ticks[0], LastNS: block.Ticks[rows-1], Samples: rows * columns, Payload: payload,
		}))
	}
	return recs
}

// message is one MQTT message of a car.
type message struct {
	topic   string
	payload []byte
}

func messages(recs []topic.Record) ([]message, error) {
	out := make([]message, len(recs))
	for i := range recs {
		info, err := topic.ParseBatchHeaders(recs[i].Headers)
		if err != nil {
			return nil, err
		}
		st := info.ID.Stream
		out[i] = message{"tele/" + st.Car + "/" + st.Lane.String(), append(wire.AppendSend(nil, info.Send), recs[i].Value...)}
	}
	return out, nil
}

// sender publishes a car's messages and keeps to its credit.
type sender struct {
	mu      sync.Mutex
	moved   *sync.Cond
	durable uint64 // batches that the receiver says Kafka has; guarded by mu
}

// send publishes everything. With acks it keeps at most creditBytes under way.
func (s *sender) send(ctx context.Context, addr, car string, list []message, acks bool) error {
	s.moved = sync.NewCond(&s.mu)
	down := make(chan error, 1)
	d := mqtt.Dialer{}
	conn, err := d.Dial(ctx, uplink.DialRequest{
		Addr: "tcp://" + addr, ClientID: uplink.ClientID(car, wire.Epoch{Counter: 1}, 0, 1), Subscribe: uplink.ControlTopic(car, 0),
		OnMessage: s.heard, OnDown: func(err error) { down <- err },
	})
	if err != nil {
		return err
	}
	for i := range list {
		if acks {
			s.room(uint64(i), uint64(creditBytes/len(list[i].payload)))
		}
		if err := conn.Send(list[i].topic, list[i].payload); err != nil {
			return err
		}
	}
	select {
	case err := <-down:
		return err
	default:
	}
	<-ctx.Done() // the connection must outlive what is measured
	return conn.Close()
}

// room waits until fewer than n messages are under way.
func (s *sender) room(sent, n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for sent >= s.durable+n {
		s.moved.Wait()
	}
}

func (s *sender) heard(payload []byte) {
	ack, _, err := wire.ParseCtl(payload)
	if err != nil || ack == nil {
		return
	}
	var n uint64
	for _, st := range ack.Streams {
		n += st.Durable.Count()
	}
	s.mu.Lock()
	s.durable = max(s.durable, n)
	s.mu.Unlock()
	s.moved.Broadcast()
}

// ingest measures MB/s from MQTT to durable in Kafka.
func (b *bench) ingest(ctx context.Context) error {
	cars := carNames()
	var lists [][]message
	var bytes int
	for _, car := range cars {
		list, err := messages(noise(car, ingestPer))
		if err != nil {
			return err
		}
		lists = append(lists, list)
		for _, m := range list {
			bytes += len(m.payload)
		}
	}
	b.say("ingest: %d batches of %d cars, %d MB", len(lists)*len(lists[0]), len(cars), bytes/1e6)
	mbs := func(t time.Duration) float64 { return float64(bytes) / 1e6 / t.Seconds() }
	return b.turns("ingest", func(i int) (float64, error) {
		t, err := b.ingestOurs(ctx, fmt.Sprintf("%s.in%d", b.Prefix, i), cars, lists)
		return mbs(t), err
	}, func(i int) (float64, error) {
		t, err := b.ingestPeer(ctx, fmt.Sprintf("%s.peer-in%d", b.Prefix, i), cars, lists)
		return mbs(t), err
	})
}

// pump sends all lists to an address and returns how long it took until done.
func pump(ctx context.Context, addr string, cars []string, lists [][]message, acks bool, done func() (bool, error)) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	g, sctx := errgroup.WithContext(ctx)
	began := time.Now()
	for i := range cars {
		g.Go(func() error { return new(sender).send(sctx, addr, cars[i], lists[i], acks) }) // ends with ctx
	}
	var took time.Duration
	g.Go(func() error {
		t := time.NewTicker(pollEvery)
		defer t.Stop()
		for {
			ok, err := done()
			if err != nil {
				return err
			}
			if ok {
				took = time.Since(began)
				cancel()
				return nil
			}
			select {
			case <-sctx.Done():
				return sctx.Err()
			case <-t.C:
			}
		}
	})
	err := g.Wait()
	if took > 0 {
		return took, nil
	}
	return 0, errors.Join(err, errors.New("not everything arrived"))
}

// open opens our topics under a prefix of their own.
func (b *bench) open(ctx context.Context, prefix string) (*kafka.Cluster, error) {
	return kafka.Open(ctx, kafka.Config{Brokers: b.Brokers, Prefix: prefix, Partitions: partitions, Replication: 1, AllowWeak: true, Log: b.log})
}

func (b *bench) ingestOurs(ctx context.Context, prefix string, cars []string, lists [][]message) (time.Duration, error) {
	c, err := b.open(ctx, prefix)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	producer, err := c.NewProducer()
	if err != nil {
		return 0, err
	}
	broker, err := embedded.Listen(embedded.Config{Address: "127.0.0.1:0", Insecure: true, Log: b.log})
	if err != nil {
		return 0, errors.Join(err, producer.Close(ctx))
	}
	svc, err := ingest.New(ingest.Options{
		Core:   ingest.Config{Instance: "bench", Nonce: 1, Names: c.Names(), TotalCredit: 128 << 20},
		Broker: broker, Producer: producer, Log: b.log,
	})
	if err != nil {
		return 0, errors.Join(err, broker.Close(), producer.Close(ctx))
	}
	run, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- svc.Run(run) }() // ends with run
	total := uint64(0)
	for _, l := range lists {
		total += uint64(len(l))
	}
	took, err := pump(ctx, broker.Addr(), cars, lists, true, func() (bool, error) {
		s, err := svc.Snapshot(ctx)
		return s.Counters.Produced >= total, err
	})
	stop()
	return took, errors.Join(err, <-ended, producer.Close(ctx))
}

func (b *bench) ingestPeer(ctx context.Context, name string, cars []string, lists [][]message) (time.Duration, error) {
	if err := kafkapeer.CreateTopic(ctx, b.Brokers, name, partitions, 1); err != nil {
		return 0, err
	}
	p, err := kafkapeer.NewIngest(b.Brokers, name)
	if err != nil {
		return 0, err
	}
	total := int64(0)
	for _, l := range lists {
		total += int64(len(l))
	}
	took, err := pump(ctx, p.Addr(), cars, lists, false, func() (bool, error) {
		n, failed := p.Written()
		if failed > 0 {
			return false, fmt.Errorf("the peer lost %d", failed)
		}
		return n >= total, nil
	})
	return took, errors.Join(err, p.Close())
}
