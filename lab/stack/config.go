package stack

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"telemetry/lab/link"
	"telemetry/wire"
)

// Config says what is started. Dir, Bin, Car and Sources are needed.
type Config struct {
	Dir     string // configurations, logs, spool, embedded Kafka, sockets; it must exist
	Bin     string // the folder of the binaries edgeagent and receiver
	Car     string
	Sources string // YAML: the entries of `sources:`, each beginning with "- name:"
	Links   []Link

	Brokers    []string          // of a real cluster; nil: the embedded Kafka below Dir
	Prefix     string            // of the topics; "" is the receiver's default
	Partitions int               // of telemetry.batches; 0 is the receiver's default
	Windows    map[string]string // reorder window by lane, as "none" or "1m"; what is not named has the default
	LiveListen string            // of the live page; "": a free loopback port, "off": none
	Live       string            // more YAML: the keys below the receiver's live
	MQTTHost   string            // address of this machine that the embedded broker listens on; "": loopback
	MQTT       string            // YAML: the keys below the receiver's mqtt; "": the embedded broker without TLS

	// StartAgent starts the agent's process elsewhere than beside ours, as in a
	// network namespace; nil: beside ours. It keeps the command's SysProcAttr.
	StartAgent func(*exec.Cmd) error
	ReadyLimit time.Duration // from a start to the first answer; 0 is 30 s

	Agent    string // more top-level YAML of the agent
	Receiver string // more top-level YAML of the receiver
}

// Link is one bad link between the car and the receiver.
type Link struct {
	Name      string
	Up, Down  link.Spec // of the relay; up is from the car
	Seed      uint64    // of the jitter
	Address   string    // where the car dials instead of the relay, as host:port or with its scheme; "": the relay
	Interface string    // network device of the car that the link is bound to, in place of a relay; "": none
}

// Names of what lies in Config.Dir.
const (
	agentName    = "edgeagent"
	receiverName = "receiver"
	spoolDir     = "spool"
	kafkaDir     = "kafka"
)

// maxSocketPath is what every kernel takes as the path of a unix socket.
const maxSocketPath = 100

// Validate reports all faults at once.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("stack: "+format, args...)) }
	for name, v := range map[string]string{"folder for state": c.Dir, "folder of the binaries": c.Bin, "sources": c.Sources} {
		if strings.TrimSpace(v) == "" {
			bad("no %s", name)
		}
	}
	if err := wire.ValidCar(c.Car); err != nil {
		errs = append(errs, err)
	}
	if n := len(filepath.Join(c.Dir, receiverName+".sock")); n > maxSocketPath {
		bad("the path of the folder for state is %d bytes too long for a unix socket in it", n-maxSocketPath)
	}
	names := map[string]bool{}
	for i, l := range c.Links {
		if l.Name == "" || names[l.Name] {
			bad("link %d has no name of its own: %q", i, l.Name)
		}
		names[l.Name] = true
	}
	for lane := range c.Windows {
		if _, err := wire.ParseLane(lane); err != nil {
			bad("window for %q, which is no lane", lane)
		}
	}
	return errors.Join(errs...)
}

func (c *Config) path(name string) string { return filepath.Join(c.Dir, name) }

// ports are where the receiver listens.
type ports struct {
	mqtt, live string // host:port; live may be "off"
	kafka      int    // of the embedded Kafka
}

// agentYAML returns the agent's configuration; near is where the car dials on
// each link, in their order.
func (c *Config) agentYAML(near []string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\ncar: %s\nsocket: %s\n", quote(c.Car), quote(c.path(agentName+".sock")))
	fmt.Fprintf(&b, "spool:\n  dir: %s\n", quote(c.path(spoolDir)))
	b.WriteString("sources:\n" + indent(c.Sources))
	if len(c.Links) > 0 {
		b.WriteString("links:\n")
	}
	for i, l := range c.Links {
		at := near[i]
		if !strings.Contains(at, "://") {
			at = "tcp://" + at
		}
		fmt.Fprintf(&b, "  - name: %s\n    addresses: [%s]\n", quote(l.Name), quote(at))
		if l.Interface != "" {
			fmt.Fprintf(&b, "    interface: %s\n", quote(l.Interface))
		}
	}
	b.WriteString(outdent(c.Agent))
	return []byte(b.String())
}

// receiverYAML returns the receiver's configuration.
func (c *Config) receiverYAML(p ports) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\nname: lab\nsocket: %s\n", quote(c.path(receiverName+".sock")))
	if c.MQTT == "" {
		fmt.Fprintf(&b, "mqtt:\n  listen: %s\n  insecure: true\n", quote(p.mqtt))
	} else {
		b.WriteString("mqtt:\n" + indent(c.MQTT))
	}
	fmt.Fprintf(&b, "live:\n  listen: %s\n%s", quote(p.live), indent(c.Live))
	b.WriteString("kafka:\n")
	if c.Prefix != "" {
		fmt.Fprintf(&b, "  prefix: %s\n", quote(c.Prefix))
	}
	if c.Partitions > 0 {
		fmt.Fprintf(&b, "  partitions: %d\n", c.Partitions)
	}
	if len(c.Brokers) > 0 {
		b.WriteString("  brokers:\n")
		for _, a := range c.Brokers {
			fmt.Fprintf(&b, "    - %s\n", quote(a))
		}
		// A cluster of one broker, as a lab has, is weak by definition.
		b.WriteString("  replication: 1\n  allow_unsafe: true\n")
	} else {
		fmt.Fprintf(&b, "  embedded:\n    dir: %s\n    port: %d\n", quote(c.path(kafkaDir)), p.kafka)
	}
	if len(c.Windows) > 0 {
		b.WriteString("sequence:\n  windows:\n")
		for _, lane := range slices.Sorted(maps.Keys(c.Windows)) {
			fmt.Fprintf(&b, "    %s: %s\n", lane, c.Windows[lane])
		}
	}
	b.WriteString(outdent(c.Receiver))
	return []byte(b.String())
}

// quote writes a text as JSON does, which YAML reads as well.
func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil { // a string always has a JSON form
		panic("stack: internal error: " + err.Error())
	}
	return string(b)
}

// indent puts the lines of a YAML fragment two columns in, whatever its own
// indentation is.
func indent(s string) string { return shift(s, "  ") }

// outdent puts the lines of a YAML fragment at the margin.
func outdent(s string) string { return shift(s, "") }

func shift(s, margin string) string {
	lines := strings.Split(strings.Trim(s, "\n"), "\n")
	own := len(lines[0]) - len(strings.TrimLeft(lines[0], " "))
	var b strings.Builder
	for _, l := range lines {
		if strings.TrimSpace(l) == "" {
			continue
		}
		cut := min(own, len(l)-len(strings.TrimLeft(l, " ")))
		b.WriteString(margin + l[cut:] + "\n")
	}
	return b.String()
}
