package receiver

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"telemetry/internal/status"
	"telemetry/internal/version"
	"telemetry/receiver/hop"
	"telemetry/receiver/ingest"
	"telemetry/receiver/ingest/embedded"
	"telemetry/receiver/ingest/external"
	"telemetry/receiver/live"
	"telemetry/receiver/live/guard"
	"telemetry/receiver/sequence"
	"telemetry/wire"
)

// Status is what `receiver status --json` prints: a stable shape, fields are
// only added. What is null is a role that this process does not have.
type Status struct {
	Name     string          `json:"name"`
	Version  string          `json:"version"`
	UptimeS  float64         `json:"uptime_s"`
	Roles    []string        `json:"roles"`
	Ready    bool            `json:"ready"`              // every role serves
	Waits    []string        `json:"waits,omitempty"`    // why it is not ready
	Listen   ListenStatus    `json:"listen"`             // as bound
	Kafka    KafkaStatus     `json:"kafka"`              // the cluster in use
	Ingest   *IngestStatus   `json:"ingest,omitempty"`   // role ingest
	Sequence *SequenceStatus `json:"sequence,omitempty"` // role sequence
	Live     *live.Counters  `json:"live,omitempty"`     // role live
	Login    *guard.Counters `json:"login,omitempty"`    // of the page
	Outputs  []OutputStatus  `json:"outputs,omitempty"`  // beside the default one; role sequence
	Degraded []string        `json:"degraded,omitempty"` // what is wrong though the process is ready
	Latency  *LatencyStatus  `json:"latency,omitempty"`  // of the default output and the page; roles sequence and live
}

// LatencyStatus is where sampled batches of this process's partitions spent their time.
type LatencyStatus struct {
	// UncertaintyMS is how well the car's clock was known last, half width: that of the
	// hops received and total. All hops between hosts rest on the hosts' clocks as well.
	UncertaintyMS float64       `json:"uncertainty_ms"`
	Hops          []hop.Figures `json:"hops"` // in the order of the way
}

// ListenStatus holds host:port of what is open; "" is what is not.
type ListenStatus struct {
	MQTT  string `json:"mqtt,omitempty"`
	Live  string `json:"live,omitempty"`
	Kafka string `json:"kafka,omitempty"` // of the embedded cluster
	// Health is the address of /healthz, /readyz and /metrics, beside the page's.
	Health string `json:"health,omitempty"`
}

// KafkaStatus says which cluster is used.
type KafkaStatus struct {
	Mode       string   `json:"mode"` // "embedded" or "cluster"
	Brokers    []string `json:"brokers"`
	Prefix     string   `json:"prefix"`
	Partitions int32    `json:"partitions"` // of the batches topic
	Tries      uint64   `json:"tries"`      // to reach it at the start, that failed
	State      string   `json:"state"`      // "ok", "waiting" or "failing"
	Error      string   `json:"error,omitempty"`
}

// IngestStatus is the role ingest.
type IngestStatus struct {
	Instance     string            `json:"instance"`
	State        string            `json:"state"`      // "ok", "stalled" or "draining"
	StalledMS    int64             `json:"stalled_ms"` // since the last progress, while something waits
	Error        string            `json:"error,omitempty"`
	Waiting      int               `json:"waiting_records"` // on their way to Kafka
	WaitingBytes int64             `json:"waiting_bytes"`
	HeldBytes    int64             `json:"held_bytes"` // of batches that wait for a catalogue
	Catalogues   int               `json:"catalogues"`
	Counters     ingest.Counters   `json:"counters"`
	MQTT         embedded.Counters `json:"mqtt"`                        // of the embedded broker
	CatalogueErr string            `json:"catalogues_error,omitempty"`  // why the catalogues of others are not known
	Revocations  string            `json:"revocations_error,omitempty"` // why the list in force is not the newest
	Broker       *external.Status  `json:"broker,omitempty"`            // instead of it
	Cars         []CarStatus       `json:"cars"`
}

// CarStatus is what ingest knows of one car.
type CarStatus struct {
	Car          string         `json:"car"`
	SilentMS     int64          `json:"silent_ms"`
	Credit       uint64         `json:"credit_bytes"`
	WaitingBytes int64          `json:"waiting_bytes"`
	HeldBytes    int64          `json:"held_bytes"`
	Wanted       []string       `json:"wanted_catalogues,omitempty"`
	Batches      uint64         `json:"batches"`
	Duplicates   uint64         `json:"duplicates"`
	Refused      uint64         `json:"refused"`
	Slowed       uint64         `json:"slowed"` // messages beyond its rates
	Links        []LinkStatus   `json:"links"`
	Streams      []StreamStatus `json:"streams"`
}

// LinkStatus is one connection of a car.
type LinkStatus struct {
	Link     int    `json:"link"`
	Gen      uint32 `json:"gen"`
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
	SilentMS int64  `json:"silent_ms"`
}

// StreamStatus is one stream of a car; received, durable and refused count the
// batches that are listed to the car, not all there ever were.
type StreamStatus struct {
	Epoch    string `json:"epoch"`
	Lane     string `json:"lane"`
	Base     uint64 `json:"base"`
	High     uint64 `json:"high"`
	Received uint64 `json:"received"`
	Durable  uint64 `json:"durable"`
	Refused  uint64 `json:"refused"`
}

// SequenceStatus is the role sequence.
type SequenceStatus struct {
	State      string            `json:"state,omitempty"` // of the default output, as [OutputStatus] has it
	Member     bool              `json:"member"`          // of the group; maybe with no partition
	Error      string            `json:"error,omitempty"` // of the group membership
	HeldBytes  int64             `json:"held_bytes"`
	Partitions []PartitionStatus `json:"partitions"`
}

// PartitionStatus is one partition that this process owns or has owned.
type PartitionStatus struct {
	sequence.Counters
	Partition int32               `json:"partition"`
	State     string              `json:"state"` // "loading", "rebuilding", "running", "retrying", "stopped"
	Error     string              `json:"error,omitempty"`
	Failing   string              `json:"failing,omitempty"` // what is retried: "load", "fetch", "read", "catalogue", "tick"
	Position  int64               `json:"position"`
	Committed int64               `json:"committed"`
	End       int64               `json:"end"`
	Lag       int64               `json:"lag"` // records not yet read
	NowMS     int64               `json:"now_ms"`
	Commits   uint64              `json:"commits"`
	CommitMS  float64             `json:"commit_ms"` // the last one took
	Cars      []SequenceCarStatus `json:"cars"`
}

// SequenceCarStatus is one car on a partition.
type SequenceCarStatus struct {
	Car       string                        `json:"car"`
	Epoch     string                        `json:"epoch"`
	Held      int                           `json:"held"` // batches that wait for a hole or an anchor
	HeldBytes int64                         `json:"held_bytes"`
	Synced    bool                          `json:"synced"`
	Lanes     map[string]SequenceLaneStatus `json:"lanes"`
}

// SequenceLaneStatus is one lane of one car.
type SequenceLaneStatus struct {
	sequence.Counters
	Epoch       string `json:"epoch"` // of the newest batch written in order
	Floor       uint64 `json:"floor"` // its number
	LagMS       int64  `json:"lag_ms"`
	Queued      int    `json:"queued"`
	Holes       uint64 `json:"holes"`         // numbers waited for
	HoleSinceMS int64  `json:"hole_since_ms"` // when the oldest open hole opened; 0: none
	// Gaps counts the numbers reported missing by reason, without those that are none.
	Gaps       map[string]uint64 `json:"gaps,omitempty"`
	EventUTCNS int64             `json:"event_utc_ns"` // newest sample written; 0 while unsynced
}

// snapshotLimit bounds the wait for a role's answer.
const snapshotLimit = time.Second

// Status returns the present state; without roles' parts while Run is not under
// way.
func (r *Receiver) Status(ctx context.Context) Status {
	s := Status{Name: r.name, Version: version.Get("").Version, Roles: r.cfg.Roles}
	s.Kafka = KafkaStatus{Mode: "cluster", Brokers: append([]string{}, r.cfg.Kafka.Brokers...), Prefix: r.cfg.Kafka.Prefix}
	if len(r.cfg.Kafka.Brokers) == 0 {
		s.Kafka.Mode = "embedded"
	}
	r.mu.Lock()
	run, waiting := r.running, r.waiting
	s.Listen.Health = r.health
	r.mu.Unlock()
	s.Kafka.Tries = waiting.tries
	if run == nil {
		s.Waits = []string{waiting.reason()}
		s.Kafka.State = KafkaWaiting
		if waiting.err != nil {
			s.Kafka.Error = waiting.err.Error()
		}
		s.Listen.Live = waiting.addr
		return s
	}
	s.UptimeS = time.Since(run.started).Seconds()
	s.Kafka.Brokers, s.Kafka.Partitions = run.cluster.Brokers(), run.cluster.Partitions()
	if run.cluster.IsEmbedded() {
		s.Listen.Kafka = s.Kafka.Brokers[0]
	}
	if run.ingest != nil {
		s.cars(run)
		s.ingest(ctx, run)
	}
	if run.sequence != nil {
		s.sequence(run)
		s.outputs(run)
	}
	if figures, unc := run.hops.Snapshot(); len(figures) > 0 {
		s.Latency = &LatencyStatus{UncertaintyMS: float64(unc) / float64(time.Millisecond), Hops: figures}
	}
	if run.live != nil {
		s.Listen.Live = run.live.Addr()
		n, in := run.live.Counters(), r.door.guard.Counters()
		s.Live, s.Login = &n, &in
		s.Degraded = append(s.Degraded, r.door.troubles()...)
		if n.KafkaError != "" {
			s.wait("live cannot read: %s", n.KafkaError)
		}
	}
	s.kafkaState(run)
	s.Ready = len(s.Waits) == 0
	return s
}

func (s *Status) wait(format string, args ...any) {
	s.Waits = append(s.Waits, fmt.Sprintf(format, args...))
}

func (s *Status) ingest(ctx context.Context, run *running) {
	ctx, cancel := context.WithTimeout(ctx, snapshotLimit)
	defer cancel()
	in, err := run.ingest.Snapshot(ctx)
	st := &IngestStatus{State: instanceState(in.State), Cars: []CarStatus{}}
	st.cars(run)
	s.Ingest = st
	if cerr := run.ingest.CatalogueError(); cerr != nil {
		st.CatalogueErr = cerr.Error()
	}
	for _, why := range []string{st.CatalogueErr, st.Revocations} {
		if why != "" {
			s.Degraded = append(s.Degraded, why)
		}
	}
	if err != nil {
		st.State, st.Error = "unknown", err.Error()
		s.wait("ingest does not answer: %v", err)
		return
	}
	if in.State != wire.InstanceOK {
		s.wait("ingest is %s", st.State)
	}
	st.Instance, st.StalledMS, st.Waiting, st.WaitingBytes = in.Instance, in.StalledFor.Milliseconds(), in.Waiting, in.WaitingBytes
	st.HeldBytes, st.Catalogues, st.Counters = in.HeldBytes, in.Catalogues, in.Counters
	for i := range in.Cars {
		st.Cars = append(st.Cars, carStatus(&in.Cars[i]))
	}
}

func instanceState(s wire.InstanceState) string {
	switch s {
	case wire.InstanceOK:
		return "ok"
	case wire.InstanceStalled:
		return "stalled"
	case wire.InstanceDraining:
		return "draining"
	}
	return "unknown"
}

func carStatus(c *ingest.CarSnapshot) CarStatus {
	s := CarStatus{
		Car: c.Car, SilentMS: c.Silent.Milliseconds(), Credit: c.Credit, WaitingBytes: c.WaitingBytes, HeldBytes: c.HeldBytes,
		Batches: c.Batches, Duplicates: c.Duplicates, Refused: c.Refused, Slowed: c.Slowed, Links: []LinkStatus{}, Streams: []StreamStatus{},
	}
	for _, h := range c.Wanted {
		s.Wanted = append(s.Wanted, h.String())
	}
	for _, l := range c.Links {
		s.Links = append(s.Links, LinkStatus{
			Link: int(l.Link), Gen: l.Gen, Messages: l.Messages, Bytes: l.Bytes, SilentMS: l.Silent.Milliseconds(),
		})
	}
	for _, t := range c.Streams {
		s.Streams = append(s.Streams, StreamStatus{
			Epoch: t.Epoch.String(), Lane: t.Lane.String(), Base: t.Base, High: t.High,
			Received: t.Received, Durable: t.Durable, Refused: t.Refused,
		})
	}
	return s
}

// groupPatience is how long a group may take to give a member its first
// partition; one that has none after that is not needed.
const groupPatience = 15 * time.Second

func (s *Status) sequence(run *running) {
	st := &SequenceStatus{}
	s.Sequence = st
	troubles := st.fill(run, run.sequence.Snapshot())
	state, why := run.check.state()
	switch {
	case state != OutputOK:
		st.Error = why
		s.wait("sequence: %s", why)
	case len(troubles) > 0:
		if state = OutputFailing; st.allStopped() {
			state = OutputStopped
		}
		s.Waits = append(s.Waits, troubles...)
	}
	st.State = state
}

// fill takes a sequencer's state, and says what it waits for.
func (st *SequenceStatus) fill(run *running, snap sequence.Snapshot) []string {
	*st = SequenceStatus{Member: snap.Member, Error: snap.Error, HeldBytes: snap.HeldBytes, Partitions: []PartitionStatus{}}
	var s Status // only for its waits
	switch {
	case snap.Error != "":
		s.wait("sequence is not a member of its group: %s", snap.Error)
	case !snap.Member:
		s.wait("sequence is joining its group")
	}
	for i := range snap.Partitions {
		p := partitionStatus(&snap.Partitions[i])
		if p.State != sequence.StateRunning && p.State != sequence.StateStopped || p.Error != "" {
			s.wait("%s", strings.TrimSuffix(fmt.Sprintf("partition %d is %s: %s", p.Partition, p.State, p.Error), ": "))
		}
		st.Partitions = append(st.Partitions, p)
	}
	own := int32(len(st.Partitions))
	if run.cluster.IsEmbedded() && own < run.cluster.Partitions() || own == 0 && time.Since(run.started) < groupPatience {
		s.wait("sequence has %d of %d partitions", own, run.cluster.Partitions())
	}
	return s.Waits
}

func partitionStatus(p *sequence.PartitionSnapshot) PartitionStatus {
	s := PartitionStatus{
		Counters: p.Counters, Partition: p.Partition, State: p.State, Error: p.Error, Failing: p.Failing, Position: p.Position, Committed: p.Committed,
		End: p.End, Lag: max(0, p.End-p.Position), NowMS: p.NowMS, Commits: p.Commits,
		CommitMS: float64(p.CommitFor) / float64(time.Millisecond), Cars: []SequenceCarStatus{},
	}
	for i := range p.Cars {
		c := &p.Cars[i]
		cs := SequenceCarStatus{
			Car: c.Car, Epoch: c.Epoch.String(), Held: c.Held, HeldBytes: c.HeldBytes, Synced: c.Synced,
			Lanes: map[string]SequenceLaneStatus{},
		}
		for _, l := range wire.Lanes {
			v := &c.Lanes[l]
			var gaps map[string]uint64
			for why, n := range v.Gaps {
				if n == 0 {
					continue
				}
				if gaps == nil {
					gaps = map[string]uint64{}
				}
				gaps[wire.Reason(why).String()] = n
			}
			cs.Lanes[l.String()] = SequenceLaneStatus{
				Gaps:     gaps,
				Counters: v.Counters, Epoch: v.Epoch.String(), Floor: v.Floor, LagMS: c.LagMS(l), Queued: v.Queued,
				Holes: v.HoleSeqs, HoleSinceMS: v.HoleSinceMS, EventUTCNS: v.EventUTCNS,
			}
		}
		s.Cars = append(s.Cars, cs)
	}
	return s
}

// Handler answers GET /v1/status.
func (r *Receiver) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, req *http.Request) {
		status.Reply(w, r.Status(req.Context()), nil)
	})
	return mux
}
