package agent

import (
	"log/slog"

	"telemetry/internal/config"
	"telemetry/sensors"
	"telemetry/sensors/can/slcan"
)

// slcan makes the source of a CAN adapter on a serial port.
func (b *builder) slcan(at string, c *config.Slcan, log *slog.Logger) (sensors.Source, error) {
	cfg := slcan.Config{
		Port: c.Port, Baud: c.Baud, Interface: c.Interface, Dialect: slcan.Dialect(c.Dialect),
		Bitrate: int(c.Bitrate), Timing: c.Timing, DataBitrate: int(c.DataBitrate), Raw: c.Raw,
		Listen: map[config.ListenOnly]slcan.ListenMode{"true": slcan.ListenAlways, "false": slcan.ListenNever}[c.ListenOnly],
		Stamps: map[string]slcan.StampMode{"host": slcan.StampHost, "ms": slcan.StampMilli, "us": slcan.StampMicro}[c.Timestamps],
		Clock:  b.clock, Log: log,
	}
	bus, err := b.bus(at+".dbc", c.Interface, c.DBC)
	if err != nil {
		return nil, err
	}
	cfg.Databases = bus.Databases
	s, err := slcan.New(cfg)
	if err != nil {
		return nil, b.fault(at, err)
	}
	return s, nil
}
