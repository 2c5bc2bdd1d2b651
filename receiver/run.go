package receiver

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"telemetry/receiver/ca"
	"telemetry/receiver/hop"
	"telemetry/receiver/ingest"
	"telemetry/receiver/ingest/embedded"
	"telemetry/receiver/ingest/external"
	"telemetry/receiver/kafka"
	"telemetry/receiver/live"
	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/jsonrow"
	"telemetry/receiver/sequence/sealed"
	"telemetry/wire"
)

// Roles of a receiver, as they stand in the configuration.
const (
	roleIngest   = "ingest"
	roleSequence = "sequence"
	roleLive     = "live"
)

// running is what one Run has started. It is complete before it is published
// and never changed after; what is nil is a role that this process does not have.
type running struct {
	started  time.Time
	cluster  *kafka.Cluster
	broker   *embedded.Broker // at most one of broker and external
	external *external.Broker
	revoked  *ca.Revocations // nil: nothing is taken back
	ingest   *ingest.Service
	producer interface{ State() error } // of ingest
	sequence *sequence.Runner
	check    outputCheck // whether the default output may begin
	hops     *hop.Set    // of the default output and the page; nil: this process has neither
	outputs  []*output   // beside the default one
	live     *live.Server
	preview  *preview // with both ingest and live

	start []func(ctx context.Context) error // one per role; each ends with ctx
	undo  []func() error                    // frees what start would have run
}

// Run serves until ctx ends; then it finishes what it has and returns. A cluster
// that does not answer is waited for. It can run once.
func (r *Receiver) Run(ctx context.Context) (err error) {
	stopHealth, err := r.serveHealth(ctx)
	if err != nil {
		return err
	}
	defer stopHealth()
	cluster, err := r.reach(ctx)
	if err != nil || cluster == nil {
		return err
	}
	defer func() { err = errors.Join(err, cluster.Close()) }()
	run := &running{started: time.Now(), cluster: cluster, revoked: r.revoked}
	if err := r.assemble(run); err != nil {
		for _, f := range run.undo {
			err = errors.Join(err, f())
		}
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, f := range run.start {
		g.Go(func() error { return f(ctx) }) // ends with ctx
	}
	r.publish(run)
	defer r.publish(nil)
	return g.Wait()
}

func (r *Receiver) publish(run *running) {
	r.mu.Lock()
	r.running = run
	r.mu.Unlock()
}

// assemble makes the roles; nothing runs yet, but ports are open.
func (r *Receiver) assemble(run *running) error {
	if r.has(roleSequence) || r.hasPage() {
		run.hops = new(hop.Set)
	}
	if r.hasPage() && r.has(roleIngest) {
		run.preview = &preview{catalogues: run.cluster.Catalogues(), arrived: make(chan []byte, previewQueue)}
		run.start = append(run.start, run.preview.run)
	}
	if r.has(roleIngest) {
		if err := r.addIngest(run); err != nil {
			return err
		}
	}
	if r.has(roleSequence) {
		if err := r.addSequence(run); err != nil {
			return err
		}
	}
	if r.hasPage() {
		return r.addLive(run)
	}
	return nil
}

func (r *Receiver) has(role string) bool { return slices.Contains(r.cfg.Roles, role) }

func (r *Receiver) hasPage() bool { return r.has(roleLive) && r.cfg.Live.Listen != liveOff }

// producerClose bounds the flush at the end.
const producerClose = 5 * time.Second

func (r *Receiver) addIngest(run *running) error {
	var nonce [8]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return fmt.Errorf("receiver: random nonce: %w", err)
	}
	producer, err := run.cluster.NewProducer()
	if err != nil {
		return err
	}
	run.producer = producer
	closeProducer := func(ctx context.Context) error {
		flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), producerClose)
		defer cancel()
		return producer.Close(flush)
	}
	run.undo = append(run.undo, func() error { return closeProducer(context.Background()) })
	broker, err := r.openBroker(run)
	if err != nil {
		return err
	}
	var tap ingest.Tap
	if run.preview != nil {
		tap = run.preview
	}
	if run.ingest, err = ingest.New(ingest.Options{
		Core: ingest.Config{
			Tap:      tap,
			Wall:     func() int64 { return time.Now().UnixNano() },
			Instance: r.name, Nonce: binary.LittleEndian.Uint64(nonce[:]) | 1, Names: run.cluster.Names(),
			CarCredit: int64(r.cfg.Ingest.CreditPerCar), TotalCredit: int64(r.cfg.Ingest.CreditTotal),
			CarRates: ingest.Rates{Bytes: int64(r.cfg.Ingest.PerCar.Bytes), Packets: int64(r.cfg.Ingest.PerCar.Packets)},
		},
		Broker: broker, Producer: producer, Catalogues: run.cluster.Catalogues(), Log: r.log.With("component", "ingest"),
	}); err != nil {
		return err
	}
	run.start = append(run.start, func(ctx context.Context) error {
		return errors.Join(run.ingest.Run(ctx), closeProducer(ctx))
	})
	return nil
}

func (r *Receiver) addSequence(run *running) error {
	cfg := sequence.Defaults()
	cfg.Topics = run.cluster.Names()
	cfg.NewFormat = r.newFormat
	cfg.Hops = run.hops
	cfg.Budget = sequence.NewBudget(int64(r.cfg.Sequence.Memory))
	cfg.CommitInterval = r.cfg.Sequence.Commit.D()
	cfg.IdleCommit = max(cfg.IdleCommit, cfg.CommitInterval)
	cfg.Log = r.log.With("component", "sequence")
	setWindows(&cfg.Reorder, r.cfg.Sequence.Windows)
	runner, err := sequence.NewRunner(cfg, run.cluster.Backend())
	if err != nil {
		return err
	}
	run.sequence = runner
	run.start = append(run.start, func(ctx context.Context) error {
		ask := func(ctx context.Context) error { return run.cluster.CheckOutput(ctx, "") }
		if run.check.await(ctx, cfg.Log, ask) != nil {
			return nil // stopped while it waited
		}
		return runner.Run(ctx)
	})
	return r.addOutputs(run, &cfg)
}

// newFormat makes the default output's format of one partition.
func (r *Receiver) newFormat() sequence.Format {
	f := r.cfg.Sequence.Formats
	var by sequence.ByLane
	for lane, name := range map[wire.Lane]string{wire.LaneCritical: f.Critical, wire.LaneLive: f.Live, wire.LaneFull: f.Full} {
		switch name {
		case formatBatch:
			by[lane] = sealed.New()
		case formatNone:
			by[lane] = sequence.Nothing{}
		default:
			by[lane] = jsonrow.New()
		}
	}
	return by
}
