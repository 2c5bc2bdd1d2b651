package topic

import (
	"fmt"
	"strconv"
	"time"
)

// DefaultPrefix is the first part of every topic's name unless configured.
const DefaultPrefix = "telemetry"

// Names holds the full name of every topic; "" is one that is not written.
type Names struct {
	Batches    string // sealed batches as the cars sent them, duplicates included
	Catalogues string // catalogues by hash
	Timemap    string // time anchors and segments
	Samples    string // the full lane, in order
	Live       string // the live lane's preview
	Late       string // arrived after its window
	Pulled     string // pulled forward, before its turn
	Events     string // the critical lane's events
	Gaps       string // what is missing, and why
	Sessions   string // sessions, laps and marks, the latest word on each
	DeadLetter string // what could not be used
	State      string // the sequencer's state
}

// NewNames returns the names under prefix; "" means [DefaultPrefix].
func NewNames(prefix string) Names {
	if prefix == "" {
		prefix = DefaultPrefix
	}
	return Names{
		Batches:    prefix + ".batches",
		Catalogues: prefix + ".catalogues",
		Timemap:    prefix + ".timemap",
		Samples:    prefix + ".samples",
		Live:       prefix + ".live",
		Late:       prefix + ".late",
		Pulled:     prefix + ".pulled",
		Events:     prefix + ".events",
		Gaps:       prefix + ".gaps",
		Sessions:   prefix + ".sessions",
		DeadLetter: prefix + ".dlq",
		State:      prefix + ".sequence.state",
	}
}

// Outputs lists the topics that the sequencer writes besides its state, each once;
// the order is part of the state's format.
func (n Names) Outputs() []string {
	return distinct(n.Samples, n.Live, n.Late, n.Pulled, n.Events, n.Gaps, n.Timemap, n.Sessions, n.DeadLetter)
}

// Spec is how one topic must be: partitions and Kafka's topic configuration.
// Fixed names the entries without which the receiver's promises do not hold: an
// existing topic that differs there is refused. The others only matter when the
// topic is created, an operator may change them.
type Spec struct {
	Name       string
	Partitions int32 // 0 when any count will do
	Config     map[string]string
	Fixed      []string
}

// Kafka's names of the entries used here.
const (
	ConfigCleanup   = "cleanup.policy"
	ConfigRetention = "retention.ms"
	ConfigTimestamp = "message.timestamp.type"
	ConfigMaxBytes  = "max.message.bytes"
	ConfigMinISR    = "min.insync.replicas"
)

// MaxRecordBytes is the largest record batch that our topics take, in bytes:
// Kafka's own default, which every broker accepts.
const MaxRecordBytes = 1 << 20

// DefaultPartitions is the partition count of a topic that we create: one
// partition carries about 100 MB/s, one sequencer owner runs per partition.
const DefaultPartitions = 4

// Retention of what we create. Batches must outlive every replay and every
// wait for a catalogue; operators lengthen it.
const (
	BatchRetention = 7 * 24 * time.Hour
	liveRetention  = 24 * time.Hour
	longRetention  = 30 * 24 * time.Hour
)

// Specs returns what every topic must be for n partitions of batches; n <= 0
// means [DefaultPartitions]. Batches and state have equal counts: the owner of a
// partition of one owns the same partition of the other.
func (n Names) Specs(partitions int32) []Spec {
	if partitions <= 0 {
		partitions = DefaultPartitions
	}
	event := func(name string, keep time.Duration) Spec {
		return spec(name, partitions, "delete", "CreateTime", keep)
	}
	gaps := spec(n.Gaps, partitions, "compact,delete", "CreateTime", longRetention)
	state := spec(n.State, partitions, "compact", "CreateTime", 0, ConfigCleanup)
	catalogues := spec(n.Catalogues, 1, "compact", "CreateTime", 0, ConfigCleanup)
	timemap := spec(n.Timemap, 1, "compact", "CreateTime", 0, ConfigCleanup)
	sessions := spec(n.Sessions, 1, "compact", "CreateTime", 0, ConfigCleanup)
	batches := spec(n.Batches, partitions, "delete", "LogAppendTime", BatchRetention, ConfigCleanup, ConfigTimestamp)
	return []Spec{
		batches, state, catalogues, timemap, sessions,
		event(n.Samples, BatchRetention), event(n.Live, liveRetention),
		event(n.Late, BatchRetention), event(n.Pulled, BatchRetention),
		event(n.Events, longRetention), event(n.DeadLetter, longRetention),
		gaps,
	}
}

// spec builds one Spec; keep 0 means that only compaction removes records.
func spec(name string, partitions int32, cleanup, stamp string, keep time.Duration, fixed ...string) Spec {
	ms := "-1"
	if keep > 0 {
		ms = strconv.FormatInt(keep.Milliseconds(), 10)
	}
	return Spec{
		Name: name, Partitions: partitions, Fixed: fixed,
		Config: map[string]string{
			ConfigCleanup: cleanup, ConfigTimestamp: stamp, ConfigRetention: ms,
			ConfigMaxBytes: strconv.Itoa(MaxRecordBytes),
		},
	}
}

// TransactionalID names the transactional producer of one partition's owner, so
// that a successor fences a frozen one.
func TransactionalID(prefix, group string, partition int32) string {
	if prefix == "" {
		prefix = DefaultPrefix
	}
	return fmt.Sprintf("%s-sequence-%s-%d", prefix, group, partition)
}
