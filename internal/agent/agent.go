// Package agent wires the car: sources into encoders, encoders into the spool,
// the spool into the uplink, the uplink onto the modems.
//
// The entry points are [Prepare], which builds everything that can fail for a
// bad configuration without touching the spool, and [Agent.Run]. It is the only
// package that knows the spool, the uplink and the modems at once, and it never
// drops a sample on its own: what it cannot hand on, it waits with.
package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"telemetry/board"
	"telemetry/internal/clock"
	"telemetry/internal/config"
	"telemetry/modem"
	"telemetry/sensors"
	"telemetry/spool"
	"telemetry/uplink"
	"telemetry/uplink/mqtt"
	"telemetry/wire"
)

// Agent is one configuration of the car, ready to run once.
type Agent struct {
	cfg     *config.Agent
	log     *slog.Logger
	clock   clocks
	root    fs.FS
	sources []namedSource
	health  *health
	plan    *plan
	tls     *tls.Config
	taken   Taken

	mu      sync.Mutex
	running *running // guarded by mu; nil unless Run is under way
}

// running is what exists only while Run is under way.
type running struct {
	spool   *spool.Spool
	uplink  *uplink.Uplink
	encoder *encoder
	super   *sensors.Supervisor
	modems  []modem.Modem
	started time.Time

	stopSources context.CancelFunc
	runSources  func(*sensors.Supervisor) error // until stopSources
	sourcesDone chan struct{}
	draining    atomic.Bool
}

// Prepare reads everything that cfg names (DBC files, certificates, logs) and
// lays out the catalogue. root is the root file system, for /sys and /proc.
func Prepare(cfg *config.Agent, root fs.FS, log *slog.Logger) (*Agent, error) {
	a := &Agent{cfg: cfg, log: log, clock: clock.System{}, root: root}
	profile, err := board.Find(cfg.Board)
	if err != nil {
		return nil, err
	}
	for _, sc := range cfg.Sources {
		s, err := newSource(sc, a.clock, log)
		if err != nil {
			return nil, fmt.Errorf("agent: source %s: %w", sc.Name, err)
		}
		a.sources = append(a.sources, namedSource{sc.Name, s})
	}
	var links []string
	for _, l := range cfg.Links {
		links = append(links, l.Name)
	}
	a.health = newHealth(a.clock, board.Open(profile, root), links)
	a.sources = append(a.sources, namedSource{"agent", a.health})
	if a.plan, err = newPlan(cfg.Car, a.sources, cfg.Live); err != nil {
		return nil, err
	}
	if cfg.Receiver.TLS != nil {
		if a.tls, err = clientTLS(cfg.Receiver.TLS); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// clientTLS reads a client's identity.
func clientTLS(c *config.ClientTLS) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(c.Cert, c.Key)
	if err != nil {
		return nil, fmt.Errorf("agent: certificate of the car: %w", err)
	}
	pem, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, fmt.Errorf("agent: CA of the receiver: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("agent: %s holds no certificate (want PEM)", c.CA)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, RootCAs: pool, ServerName: c.ServerName}, nil
}

// Run drives the car until ctx ends; then it stops the sources, seals what they
// gave, makes it durable and takes leave of the receivers. It may be called once.
func (a *Agent) Run(ctx context.Context) error {
	r, err := a.open()
	if err != nil {
		return err
	}
	defer func() {
		a.mu.Lock()
		a.running = nil
		a.mu.Unlock()
	}()
	err = a.drive(ctx, r)
	return errors.Join(err, r.spool.Close())
}

// open takes the spool and builds what depends on its epoch.
func (a *Agent) open() (*running, error) {
	boot, err := clock.BootID(subFS(a.root, "proc"))
	if err != nil {
		a.log.Warn("no boot id: boot times of two epochs cannot be compared", "error", err)
	}
	sp, report, err := spool.Open(spool.Config{
		Dir: a.cfg.Spool.Dir, Car: a.cfg.Car, BootID: boot,
		QuotaBytes: int64(a.cfg.Spool.Quota), ChunkBytes: int64(a.cfg.Spool.Chunk),
		CommitInterval: a.cfg.Spool.CommitInterval.D(), CriticalInterval: a.cfg.Spool.CriticalCommit.D(),
		Clock: a.clock, Log: a.log.With("component", "spool"),
	})
	if err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	a.log.Info("epoch opened", "car", a.cfg.Car, "epoch", sp.Epoch().String(), "waiting_batches", report.Batches, "waiting_bytes", report.Bytes, "lost_batches", report.LostBatches)
	if _, err := sp.PutCatalogue(a.plan.canonical); err != nil {
		return nil, errors.Join(fmt.Errorf("agent: %w", err), sp.Close())
	}
	r := &running{spool: sp, started: time.Now(), sourcesDone: make(chan struct{})}
	r.encoder = newEncoder(a.plan, sp, a.cfg.Seal, &a.taken)
	if err := a.openUplink(r); err != nil {
		return nil, errors.Join(err, sp.Close())
	}
	a.health.uplink, a.health.spool = r.snapshot, sp.Stats
	srcCtx, stopSources := context.WithCancel(context.Background())
	r.stopSources = stopSources
	r.runSources = func(s *sensors.Supervisor) error { return s.Run(srcCtx) }
	if r.super, err = a.supervisor(r, srcCtx.Done()); err != nil {
		stopSources()
		return nil, errors.Join(err, sp.Close())
	}
	a.mu.Lock()
	a.running = r
	a.mu.Unlock()
	return r, nil
}

func subFS(root fs.FS, dir string) fs.FS {
	// The directory's name is a constant and valid.
	s, _ := fs.Sub(root, dir)
	return s
}

func (a *Agent) openUplink(r *running) error {
	if len(a.cfg.Links) == 0 {
		a.log.Warn("no links are configured: samples are only spooled")
		return nil
	}
	var links []uplink.Link
	for _, l := range a.cfg.Links {
		m := modem.NewInterface(l.Name, l.Interface, subFS(a.root, "sys"))
		r.modems = append(r.modems, m)
		links = append(links, uplink.Link{Name: l.Name, Addrs: l.Addresses, Dialer: &mqtt.Dialer{Net: m.Dial, TLS: a.tls}})
	}
	epoch := r.spool.Epoch()
	u, err := uplink.New(uplink.Config{Car: a.cfg.Car, Epoch: epoch, Seed: epoch.Nonce}, r.spool, links, a.clock, a.log.With("component", "uplink"))
	if err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	r.uplink = u
	return nil
}

// snapshot is the uplink's, or an empty one without links.
func (r *running) snapshot() uplink.Snapshot {
	if r.uplink == nil {
		return uplink.Snapshot{}
	}
	return r.uplink.Snapshot()
}

// drive runs every part and ends them in the order in which samples flow.
func (a *Agent) drive(ctx context.Context, r *running) error {
	base := context.WithoutCancel(ctx)
	fail := make(chan error, 4)
	spoolRun := start(base, "spool", r.spool.Run, fail)
	encoderRun := start(base, "encoder", r.encoder.Run, fail)
	uplinkRun := start(base, "uplink", func(ctx context.Context) error {
		if r.uplink == nil {
			<-ctx.Done()
			return nil
		}
		return r.uplink.Run(ctx)
	}, fail)
	anchors := start(base, "clock", func(ctx context.Context) error {
		return anchorLoop(ctx, a.clock, a.cfg.Clock.Interval.D(), r.encoder, a.log)
	}, fail)

	go func() { // ends when stopSources is called and every source has ended
		defer close(r.sourcesDone)
		if err := r.runSources(r.super); err != nil {
			fail <- fmt.Errorf("agent: sources: %w", err)
		}
	}()

	var err error
	select {
	case <-ctx.Done():
	case err = <-fail:
	}
	r.stopSources()
	<-r.sourcesDone
	anchors()
	encoderRun() // flushes into the spool
	uplinkRun()
	spoolRun() // the last commit
	return err
}

// start runs fn and returns a function that ends it and waits. An error goes to
// fail.
func start(ctx context.Context, name string, fn func(context.Context) error, fail chan<- error) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { // ends with the returned stop
		defer close(done)
		if err := fn(ctx); err != nil && ctx.Err() == nil {
			select {
			case fail <- fmt.Errorf("agent: %s: %w", name, err):
			default: // an earlier failure is already ending the agent
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// Drain stops the sources and waits until everything they gave is durable in
// Kafka, or ctx ends. The agent keeps running, without sources.
func (a *Agent) Drain(ctx context.Context) error {
	a.mu.Lock()
	r := a.running
	a.mu.Unlock()
	if r == nil {
		return errors.New("agent: not running")
	}
	r.draining.Store(true)
	r.stopSources()
	select {
	case <-r.sourcesDone:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := r.encoder.Flush(ctx); err != nil {
		return fmt.Errorf("agent: drain: %w", err)
	}
	if err := r.spool.Sync(ctx); err != nil {
		return fmt.Errorf("agent: drain: %w", err)
	}
	// Durability comes with acks, which nothing announces: look 20 times a second.
	t := time.NewTicker(50 * time.Millisecond)
	defer t.Stop()
	for {
		st := r.spool.Stats()
		if st.Lanes[wire.LaneCritical].Pending == 0 && st.Lanes[wire.LaneFull].Pending == 0 {
			return nil
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return fmt.Errorf("agent: drain: %d critical and %d full batches are not yet in Kafka: %w",
				st.Lanes[wire.LaneCritical].Pending, st.Lanes[wire.LaneFull].Pending, ctx.Err())
		}
	}
}

// supervisor keeps the sources running, each with its own sink.
func (a *Agent) supervisor(r *running, stop <-chan struct{}) (*sensors.Supervisor, error) {
	s := sensors.NewSupervisor(sensors.SupervisorConfig{Log: a.log.With("component", "sensors")})
	for i, src := range a.sources {
		out := &sink{enc: r.encoder, stop: stop, source: i, groups: src.source.Groups()}
		if err := s.Add(src.name, src.source, out); err != nil {
			return nil, fmt.Errorf("agent: %w", err)
		}
	}
	return s, nil
}
