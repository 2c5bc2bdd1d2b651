package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"telemetry/wire"
)

// Limits of the car's configuration.
const (
	MaxLinks   = 16   // link indexes are one byte; no board has more modems
	MaxSources = 64   // one goroutine and one group table each
	MinQuota   = 8e6  // two chunks per lane and the reserve
	MaxChannel = 50e3 // per simulated car
	MinMemory  = 16 << 20

	minPreview = 1000      // mHz
	maxPreview = 1_500_000 // mHz
)

// OwnSource is the name of the agent's own channels among the sources.
const OwnSource = "agent"

// maxInterface is the kernel's IFNAMSIZ without its final zero.
const maxInterface = 15

// plainName is what becomes part of channel names.
var plainName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,32}$`)

// Agent is the configuration of edgeagent. [ReadAgent] fills in the defaults.
type Agent struct {
	Version     int      `yaml:"version"`
	Car         string   `yaml:"car"`
	Board       string   `yaml:"board"` // profile name; default generic
	Spool       Spool    `yaml:"spool"`
	Sources     []Source `yaml:"sources"`
	Receiver    Endpoint `yaml:"receiver"`
	Links       []Link   `yaml:"links"`
	Uplink      Uplink   `yaml:"uplink"`
	Live        Preview  `yaml:"live"`
	Clock       Clock    `yaml:"clock"`
	Seal        Seal     `yaml:"seal"`
	Session     Session  `yaml:"session"`
	Power       Power    `yaml:"power"`
	Watchdog    Watchdog `yaml:"watchdog"`
	Thermal     Thermal  `yaml:"thermal"`
	Moving      Moving   `yaml:"moving"`
	LEDs        bool     `yaml:"leds"`   // the profile's lights show links and spool
	Socket      string   `yaml:"socket"` // unix socket of status; default /run/edgeagent/edgeagent.sock
	Log         Log      `yaml:"log"`
	MemoryLimit Size     `yaml:"memory_limit"` // soft limit of the Go heap; default 48MiB

	places places
}

// Fault returns a fault of the value at path, as "sources[0].candump.dbc", with
// its place in the file that c was read from.
func (c *Agent) Fault(path, format string, args ...any) Fault {
	return c.places.fault(path, format, args...)
}

// Spool says where and how much is kept.
type Spool struct {
	Dir            string   `yaml:"dir"`
	Quota          Size     `yaml:"quota"`           // default 4GiB
	Chunk          Size     `yaml:"chunk"`           // default 1MiB
	CommitInterval Duration `yaml:"commit_interval"` // full lane; default 50ms: with seal.full and a slow card, 200 ms at most are lost with the process
	CriticalCommit Duration `yaml:"critical_commit"` // default 20ms
	Encrypt        *Encrypt `yaml:"encrypt"`         // encryption at rest; default none
}

// Seal says how long a sample may wait for its batch to be sealed.
type Seal struct {
	Full     Duration `yaml:"full"`     // default 100ms
	Live     Duration `yaml:"live"`     // default 100ms
	Critical Duration `yaml:"critical"` // default 10ms
	Speed    string   `yaml:"speed"`    // full, fast or auto: full until the encoder cannot keep up; default full
}

// Endpoint is where the cloud is.
type Endpoint struct {
	Addresses []string   `yaml:"addresses"` // tcp://host:port or tls://host:port
	TLS       *ClientTLS `yaml:"tls"`
}

// ClientTLS names the files of a client's identity.
type ClientTLS struct {
	CA         string `yaml:"ca"`
	Cert       string `yaml:"cert"`
	Key        string `yaml:"key"`
	ServerName string `yaml:"server_name"`
}

// Link is one path over one modem.
type Link struct {
	Name      string   `yaml:"name"`
	Interface string   `yaml:"interface"` // bound to it; empty = the system's routing decides
	Addresses []string `yaml:"addresses"` // instead of receiver.addresses
	Modem     *Modem   `yaml:"modem"`     // the device under it, if the agent looks after it
	Meter     *Meter   `yaml:"meter"`     // what it may carry, if it costs money

	Congestion string `yaml:"congestion"` // TCP's: bbr, cubic or reno, where the kernel has it; default the agent's choice
}

// Preview is the live lane's view of the channels.
type Preview struct {
	Off       bool     `yaml:"off"`
	Rate      Rate     `yaml:"rate"`      // default 10Hz
	Channels  Patterns `yaml:"channels"`  // names with * and ?; default all, up to 200
	Statistic string   `yaml:"statistic"` // last, mean, min or max; default last
}

// Clock says how time anchors are taken.
type Clock struct {
	Interval Duration `yaml:"interval"` // between anchors of the system clock; default 10s
}

// Log says what is logged to standard error.
type Log struct {
	Level  string `yaml:"level"`  // debug, info, warn or error; default info
	Format string `yaml:"format"` // text or json; default text
}

// ReadAgent reads, completes and validates a file. A fault of the file is
// returned as [Faults]. Relative paths count from the file's folder.
func ReadAgent(file string) (*Agent, error) {
	c := &Agent{}
	at, err := read(file, c)
	if err != nil {
		return nil, err
	}
	c.places = at
	c.resolve(filepath.Dir(file))
	return c, nil
}

func (c *Agent) preset() {
	c.Board = "generic"
	c.Spool = Spool{Quota: 4 << 30, Chunk: 1 << 20, CommitInterval: Duration(50 * time.Millisecond), CriticalCommit: Duration(20 * time.Millisecond)}
	c.Seal = Seal{Full: Duration(100 * time.Millisecond), Live: Duration(100 * time.Millisecond), Critical: Duration(10 * time.Millisecond), Speed: "full"}
	c.Uplink = Uplink{FullShare: 5}
	c.Live = Preview{Rate: 10_000, Statistic: "last"}
	c.Clock = Clock{Interval: Duration(10 * time.Second)}
	c.Session.preset()
	c.presetBoard()
	c.Moving.preset()
	c.Socket = "/run/edgeagent/edgeagent.sock"
	c.MemoryLimit = 48 << 20
	c.Log.defaults()
}

// inherit fills in what depends on other keys.
func (c *Agent) inherit() {
	if len(c.Live.Channels) == 0 {
		c.Live.Channels = []string{"*"}
	}
	for i := range c.Links {
		if len(c.Links[i].Addresses) == 0 {
			c.Links[i].Addresses = c.Receiver.Addresses
		}
		if m := c.Links[i].Modem; m != nil {
			m.inherit(i)
		}
	}
}

func (c *Agent) resolve(dir string) {
	abs(dir, &c.Spool.Dir)
	if e := c.Spool.Encrypt; e != nil {
		abs(dir, &e.Identity)
	}
	abs(dir, &c.Socket)
	for i := range c.Sources {
		set, _ := c.Sources[i].kinds()
		for _, k := range set {
			k.resolve(dir)
		}
	}
	for _, l := range c.Links {
		if m := l.Modem; m != nil {
			abs(dir, &m.Port)
		}
	}
	if t := c.Receiver.TLS; t != nil {
		abs(dir, &t.CA)
		abs(dir, &t.Cert)
		abs(dir, &t.Key)
	}
}

func (c *Agent) validate(report func(path, format string, args ...any)) {
	checkVersion(c.Version, report)
	if err := wire.ValidCar(c.Car); err != nil {
		report("car", "%s", strings.TrimPrefix(err.Error(), "wire: "))
	}
	if c.Spool.Dir == "" {
		report("spool.dir", "is missing (want a directory on a local disk)")
	}
	if c.Spool.Quota < MinQuota || c.Spool.Quota < 4*c.Spool.Chunk {
		report("spool.quota", "is %d bytes (want at least %d, and four chunks)", c.Spool.Quota, int64(MinQuota))
	}
	if c.Spool.Chunk < 64<<10 || c.Spool.Chunk > 16<<20 {
		report("spool.chunk", "is %d bytes (want 64KiB to 16MiB)", c.Spool.Chunk)
	}
	between := func(path string, d Duration, least, most time.Duration, why string) {
		if d.D() < least || d.D() > most {
			report(path, "is %v (want %v to %v%s)", d.D(), least, most, why)
		}
	}
	const sealed = ": nothing waits longer to be sealed"
	between("spool.commit_interval", c.Spool.CommitInterval, time.Millisecond, time.Second, "")
	between("spool.critical_commit", c.Spool.CriticalCommit, time.Millisecond, time.Second, "")
	c.Spool.Encrypt.validate("spool.encrypt", report)
	between("seal.full", c.Seal.Full, time.Millisecond, time.Second, sealed)
	between("seal.live", c.Seal.Live, time.Millisecond, time.Second, sealed)
	between("seal.critical", c.Seal.Critical, time.Millisecond, time.Second, sealed)
	between("clock.interval", c.Clock.Interval, 100*time.Millisecond, time.Hour, "")
	if c.MemoryLimit < MinMemory {
		report("memory_limit", "is %d bytes (want at least %d)", c.MemoryLimit, int64(MinMemory))
	}
	if c.Socket == "" {
		report("socket", "is empty (want the path of a unix socket)")
	}
	switch c.Seal.Speed {
	case "full", "fast", "auto":
	default:
		report("seal.speed", "%q is no speed (want full, fast or auto)", c.Seal.Speed)
	}
	c.Log.validate(report)
	c.validateLive(report)
	c.Session.validate("session", report)
	c.validateBoard(report)
	c.Moving.validate("moving", report)
	c.validateSources(report)
	c.Uplink.validate(report)
	c.validateLinks(report)
	c.inherit()
}

func (c *Agent) validateLive(report func(path, format string, args ...any)) {
	if _, err := ParseStat(c.Live.Statistic); err != nil {
		report("live.statistic", "%v", err)
	}
	if c.Live.Rate < minPreview || c.Live.Rate > maxPreview {
		report("live.rate", "is out of range (want 1Hz to 1.5kHz)")
	}
	c.Live.Channels.validate("live.channels", report)
}

func checkName(at, name string, seen map[string]bool, report func(path, format string, args ...any)) {
	switch {
	case !plainName.MatchString(name):
		report(at, "%q is no name (want 1 to 32 of letters, digits, '.', '_', '-')", name)
	case (name == OwnSource || strings.HasPrefix(name, OwnSource+".")) && strings.HasPrefix(at, "sources"):
		report(at, "%q is the name of the agent's own channels (want another)", name)
	case seen[name]:
		report(at, "%q is used twice (want a name of its own)", name)
	}
	seen[name] = true
}

func (c *Agent) validateLinks(report func(path, format string, args ...any)) {
	if len(c.Links) > MaxLinks {
		report("links", "has %d entries (want at most %d)", len(c.Links), MaxLinks)
	}
	tls := checkAddresses("receiver.addresses", c.Receiver.Addresses, report)
	seen := map[string]bool{}
	for i, l := range c.Links {
		at := fmt.Sprintf("links[%d]", i)
		checkName(at+".name", l.Name, seen, report)
		if len(l.Interface) > maxInterface || strings.ContainsAny(l.Interface, "/ \t\n") {
			report(at+".interface", "%q is no network interface (want at most %d bytes, as wwan0)", l.Interface, maxInterface)
		}
		if len(l.Addresses) == 0 && len(c.Receiver.Addresses) == 0 {
			report(at, "has no address (want receiver.addresses or %s.addresses)", at)
		}
		if l.Modem != nil {
			l.Modem.validate(at+".modem", l.Interface, report)
		}
		l.validateCosts(at, report)
		tls = checkAddresses(at+".addresses", l.Addresses, report) || tls
	}
	if tls && (c.Receiver.TLS == nil || c.Receiver.TLS.CA == "" || c.Receiver.TLS.Cert == "" || c.Receiver.TLS.Key == "") {
		report("receiver.tls", "is not complete (want ca, cert and key: a tls:// address asks for the car's certificate)")
	}
}

// checkAddresses reports wrong addresses and whether one of them asks for TLS.
func checkAddresses(at string, addrs []string, report func(path, format string, args ...any)) (tls bool) {
	for j, a := range addrs {
		scheme, err := checkAddress(a)
		if err != nil {
			report(fmt.Sprintf("%s[%d]", at, j), "%v", err)
		}
		tls = tls || scheme == "tls"
	}
	return tls
}

// checkAddress returns the scheme of an address of the receiver.
func checkAddress(a string) (string, error) {
	u, err := url.Parse(a)
	if err != nil {
		return "", fmt.Errorf("%q is no address (want tcp://host:port or tls://host:port)", a)
	}
	_, port, err := net.SplitHostPort(u.Host)
	if n, nerr := strconv.ParseUint(port, 10, 16); nerr != nil || n == 0 {
		err = errors.Join(err, nerr, errors.New("port"))
	}
	if (u.Scheme != "tcp" && u.Scheme != "tls") || err != nil || u.Path != "" || u.User != nil {
		return "", fmt.Errorf("%q is no address (want tcp://host:port or tls://host:port)", a)
	}
	return u.Scheme, nil
}

// ParseStat reads the name of a preview statistic.
func ParseStat(s string) (wire.Stat, error) {
	switch s {
	case "last":
		return wire.StatLast, nil
	case "mean":
		return wire.StatMean, nil
	case "min":
		return wire.StatMin, nil
	case "max":
		return wire.StatMax, nil
	}
	return 0, fmt.Errorf("%q is no statistic (want last, mean, min or max)", s)
}

func (l *Log) defaults() {
	def(&l.Level, "info")
	def(&l.Format, "text")
}

func (l *Log) validate(report func(path, format string, args ...any)) {
	switch l.Level {
	case "debug", "info", "warn", "error":
	default:
		report("log.level", "%q is no level (want debug, info, warn or error)", l.Level)
	}
	if l.Format != "text" && l.Format != "json" {
		report("log.format", "%q is no format (want text or json)", l.Format)
	}
}

func checkVersion(v int, report func(path, format string, args ...any)) {
	switch v {
	case Version:
	case 0:
		report("version", "is missing (want `version: %d`)", Version)
	default:
		report("version", "is %d (this build reads version %d)", v, Version)
	}
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func abs(dir string, p *string) {
	if *p != "" && !filepath.IsAbs(*p) {
		*p = filepath.Join(dir, *p)
	}
}

// IsFault reports whether err is a fault of a configuration file: exit code 78.
func IsFault(err error) bool {
	var fs Faults
	return errors.As(err, &fs)
}
