package agent

import (
	"log/slog"
	"time"

	"telemetry/internal/config"
	"telemetry/sensors"
	"telemetry/sensors/can/socketcan"
)

// pairClock gives a source both clocks of one moment.
type pairClock struct{ clocks }

func (p pairClock) Pair() (bootNS, utcNS int64) {
	r := p.Compare()
	return r.BootNS, r.UTCNS
}

// socketcan makes the source of a CAN interface of the kernel.
func (b *builder) socketcan(at string, c *config.Socketcan, log *slog.Logger) (sensors.Source, error) {
	cfg := socketcan.Config{
		Interface: c.Interface, Bitrate: int(c.Bitrate), DataBitrate: int(c.DataBitrate), Raw: c.Raw,
		RestartMS: int(time.Duration(c.Restart).Milliseconds()), ReceiveBuffer: int(c.ReceiveBuffer),
		Listen: map[config.ListenOnly]socketcan.ListenMode{"true": socketcan.ListenAlways, "false": socketcan.ListenNever}[c.ListenOnly],
		Filter: map[string]socketcan.FilterMode{"none": socketcan.FilterNone, "dbc": socketcan.FilterKnown}[c.Filter],
		Clock:  pairClock{b.clock}, Log: log,
	}
	bus, err := b.bus(at+".dbc", c.Interface, c.DBC)
	if err != nil {
		return nil, err
	}
	cfg.Databases = bus.Databases
	s, err := socketcan.New(cfg)
	if err != nil {
		return nil, b.fault(at, err)
	}
	return s, nil
}
