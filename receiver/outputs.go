package receiver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"telemetry/internal/config"
	"telemetry/receiver/kafka"
	"telemetry/receiver/kafka/registry"
	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/columnpb/telemetrypb"
	"telemetry/receiver/sequence/formats"
	"telemetry/receiver/topic"
	"telemetry/reorder"
	"telemetry/wire"
)

// Names of formats, as they stand in the configuration; package formats has the
// others.
const (
	formatBatch    = formats.Batch
	formatProtobuf = formats.Protobuf
	formatNone     = "none"
)

// output is one output beside the default one, running.
type output struct {
	cfg      *config.Output
	topics   topic.Output
	runner   *sequence.Runner
	registry *registry.Keeper // nil: the format needs none
	check    outputCheck
}

// outputCheck is what is known of whether an output may begin.
type outputCheck struct {
	mu     sync.Mutex
	passed bool  // guarded by mu
	err    error // guarded by mu; of the last try
}

// Pauses between two tries.
const (
	checkPauseLeast = 250 * time.Millisecond
	checkPauseMost  = 10 * time.Second
)

// await asks until the output may begin; it returns ctx's error when that ends
// before. Nobody but the output waits for it.
func (k *outputCheck) await(ctx context.Context, log *slog.Logger, ask func(context.Context) error) error {
	said := ""
	for pause := checkPauseLeast; ; pause = min(2*pause, checkPauseMost) {
		err := ask(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		k.mu.Lock()
		k.passed, k.err = err == nil, err
		k.mu.Unlock()
		if err == nil {
			if said != "" {
				log.Info("the output may begin")
			}
			return nil
		}
		if why := err.Error(); why != said {
			said = why
			log.Warn("the output may not begin, will ask again", "error", err)
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
	}
}

// state says why the output has not begun: OutputStopped needs a person; OutputOK
// when it may.
func (k *outputCheck) state() (state, why string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.passed:
		return OutputOK, ""
	case k.err == nil:
		return OutputWaiting, "Kafka is being asked what its topics hold"
	case kafka.NeedsPerson(k.err):
		return OutputStopped, fmt.Sprintf("stopped, nothing is written: %v", k.err)
	}
	return OutputWaiting, fmt.Sprintf("nothing is written before it is known what its topics hold: %v", k.err)
}

// outputTopics names the topics of the configured outputs.
func outputTopics(c *config.Receiver) []topic.Output {
	var outs []topic.Output
	for i := range c.Sequence.Outputs {
		o := &c.Sequence.Outputs[i]
		t := topic.NewOutput(c.Kafka.Prefix, c.Sequence.Group, o.Name, o.Topic)
		t.Rows, t.Retention, t.Preview = int32(o.Partitions), o.Retention.D(), o.Live()
		outs = append(outs, t)
	}
	return outs
}

// addOutputs makes the sequencers of all outputs but the default one.
func (r *Receiver) addOutputs(run *running, base *sequence.Config) error {
	for i := range r.cfg.Sequence.Outputs {
		o := &output{cfg: &r.cfg.Sequence.Outputs[i], topics: r.kafka.Outputs[i]}
		if err := r.addOutput(run, o, *base); err != nil {
			return fmt.Errorf("receiver: output %s: %w", o.cfg.Name, err)
		}
		run.outputs = append(run.outputs, o)
	}
	return nil
}

// addOutput makes one sequencer: a copy of the default one's settings with the
// output's own. The budget stays common.
func (r *Receiver) addOutput(run *running, o *output, cfg sequence.Config) error {
	cfg.Topics = o.topics.Names
	cfg.Log = r.log.With("component", "sequence", "output", o.cfg.Name)
	cfg.RecordAge = o.cfg.Retention.D() - time.Hour
	cfg.LiveAge = cfg.RecordAge
	cfg.Lanes, cfg.Hops = nil, nil
	for _, name := range o.cfg.Lanes {
		lane, err := wire.ParseLane(name)
		if err != nil {
			return err
		}
		cfg.Lanes = append(cfg.Lanes, lane)
	}
	setWindows(&cfg.Reorder, o.cfg.Windows)
	if o.cfg.Format == formatProtobuf {
		var err error
		if o.registry, err = r.newRegistry(o); err != nil {
			return err
		}
		run.start = append(run.start, o.registry.Run)
	}
	if _, err := o.format(cfg.Lanes); err != nil {
		return err
	}
	cfg.NewFormat = func() sequence.Format {
		f, _ := o.format(cfg.Lanes) // as above
		return f
	}
	backend, err := run.cluster.OutputBackend(o.cfg.Name)
	if err != nil {
		return err
	}
	if o.runner, err = sequence.NewRunner(cfg, backend); err != nil {
		return err
	}
	run.start = append(run.start, func(ctx context.Context) error {
		ask := func(ctx context.Context) error { return run.cluster.CheckOutput(ctx, o.cfg.Name) }
		if o.check.await(ctx, cfg.Log, ask) != nil || o.registry != nil && o.registry.Ready(ctx) != nil {
			return nil // stopped while it waited
		}
		return o.runner.Run(ctx)
	})
	return nil
}

// format makes the format of one partition.
func (o *output) format(lanes []wire.Lane) (sequence.Format, error) {
	opt := formats.Options{Take: o.cfg.Takes, TextIntegers: o.cfg.Integers == "text"}
	if len(o.cfg.Include)+len(o.cfg.Exclude) == 0 {
		opt.Take = nil
	}
	if o.registry != nil {
		opt.SchemaID = o.registry.ID
	}
	return formats.OfLanes(o.cfg.Format, lanes, opt)
}

// newRegistry makes what keeps the schema of the output's topics.
func (r *Receiver) newRegistry(o *output) (*registry.Keeper, error) {
	t := &o.topics.Names
	return RegistryKeeper(r.cfg.Kafka.Registry, r.log.With("component", "registry", "output", o.cfg.Name), t.Samples, t.Events, t.Late)
}

// RegistryKeeper makes what keeps the schema of some topics in the registry of a
// configuration. It reads the files that c names.
func RegistryKeeper(c *config.Registry, log *slog.Logger, topics ...string) (*registry.Keeper, error) {
	if c == nil {
		return nil, errors.New("format protobuf needs kafka.registry")
	}
	cfg := registry.Config{URL: c.URL, User: c.User, Schema: telemetrypb.Schema, Log: log, Topics: topics}
	var err error
	if c.CA != "" {
		if cfg.Roots, err = readPool(c.CA); err != nil {
			return nil, err
		}
	}
	if c.Password != nil {
		if cfg.Password, err = readSecret(*c.Password); err != nil {
			return nil, err
		}
	}
	return registry.New(cfg)
}

// setWindows takes the windows of a configuration.
func setWindows(c *reorder.Config, w config.Windows) {
	for lane, v := range map[wire.Lane]*config.Window{wire.LaneCritical: w.Critical, wire.LaneLive: w.Live, wire.LaneFull: w.Full} {
		c.Windows[lane] = time.Duration(*v)
		if *v == config.WindowNone {
			c.Windows[lane] = reorder.None
		}
	}
}

// OutputStatus is one output beside the default one.
type OutputStatus struct {
	Name   string `json:"name"`
	Format string `json:"format"`
	Topic  string `json:"topic"`
	Group  string `json:"group"`
	// State is "ok", "waiting" (at the start: for what Kafka or the registry says), "failing"
	// (tried again, or only a part of it) or "stopped" (until a person acts; tried again at a pace).
	State    string          `json:"state"`
	Error    string          `json:"error,omitempty"`
	Registry *RegistryStatus `json:"registry,omitempty"`
	SequenceStatus
}

// RegistryStatus is the schema registry of an output.
type RegistryStatus struct {
	URL   string `json:"url"`
	State string `json:"state"` // "ok", "waiting": nothing is written before it answers; "failing": writing goes on with what it said before
	Error string `json:"error,omitempty"`
}

// States of an output and of its registry.
const (
	OutputOK      = "ok"
	OutputWaiting = "waiting"
	OutputFailing = "failing"
	OutputStopped = "stopped"
)

// outputStates lists all of them.
var outputStates = []string{OutputOK, OutputWaiting, OutputFailing, OutputStopped}

// outputs adds the state of all outputs. What befalls one of them is no reason to
// call the process not ready: the cars and the other outputs are served.
func (s *Status) outputs(run *running) {
	for _, o := range run.outputs {
		s.Outputs = append(s.Outputs, o.status(run, s))
	}
}

func (o *output) status(run *running, s *Status) OutputStatus {
	st := OutputStatus{Name: o.cfg.Name, Format: o.cfg.Format, Topic: o.topics.Names.Samples, Group: o.topics.Group, State: OutputOK}
	trouble := func(state, format string, args ...any) {
		why := fmt.Sprintf(format, args...)
		s.Degraded = append(s.Degraded, fmt.Sprintf("output %s: %s", o.cfg.Name, why))
		if st.Error == "" {
			st.State, st.Error = state, why
		}
	}
	state, why := o.check.state()
	waits := state != OutputOK
	if waits {
		trouble(state, "%s", why)
	}
	if o.registry != nil {
		reg := o.registry.State()
		st.Registry = &RegistryStatus{State: OutputOK}
		switch {
		case !reg.Ready:
			waits = true
			st.Registry.State = OutputWaiting
			why := "it is being asked"
			if reg.Err != nil {
				why = reg.Err.Error()
			}
			trouble(OutputWaiting, "nothing is written before the schema registry answers: %s", why)
		case reg.Err != nil:
			st.Registry.State = OutputFailing
			trouble(OutputFailing, "the schema registry fails, writing goes on with the ids it gave before: %v", reg.Err)
		}
		if reg.Err != nil {
			st.Registry.Error = reg.Err.Error()
		}
	}
	var seq SequenceStatus
	troubles := seq.fill(run, o.runner.Snapshot())
	st.SequenceStatus = seq
	if !waits {
		state := OutputFailing
		if seq.allStopped() {
			state = OutputStopped
		}
		for _, why := range troubles {
			trouble(state, "%s", why)
		}
	}
	return st
}

// allStopped reports whether each of some partitions was given up, for a reason.
func (st *SequenceStatus) allStopped() bool {
	return len(st.Partitions) > 0 && !slices.ContainsFunc(st.Partitions, func(p PartitionStatus) bool {
		return p.State != sequence.StateStopped || p.Error == ""
	})
}

// metrics writes the output's state; the names are its own, so that sums over the
// default output's stay what they are.
func (o *OutputStatus) metrics(m *metrics) {
	out := label{"output", o.Name}
	m.one("telemetry_output_state", "1 for the state of an output.", o.State, outputStates, out)
	if o.Registry != nil {
		m.gauge("telemetry_output_registry_up", "1 while the schema registry of an output answers as it should.", truth(o.Registry.State == OutputOK), out)
	}
	m.gauge("telemetry_output_member", "1 while this process is a member of the output's group.", truth(o.Member), out)
	for i := range o.Partitions {
		p := &o.Partitions[i]
		where := []label{out, {"partition", strconv.Itoa(int(p.Partition))}}
		m.gauge("telemetry_output_lag_records", "Records of telemetry.batches that an output has not yet read.", float64(p.Lag), where...)
		m.gauge("telemetry_output_committed_offset", "The offset of the output's group.", float64(p.Committed), where...)
		m.counters("telemetry_output", "Counter of an output's sequencer.", p.Counters, where...)
	}
}
