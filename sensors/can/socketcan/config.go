package socketcan

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"telemetry/sensors/can"
	"telemetry/sensors/dbc"
)

// ListenMode says whether the controller may acknowledge frames of others. In
// no mode does the package send a frame.
type ListenMode uint8

// Listen modes.
const (
	ListenAuto   ListenMode = iota // listen only where this package sets the controller up and its driver can
	ListenAlways                   // listen only, or fail; a virtual bus has no acknowledge and passes
	ListenNever                    // normal mode: a bus of one other node needs an acknowledge
)

// FilterMode says which frames the kernel hands over.
type FilterMode uint8

// Filter modes.
const (
	FilterAuto  FilterMode = iota // FilterKnown where nothing else is lost by it: no raw recording, few ids
	FilterNone                    // all frames
	FilterKnown                   // those that a database knows; others are not even counted
)

// Defaults and limits of a [Config].
const (
	DefaultReceiveBuffer = 4 << 20 // bytes: 0.5 s of a full bus of CAN FD at 8 Mbit/s
	maxReceiveBuffer     = 1 << 30
	maxFilters           = 512 // the kernel takes as many for a socket
	maxNameBytes         = 15  // of a network interface
)

// Clock is the boot clock beside UTC.
type Clock interface {
	can.Clock
	// Pair returns both times of one moment, in ns.
	Pair() (bootNS, utcNS int64)
}

// Config says which interface to read and how.
type Config struct {
	Interface     string          // name of the network interface, as can0
	Databases     []*dbc.Database // none: only raw frames
	Raw           bool            // records every frame as it is, beside its signals
	Filter        FilterMode      //
	Listen        ListenMode      //
	Bitrate       int             // bit/s; 0: the interface is set up by somebody else
	DataBitrate   int             // of CAN FD's data phase, bit/s; 0: classic only
	RestartMS     int             // after bus off, where Bitrate is set; 0: never
	ReceiveBuffer int             // bytes of the kernel's; 0 means DefaultReceiveBuffer
	Clock         Clock
	Log           *slog.Logger // nil: nothing is logged

	open func() (fd int, err error) // in place of a socket on Interface, for tests
}

// complete fills in the defaults.
func (c *Config) complete() {
	if c.ReceiveBuffer == 0 {
		c.ReceiveBuffer = DefaultReceiveBuffer
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// Validate reports all faults. Zero values stand for their defaults.
func (c Config) Validate() error {
	c.complete()
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf("socketcan: "+format, args...)) }
	if c.Interface == "" || len(c.Interface) > maxNameBytes || strings.ContainsAny(c.Interface, "/ \t\n") {
		fault("interface is %q (want the name of a network interface, as can0)", c.Interface)
	}
	if c.Clock == nil {
		fault("clock is missing")
	}
	if c.Filter > FilterKnown || c.Listen > ListenNever {
		fault("filter mode %d or listen mode %d is unknown", c.Filter, c.Listen)
	}
	if c.Filter == FilterKnown && c.Raw {
		fault("raw frames are wanted and filtered by the database: choose one")
	}
	if c.Bitrate < 0 || c.Bitrate > 1_000_000 {
		fault("bitrate is %d (want up to 1 Mbit/s)", c.Bitrate)
	}
	if c.DataBitrate < 0 || c.DataBitrate > 20_000_000 || c.DataBitrate > 0 && c.DataBitrate < c.Bitrate {
		fault("data bitrate is %d (want bitrate to 20 Mbit/s)", c.DataBitrate)
	}
	if c.Bitrate == 0 && (c.DataBitrate != 0 || c.RestartMS != 0) {
		fault("bitrate is missing")
	}
	if c.RestartMS < 0 {
		fault("restart time is negative")
	}
	if c.ReceiveBuffer < 0 || c.ReceiveBuffer > maxReceiveBuffer {
		fault("receive buffer is %d bytes (want up to %d)", c.ReceiveBuffer, maxReceiveBuffer)
	}
	return errors.Join(errs...)
}

// filter is one entry of the kernel's list: a frame passes if its id equals ID
// in the bits of Mask.
type filter struct{ ID, Mask uint32 }

// filters returns what the kernel shall let pass; nil: everything.
func (c *Config) filters() []filter {
	if c.Filter == FilterNone || c.Filter == FilterAuto && (c.Raw || len(c.Databases) == 0) {
		return nil
	}
	var out []filter
	seen := map[filter]bool{}
	for _, db := range c.Databases {
		for _, m := range db.Messages {
			f := filter{m.ID, idExtended | idStandard}
			if m.Extended {
				f = filter{m.ID | idExtended, idExtended | idMask}
				if m.J1939 { // priority, source and, if it is one, destination are free
					f.Mask = idExtended | 0x3FFFF00
					if m.ID>>16&0xff < 240 {
						f.Mask &^= 0xff00
					}
					f.ID &= f.Mask
				}
			}
			if !seen[f] {
				seen[f] = true
				out = append(out, f)
			}
		}
	}
	if len(out) > maxFilters || len(out) == 0 {
		return nil
	}
	return out
}
