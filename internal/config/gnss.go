package config

import (
	"strconv"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// Gnss reads a satellite receiver on a serial port, or a recording of one.
type Gnss struct {
	Port         string   `yaml:"port"`          // best one below /dev/serial/by-id: it stays when the receiver is plugged in again
	Baud         Bauds    `yaml:"baud"`          // auto, one, or a list to try; default auto
	Protocol     string   `yaml:"protocol"`      // auto, nmea or ubx; default auto
	Rate         Rate     `yaml:"rate"`          // a u-blox receiver is set to it; absent: it is left as it is
	Latency      Duration `yaml:"latency"`       // of a fix behind its instant; with latency_error
	LatencyError Duration `yaml:"latency_error"` // how wrong that may be, either way
	PPS          string   `yaml:"pps"`           // the kernel's second pulse, as pps0
	NotBefore    Date     `yaml:"not_before"`    // earlier dates are moved on by 1024 weeks; default 2017-01-01
	File         string   `yaml:"file"`          // a recorded stream, plain or .gz, instead of a port
	Speed        Speed    `yaml:"speed"`         // of the file; default x1; max = as fast as it can be read
}

func (g *Gnss) preset() { *g = Gnss{Protocol: "auto", Speed: 1} }

func (g *Gnss) resolve(dir string) {
	abs(dir, &g.Port)
	abs(dir, &g.File)
}

func (g *Gnss) validate(at string, report reporter) {
	if (g.Port == "") == (g.File == "") {
		report(at+".port", "or file: one of them is wanted (a serial port, best one below /dev/serial/by-id, or a recording)")
	}
	g.Baud.validate(at+".baud", report)
	switch g.Protocol {
	case "auto", "nmea", "ubx":
	default:
		report(at+".protocol", "%q is no protocol (want auto, nmea or ubx)", g.Protocol)
	}
	if g.Rate > 25_000 || g.Rate%1000 != 0 || g.Rate > 0 && 1_000_000%g.Rate != 0 {
		report(at+".rate", "is out of range (want 1Hz, 2Hz, 4Hz, 5Hz, 8Hz, 10Hz, 20Hz or 25Hz)")
	}
	if g.Rate > 0 && (g.Protocol == "nmea" || g.File != "") {
		report(at+".rate", "needs a port and protocol ubx or auto")
	}
	if (g.Latency != 0) && g.LatencyError == 0 {
		report(at+".latency_error", "is missing (want how wrong latency may be, as 20ms)")
	}
	for key, d := range map[string]Duration{".latency": g.Latency, ".latency_error": g.LatencyError} {
		if d.D() < 0 || d.D() > time.Second {
			report(at+key, "is %v (want 0 to 1s)", d.D())
		}
	}
}

// Baud is the bit rate of a serial line; 0 stands for auto.
type Baud int

func (*Baud) want() string { return "a bit rate in baud as 115200, or auto" }

// UnmarshalYAML reads a bit rate or the word auto.
func (b *Baud) UnmarshalYAML(n ast.Node) error {
	t := text(n)
	if t == "auto" {
		*b = 0
		return nil
	}
	v, err := strconv.Atoi(t)
	if err != nil || v < minBaud || v > maxBaud {
		return badValue(n, b, "is neither")
	}
	*b = Baud(v)
	return nil
}

// Bounds of a serial line's bit rate.
const (
	minBaud = 300
	maxBaud = 12_000_000
)

// Bauds are bit rates that are tried in turn.
type Bauds []Baud

func (Bauds) loneScalar() {}

func (b Bauds) validate(at string, report reporter) {
	for _, v := range b {
		if v == 0 && len(b) > 1 {
			report(at, "has auto beside other bit rates")
		}
	}
}

// List returns the bit rates; nil stands for auto.
func (b Bauds) List() []int {
	var out []int
	for _, v := range b {
		if v != 0 {
			out = append(out, int(v))
		}
	}
	return out
}

// Date is a day, written as 2017-01-31.
type Date struct{ time.Time }

func (*Date) want() string { return "a day as 2017-01-31" }

// UnmarshalYAML reads a day.
func (d *Date) UnmarshalYAML(n ast.Node) error {
	t, err := time.Parse(time.DateOnly, text(n))
	if err != nil {
		return badValue(n, d, "is no day")
	}
	d.Time = t
	return nil
}
