package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"time"

	"telemetry/internal/clock"
	"telemetry/modem"
	"telemetry/sensors"
	"telemetry/spool"
	"telemetry/uplink"
	"telemetry/wire"
)

// The flow: open takes the spool and builds what depends on its epoch; drive
// starts the parts and, at the end, stops them in the order in which samples
// flow, so that whatever a sink has taken is durable when Run returns.

// Limits of the end.
const (
	// sinkGrace is how long sources may hand on what they have read after they
	// were told to stop.
	sinkGrace = 2 * time.Second
	// sourceGrace is how long they may take to return. One that does not, as on a
	// device that hangs in the kernel, is left behind.
	sourceGrace = 5 * time.Second
)

// running is what exists only while Run is under way.
type running struct {
	spool    *spool.Spool
	uplink   *uplink.Uplink // nil without links
	encoder  *encoder
	super    *sensors.Supervisor
	modems   []modem.Modem
	session  *sessions
	care     *caretaker // nil if no modem is looked after
	board    *boardCare
	started  time.Time
	keyFault string // why the card's identity cannot be had; "" if it can

	stopSources context.CancelFunc // tells the sources to stop
	sourceCtx   context.Context    // until stopSources
	sinkCtx     context.Context    // until sinkGrace after it, for the sinks
	sourcesDone chan struct{}      // closed when all sources have returned
	ended       chan struct{}      // closed when Run returns
	draining    atomic.Bool
	dark        atomic.Bool // power is going: see PowerFail
}

// Run drives the car until ctx ends; then it stops the sources, seals what they
// gave, makes it durable and takes leave of the receivers. It may be called once.
func (a *Agent) Run(ctx context.Context) error {
	for _, f := range a.faults {
		a.log.Error("source at fault, the others go on", "file", f.File, "line", f.Line, "path", f.Path, "fault", f.Message)
	}
	for _, w := range a.warnings {
		a.log.Warn("fault tolerated", "file", w.File, "line", w.Line, "path", w.Path, "fault", w.Message)
	}
	r, err := a.open()
	if err != nil {
		return err
	}
	defer func() {
		close(r.ended)
		a.mu.Lock()
		a.running = nil
		a.mu.Unlock()
	}()
	return errors.Join(a.drive(ctx, r), r.spool.Close())
}

// open takes the spool and builds what depends on its epoch.
func (a *Agent) open() (*running, error) {
	boot, err := clock.BootID(subFS(a.root, "proc"))
	if err != nil {
		a.log.Warn("no boot id: boot times of two epochs cannot be compared", "error", err)
	}
	keys, err := a.spoolKeys()
	if err != nil {
		return nil, err
	}
	sp, report, err := spool.Open(spool.Config{
		Keys: keys.box, KeysForNow: keys.fault != "", EncryptedOnly: keys.only,
		Dir: a.cfg.Spool.Dir, Car: a.cfg.Car, BootID: boot,
		QuotaBytes: int64(a.cfg.Spool.Quota), ChunkBytes: int64(a.cfg.Spool.Chunk),
		CommitInterval: a.cfg.Spool.CommitInterval.D(), CriticalInterval: a.cfg.Spool.CriticalCommit.D(),
		Clock: a.clock, Log: a.log.With("component", "spool"),
	})
	if err != nil {
		return nil, fmt.Errorf("agent: %w (spool.dir must be on a writable local disk and belong to one agent)", err)
	}
	a.log.Info("epoch opened", "car", a.cfg.Car, "epoch", sp.Epoch().String(), "waiting_batches", report.Batches, "waiting_bytes", report.Bytes, "lost_batches", report.LostBatches)
	if _, err := sp.PutCatalogue(a.plan.canonical); err != nil {
		return nil, errors.Join(fmt.Errorf("agent: %w", err), sp.Close())
	}
	r := &running{spool: sp, keyFault: keys.fault, started: time.Now(), sourcesDone: make(chan struct{}), ended: make(chan struct{})}
	r.encoder = newEncoder(a.plan, sp, a.cfg.Seal, &a.taken, a.log.With("component", "encoder"))
	r.encoder.boot = a.clock.BootNS
	if err := a.openUplink(r); err != nil {
		return nil, errors.Join(err, sp.Close())
	}
	r.care = a.newCaretaker(r)
	a.health.uplink, a.health.spool, a.health.modem, a.health.used = r.snapshot, sp.Stats, r.care.status, r.care.usage
	if r.uplink != nil {
		a.health.changed = r.uplink.Changed()
	}
	r.board = a.newBoardCare(r)
	r.limitSources()
	if r.session, err = a.openSessions(r, boot); err == nil {
		r.super, err = a.supervisor(r)
	}
	if err != nil {
		r.stopSources()
		return nil, errors.Join(err, sp.Close())
	}
	a.mu.Lock()
	a.running = r
	a.mu.Unlock()
	return r, nil
}

// limitSources makes the two ends of the sources' life.
func (r *running) limitSources() {
	var stop, stopSinks context.CancelFunc
	r.sourceCtx, stop = context.WithCancel(context.Background())
	r.sinkCtx, stopSinks = context.WithCancel(context.Background())
	context.AfterFunc(r.sourceCtx, func() { time.AfterFunc(sinkGrace, stopSinks) })
	r.stopSources = stop
}

func subFS(root fs.FS, dir string) fs.FS {
	// The directory's name is a constant and valid.
	s, _ := fs.Sub(root, dir)
	return s
}

// supervisor keeps the sources running, each with its own sink.
func (a *Agent) supervisor(r *running) (*sensors.Supervisor, error) {
	s := sensors.NewSupervisor(sensors.SupervisorConfig{Log: a.log.With("component", "sensors")})
	for i, src := range a.sources {
		out := &sink{enc: r.encoder, stop: r.sinkCtx.Done(), routes: a.plan.routes[i], latest: a.plan.watches}
		if err := s.Add(src.name, src.source, r.session.tapped(i, src.source, out)); err != nil {
			return nil, fmt.Errorf("agent: %w", err)
		}
	}
	a.watcher.tell = s.Status
	return s, nil
}

// drive runs every part and ends them in the order in which samples flow.
func (a *Agent) drive(ctx context.Context, r *running) error {
	base := context.WithoutCancel(ctx)
	fail := make(chan error, 7) // one for each part below
	stopSpool := start(base, "spool", r.spool.Run, fail)
	stopEncoder := start(base, "encoder", r.encoder.Run, fail)
	stopUplink := func() error { return nil }
	if r.uplink != nil {
		stopUplink = start(base, "uplink", r.uplink.Run, fail)
	}
	stopAnchors := start(base, "clock", func(ctx context.Context) error {
		return anchorLoop(ctx, a.clock, a.cfg.Clock.Interval.D(), r.encoder, a.log)
	}, fail)
	stopCare := func() error { return nil }
	if r.care != nil {
		stopCare = start(base, "modems", r.care.Run, fail)
	}
	stopBoard := start(base, "board", r.board.Run, fail)
	stopSession := start(base, "session", r.session.Run, fail)
	go func() { // ends when stopSources is called and every source has returned
		defer close(r.sourcesDone)
		_ = r.super.Run(r.sourceCtx) // a failing source is no error of Run
	}()

	var err error
	select {
	case <-ctx.Done():
	case err = <-fail:
	}
	a.awaitSources(r)
	err = errors.Join(err, stopAnchors(), stopSession())
	err = errors.Join(err, stopEncoder()) // flushes into the spool
	err = errors.Join(err, stopUplink(), stopCare(), stopBoard())
	return errors.Join(err, stopSpool()) // the last commit
}

// awaitSources stops the sources and waits for them, within reason.
func (a *Agent) awaitSources(r *running) {
	r.stopSources()
	limit := time.NewTimer(sourceGrace)
	defer limit.Stop()
	select {
	case <-r.sourcesDone:
	case <-limit.C:
		for _, s := range r.super.Status() {
			if s.State == sensors.StateRunning {
				a.log.Error("source does not stop, it is left behind", "source", s.Name)
			}
		}
	}
}

// start runs fn. When it fails before its time, the error goes to fail. The
// returned function ends it, waits, and returns the error of its end.
func start(ctx context.Context, name string, fn func(context.Context) error, fail chan<- error) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	end := make(chan error, 1)
	go func() { // ends with the returned stop
		err := fn(ctx)
		if err != nil {
			err = fmt.Errorf("agent: %s: %w", name, err)
		}
		if err != nil && ctx.Err() == nil {
			fail <- err // there is room for each part's one
			err = nil
		}
		end <- err
	}()
	return func() error {
		cancel()
		err := <-end
		if errors.Is(err, context.Canceled) {
			return nil
		}
		return err
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
	case <-r.ended:
		return errStopping
	case <-ctx.Done():
		return fmt.Errorf("agent: drain: sources do not stop: %w", ctx.Err())
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
		critical, full := st.Lanes[wire.LaneCritical].Pending, st.Lanes[wire.LaneFull].Pending
		if critical == 0 && full == 0 {
			return nil
		}
		select {
		case <-t.C:
		case <-r.ended:
			return errStopping
		case <-ctx.Done():
			return fmt.Errorf("agent: drain: %d critical and %d full batches are not yet in Kafka: %w", critical, full, ctx.Err())
		}
	}
}
