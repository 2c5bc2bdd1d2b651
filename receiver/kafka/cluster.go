package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"telemetry/receiver/topic"
)

// Cluster is a connection to a Kafka cluster whose topics have been checked. It
// is safe for concurrent use.
type Cluster struct {
	cfg        Config
	names      topic.Names
	server     *server // nil for a real cluster
	cl         *kgo.Client
	adm        *kadm.Client
	partitions int32 // of batches and state
	catalogues *Catalogues
	watch      *watch // of cl; nil: nobody is told
	keeping    func() // ends what looks after the topics; nil: nothing does
}

// Open connects, or starts the embedded cluster, and creates or checks the
// topics. It also starts what looks after them; [Cluster.Close] ends it.
func Open(ctx context.Context, cfg Config) (*Cluster, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	c := &Cluster{cfg: cfg, names: topic.NewNames(cfg.Prefix)}
	c.catalogues = newCatalogues(c)
	if len(cfg.Brokers) == 0 {
		s, err := startServer(cfg.Embedded, c.names.Batches, cfg.Log)
		if err != nil {
			return nil, err
		}
		c.server = s
		c.cfg.Brokers = []string{s.addr}
		c.cfg.TLS, c.cfg.SASL = nil, SASL{}
		cfg.Log.Warn("no kafka brokers configured: using the embedded one, for one machine only; production needs an apache kafka cluster",
			"address", s.addr, "dir", cfg.Embedded.Dir, "sync_writes", cfg.Embedded.SyncWrites)
	}
	if err := c.connect(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if c.server != nil {
		if err := c.startHousekeeping(ctx); err != nil {
			return nil, errors.Join(err, c.Close())
		}
		return c, nil
	}
	c.keep(ctx, c.keepTopics)
	return c, nil
}

// keep runs a function until Close.
func (c *Cluster) keep(ctx context.Context, f func(context.Context)) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() { // ended and waited for by Close
		defer close(done)
		f(ctx)
	}()
	c.keeping = sync.OnceFunc(func() { cancel(); <-done })
}

// startHousekeeping does what must be done before anybody writes, and starts the
// rest.
func (c *Cluster) startHousekeeping(ctx context.Context) error {
	if err := c.smallSegments(ctx); err != nil {
		return err
	}
	if err := c.renewShared(ctx); err != nil {
		return err
	}
	c.keep(ctx, c.keepHouse)
	return nil
}

func (c *Cluster) connect(ctx context.Context) error {
	if err := c.dial(ctx); err != nil {
		return err
	}
	return c.ensureTopics(ctx)
}

// dial makes the client, told of to whoever waits for it, and waits for a broker.
func (c *Cluster) dial(ctx context.Context, more ...kgo.Opt) (err error) {
	if err = c.own(more...); err != nil {
		return err
	}
	ping, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	c.watch.begin()
	defer func() { c.watch.end(err) }()
	if err = c.cl.Ping(ping); err != nil {
		return fmt.Errorf("kafka: no broker of %v answers (check address, TLS and SASL): %w", c.cfg.Brokers, err)
	}
	return nil
}

// own makes the client. Whoever waits for it is told.
func (c *Cluster) own(more ...kgo.Opt) (err error) {
	if c.cfg.Teller != nil {
		c.watch = newWatch(c.cfg.Teller, c.cfg.Brokers)
		more = append(more, kgo.WithHooks(c.watch))
	}
	if c.cl, err = c.newClient(more...); err != nil {
		c.watch.stop()
		c.watch = nil
		return err
	}
	c.adm = kadm.NewClient(c.cl)
	return nil
}

// release ends what own made.
func (c *Cluster) release() {
	if c.cl != nil {
		c.cl.Close()
	}
	c.watch.stop()
}

// reader returns a reader of a partition. Whoever waits for it is told.
func (c *Cluster) reader(name string, part int32, pos int64) *reader {
	r := newReader(c.cl, name, part, pos)
	r.watch = c.watch
	return r
}

// Names returns the topics' names.
func (c *Cluster) Names() topic.Names { return c.names }

// Catalogues returns the topic of catalogues.
func (c *Cluster) Catalogues() *Catalogues { return c.catalogues }

// Partitions returns how many partitions telemetry.batches has.
func (c *Cluster) Partitions() int32 { return c.partitions }

// Brokers returns the addresses that clients can use.
func (c *Cluster) Brokers() []string { return append([]string(nil), c.cfg.Brokers...) }

// IsEmbedded reports whether the cluster is inside this process.
func (c *Cluster) IsEmbedded() bool { return c.server != nil }

// Ping reports whether a broker answers.
func (c *Cluster) Ping(ctx context.Context) error {
	if err := c.cl.Ping(ctx); err != nil {
		return fmt.Errorf("kafka: ping: %w", err)
	}
	return nil
}

// Close ends the connection and stops the embedded cluster. Producers and
// backends made from it must have ended before.
func (c *Cluster) Close() error {
	if c.keeping != nil {
		c.keeping()
	}
	c.release()
	return c.server.close()
}

// newClient makes one more client of the cluster, with connections of its own.
func (c *Cluster) newClient(more ...kgo.Opt) (*kgo.Client, error) {
	opts, err := c.cfg.clientOpts()
	if err != nil {
		return nil, err
	}
	cl, err := kgo.NewClient(append(opts, more...)...)
	if err != nil {
		return nil, fmt.Errorf("kafka: client: %w", err)
	}
	return cl, nil
}
