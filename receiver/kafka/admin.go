package kafka

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"telemetry/receiver/topic"
)

// ErrTopic marks a topic that is not as the receiver's promises need it.
var ErrTopic = errors.New("kafka: unsuitable topic")

// Bounds of the time that a client may give a record. Brokers since 4.0 refuse
// what is more than an hour ahead unless told otherwise.
const (
	configBefore = "message.timestamp.before.max.ms"
	configAfter  = "message.timestamp.after.max.ms"
)

// configUnclean names the setting that lets a replica lead that lacks
// acknowledged records.
const configUnclean = "unclean.leader.election.enable"

// weakRemedy says what helps against weak replication.
const weakRemedy = "so acknowledged records can be lost: use replication 3 with " + topic.ConfigMinISR +
	"=2, or allow weak replication in the configuration"

// stateConfig keeps the state topic small on disk, beyond what its Spec says: a
// new owner reads all of its partition, and only closed segments are compacted.
// Kafka's defaults would let a partition grow to a gigabyte or a week of commits.
var stateConfig = map[string]string{
	"segment.bytes":             strconv.Itoa(16 << 20),
	"segment.ms":                strconv.FormatInt(time.Hour.Milliseconds(), 10),
	"min.cleanable.dirty.ratio": "0.2",
}

// ensureTopics creates the topics that do not exist and checks those that nobody can
// do without. What is wrong with the topics of an output is that output's trouble
// alone, see [Cluster.CheckOutput].
func (c *Cluster) ensureTopics(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	brokers, err := c.adm.ListBrokers(ctx)
	if err != nil {
		return fmt.Errorf("kafka: list brokers: %w", err)
	}
	have, err := c.adm.ListTopics(ctx)
	if err != nil {
		return fmt.Errorf("kafka: list topics: %w", err)
	}
	c.partitions = c.wantPartitions(have)
	var made, common []topic.Spec
	for _, spec := range c.specs() {
		shared := c.isCommon(spec.Name)
		if shared {
			common = append(common, spec)
		}
		if d, ok := have[spec.Name]; ok && d.Err == nil {
			continue
		}
		err := c.create(ctx, spec, len(brokers))
		switch {
		case err != nil && shared:
			return err
		case err != nil:
			c.cfg.Log.Warn("topic of an output not made, the output will try again", "topic", spec.Name, "error", withRemedy(err))
		default:
			made = append(made, spec)
		}
	}
	if err := c.awaitTopics(ctx, made); err != nil {
		return err
	}
	return c.awaitCheck(ctx, common)
}

// isCommon reports whether a topic belongs to no output.
func (c *Cluster) isCommon(name string) bool {
	return name == c.names.Batches || name == c.names.Catalogues
}

// awaitTopics waits until topics that were just made are known: brokers learn of them
// a little later than the one that made them.
func (c *Cluster) awaitTopics(ctx context.Context, specs []topic.Spec) error {
	if len(specs) == 0 {
		return nil
	}
	var pause backoff
	for {
		have, err := c.adm.ListTopics(ctx, specNames(specs)...)
		if err != nil {
			return fmt.Errorf("kafka: list topics: %w", err)
		}
		missing := slices.IndexFunc(specs, func(s topic.Spec) bool { return errors.Is(have[s.Name].Err, kerr.UnknownTopicOrPartition) })
		if missing < 0 {
			return nil
		}
		if pause.wait(ctx) != nil {
			return fmt.Errorf("kafka: topic %s was made: %w", specs[missing].Name, have[specs[missing].Name].Err)
		}
	}
}

// awaitCheck checks topics, some of which brokers may not know yet.
func (c *Cluster) awaitCheck(ctx context.Context, specs []topic.Spec) error {
	var pause backoff
	for {
		err := c.checkTopics(ctx, specs)
		if err == nil || !errors.Is(err, kerr.UnknownTopicOrPartition) || pause.wait(ctx) != nil {
			return err
		}
	}
}

func specNames(specs []topic.Spec) []string {
	list := make([]string, len(specs))
	for i, s := range specs {
		list[i] = s.Name
	}
	return list
}

// wantPartitions returns what is configured, or what exists.
func (c *Cluster) wantPartitions(have kadm.TopicDetails) int32 {
	if c.cfg.Partitions > 0 {
		return c.cfg.Partitions
	}
	if d, ok := have[c.names.Batches]; ok && d.Err == nil && len(d.Partitions) > 0 {
		return int32(len(d.Partitions))
	}
	return topic.DefaultPartitions
}

func (c *Cluster) create(ctx context.Context, spec topic.Spec, brokers int) error {
	replication := c.cfg.Replication
	if replication == 0 {
		replication = int16(min(3, brokers))
	}
	if c.server == nil && replication < 2 && !c.cfg.AllowWeak {
		return fmt.Errorf("%w %s: it would be created with %d replica (of %d brokers), %s", ErrTopic, spec.Name, replication, brokers, weakRemedy)
	}
	configs := map[string]*string{}
	set := func(k, v string) { configs[k] = &v }
	for k, v := range spec.Config {
		set(k, v)
	}
	if c.server == nil {
		set(topic.ConfigMinISR, strconv.Itoa(min(2, int(replication))))
		set(configUnclean, "false")
		if spec.Config[topic.ConfigTimestamp] == "CreateTime" {
			// A car's clock must never make a record unwritable.
			far := strconv.FormatInt(math.MaxInt64, 10)
			set(configBefore, far)
			set(configAfter, far)
		}
		if slices.Contains(c.states(), spec.Name) {
			for k, v := range stateConfig {
				set(k, v)
			}
		}
	}
	_, err := c.adm.CreateTopic(ctx, spec.Partitions, replication, configs, spec.Name)
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("kafka: create topic %s with %d partitions and replication %d (may the receiver create topics?): %w",
			spec.Name, spec.Partitions, replication, err)
	}
	return nil
}

// checkTopics refuses topics that would break a promise, with all faults. Each is
// asked for alone: one that the user may not describe spoils the answer of its request.
func (c *Cluster) checkTopics(ctx context.Context, specs []topic.Spec) error {
	details, err := c.adm.ListTopics(ctx, specNames(specs)...)
	if err != nil {
		return fmt.Errorf("kafka: list topics: %w", withRemedy(err))
	}
	var errs []error
	for _, s := range specs {
		configs, err := c.adm.DescribeTopicConfigs(ctx, s.Name)
		var rc kadm.ResourceConfig
		if err == nil {
			rc, err = configs.On(s.Name, nil)
		}
		if err == nil {
			err = rc.Err
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("kafka: describe topic %s: %w", s.Name, withRemedy(err)))
			continue
		}
		have := map[string]string{}
		for _, kv := range rc.Configs {
			have[kv.Key] = kv.MaybeValue()
		}
		errs = append(errs, c.checkTopic(s, details[s.Name], have)...)
	}
	return errors.Join(errs...)
}

func (c *Cluster) checkTopic(s topic.Spec, d kadm.TopicDetail, have map[string]string) (errs []error) {
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w %s: %s", ErrTopic, s.Name, fmt.Sprintf(format, args...)))
	}
	if d.Err != nil {
		return []error{fmt.Errorf("kafka: topic %s: %w", s.Name, withRemedy(d.Err))}
	}
	n := int32(len(d.Partitions))
	switch {
	case s.Name == c.names.Batches && n != s.Partitions:
		bad("has %d partitions, configured are %d: cars are bound to their partition, so the count must not change; configure %d", n, s.Partitions, n)
	case slices.Contains(c.states(), s.Name) && n != s.Partitions:
		bad("has %d partitions, %s has %d: they must be equal; make both as they were, or drain and delete %s", n, c.names.Batches, s.Partitions, s.Name)
	}
	for _, key := range s.Fixed {
		want, got := s.Config[key], have[key]
		if !sameSetting(want, got) {
			bad("has %s=%s, needed is %s: %s", key, got, want, alter(s.Name, key, want))
		}
	}
	if n, err := strconv.Atoi(have[topic.ConfigMaxBytes]); err == nil && n < topic.MaxRecordBytes {
		bad("has %s=%d, needed are at least %d: %s", topic.ConfigMaxBytes, n, topic.MaxRecordBytes,
			alter(s.Name, topic.ConfigMaxBytes, strconv.Itoa(topic.MaxRecordBytes)))
	}
	if c.server == nil && !c.cfg.AllowWeak {
		if fault := weak(d, have); fault != "" {
			bad("%s, %s", fault, weakRemedy)
		}
	}
	return errs
}

// alter returns the command that sets a topic's configuration.
func alter(name, key, value string) string {
	if strings.Contains(value, ",") {
		value = "[" + value + "]" // the tool's way to write a list
	}
	return fmt.Sprintf("kafka-configs.sh --alter --entity-type topics --entity-name %s --add-config %s=%s", name, key, value)
}

// sameSetting compares two lists of words without regard to their order.
func sameSetting(a, b string) bool {
	split := func(s string) []string {
		words := strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
		slices.Sort(words)
		return words
	}
	return slices.Equal(split(a), split(b))
}

// weak says how a topic could lose acknowledged records, or "".
func weak(d kadm.TopicDetail, have map[string]string) string {
	for _, p := range d.Partitions {
		if len(p.Replicas) < 2 {
			return fmt.Sprintf("partition %d has %d replica", p.Partition, len(p.Replicas))
		}
	}
	if n, err := strconv.Atoi(have[topic.ConfigMinISR]); err == nil && n < 2 {
		return fmt.Sprintf("%s is %d", topic.ConfigMinISR, n)
	}
	if have[configUnclean] == "true" {
		return configUnclean + " is true"
	}
	return ""
}
