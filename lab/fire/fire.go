// Package fire plays a CAN log through an emulated serial adapter, the real
// edgeagent behind three bad links of the kernel and the real receiver, while
// both are killed and frozen and the links come and go. What arrives in Kafka is
// compared with what was on the bus by programs that are not ours (check_fire.py).
//
// The entry point is [Run], which needs root and /dev/net/tun. Like package e2e
// it never looks into the outputs itself.
//
// The truth is kept by three witnesses. The adapter knows each frame that was on
// the bus, when, and whether the agent has read all of its line; it pauses while
// its port has no reader and repeats what was not read, so what a kill can cost
// is only what the agent had read. Package crash knows when the agent was killed.
// And the rows carry their epoch. fire.py says what is counted as what.
package fire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"telemetry/internal/clock"
	"telemetry/lab/e2e"
	"telemetry/lab/netns"
	"telemetry/lab/stack"
)

// Config says what is played and what happens to it. Bin, Log, DBC, Python,
// Scripts and CompareScripts are needed.
type Config struct {
	Bin            string // folder of edgeagent and receiver
	Log, DBC       string
	OracleDBC      string        // what cantools reads; "" is DBC
	Play           time.Duration // the log is cut to that; 0: all of it
	Seed           uint64        // of the moments of all that happens
	AgentKills     int
	ReceiverKills  int
	Kafka          string   // name of the Kafka in the result
	Brokers        []string // nil: embedded
	Mosquitto      string   // scripts/mosquitto.sh; "": the embedded broker
	Python         string   // interpreter with cantools and confluent-kafka
	Scripts        string   // folder of check_fire.py
	CompareScripts string   // folder of oracle.py
	Dir            string   // state and logs; "": a new one, removed after success
	Cache          string   // where the decoded log is kept; "" is Dir
	Progress       io.Writer
}

// Result is the line that a run prints. Counts are of values.
type Result struct {
	Kafka          string  `json:"kafka"`
	Broker         string  `json:"broker"`
	Kills          int     `json:"kills"`     // SIGKILLs of both ends
	Expected       int64   `json:"expected"`  // values of the frames that were on the bus
	Delivered      int64   `json:"delivered"` // that arrived, second copies not counted
	NotTaken       int64   `json:"not_taken"` // read by an agent that was killed before they were durable
	Missing        int64   `json:"missing"`
	Duplicates     int64   `json:"duplicates"`
	ValueErrors    int64   `json:"value_errors"`
	MaxTimeErrorUS float64 `json:"max_time_error_us"` // of the boot times, against the bus's
	Seconds        float64 `json:"seconds"`           // the whole run
}

// Names that the configurations of a run use.
const (
	carName    = "fire-car"
	sourceName = "bus"
	prefix     = "telemetry"
)

// Bounds that the outputs are held to.
const (
	resolution = time.Millisecond       // of the adapter's time stamps
	dataBound  = 200 * time.Millisecond // of data that a kill of the agent may cost
)

// Limits of waiting.
const (
	startLimit  = 90 * time.Second
	readyLimit  = 60 * time.Second // for the receiver: a killed member of its group must time out
	drainLimit  = 3 * time.Minute
	settleLimit = 90 * time.Second
	restLimit   = 5 * time.Second // for the adapter to notice that its reader is gone
)

// ErrDiffers says that what arrived is not what was on the bus.
var ErrDiffers = errors.New("fire: what arrived differs from what was on the bus")

// run is one run under way. Fields are written before the goroutines start, or
// belong to play.
type run struct {
	Config
	dir    string
	begun  time.Time
	length time.Duration // that the log plays
	bed    *netns.Testbed
	bus    *bus
	stack  *stack.Stack
	clock  []e2e.Sample
	deaths [][2]int64 // of the agent: boot ns before SIGKILL and after its end
	kills  int
}

// Run plays the log once. A result is returned whenever outputs were compared,
// together with [ErrDiffers] when they differ.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	r := &run{Config: cfg, begun: time.Now()}
	if r.OracleDBC == "" {
		r.OracleDBC = r.DBC
	}
	if r.Progress == nil {
		r.Progress = io.Discard
	}
	for _, p := range []*string{&r.Log, &r.DBC, &r.OracleDBC, &r.Scripts, &r.CompareScripts} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return nil, fmt.Errorf("fire: path: %w", err)
		}
		*p = abs
	}
	dir, remove, err := e2e.StateDir(r.Dir, "fire")
	if err != nil {
		return nil, err
	}
	r.dir = dir
	res, err := r.all(ctx)
	if err != nil {
		r.say("state and logs of this run are in %s", r.dir)
		return res, err
	}
	return res, remove()
}

// say writes a line for people.
func (r *run) say(format string, args ...any) {
	// Nobody to read it is no reason to stop.
	_, _ = fmt.Fprintf(r.Progress, "fire: %5.1f s  "+format+"\n", append([]any{time.Since(r.begun).Seconds()}, args...)...)
}

// brokerName names the MQTT broker in the result.
func (r *run) brokerName() string {
	if r.Mosquitto != "" {
		return "mosquitto"
	}
	return "embedded"
}

// all makes the laboratory, plays, and compares; what it made is gone when it
// returns.
func (r *run) all(ctx context.Context) (res *Result, err error) {
	r.say("seed %d, Kafka %s, broker %s", r.Seed, r.Kafka, r.brokerName())
	if r.Log, r.length, err = e2e.CutLog(r.Log, r.dir, r.Play); err != nil {
		return nil, err
	}
	if err := r.decode(ctx); err != nil {
		return nil, err
	}
	if r.bed, err = newBed(r.Seed); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.bed.Close()) }()
	if r.bus, err = openBus(r.Log, filepath.Join(r.dir, "adapter"), clock.System{}); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	parts := make(chan error, 2)
	go func() { parts <- r.bed.Run(ctx) }() // these end with ctx, and are awaited
	go func() { parts <- r.bus.Run(ctx) }()
	defer func() {
		cancel()
		err = errors.Join(err, <-parts, <-parts)
	}()
	cfg := r.stackConfig()
	if r.Mosquitto != "" {
		m, err := r.startMosquitto(ctx, &cfg)
		if err != nil {
			return nil, err
		}
		defer m.stop()
	}
	start, cancelStart := context.WithTimeout(ctx, startLimit)
	defer cancelStart()
	if r.stack, err = stack.Start(start, cfg); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.stack.Close()) }()
	if err := r.play(ctx); err != nil {
		return nil, err
	}
	return r.compare(ctx)
}
