package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	"telemetry/internal/config"
	"telemetry/sensors"
	"telemetry/sensors/can"
	"telemetry/sensors/dbc"
	"telemetry/sensors/sim"
)

// newSource builds the source that a validated configuration asks for.
func newSource(c config.Source, clk clocks, log *slog.Logger) (sensors.Source, error) {
	log = log.With("component", "sensors", "source", c.Name)
	switch {
	case c.Candump != nil:
		return newCandump(c.Candump, clk, log)
	case c.Sim != nil:
		return sim.New(sim.Config{
			Channels: c.Sim.Channels, RateMilliHz: uint64(c.Sim.Rate), Seed: c.Sim.Seed, Laps: c.Sim.Laps, Clock: clk,
		})
	}
	return nil, errors.New("agent: a source without a kind")
}

func newCandump(c *config.Candump, clk clocks, log *slog.Logger) (sensors.Source, error) {
	if _, err := os.Stat(c.File); err != nil {
		return nil, fmt.Errorf("agent: log: %w", err)
	}
	var buses []can.Bus
	for iface, path := range c.BusDBC {
		b, err := readBus(iface, path, log)
		if err != nil {
			return nil, err
		}
		buses = append(buses, b)
	}
	if c.DBC != "" {
		b, err := readBus("", c.DBC, log)
		if err != nil {
			return nil, err
		}
		buses = append(buses, b)
	}
	return can.NewReplay(can.ReplayConfig{
		Path: c.File, Buses: buses, Interfaces: c.Interfaces, Speed: float64(c.Speed), Unpaced: c.Speed == 0, Loop: c.Loop,
		Clock: clk, Log: log,
	})
}

// readBus reads one DBC file for an interface; what it tolerates is logged.
func readBus(iface, path string, log *slog.Logger) (can.Bus, error) {
	f, err := os.Open(path)
	if err != nil {
		return can.Bus{}, fmt.Errorf("agent: dbc: %w", err)
	}
	defer f.Close()
	file, warnings, err := dbc.Parse(f)
	if err != nil {
		return can.Bus{}, fmt.Errorf("agent: dbc %s: %w", path, err)
	}
	db, more := dbc.Compile(file)
	for _, w := range append(warnings, more...) {
		log.Warn("dbc fault tolerated", "file", path, "fault", w.String())
	}
	return can.Bus{Name: iface, Databases: []*dbc.Database{db}}, nil
}
