package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"

	"telemetry/internal/config"
	"telemetry/sensors"
	"telemetry/sensors/can"
	"telemetry/sensors/dbc"
	"telemetry/sensors/sim"
	"telemetry/wire"
)

// maxWarnings is how many tolerated faults of one DBC file are named; real files
// have thousands of one kind.
const maxWarnings = 20

// builder makes the sources of a configuration and collects what is wrong with
// them.
type builder struct {
	cfg      *config.Agent
	clock    clocks
	log      *slog.Logger
	root     fs.FS         // root file system
	faults   config.Faults // sources that cannot be used
	warnings config.Faults // what was tolerated
}

// sources makes all sources. One that cannot be made is replaced by one that
// fails, so that the others run and the status says why.
func (b *builder) sources() []namedSource {
	var out []namedSource
	for i, c := range b.cfg.Sources {
		s, err := b.source(fmt.Sprintf("sources[%d]", i), c)
		if err != nil {
			s = broken{fmt.Errorf("%w: put it right and reload (SIGHUP)", err)}
		}
		s = b.smoothed(fmt.Sprintf("sources[%d]", i), s, c.Shape)
		out = append(out, namedSource{name: c.Name, source: s, at: fmt.Sprintf("sources[%d]", i), shape: c.Shape})
	}
	return out
}

// broken stands in for a source that could not be made.
type broken struct{ err error }

func (b broken) Groups() []wire.Group { return nil }

func (b broken) Run(context.Context, sensors.Sink) error { return b.err }

// source builds the source that a validated configuration asks for. at is its
// path in the file.
func (b *builder) source(at string, c config.Source) (sensors.Source, error) {
	log := b.log.With("component", "sensors", "source", c.Name)
	switch {
	case c.Candump != nil:
		return b.candump(at+".candump", c.Candump, log)
	case c.Slcan != nil:
		return b.slcan(at+".slcan", c.Slcan, log)
	case c.Socketcan != nil:
		return b.socketcan(at+".socketcan", c.Socketcan, log)
	case c.Sim != nil:
		s, err := sim.New(sim.Config{
			Channels: c.Sim.Channels, RateMilliHz: uint64(c.Sim.Rate), Seed: c.Sim.Seed, Laps: c.Sim.Laps,
			LapTime: c.Sim.LapTime.D(), FullRate: c.Sim.FullRate, Clock: b.clock,
		})
		return s, b.fault(at+".sim", err)
	}
	return b.device(at, c, log)
}

// fault notes err, if it is one, and returns it.
func (b *builder) fault(at string, err error) error {
	if err != nil {
		b.faults = append(b.faults, b.cfg.Fault(at, "%s", plain(err)))
	}
	return err
}

// plain returns what the system says of a file without the operation: the path
// stands in the configuration beside it.
func plain(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return fmt.Sprintf("%s: %v", pe.Path, pe.Err)
	}
	return err.Error()
}

func (b *builder) candump(at string, c *config.Candump, log *slog.Logger) (sensors.Source, error) {
	// A missing log is a fault, but no reason to do without the source: it may
	// appear, and its channels are known from the DBC.
	if f, err := os.Open(c.File); err != nil {
		_ = b.fault(at+".file", err)
	} else {
		st, err := f.Stat()
		if err == nil && (st.Mode().IsRegular() || st.IsDir()) { // what a pipe gives is gone once read
			err = can.Look(f, c.File)
		}
		if err != nil {
			b.warnings = append(b.warnings, b.cfg.Fault(at+".file", "%v", err))
		}
		_ = f.Close() // only read
	}
	var buses []can.Bus
	var errs []error
	read := func(at, iface string, files config.Files) {
		bus, err := b.bus(at, iface, files)
		buses, errs = append(buses, bus), append(errs, err)
	}
	for _, iface := range slices.Sorted(maps.Keys(c.BusDBC)) {
		read(at+".bus_dbc."+iface, iface, c.BusDBC[iface])
	}
	if len(c.DBC) > 0 {
		read(at+".dbc", "", c.DBC)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	s, err := can.NewReplay(can.ReplayConfig{
		Path: c.File, Buses: buses, Interfaces: c.Interfaces, Speed: max(0, float64(c.Speed)), Unpaced: c.Speed == config.SpeedMax, Loop: c.Loop, Raw: c.Raw,
		Clock: b.clock, Log: log,
	})
	return s, b.fault(at, err)
}

// bus reads the DBC files of an interface: where several know an id, the first
// one decodes it. It notes the faults of each.
func (b *builder) bus(at, iface string, files config.Files) (can.Bus, error) {
	bus := can.Bus{Name: iface}
	var errs []error
	for i, path := range files {
		place := fmt.Sprintf("%s[%d]", at, i)
		db, faults, err := b.database(place, path)
		if b.fault(place, err) != nil {
			errs = append(errs, err)
			continue
		}
		if n := hidden(bus.Databases, db); n > 0 {
			b.warnings = append(b.warnings, b.cfg.Fault(place, "%s: %d of its %d messages have ids that a file before it decodes", path, n, len(db.Messages)))
		}
		bus.Databases, bus.Faults = append(bus.Databases, db), bus.Faults+faults
	}
	return bus, errors.Join(errs...)
}

// hidden counts the messages of db that one of others decodes.
func hidden(others []*dbc.Database, db *dbc.Database) int {
	n := 0
	for _, m := range db.Messages {
		if slices.ContainsFunc(others, func(o *dbc.Database) bool { return o.Lookup(m.ID, m.Extended) != nil }) {
			n++
		}
	}
	return n
}

// database reads one DBC file and notes what was tolerated in it.
func (b *builder) database(at, path string) (db *dbc.Database, faults int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	file, warnings, err := dbc.Parse(f)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", path, err)
	}
	db, more := dbc.Compile(file)
	warnings = append(warnings, more...)
	for _, w := range warnings[:min(len(warnings), maxWarnings)] {
		b.warnings = append(b.warnings, b.cfg.Fault(at, "%s: %s", path, w))
	}
	if n := len(warnings) - maxWarnings; n > 0 {
		b.warnings = append(b.warnings, b.cfg.Fault(at, "%s: and %d more faults", path, n))
	}
	if len(db.Messages) == 0 {
		return nil, 0, fmt.Errorf("%s: no message (BO_) in it: is it a DBC file?", path)
	}
	return db, len(warnings), nil
}
