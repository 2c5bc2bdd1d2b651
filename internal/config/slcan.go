package config

import (
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// Slcan reads a CAN adapter that speaks SLCAN on a serial port.
type Slcan struct {
	Port        string     `yaml:"port"`         // best one below /dev/serial/by-id: it stays when the adapter is plugged in again
	Baud        int        `yaml:"baud"`         // of the serial line; default 115200; adapters on USB ignore it
	Interface   string     `yaml:"interface"`    // name of the bus; default can0
	Dialect     string     `yaml:"dialect"`      // lawicel, lawicel-fd or canable; default lawicel
	Bitrate     BitRate    `yaml:"bitrate"`      // of the bus
	Timing      string     `yaml:"timing"`       // instead of bitrate: the adapter's registers in hexadecimal
	DataBitrate BitRate    `yaml:"data_bitrate"` // of CAN FD
	ListenOnly  ListenOnly `yaml:"listen_only"`  // auto, true or false; default auto: where the adapter can
	Timestamps  string     `yaml:"timestamps"`   // auto, host, ms or us; default auto: the adapter's finest
	DBC         Files      `yaml:"dbc"`
	Raw         bool       `yaml:"raw"` // records every frame as it is, beside its signals
}

func (s *Slcan) preset() {
	*s = Slcan{Baud: 115_200, Interface: "can0", Dialect: "lawicel", ListenOnly: "auto", Timestamps: "auto"}
}

func (s *Slcan) resolve(dir string) {
	abs(dir, &s.Port)
	s.DBC.resolve(dir)
}

func (s *Slcan) validate(at string, report reporter) {
	s.DBC.validate(at+".dbc", report)
	if s.Port == "" {
		report(at+".port", "is missing (want a serial port, best one below /dev/serial/by-id)")
	}
	if s.Bitrate == 0 && s.Timing == "" {
		report(at+".bitrate", "is missing (want the bit rate of the bus, as 500kbit/s)")
	}
	if len(s.DBC) == 0 && !s.Raw {
		report(at+".dbc", "is missing (want a DBC file, or raw: true)")
	}
	switch s.Timestamps {
	case "auto", "host", "ms", "us":
	default:
		report(at+".timestamps", "%q is no kind of time stamps (want auto, host, ms or us)", s.Timestamps)
	}
}

// BitRate is a bit rate in bit/s, written as "500kbit/s" or "1Mbit/s".
type BitRate int64

func (*BitRate) want() string { return `a bit rate with its unit, as "500kbit/s" or "1Mbit/s"` }

var bitRateUnits = []unit{{"Mbit/s", 1e6}, {"kbit/s", 1e3}, {"bit/s", 1}}

// UnmarshalYAML reads a bit rate; a bare number is refused.
func (b *BitRate) UnmarshalYAML(n ast.Node) error {
	v, why := withUnit(text(n), bitRateUnits)
	if why != "" {
		return badValue(n, b, why)
	}
	*b = BitRate(v)
	return nil
}

// ListenOnly is "auto", "true" or "false".
type ListenOnly string

func (*ListenOnly) want() string { return "auto, true or false" }

// UnmarshalYAML reads one of the three words.
func (l *ListenOnly) UnmarshalYAML(n ast.Node) error {
	switch t := strings.ToLower(text(n)); t {
	case "auto", "true", "false":
		*l = ListenOnly(t)
		return nil
	}
	return badValue(n, l, "is none of them")
}
