// Package agent wires the car: sources into encoders, encoders into the spool,
// the spool into the uplink, the uplink onto the modems.
//
// The entry points are [Prepare], which builds everything that can fail for a
// bad configuration without touching the spool, and [Agent.Run]. It is the only
// package that knows the spool, the uplink and the modems at once, and it never
// drops a sample on its own: what it cannot hand on, it waits with.
package agent

import (
	"crypto/tls"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"periph.io/x/conn/v3/gpio"

	"telemetry/board"
	"telemetry/internal/clock"
	"telemetry/internal/config"
	"telemetry/modem"
	"telemetry/sensors"
	"telemetry/uplink"
	"telemetry/uplink/mqtt"
)

// Agent is one configuration of the car, ready to run once.
type Agent struct {
	cfg      *config.Agent
	log      *slog.Logger
	clock    clocks
	root     fs.FS
	sources  []namedSource
	faults   config.Faults
	warnings config.Faults
	board    *board.Board
	openPin  func(board.Pin) (gpio.PinIO, error)
	health   *health
	watcher  *sourceHealth
	plan     *plan
	dialer   func(modem.Modem, config.Link) uplink.Dialer
	taken    Taken
	paths    paths

	mu      sync.Mutex
	running *running // guarded by mu; nil unless Run is under way
}

// Prepare reads everything that cfg names (DBC files, certificates, logs) and
// lays out the catalogue. root is the root file system, for /sys and /proc. The
// agent reads cfg until it has run: it must not be changed.
//
// A source that cannot be used is no error while there is another that can: see
// [Agent.Faults]. An error is [config.Faults], every fault at once.
func Prepare(cfg *config.Agent, root fs.FS, log *slog.Logger) (*Agent, error) {
	return prepare(cfg, root, log, clock.System{})
}

func prepare(cfg *config.Agent, root fs.FS, log *slog.Logger, clk clocks) (*Agent, error) {
	a := &Agent{cfg: cfg, log: log, clock: clk, root: root, openPin: board.OpenPin}
	var fatal config.Faults
	profile, err := board.Find(cfg.Board)
	if err != nil {
		fatal = append(fatal, cfg.Fault("board", "%s", strings.TrimPrefix(err.Error(), "board: ")))
	}
	fatal = append(fatal, modemFaults(cfg, profile)...)
	if _, err := gatesOf(cfg.Session); err != nil {
		fatal = append(fatal, cfg.Fault("session.start", "%s", strings.TrimPrefix(err.Error(), "lap: ")))
	}
	var identity *tls.Config
	if cfg.Receiver.TLS != nil {
		if identity, err = ClientTLS(cfg.Receiver.TLS); err != nil {
			fatal = append(fatal, cfg.Fault("receiver.tls", "%v", err))
		}
	}
	a.dialer = func(m modem.Modem, l config.Link) uplink.Dialer {
		return &mqtt.Dialer{Net: a.paths.watch(l.Name, a.clock.BootNS, m.Dial), TLS: identity, Congestion: l.Congestion}
	}
	b := &builder{cfg: cfg, clock: clk, log: log, root: root}
	a.sources = b.sources()
	a.faults, a.warnings = b.faults, b.warnings
	if identity != nil {
		if why, _ := WrongIdentity(identity.Certificates[0].Leaf, cfg.Car, time.Unix(0, clk.Compare().UTCNS)); why != "" {
			a.warnings = append(a.warnings, cfg.Fault("receiver.tls.cert", "%s %s: no receiver takes anything from it, the spool keeps it", cfg.Receiver.TLS.Cert, why))
		}
	}
	if !slices.ContainsFunc(a.sources, func(s namedSource) bool { _, bad := s.source.(broken); return !bad }) {
		fatal = append(fatal, a.faults...)
	}
	if len(fatal) > 0 {
		return nil, fatal.Sorted()
	}
	a.board = board.Open(profile, root)
	a.health = newHealth(clk, a.board, a.linkNames(), &a.taken)
	for _, l := range cfg.Links {
		if l.Interface != "" {
			a.health.addUsage(l.Name)
		}
		if isKept(l) {
			a.health.addModem(l.Name)
		}
	}
	a.watcher = newSourceHealth(clk, a.sources)
	a.sources = append(a.sources, namedSource{name: config.OwnSource, source: a.health}, namedSource{name: sourcesName, source: a.watcher})
	if a.plan, err = newPlan(cfg.Car, a.sources, cfg.Live); err != nil {
		return nil, config.Faults{cfg.Fault("sources", "%v", err)}
	}
	_, notes := seek(cfg.Session, a.sources, a.plan)
	for _, n := range append(notes, a.plan.notes...) {
		a.warnings = append(a.warnings, cfg.Fault(n.path, "%s", n.text))
	}
	return a, nil
}

// PrepareWith is [Prepare] with one more source, and with wrap around each link's
// dialer: for laboratories that make load and watch what is sent.
func PrepareWith(cfg *config.Agent, root fs.FS, log *slog.Logger, name string, s sensors.Source, wrap func(uplink.Dialer) uplink.Dialer) (*Agent, error) {
	a, err := Prepare(cfg, root, log)
	if err != nil {
		return nil, err
	}
	dialer := a.dialer
	a.dialer = func(m modem.Modem, l config.Link) uplink.Dialer { return wrap(dialer(m, l)) }
	a.sources = append(a.sources, namedSource{name: name, source: s})
	a.plan, err = newPlan(cfg.Car, a.sources, cfg.Live)
	return a, err
}

// Faults returns what is wrong with single sources: the agent can run without
// them. It is empty when all is well.
func (a *Agent) Faults() config.Faults { return a.faults }

// Warnings returns what was wrong and could be tolerated, as in DBC files.
func (a *Agent) Warnings() config.Faults { return a.warnings }
