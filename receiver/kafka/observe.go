package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"telemetry/receiver/topic"
)

// Observer looks at a cluster for tools. Unlike [Open] it makes and refuses
// nothing: what is missing or wrong is what it is asked for. It is not safe for
// concurrent use.
type Observer struct {
	c      *Cluster
	groups []Group
}

// Group is a consumer group that reads telemetry.batches.
type Group struct {
	Output string // "default", or the output's name
	Name   string
}

// DefaultOutput names the output that is always there.
const DefaultOutput = "default"

// Observe connects to the brokers of cfg, of which there must be some: an embedded
// cluster is observed under the address that its process listens on.
func Observe(ctx context.Context, cfg Config) (*Observer, error) {
	if len(cfg.Brokers) == 0 {
		return nil, errors.New("kafka: no broker to ask")
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	c := &Cluster{cfg: cfg, names: topic.NewNames(cfg.Prefix)}
	c.catalogues = newCatalogues(c)
	o := &Observer{c: c, groups: []Group{{DefaultOutput, cfg.Group}}}
	for i := range cfg.Outputs {
		o.groups = append(o.groups, Group{cfg.Outputs[i].Name, cfg.Outputs[i].Group})
	}
	if err := c.dial(ctx); err != nil {
		return nil, errors.Join(err, o.Close())
	}
	return o, nil
}

// Close ends the connections.
func (o *Observer) Close() error {
	o.c.release()
	return nil
}

// Names returns the default output's topics.
func (o *Observer) Names() topic.Names { return o.c.names }

// Catalogues returns the topic of catalogues.
func (o *Observer) Catalogues() *Catalogues { return o.c.catalogues }

// TopicReport is one topic of the configuration, as it is and as it should be.
type TopicReport struct {
	Topic       string `json:"topic"`
	Output      string `json:"output"` // whose it is
	Exists      bool   `json:"exists"`
	Partitions  int    `json:"partitions"`
	Replication int    `json:"replication"` // of the partition that has fewest
	MinISR      string `json:"min_isr"`
	Cleanup     string `json:"cleanup"`
	RetentionMS string `json:"retention_ms"` // "-1": for ever
	Timestamp   string `json:"timestamp_type"`
	Records     int64  `json:"records"`       // offsets between start and end: markers and compacted ones count
	Bytes       int64  `json:"bytes"`         // of the leaders' logs; -1: the brokers do not say
	NewestMS    int64  `json:"newest_ms"`     // largest timestamp, ms since 1970; 0: no record
	Leaderless  int    `json:"leaderless"`    // partitions that nobody can use now
	UnderISR    int    `json:"under_in_sync"` // partitions with replicas that are behind
	// Faults are what the receiver refuses to start with, Notes what merely differs
	// from what it would have made.
	Faults []string `json:"faults"`
	Notes  []string `json:"notes"`
}

// missing is the fault of a topic that is not there.
const missing = "does not exist, or this user may not see it (Describe): the receiver makes it when it starts, if it may (Create on the cluster)"

// Topics reports every topic of the configuration, in its order.
func (o *Observer) Topics(ctx context.Context) (out []TopicReport, err error) {
	c := o.c
	c.watch.begin()
	defer func() { c.watch.end(err) }()
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	all, err := c.adm.ListTopics(ctx)
	if err != nil {
		return nil, fmt.Errorf("kafka: list topics: %w", withRemedy(err))
	}
	c.partitions = c.wantPartitions(all)
	specs := c.specs()
	var there []string
	for _, s := range specs {
		if d, ok := all[s.Name]; ok && d.Err == nil {
			there = append(there, s.Name)
		}
	}
	var m measures
	if len(there) > 0 {
		if m, err = o.measure(ctx, there); err != nil {
			return nil, err
		}
	}
	own := len(c.names.Specs(c.partitions))
	out = make([]TopicReport, 0, len(specs))
	for i, s := range specs {
		r := TopicReport{Topic: s.Name, Output: DefaultOutput, Faults: []string{}, Notes: []string{}}
		if i >= own {
			r.Output = o.outputOf(s.Name)
		}
		d, ok := all[s.Name]
		switch {
		case !ok || errors.Is(d.Err, kerr.UnknownTopicOrPartition):
			r.Faults = append(r.Faults, missing)
		case d.Err != nil:
			r.Faults = append(r.Faults, withRemedy(d.Err).Error())
		default:
			o.fill(&r, s, d, &m)
		}
		out = append(out, r)
	}
	return out, nil
}

func (o *Observer) outputOf(name string) string {
	for i := range o.c.cfg.Outputs {
		t := &o.c.cfg.Outputs[i]
		if name == t.Names.State || slices.Contains(t.Names.Outputs(), name) {
			return t.Name
		}
	}
	return DefaultOutput
}

// measures are what brokers say of some topics.
type measures struct {
	configs            kadm.ResourceConfigs
	starts, ends, news kadm.ListedOffsets
	dirs               kadm.DescribedAllLogDirs // nil: not told
}

func (o *Observer) measure(ctx context.Context, names []string) (m measures, err error) {
	adm := o.c.adm
	if m.configs, err = adm.DescribeTopicConfigs(ctx, names...); err != nil {
		return m, fmt.Errorf("kafka: describe topics: %w", withRemedy(err))
	}
	if m.starts, err = adm.ListStartOffsets(ctx, names...); err == nil {
		m.ends, err = adm.ListEndOffsets(ctx, names...)
	}
	if err != nil {
		return m, fmt.Errorf("kafka: list offsets: %w", withRemedy(err))
	}
	// Old brokers know no largest timestamp, and sizes need a right on the cluster:
	// both are left out then.
	if news, err := adm.ListMaxTimestampOffsets(ctx, names...); err == nil {
		m.news = news
	}
	if dirs, err := adm.DescribeAllLogDirs(ctx, nil); err == nil {
		m.dirs = dirs
	}
	return m, nil
}

func (o *Observer) fill(r *TopicReport, s topic.Spec, d kadm.TopicDetail, m *measures) {
	r.Exists, r.Partitions, r.Bytes = true, len(d.Partitions), -1
	leaders := map[int32]int32{}
	for _, p := range d.Partitions {
		if n := len(p.Replicas); r.Replication == 0 || n < r.Replication {
			r.Replication = n
		}
		leaders[p.Partition] = p.Leader
		if p.Leader < 0 {
			r.Leaderless++
		}
		if len(p.ISR) < len(p.Replicas) {
			r.UnderISR++
		}
		start, _ := m.starts.Lookup(s.Name, p.Partition)
		if end, ok := m.ends.Lookup(s.Name, p.Partition); ok && end.Err == nil && start.Err == nil {
			r.Records += end.Offset - start.Offset
		}
		if n, ok := m.news.Lookup(s.Name, p.Partition); ok && n.Err == nil && n.Offset >= 0 {
			r.NewestMS = max(r.NewestMS, n.Timestamp)
		}
	}
	m.dirs.Each(func(dir kadm.DescribedLogDir) {
		for part, p := range dir.Topics[s.Name] {
			if leaders[part] == dir.Broker {
				r.Bytes = max(r.Bytes, 0) + p.Size
			}
		}
	})
	rc, err := m.configs.On(s.Name, nil)
	if err == nil {
		err = rc.Err
	}
	if errors.Is(err, kerr.UnknownTopicOrPartition) { // gone since it was listed
		r.Exists, r.Faults = false, append(r.Faults, missing)
		return
	}
	if err != nil {
		r.Faults = append(r.Faults, fmt.Sprintf("its settings cannot be read: %v", withRemedy(err)))
		return
	}
	have := map[string]string{}
	for _, kv := range rc.Configs {
		have[kv.Key] = kv.MaybeValue()
	}
	r.MinISR, r.Cleanup, r.RetentionMS, r.Timestamp = have[topic.ConfigMinISR], have[topic.ConfigCleanup], have[topic.ConfigRetention], have[topic.ConfigTimestamp]
	o.compare(r, s, d, have)
}

// compare adds what differs from what is wanted.
func (o *Observer) compare(r *TopicReport, s topic.Spec, d kadm.TopicDetail, have map[string]string) {
	for _, err := range o.c.checkTopic(s, d, have) {
		r.Faults = append(r.Faults, strings.TrimPrefix(err.Error(), fmt.Sprintf("%v %s: ", ErrTopic, s.Name)))
	}
	if r.Leaderless > 0 {
		r.Faults = append(r.Faults, fmt.Sprintf("%d of %d partitions have no leader: are brokers down?", r.Leaderless, r.Partitions))
	}
	if r.UnderISR > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("%d of %d partitions have replicas that are behind or down", r.UnderISR, r.Partitions))
	}
	if len(r.Faults) == 0 && s.Partitions > 0 && r.Partitions != int(s.Partitions) {
		r.Notes = append(r.Notes, fmt.Sprintf("has %d partitions, would be made with %d", r.Partitions, s.Partitions))
	}
	for _, key := range []string{topic.ConfigCleanup, topic.ConfigTimestamp, topic.ConfigRetention} {
		if slices.Contains(s.Fixed, key) || sameSetting(s.Config[key], have[key]) || key == topic.ConfigRetention && s.Config[key] == "-1" {
			continue // faults already, or as it should be; compaction heeds no retention
		}
		r.Notes = append(r.Notes, fmt.Sprintf("has %s=%s, would be made with %s", key, have[key], s.Config[key]))
	}
}

// Has reports whether a topic belongs to the configuration.
func (o *Observer) Has(name string) bool {
	return slices.ContainsFunc(o.c.specs(), func(s topic.Spec) bool { return s.Name == name })
}
