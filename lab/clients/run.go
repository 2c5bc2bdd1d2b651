// Package clients lets foreign clients read what the receiver writes: kcat, kafka-python,
// Quix Streams, confluent-kafka with a schema registry, pyarrow and polars, each the
// output in its own format, all from one run of a simulated car through the real
// receiver into a real Kafka. The receiver is killed in the middle of it.
//
// The entry point is [Run]. The programs of the clients are the Python files in this
// folder; they turn the car's raw values into physical ones by themselves and compare
// value by value.
package clients

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"telemetry/lab/instance"
	"telemetry/receiver"
)

// Config is one run. All but Progress is needed.
type Config struct {
	Bin      string // folder of the binary receiver
	Dir      string // state and logs; it must exist
	Broker   string // host:port of Kafka
	Registry string // URL of the schema registry
	Python   string // with the clients
	Kcat     string // the program
	Scripts  string // folder of the Python files
	Proto    string // folder of batch.proto
	Prefix   string // of the topics, new for each run
	Length   time.Duration
	Seed     uint64
	Progress io.Writer
}

// Result is what one client has found.
type Result struct {
	Client  string `json:"client"`
	Format  string `json:"format"`
	Records int64  `json:"records"`
	Values  int64  `json:"values"` // compared one by one
	Events  int64  `json:"events"`
	NaN     int64  `json:"nan"`               // not a number: present, or null or absent in JSON
	Inf     int64  `json:"inf"`               // infinities, likewise
	Large   int64  `json:"large"`             // integers beyond ±2^53
	Named   int64  `json:"named"`             // values of an enumeration
	Windows int64  `json:"windows,omitempty"` // closed, of the windowed application
	Wrong   int64  `json:"wrong"`
	Missing int64  `json:"missing"`
	Extra   int64  `json:"extra"`
	First   string `json:"first_fault,omitempty"`
}

// errWrong says that a client found a fault.
var errWrong = errors.New("clients: a client has not found what was sent")

// client is one program and its format.
type client struct{ name, format, script string }

var clients = []client{
	{"kcat", "json", "read_kcat.py"},
	{"kafka-python", "json", "read_kafka_python.py"},
	{"quixstreams", "json", "read_quix_json.py"},
	{"quixstreams", "quix", "read_quix.py"},
	{"confluent-kafka", "protobuf", "read_protobuf.py"},
	{"pyarrow", "arrow", "read_arrow.py"},
	{"polars", "arrow", "read_arrow.py"},
}

// Limits of waiting.
const (
	drainLimit  = 2 * time.Minute
	settleLimit = time.Minute
	settlePoll  = 100 * time.Millisecond
	clientLimit = 2 * time.Minute
)

const carName = "gt3-13"

// yaml is the receiver's configuration but its name.
func (c *Config) yaml() string {
	return fmt.Sprintf(`mqtt: {listen: "127.0.0.1:0", insecure: true}
live: {listen: "off"}
kafka:
  brokers: ["%s"]
  prefix: %s
  partitions: 2
  replication: 1
  allow_unsafe: true
  registry: {url: "%s"}
sequence:
  formats: {full: batch}
  outputs:
    - {name: rows, format: json}
    - {name: columns, format: protobuf}
    - {name: ipc, format: arrow}
    - {name: series, format: quix}
`, c.Broker, c.Prefix, c.Registry)
}

func (c *Config) path(name string) string { return filepath.Join(c.Dir, name) }

func (c *Config) say(format string, args ...any) {
	if c.Progress != nil {
		fmt.Fprintf(c.Progress, "clients: %s\n", fmt.Sprintf(format, args...))
	}
}

// Run sends, waits until all outputs have all of it, and lets the clients read.
func Run(ctx context.Context, cfg Config, found func(*Result) error) (err error) {
	if err := send(ctx, &cfg); err != nil {
		return err
	}
	for _, c := range clients {
		res, err := cfg.read(ctx, c)
		if err != nil {
			return err
		}
		if err := found(res); err != nil {
			return err
		}
		if res.Wrong != 0 || res.Missing != 0 || res.Extra != 0 || res.Values == 0 || res.Events == 0 || res.NaN == 0 || res.Inf == 0 || res.Large == 0 {
			return fmt.Errorf("%w: %s, format %s: %s", errWrong, c.name, c.format, res.First)
		}
	}
	return nil
}

// send drives the car, kills the receiver half way, and waits for the end.
func send(ctx context.Context, cfg *Config) (err error) {
	r := instance.New(instance.Config{Bin: cfg.Bin, Dir: cfg.Dir, Name: "clients", YAML: cfg.yaml()})
	if err := r.Start(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Stop()) }()
	st, err := r.Ready(ctx)
	if err != nil {
		return err
	}
	c, err := openCar(carName, cfg.path("car"), cfg.path("truth"), cfg.Seed)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := c.Connect([]string{"tcp://" + st.Listen.MQTT}); err != nil {
		return err
	}
	cfg.say("the car sends for %v", cfg.Length)
	load, stop := context.WithTimeout(ctx, cfg.Length)
	defer stop()
	driven := make(chan error, 1)
	go func() { driven <- c.drive(load) }() // ends with load
	select {
	case err := <-driven:
		return errors.Join(errors.New("clients: the car stopped early"), err)
	case <-time.After(cfg.Length / 2):
	}
	if err := errors.Join(r.Kill(), r.Start()); err != nil {
		return err
	}
	if st, err = r.Ready(ctx); err != nil {
		return err
	}
	cfg.say("the receiver was killed and serves again")
	if err := errors.Join(c.Connect([]string{"tcp://" + st.Listen.MQTT}), <-driven); err != nil {
		return err
	}
	drain, cancel := context.WithTimeout(ctx, drainLimit)
	defer cancel()
	if err := errors.Join(c.Drain(drain), c.finish()); err != nil {
		return err
	}
	cfg.say("%d values in %d blocks, %d events, all in Kafka", c.Values, c.Blocks, c.Events)
	return settle(ctx, r)
}

// settle waits until every output has read and written all there is.
func settle(ctx context.Context, r *instance.Instance) error {
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	t := time.NewTicker(settlePoll)
	defer t.Stop()
	why := "no status"
	for quiet := 0; quiet < 5; {
		select {
		case <-ctx.Done():
			return fmt.Errorf("clients: the outputs do not settle: %s: %w", why, ctx.Err())
		case <-t.C:
		}
		st, err := r.Status(ctx)
		if err != nil {
			return err
		}
		if why = unsettled(&st); why != "" {
			quiet = 0
			continue
		}
		quiet++
	}
	return nil
}

// unsettled says which output is behind, or "".
func unsettled(st *receiver.Status) string {
	if len(st.Outputs) == 0 {
		return "no outputs"
	}
	for i := range st.Outputs {
		o := &st.Outputs[i]
		if o.State != receiver.OutputOK {
			return fmt.Sprintf("%s is %s: %s", o.Name, o.State, o.Error)
		}
		for j := range o.Partitions {
			p := &o.Partitions[j]
			if p.Lag != 0 || p.Committed < p.End {
				return fmt.Sprintf("%s partition %d is at %d of %d", o.Name, p.Partition, p.Committed, p.End)
			}
		}
	}
	return ""
}

// read runs one client.
func (c *Config) read(ctx context.Context, cl client) (*Result, error) {
	ctx, cancel := context.WithTimeout(ctx, clientLimit)
	defer cancel()
	topics := map[string]string{"json": "rows", "protobuf": "columns", "arrow": "ipc", "quix": "series"}
	cmd := exec.CommandContext(ctx, c.Python, "-B", filepath.Join(c.Scripts, cl.script),
		"--client", cl.name, "--broker", c.Broker, "--topic", c.Prefix+"."+topics[cl.format], "--truth", c.path("truth"),
		"--registry", c.Registry, "--kcat", c.Kcat, "--proto", c.Proto, "--dir", c.path(cl.name+"-"+cl.format))
	if err := os.MkdirAll(c.path(cl.name+"-"+cl.format), 0o755); err != nil {
		return nil, fmt.Errorf("clients: %w", err)
	}
	log, err := os.Create(c.path(cl.name + "-" + cl.format + ".log"))
	if err != nil {
		return nil, fmt.Errorf("clients: %w", err)
	}
	defer log.Close()
	cmd.Stderr = log
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("clients: %s, format %s: %w, see %s", cl.name, cl.format, err, log.Name())
	}
	res := &Result{}
	if err := json.Unmarshal(out, res); err != nil {
		return nil, fmt.Errorf("clients: %s, format %s says %q: %w", cl.name, cl.format, out, err)
	}
	res.Client, res.Format = cl.name, cl.format
	return res, nil
}
