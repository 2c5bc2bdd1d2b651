package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"telemetry/receiver/archive"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// Past reads what is in the topics already, committed records only, in any order.
// Its connections are its own, so that long readings hold nobody up. It is safe for
// concurrent use and implements archive.Source.
type Past struct {
	c Cluster // a view: with a client of its own

	mu    sync.Mutex
	known map[partOf]reader // guarded by mu: where partitions are
}

type partOf struct {
	topic string
	part  int32
}

var _ archive.Source = (*Past)(nil)

// Past returns a reader of the cluster's past; [Past.Close] ends it.
func (c *Cluster) Past() (*Past, error) {
	p := &Past{known: map[partOf]reader{}}
	p.c = Cluster{cfg: c.cfg, names: c.names}
	if err := p.c.own(); err != nil {
		return nil, err
	}
	p.c.catalogues = newCatalogues(&p.c)
	return p, nil
}

// Past returns a reader of the cluster's past; [Past.Close] ends it.
func (o *Observer) Past() (*Past, error) { return o.c.Past() }

// Close ends the connections.
func (p *Past) Close() error {
	p.c.release()
	return nil
}

// Names implements archive.Source.
func (p *Past) Names() topic.Names { return p.c.names }

// Partition implements archive.Source.
func (p *Past) Partition(car string, n int) int32 { return topic.Partition([]byte(car), int32(n)) }

// Catalogue implements archive.Source.
func (p *Past) Catalogue(ctx context.Context, h wire.CatalogueHash) (canonical []byte, ok bool, err error) {
	err = p.patiently(ctx, func() error {
		canonical, ok, err = p.c.catalogues.Get(ctx, h)
		return err
	})
	return canonical, ok, err
}

// patiently repeats what fails while brokers are away, for as long as it is configured.
// Whoever waits for it is told.
func (p *Past) patiently(ctx context.Context, f func() error) (err error) {
	p.c.watch.begin()
	defer func() { p.c.watch.end(err) }()
	var pause backoff
	for began := time.Now(); ; {
		if err = f(); err == nil || ctx.Err() != nil || final(err) || errors.Is(err, archive.ErrNoTopic) {
			return err
		}
		if time.Since(began) >= p.c.cfg.Patience || pause.wait(ctx) != nil {
			return err
		}
	}
}

// reader returns a reader of a partition, which knows its leader if an earlier one
// did.
func (p *Past) reader(name string, part int32, pos int64) *reader {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r, ok := p.known[partOf{name, part}]; ok {
		r.pos = pos
		return &r
	}
	return newReader(p.c.cl, name, part, pos)
}

// keep notes where a partition is.
func (p *Past) keep(r *reader) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.leader < 0 {
		delete(p.known, partOf{r.topic, r.part})
		return
	}
	p.known[partOf{r.topic, r.part}] = *r
}

// noTopicAfter is how long it takes to believe that there is no topic: brokers that
// have just started do not know all that are there.
const noTopicAfter = 2 * time.Second

// Extents implements archive.Source.
func (p *Past) Extents(ctx context.Context, name string, sinceMS int64) (out []archive.Extent, err error) {
	err = p.patiently(ctx, func() error {
		out, err = p.extents(ctx, name, sinceMS)
		return err
	})
	return out, err
}

func (p *Past) extents(ctx context.Context, name string, sinceMS int64) ([]archive.Extent, error) {
	first := newReader(p.c.cl, name, 0, 0)
	err := persist(ctx, noTopicAfter, first.locate)
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return nil, fmt.Errorf("%w: %w", archive.ErrNoTopic, err)
	}
	if err != nil {
		return nil, err
	}
	out := make([]archive.Extent, 0, first.partitions)
	for part := range first.partitions {
		r := p.reader(name, part, 0)
		e := archive.Extent{Partition: part}
		if e.Start, err = r.list(ctx, listStart); err == nil {
			e.End, err = r.list(ctx, listEnd)
		}
		e.Since = e.Start
		if err == nil && sinceMS > 0 {
			if e.Since, err = r.list(ctx, sinceMS); e.Since < 0 { // nothing is as late as that
				e.Since = e.End
			}
		}
		if err != nil {
			return nil, err
		}
		e.Since = min(max(e.Since, e.Start), e.End)
		out = append(out, e)
	}
	return out, nil
}

// Chunk implements archive.Source.
func (p *Past) Chunk(ctx context.Context, name string, part int32, offset, end int64) (recs []topic.Record, next int64, err error) {
	err = p.patiently(ctx, func() error {
		recs, next, err = p.chunk(ctx, name, part, offset, end)
		return err
	})
	return recs, next, err
}

func (p *Past) chunk(ctx context.Context, name string, part int32, offset, end int64) ([]topic.Record, int64, error) {
	r := p.reader(name, part, offset)
	defer func() { p.keep(r) }()
	var pause backoff
	for began := time.Now(); ; {
		c, err := r.fetch(ctx, 100*time.Millisecond, maxFetchBytes)
		if errors.Is(err, errGone) && c.start > offset {
			return nil, min(c.start, end), nil
		}
		if err == nil && r.pos == offset {
			err = fmt.Errorf("kafka: fetch %s/%d at %d: the broker answers with nothing, and the end is %d", name, part, offset, end)
		}
		if err != nil {
			if final(err) || time.Since(began) > r.limit || pause.wait(ctx) != nil {
				return nil, offset, errors.Join(ctx.Err(), withRemedy(err))
			}
			continue
		}
		recs := make([]topic.Record, 0, len(c.recs))
		for _, k := range c.recs {
			if k.Offset >= end {
				break
			}
			recs = append(recs, fromKafka(k))
		}
		return recs, min(r.pos, end), nil
	}
}

// Identity tells clusters apart: the id of this one, and the ids of topics by name,
// where they exist and have one.
func (c *Cluster) identity(ctx context.Context, names ...string) (cluster string, topics map[string][16]byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	m, err := c.adm.Metadata(ctx, names...)
	if err != nil {
		return "", nil, fmt.Errorf("kafka: metadata: %w", withRemedy(err))
	}
	topics = map[string][16]byte{}
	for name, d := range m.Topics {
		if d.Err == nil && d.ID != (kadm.TopicID{}) {
			topics[name] = d.ID
		}
	}
	return m.Cluster, topics, nil
}
