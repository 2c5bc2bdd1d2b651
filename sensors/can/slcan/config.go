package slcan

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"telemetry/sensors/can"
	"telemetry/sensors/dbc"
)

// ListenMode says whether the adapter may take part in the bus. In either mode
// the package sends no frame; an adapter in normal mode acknowledges those of
// others.
type ListenMode uint8

// Listen modes.
const (
	ListenAuto   ListenMode = iota // listen only where the adapter can
	ListenAlways                   // listen only or fail
	ListenNever                    // normal mode: a bus of one other node needs an acknowledge
)

// StampMode says which time stamps are asked for.
type StampMode uint8

// Stamp modes.
const (
	StampAuto  StampMode = iota // the adapter's finest, or arrival at the host
	StampHost                   // arrival at the host
	StampMilli                  // the adapter's milliseconds or fail
	StampMicro                  // the adapter's microseconds or fail
)

// Defaults and limits of a [Config].
const (
	DefaultBaud        = 115_200 // adapters on USB ignore it
	DefaultInterface   = "can0"
	DefaultStatusEvery = time.Second
	MinStatusEvery     = 100 * time.Millisecond // each poll is a line among the frames
	maxBaud            = 12_000_000
	maxInterfaceBytes  = 32
)

// Config says which adapter to read and how.
type Config struct {
	Port        string          // serial port; a path below /dev/serial/by-id stays the same when it is plugged in again
	Baud        int             // serial bit rate; 0 means 115,200
	Interface   string          // name of the bus; empty means can0
	Dialect     Dialect         // empty means lawicel
	Bitrate     int             // of the bus, bit/s; one that the dialect has, unless Timing is set
	Timing      string          // digits of the s command, instead of Bitrate: chip registers in hexadecimal
	DataBitrate int             // of CAN FD's data phase, bit/s; 0 leaves the adapter's own
	Listen      ListenMode      //
	Stamps      StampMode       //
	StatusEvery time.Duration   // between two looks at the adapter's status flags; 0 means 1 s, negative never
	Databases   []*dbc.Database // the first that knows an id decodes it
	Raw         bool            // records every frame as it is, beside its signals
	Clock       can.Clock
	Log         *slog.Logger // nil: nothing is logged
}

// complete fills in the defaults.
func (c *Config) complete() {
	if c.Baud == 0 {
		c.Baud = DefaultBaud
	}
	if c.Interface == "" {
		c.Interface = DefaultInterface
	}
	if c.Dialect == "" {
		c.Dialect = Lawicel
	}
	if c.StatusEvery == 0 {
		c.StatusEvery = DefaultStatusEvery
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// Validate reports all faults. Zero values stand for their defaults.
func (c Config) Validate() error {
	c.complete()
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf("slcan: "+format, args...)) }
	if c.Port == "" {
		fault("port is missing (want the path of a serial port, best one below /dev/serial/by-id)")
	}
	if c.Baud < 300 || c.Baud > maxBaud {
		fault("baud is %d (want 300 to %d)", c.Baud, maxBaud)
	}
	if len(c.Interface) > maxInterfaceBytes {
		fault("interface name has %d bytes (want at most %d)", len(c.Interface), maxInterfaceBytes)
	}
	if c.Clock == nil {
		fault("clock is missing")
	}
	if c.Listen > ListenNever || c.Stamps > StampMicro {
		fault("listen mode %d or stamp mode %d is unknown", c.Listen, c.Stamps)
	}
	if c.StatusEvery > 0 && c.StatusEvery < MinStatusEvery {
		fault("status interval is %v (want at least %v)", c.StatusEvery, MinStatusEvery)
	}
	traits, ok := c.Dialect.traits()
	if !ok {
		fault("dialect %q is unknown (want one of %v)", c.Dialect, Dialects())
		return errors.Join(errs...)
	}
	if _, err := c.setup(traits); err != nil {
		errs = append(errs, err)
	}
	if c.Stamps == StampMilli && traits.stampMax < digitsMilli || c.Stamps == StampMicro && traits.stampMax < digitsMicro {
		fault("dialect %s has no such time stamps (want stamps by the host)", c.Dialect)
	}
	return errors.Join(errs...)
}

// setup returns the commands that set the bit rates.
func (c *Config) setup(t traits) (commands []string, err error) {
	switch {
	case c.Timing != "" && c.Bitrate != 0:
		return nil, errors.New("slcan: bitrate and timing are both set (want one)")
	case c.Timing != "":
		if _, ok := parseHex([]byte(c.Timing)); !ok || len(c.Timing) < 4 || len(c.Timing) > 8 {
			return nil, fmt.Errorf("slcan: timing %q (want 4 to 8 hexadecimal digits, as in the adapter's manual)", c.Timing)
		}
		commands = append(commands, "s"+c.Timing)
	default:
		cmd, err := rateCommand('S', t.rates, c.Bitrate)
		if err != nil {
			return nil, fmt.Errorf("slcan: bitrate %w", err)
		}
		commands = append(commands, cmd)
	}
	if c.DataBitrate != 0 {
		cmd, err := rateCommand('Y', t.fdRates, c.DataBitrate)
		if err != nil {
			return nil, fmt.Errorf("slcan: data bitrate %w", err)
		}
		commands = append(commands, cmd)
	}
	return commands, nil
}

// stampCommand returns the command for the wanted stamps and the digits that
// they have.
func (c *Config) stampCommand(t traits) (command string, digits int) {
	switch {
	case c.Stamps == StampMicro, c.Stamps == StampAuto && t.stampMax == digitsMicro:
		return "Z2", digitsMicro
	case c.Stamps == StampMilli, c.Stamps == StampAuto && t.stampMax == digitsMilli:
		return "Z1", digitsMilli
	case t.stampMax > 0:
		return "Z0", digitsNone
	}
	return "", digitsNone
}
