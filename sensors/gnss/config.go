// Package gnss reads satellite receivers on a serial port: NMEA 0183 and u-blox's
// binary protocol, mixed or alone, at whatever bit rate they speak.
//
// The entry point is [New], a source with one group of which each row is a fix.
// It stamps fixes with the boot time of the instant that they speak of, as well
// as it is known, and gives time anchors to a sink that takes them.
//
// It never sets a clock, never changes what a receiver keeps without power, and
// sends nothing at all unless a rate is asked for.
package gnss

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"telemetry/sensors/nmea"
	"telemetry/sensors/serialport"
)

// Clock is what a source needs of the machine's clocks.
type Clock interface {
	BootNS() int64
	// Pair returns boot time and UTC of one moment: the kernel stamps pulses in
	// UTC.
	Pair() (bootNS, utcNS int64)
}

// Protocol says what a receiver speaks.
type Protocol string

// Protocols.
const (
	Auto Protocol = "auto" // whatever comes; NAV-PVT wins over sentences
	NMEA Protocol = "nmea" // sentences alone
	UBX  Protocol = "ubx"  // NAV-PVT, asked for if need be
)

// MaxRateHz is the fastest that a receiver is set to.
const MaxRateHz = 25

// Delays of the first byte of a fix behind its instant: what is subtracted, and
// how wrong that may be. Sentences come within about 3/4 s, binary solutions within
// 150 ms.
const (
	nmeaLatency = 250 * time.Millisecond
	nmeaError   = 500 * time.Millisecond
	ubxLatency  = 50 * time.Millisecond
	ubxError    = 100 * time.Millisecond
)

// Config says which receiver to read and how. Port or File is set.
type Config struct {
	Port         string        // serial port; best one below /dev/serial/by-id
	Bauds        []int         // tried in this order; empty means the usual ones
	Protocol     Protocol      // empty means auto
	RateHz       int           // a u-blox receiver is set to it; 0 leaves it as it is
	Latency      time.Duration // see the constants; 0 with LatencyError 0 means the protocol's
	LatencyError time.Duration // how wrong Latency may be, either way
	PPS          string        // name of a pulse below /sys/class/pps, as pps0; empty: none
	Root         fs.FS         // root file system, for PPS
	NotBefore    time.Time     // see nmea.Resolve; zero means nmea.DefaultNotBefore

	File    string  // a recorded stream of bytes, plain or .gz, instead of a port
	Speed   float64 // of a file; 0 means 1
	Unpaced bool    // as fast as it can be read
	Clock   Clock
	Log     *slog.Logger // nil: nothing is logged
}

// usualBauds are tried in this order: what receivers leave the factory with, and
// what they are set to for high rates.
var usualBauds = [...]int{9600, 115200, 38400, 460800, 230400, 57600, 921600, 19200, 4800}

func (c *Config) complete() {
	if len(c.Bauds) == 0 {
		c.Bauds = usualBauds[:]
	}
	if c.Protocol == "" {
		c.Protocol = Auto
	}
	if c.NotBefore.IsZero() {
		c.NotBefore = nmea.DefaultNotBefore
	}
	if c.Speed == 0 {
		c.Speed = 1
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// latency returns what is taken for the delay of a protocol, and its error.
func (c *Config) latency(binary bool) (typical, wrong int64) {
	switch {
	case c.LatencyError != 0:
		return int64(c.Latency), int64(c.LatencyError)
	case binary:
		return int64(ubxLatency), int64(ubxError)
	}
	return int64(nmeaLatency), int64(nmeaError)
}

// Validate reports all faults.
func (c Config) Validate() error {
	c.complete()
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf("gnss: "+format, args...)) }
	if (c.Port == "") == (c.File == "") {
		fault("port %q and file %q (want one of them)", c.Port, c.File)
	}
	for _, b := range c.Bauds {
		if b < serialport.MinBaud || b > serialport.MaxBaud {
			fault("baud is %d (want %d to %d)", b, serialport.MinBaud, serialport.MaxBaud)
		}
	}
	switch c.Protocol {
	case Auto, NMEA, UBX:
	default:
		fault("protocol %q (want auto, nmea or ubx)", c.Protocol)
	}
	if c.RateHz < 0 || c.RateHz > MaxRateHz || c.RateHz > 0 && 1000%c.RateHz != 0 {
		fault("rate is %d Hz (want 1 to %d that divides 1000 ms: 1, 2, 4, 5, 8, 10, 20, 25)", c.RateHz, MaxRateHz)
	}
	if c.RateHz > 0 && (c.Protocol == NMEA || c.File != "") {
		fault("rate can be set only on a port with protocol ubx or auto")
	}
	if c.Latency < 0 || c.Latency > time.Second || c.LatencyError < 0 || c.LatencyError > time.Second || c.Latency > 0 && c.LatencyError == 0 {
		fault("latency %v with error %v (want both, at most 1s)", c.Latency, c.LatencyError)
	}
	if c.PPS != "" && c.Root == nil {
		fault("pps needs a root file system")
	}
	if c.Clock == nil {
		fault("clock is missing")
	}
	return errors.Join(errs...)
}
