// Package archivetest has a Kafka inside the test, with a sequencer, for tests of
// what reads the past. The entry point is [Open].
package archivetest

import (
	"context"
	"log/slog"
	"net"
	"strconv"
	"testing"
	"time"

	"telemetry/receiver/archive"
	"telemetry/receiver/ingest"
	"telemetry/receiver/kafka"
	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/jsonrow"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// Partitions of the topics.
const Partitions = 2

// patience bounds what a test waits for.
const patience = 30 * time.Second

// Pit is a cluster. It ends with the test.
type Pit struct {
	T       *testing.T
	Cluster *kafka.Cluster
	Past    *kafka.Past
	cfg     kafka.Config
}

// Open starts a cluster; without brokers it is inside the test.
func Open(t *testing.T, prefix string, brokers ...string) *Pit {
	t.Helper()
	cfg := kafka.Config{Prefix: prefix, Partitions: Partitions, AllowWeak: true, Replication: 1, Brokers: brokers, Log: slog.New(slog.DiscardHandler)}
	if len(brokers) == 0 {
		cfg.Embedded.Dir = t.TempDir()
	}
	p := &Pit{T: t, cfg: cfg}
	p.open()
	t.Cleanup(p.close)
	return p
}

func (p *Pit) open() {
	p.T.Helper()
	var err error
	if p.Cluster, err = kafka.Open(p.T.Context(), p.cfg); err != nil {
		p.T.Fatal(err)
	}
	if p.Past, err = p.Cluster.Past(); err != nil {
		p.T.Fatal(err)
	}
}

func (p *Pit) close() {
	_ = p.Past.Close()
	if err := p.Cluster.Close(); err != nil {
		p.T.Error(err)
	}
}

// Outage takes the cluster inside the test away while a function runs. It comes back
// at the same address with what it had.
func (p *Pit) Outage(while func()) {
	p.T.Helper()
	_, port, err := net.SplitHostPort(p.Cluster.Brokers()[0])
	if err == nil {
		p.cfg.Embedded.Port, err = strconv.Atoi(port)
	}
	if err != nil {
		p.T.Fatal(err)
	}
	p.close()
	while()
	p.open()
}

// Archive returns a new archive of the cluster.
func (p *Pit) Archive(o archive.Options) *archive.Archive { return archive.New(p.Past, o) }

// Write writes records to a topic, one after the other.
func (p *Pit) Write(name string, recs ...topic.Record) {
	p.T.Helper()
	prod, err := p.Cluster.NewProducer()
	if err != nil {
		p.T.Fatal(err)
	}
	errs := make(chan error, len(recs))
	for _, r := range recs {
		r.Topic = name
		prod.Produce(r, func(err error) { errs <- err })
	}
	for range recs {
		if err := <-errs; err != nil {
			p.T.Fatal(err)
		}
	}
	if err := prod.Close(p.T.Context()); err != nil {
		p.T.Fatal(err)
	}
}

// Batches writes records to telemetry.batches.
func (p *Pit) Batches(recs ...topic.Record) {
	p.T.Helper()
	p.Write(p.Cluster.Names().Batches, recs...)
}

// Catalogue writes a catalogue.
func (p *Pit) Catalogue(c *wire.Catalogue) {
	p.T.Helper()
	recs, err := ingest.CatalogueRecords(p.Cluster.Names().Catalogues, c.Car, c.Append(nil))
	if err != nil {
		p.T.Fatal(err)
	}
	p.Write(p.Cluster.Names().Catalogues, recs...)
}

// Sequence runs a sequencer until it has settled all that is in the log.
func (p *Pit) Sequence(more func(*sequence.Config)) {
	p.T.Helper()
	cfg := sequence.Defaults()
	cfg.Topics, cfg.NewFormat = p.Cluster.Names(), func() sequence.Format { return jsonrow.New() }
	cfg.IdleCommit = cfg.CommitInterval
	if more != nil {
		more(&cfg)
	}
	ends, err := p.Cluster.EndOffsets(p.T.Context(), cfg.Topics.Batches)
	if err != nil {
		p.T.Fatal(err)
	}
	r, err := sequence.NewRunner(cfg, p.Cluster.Backend())
	if err != nil {
		p.T.Fatal(err)
	}
	ctx, stop := context.WithTimeout(p.T.Context(), patience)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }() // ends with ctx
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !settled(r.Snapshot(), ends) {
		select {
		case <-ctx.Done():
			p.T.Fatalf("the sequencer does not come to an end: %+v", r.Snapshot())
		case <-tick.C:
		}
	}
	stop()
	if err := <-ended; err != nil {
		p.T.Fatal(err)
	}
}

func settled(s sequence.Snapshot, ends map[int32]int64) bool {
	n := 0
	for i := range s.Partitions {
		if s.Partitions[i].Committed >= ends[s.Partitions[i].Partition] {
			n++
		}
	}
	return n == len(ends)
}

// Read returns what a topic holds, partition by partition.
func (p *Pit) Read(name string) []topic.Record {
	p.T.Helper()
	var out []topic.Record
	_, err := p.Cluster.Read(p.T.Context(), name, nil, func(r topic.Record) error {
		out = append(out, r)
		return nil
	})
	if err != nil {
		p.T.Fatal(err)
	}
	return out
}
