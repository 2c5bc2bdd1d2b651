package config

import (
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Receiver is the configuration of receiver. [ReadReceiver] fills in the
// defaults.
type Receiver struct {
	Version  int      `yaml:"version"`
	Name     string   `yaml:"name"`  // of this instance, in acks and headers; default the host's name
	Roles    []string `yaml:"roles"` // ingest, sequence, live; default all
	MQTT     MQTT     `yaml:"mqtt"`
	Kafka    Kafka    `yaml:"kafka"`
	Ingest   Ingest   `yaml:"ingest"`
	Sequence Sequence `yaml:"sequence"`
	Live     Live     `yaml:"live"`
	Health   Health   `yaml:"health"`
	Socket   string   `yaml:"socket"` // unix socket of status; empty = none
	Log      Log      `yaml:"log"`
}

// MQTT is the side of the cars: the embedded broker, or an external one.
type MQTT struct {
	Listen   string     `yaml:"listen"` // of the embedded broker; default :8883 with TLS
	TLS      *ServerTLS `yaml:"tls"`
	Insecure bool       `yaml:"insecure"` // no TLS, no identity: a demo or a private network
	Broker   string     `yaml:"broker"`   // tcp:// or tls:// address of an external broker instead
	Client   *ClientTLS `yaml:"client"`   // identity towards the external broker
	Group    string     `yaml:"group"`    // shared subscription of the instances that share the cars; default ingest
	User     string     `yaml:"user"`     // of the external broker, if it asks for one
	Password *Secret    `yaml:"password"` // of that user
}

// ServerTLS names the files of a server's identity and of the CA of the cars.
type ServerTLS struct {
	CA   string `yaml:"ca"`
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
	CRL  string `yaml:"crl"` // list of revocations of that CA; read again when it changes
}

// Kafka says which cluster is used; no brokers = the embedded one.
type Kafka struct {
	Brokers     []string   `yaml:"brokers"`
	Prefix      string     `yaml:"prefix"`       // of all topics; default telemetry
	Partitions  int        `yaml:"partitions"`   // of topics that are made; default 4
	Replication int        `yaml:"replication"`  // of topics that are made; default 3, 1 embedded
	AllowUnsafe bool       `yaml:"allow_unsafe"` // accept replication that can lose acknowledged records
	Compression string     `yaml:"compression"`  // of all but batches: lz4, gzip, snappy, zstd or none; default lz4
	TLS         *ClientTLS `yaml:"tls"`
	SASL        *SASL      `yaml:"sasl"`
	Registry    *Registry  `yaml:"registry"` // of schemas
	Embedded    Embedded   `yaml:"embedded"`
}

// SASL is a user of the cluster.
type SASL struct {
	Mechanism string `yaml:"mechanism"` // PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512
	User      string `yaml:"user"`
	Password  Secret `yaml:"password"`
}

// Secret names where a secret is; it is never written into the file itself.
type Secret struct {
	File string `yaml:"file"`
	Env  string `yaml:"env"`
}

func (s *Secret) check(path string, report func(path, format string, args ...any)) {
	if (s.File == "") == (s.Env == "") {
		report(path, "want exactly one of file and env")
	}
}

// Embedded is the persistent in-process Kafka.
type Embedded struct {
	Dir  string `yaml:"dir"`
	Port int    `yaml:"port"` // on 127.0.0.1; default 9092; 0 = a free one
}

// Ingest limits what one instance takes.
type Ingest struct {
	CreditPerCar Size   `yaml:"credit_per_car"` // default 8MiB
	CreditTotal  Size   `yaml:"credit_total"`   // default 128MiB
	PerCar       PerCar `yaml:"per_car"`
}

// PerCar limits what one car may do, so that one gone wrong does not take what
// the others need. Beyond its rates a car is slowed; nothing is dropped.
type PerCar struct {
	Connections int  `yaml:"connections"`        // to the embedded broker; default 32
	Bytes       Size `yaml:"bytes_per_second"`   // on all its links; default 64MiB
	Packets     int  `yaml:"packets_per_second"` // messages; default 20000
}

// Sequence says how long holes are waited for.
type Sequence struct {
	Group   string   `yaml:"group"` // Kafka consumer group; default <prefix>-sequence
	Windows Windows  `yaml:"windows"`
	Memory  Size     `yaml:"memory"` // of batches held behind holes; default 128MiB
	Commit  Duration `yaml:"commit"` // longest time between commits; default 50ms
	Formats Formats  `yaml:"formats"`
	Outputs []Output `yaml:"outputs"` // beside the default one
}

// Formats are the default output's formats by lane: json, batch, or none for a
// lane that only other outputs have; default json.
type Formats struct {
	Critical string `yaml:"critical"`
	Live     string `yaml:"live"`
	Full     string `yaml:"full"`
}

// Windows are the reorder windows by lane.
type Windows struct {
	Critical *Window `yaml:"critical"` // default 1m
	Live     *Window `yaml:"live"`     // default 250ms
	Full     *Window `yaml:"full"`     // default 1m
}

// Health is where machines ask: /healthz, /readyz, /metrics. The page has them too.
type Health struct {
	Listen string `yaml:"listen"` // host:port; empty = none
}

var roleNames = map[string]bool{"ingest": true, "sequence": true, "live": true}

var topicPrefix = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// TopicPrefix reports whether topics' names may begin with s.
func TopicPrefix(s string) bool { return topicPrefix.MatchString(s) }

// ReadReceiver reads, completes and validates the file at path. A fault of the
// file is returned as [Faults]. Relative paths count from the file's folder.
func ReadReceiver(path string) (*Receiver, error) {
	c := &Receiver{Kafka: Kafka{Embedded: Embedded{Port: 9092}}} // 0 is a choice: a free port
	if _, err := read(path, c); err != nil {
		return nil, err
	}
	c.resolve(filepath.Dir(path))
	return c, nil
}

func (c *Receiver) defaults() {
	if len(c.Roles) == 0 {
		c.Roles = []string{"ingest", "sequence", "live"}
	}
	def(&c.MQTT.Listen, ":8883")
	def(&c.Kafka.Prefix, "telemetry")
	def(&c.Kafka.Compression, "lz4")
	def(&c.Kafka.Partitions, 4)
	if len(c.Kafka.Brokers) == 0 {
		c.Kafka.Replication = 1
	}
	def(&c.Kafka.Replication, 3)
	def(&c.Ingest.CreditPerCar, 8<<20)
	def(&c.Ingest.CreditTotal, 128<<20)
	def(&c.Sequence.Group, c.Kafka.Prefix+"-sequence")
	def(&c.Sequence.Memory, 128<<20)
	def(&c.Sequence.Commit, Duration(50*time.Millisecond))
	window(&c.Sequence.Windows.Critical, time.Minute)
	window(&c.Sequence.Windows.Live, 250*time.Millisecond)
	window(&c.Sequence.Windows.Full, time.Minute)
	def(&c.Sequence.Formats.Critical, "json")
	def(&c.Sequence.Formats.Live, "json")
	def(&c.Sequence.Formats.Full, "json")
	for i := range c.Sequence.Outputs {
		c.Sequence.Outputs[i].defaults(&c.Sequence, &c.Kafka)
	}
	def(&c.Ingest.PerCar.Connections, 32)
	def(&c.Ingest.PerCar.Bytes, 64<<20)
	def(&c.Ingest.PerCar.Packets, 20_000)
	c.Live.defaults()
	c.Log.defaults()
}

func window(w **Window, d time.Duration) {
	if *w == nil {
		v := Window(d)
		*w = &v
	}
}

func (c *Receiver) resolve(dir string) {
	abs(dir, &c.Socket)
	abs(dir, &c.Kafka.Embedded.Dir)
	if t := c.MQTT.TLS; t != nil {
		abs(dir, &t.CA)
		abs(dir, &t.Cert)
		abs(dir, &t.Key)
		abs(dir, &t.CRL)
	}
	for _, t := range []*ClientTLS{c.MQTT.Client, c.Kafka.TLS} {
		if t != nil {
			abs(dir, &t.CA)
			abs(dir, &t.Cert)
			abs(dir, &t.Key)
		}
	}
	if s := c.Kafka.SASL; s != nil {
		abs(dir, &s.Password.File)
	}
	if p := c.MQTT.Password; p != nil {
		abs(dir, &p.File)
	}
	c.Live.resolve(dir)
	if r := c.Kafka.Registry; r != nil {
		abs(dir, &r.CA)
		if r.Password != nil {
			abs(dir, &r.Password.File)
		}
	}
}

func (c *Receiver) validate(report func(path, format string, args ...any)) {
	checkVersion(c.Version, report)
	c.defaults()
	for i, r := range c.Roles {
		if !roleNames[r] {
			report(fmt.Sprintf("roles[%d]", i), "%q is no role (want ingest, sequence or live)", r)
		}
	}
	c.validateMQTT(report)
	c.validateKafka(report)
	c.Ingest.PerCar.validate("ingest.per_car", report)
	c.Live.validate(slices.Contains(c.Roles, "live"), report)
	if c.Health.Listen != "" {
		checkListen("health.listen", c.Health.Listen, report)
	}
	if c.Sequence.Commit.D() < time.Millisecond || c.Sequence.Commit.D() > 10*time.Second {
		report("sequence.commit", "is %v (want 1ms to 10s)", c.Sequence.Commit.D())
	}
	for lane, f := range map[string]string{"critical": c.Sequence.Formats.Critical, "live": c.Sequence.Formats.Live, "full": c.Sequence.Formats.Full} {
		if f != "json" && f != "batch" && f != "none" {
			report("sequence.formats."+lane, "%q is no format of the default output (want json, batch or none; sequence.outputs has the others)", f)
		}
	}
	c.validateOutputs(report)
	c.validatePorts(report)
	c.Log.validate(report)
}

// validatePorts reports two listeners of this process at one address: the second
// would only fail when the first runs.
func (c *Receiver) validatePorts(report reporter) {
	type listener struct{ path, addr string }
	var all []listener
	if c.MQTT.Broker == "" && slices.Contains(c.Roles, "ingest") {
		all = append(all, listener{"mqtt.listen", c.MQTT.Listen})
	}
	if c.Live.Listen != "off" && slices.Contains(c.Roles, "live") {
		all = append(all, listener{"live.listen", c.Live.Listen})
	}
	if c.Health.Listen != "" {
		all = append(all, listener{"health.listen", c.Health.Listen})
	}
	if len(c.Kafka.Brokers) == 0 && c.Kafka.Embedded.Port > 0 {
		all = append(all, listener{"kafka.embedded.port", net.JoinHostPort("127.0.0.1", strconv.Itoa(c.Kafka.Embedded.Port))})
	}
	for i, l := range all {
		for _, other := range all[:i] {
			if collide(l.addr, other.addr) {
				report(l.path, "%s is taken by %s (%s): want a port of its own", l.addr, other.path, other.addr)
			}
		}
	}
}

// collide reports whether two addresses to listen on cannot be had at once.
func collide(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB || portA == "0" {
		return false
	}
	every := func(host string) bool {
		ip := net.ParseIP(host)
		return host == "" || ip != nil && ip.IsUnspecified()
	}
	return strings.EqualFold(hostA, hostB) || every(hostA) || every(hostB)
}

func (c *Receiver) validateMQTT(report func(path, format string, args ...any)) {
	if c.MQTT.Broker != "" {
		scheme, err := checkAddress(c.MQTT.Broker)
		if err != nil {
			report("mqtt.broker", "%v", err)
		}
		if scheme == "tls" && c.MQTT.Client == nil {
			report("mqtt.client", "is missing (want ca, cert and key: the broker's address is tls://)")
		}
		if t := c.MQTT.TLS; t != nil || c.MQTT.Insecure {
			report("mqtt.broker", "stands beside tls or insecure, which are of the embedded broker (want one of them)")
		}
		if strings.ContainsAny(c.MQTT.Group, "/+#\x00") || len(c.MQTT.Group) > 64 {
			report("mqtt.group", "%q cannot name a shared subscription (want at most 64 bytes without '/', '+' and '#')", c.MQTT.Group)
		}
		switch p := c.MQTT.Password; {
		case p != nil && c.MQTT.User == "":
			report("mqtt.user", "is missing beside password")
		case p != nil:
			p.check("mqtt.password", report)
		}
		return
	}
	if c.MQTT.Group != "" || c.MQTT.User != "" || c.MQTT.Password != nil || c.MQTT.Client != nil {
		report("mqtt", "group, user, password and client are of an external broker (want broker beside them)")
	}
	checkListen("mqtt.listen", c.MQTT.Listen, report)
	t := c.MQTT.TLS
	switch {
	case t == nil && !c.MQTT.Insecure && slices.Contains(c.Roles, "ingest"):
		report("mqtt.tls", "is missing (want ca, cert and key, or `insecure: true` for a demo on a private network)")
	case t != nil && c.MQTT.Insecure:
		report("mqtt.insecure", "stands beside tls (want one of them)")
	case t != nil && (t.CA == "" || t.Cert == "" || t.Key == ""):
		report("mqtt.tls", "is not complete (want ca, cert and key)")
	}
}

func (c *Receiver) validateKafka(report func(path, format string, args ...any)) {
	k := c.Kafka
	switch k.Compression {
	case "lz4", "gzip", "snappy", "zstd", "none":
	default:
		report("kafka.compression", "%q is no compression (want lz4, gzip, snappy, zstd or none)", k.Compression)
	}
	if !TopicPrefix(k.Prefix) {
		report("kafka.prefix", "%q cannot begin a topic's name (want 1 to 64 of letters, digits, '.', '_', '-')", k.Prefix)
	}
	if k.Partitions < 1 || k.Partitions > 4096 {
		report("kafka.partitions", "is %d (want 1 to 4096)", k.Partitions)
	}
	for i, b := range k.Brokers {
		if _, port, err := net.SplitHostPort(b); err != nil || port == "" {
			report(fmt.Sprintf("kafka.brokers[%d]", i), "%q is no broker (want host:port)", b)
		}
	}
	if len(k.Brokers) == 0 && k.Embedded.Dir == "" {
		report("kafka", "names no cluster (want brokers, or embedded.dir for the persistent in-process Kafka)")
	}
	if k.Embedded.Port < 0 || k.Embedded.Port > 65535 {
		report("kafka.embedded.port", "is %d (want 1 to 65535, or 0 for a free one)", k.Embedded.Port)
	}
	if s := k.SASL; s != nil {
		switch s.Mechanism {
		case "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512":
		default:
			report("kafka.sasl.mechanism", "%q is no mechanism (want PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512)", s.Mechanism)
		}
		s.Password.check("kafka.sasl.password", report)
	}
}

// Least rates of a car: its largest message has 256 KiB, and must not take so
// long that the link is taken for dead.
const (
	minCarBytes   = 256 << 10
	minCarPackets = 100
)

func (p *PerCar) validate(at string, report reporter) {
	if p.Connections < 4 || p.Connections > 4096 {
		report(at+".connections", "is %d (want 4 to 4096: a link is redialled beside its old connection)", p.Connections)
	}
	if p.Bytes < minCarBytes {
		report(at+".bytes_per_second", "is %d bytes (want at least 256KiB: the largest message has as much)", p.Bytes)
	}
	if p.Packets < minCarPackets {
		report(at+".packets_per_second", "is %d (want at least %d)", p.Packets, minCarPackets)
	}
}

func checkListen(path, addr string, report func(path, format string, args ...any)) {
	_, port, err := net.SplitHostPort(addr)
	if err != nil || port == "" {
		report(path, "%q is no address to listen on (want host:port)", addr)
	} else if n, err := strconv.Atoi(port); err == nil && (n < 0 || n > 65535) {
		report(path, "%q has no such port (want 1 to 65535, or 0 for a free one)", addr)
	}
}
