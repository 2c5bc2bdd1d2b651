package config

import (
	"regexp"
	"strings"
	"time"
)

// Modem is the device under a link, if the agent looks after it.
type Modem struct {
	Driver    string   `yaml:"driver"`       // net: only the interface; at: its AT port; mm: ModemManager; default at
	Slot      string   `yaml:"slot"`         // of the board's profile: USB place, power key, reset line
	USB       string   `yaml:"usb"`          // place on the bus, as "1-1.2"; default the slot's
	Port      string   `yaml:"port"`         // AT port; default the USB device's port at_interface
	Interface int      `yaml:"at_interface"` // number of the USB interface that is the AT port; default 2
	Baud      int      `yaml:"baud"`         // default 115200; modems on USB ignore it
	Profile   string   `yaml:"profile"`      // of the module; default by what it says of itself
	APN       string   `yaml:"apn"`          // default what the module or network has
	PDP       string   `yaml:"pdp"`          // IP, IPV6 or IPV4V6; default IPV4V6
	User      string   `yaml:"user"`
	Password  string   `yaml:"password"`
	PIN       string   `yaml:"pin"` // tried once for each card
	CID       int      `yaml:"cid"` // data context; default 1
	Poll      Duration `yaml:"poll"`
	WatchOnly bool     `yaml:"watch_only"` // reads the modem and never resets it
	Configure bool     `yaml:"configure"`  // gives the interface the addresses of the context, in a routing table of its own
	Table     int      `yaml:"table"`      // that table; default 101 and up, by the link's place
	Fade      bool     `yaml:"fade"`       // keeps the full lane off the link when its signal is about to go; default true
}

// firstTable is the routing table of the first link.
const firstTable = 101

func (m *Modem) preset() {
	*m = Modem{Driver: "at", Interface: 2, Baud: 115_200, PDP: "IPV4V6", CID: 1, Poll: Duration(time.Second), Fade: true}
}

// usbPlace is a place on the USB as sysfs names it.
var usbPlace = regexp.MustCompile(`^[0-9]+-[0-9]+(\.[0-9]+)*$`)

func (m *Modem) validate(at string, iface string, report reporter) {
	switch m.Driver {
	case "net", "mm":
	case "at":
		if m.Port == "" && m.USB == "" && m.Slot == "" {
			report(at, "has no AT port (want port, usb or slot)")
		}
	default:
		report(at+".driver", "%q is no driver (want net, at or mm)", m.Driver)
	}
	if m.USB != "" && !usbPlace.MatchString(m.USB) {
		report(at+".usb", `%q is no place on a USB (want one as "1-1.2": ls /sys/bus/usb/devices)`, m.USB)
	}
	switch m.PDP {
	case "IP", "IPV6", "IPV4V6":
	default:
		report(at+".pdp", "%q is no type of context (want IP, IPV6 or IPV4V6)", m.PDP)
	}
	for key, v := range map[string]string{"apn": m.APN, "user": m.User, "password": m.Password, "pin": m.PIN} {
		if strings.ContainsAny(v, "\"\r\n") {
			report(at+"."+key, "holds a quote or a line break, which a modem cannot take")
		}
	}
	if m.CID < 1 || m.CID > 16 {
		report(at+".cid", "is %d (want 1 to 16)", m.CID)
	}
	if d := m.Poll.D(); d < 500*time.Millisecond || d > time.Minute {
		report(at+".poll", "is %v (want 500ms to 1m: asking a modem more often disturbs its data)", d)
	}
	if m.Configure && iface == "" {
		report(at+".configure", "needs the link's interface")
	}
	if m.Table != 0 && (m.Table < 1 || (m.Table >= 253 && m.Table <= 255)) {
		report(at+".table", "is %d (want 1 to 252 or above 255)", m.Table)
	}
}

func (m *Modem) inherit(link int) {
	if m.Table == 0 {
		m.Table = firstTable + link
	}
}

// Power says what the board's ignition and power-fail lines mean.
type Power struct {
	Ignition bool     `yaml:"ignition"`  // follow the profile's ignition line
	Drain    Duration `yaml:"drain"`     // how long the backlog is still sent after it is off; default 5m
	OffBy    []string `yaml:"off_by"`    // program and arguments that switch the board off afterwards; default none: the agent ends
	Fail     bool     `yaml:"fail_line"` // follow the profile's power-fail line
}

// Watchdog says what is fed.
type Watchdog struct {
	Kind    string   `yaml:"kind"`    // auto: the service manager's, if it wants it; device: the board's; off; default auto
	Timeout Duration `yaml:"timeout"` // of the device; default 30s
}

// Thermal says when load is shed.
type Thermal struct {
	Shed int `yaml:"shed"` // °C of the hottest zone; default 85; 0 = never
}

func (c *Agent) presetBoard() {
	c.Power.Drain = Duration(5 * time.Minute)
	c.Watchdog = Watchdog{Kind: "auto", Timeout: Duration(30 * time.Second)}
	c.Thermal.Shed = 85
}

func (c *Agent) validateBoard(report reporter) {
	if d := c.Power.Drain.D(); d < 0 || d > 24*time.Hour {
		report("power.drain", "is %v (want 0s to 24h)", d)
	}
	switch c.Watchdog.Kind {
	case "auto", "device", "off":
	default:
		report("watchdog.kind", "%q is no kind of watchdog (want auto, device or off)", c.Watchdog.Kind)
	}
	if d := c.Watchdog.Timeout.D(); d < 4*time.Second || d > 10*time.Minute {
		report("watchdog.timeout", "is %v (want 4s to 10m)", d)
	}
	if c.Thermal.Shed != 0 && (c.Thermal.Shed < 40 || c.Thermal.Shed > 125) {
		report("thermal.shed", "is %d (want 40 to 125 °C, or 0 for never)", c.Thermal.Shed)
	}
}
