package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"telemetry/receiver/kafka/kafkatest"
	"telemetry/receiver/sequence"
	"telemetry/receiver/topic"
)

// modelsOutput is an output called models.
func modelsOutput(rows string) topic.Output {
	return topic.NewOutput("", "telemetry-sequence", "models", rows)
}

func openWithOutputs(t *testing.T, dir string, outs ...topic.Output) (*Cluster, error) {
	t.Helper()
	c, err := Open(t.Context(), Config{Embedded: Embedded{Dir: dir, SyncWrites: true}, Partitions: 2, Outputs: outs, Log: quietLog()})
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

func TestOutputTopicsAreMade(t *testing.T) {
	o := modelsOutput("")
	o.Rows, o.Retention = 5, 3*time.Hour
	c, err := openWithOutputs(t, t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	names := append(o.Names.Outputs(), o.Names.State)
	details, err := c.adm.ListTopics(t.Context(), names...)
	if err != nil {
		t.Fatal(err)
	}
	configs, err := c.adm.DescribeTopicConfigs(t.Context(), names...)
	if err != nil {
		t.Fatal(err)
	}
	setting := func(name, key string) string {
		rc, err := configs.On(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, kv := range rc.Configs {
			if kv.Key == key {
				return kv.MaybeValue()
			}
		}
		return ""
	}
	for name, want := range map[string]struct {
		partitions      int
		cleanup, retain string
	}{
		"telemetry.models":                {5, "delete", "10800000"},
		"telemetry.models.late":           {2, "delete", "10800000"},
		"telemetry.models.events":         {2, "delete", "2592000000"},
		"telemetry.models.gaps":           {2, "compact,delete", "2592000000"},
		"telemetry.models.dlq":            {2, "delete", "2592000000"},
		"telemetry.sequence.models.state": {2, "compact", "-1"},
	} {
		d := details[name]
		if len(d.Partitions) != want.partitions || setting(name, topic.ConfigCleanup) != want.cleanup || setting(name, topic.ConfigRetention) != want.retain {
			t.Errorf("%s has %d partitions, cleanup %s, retention %s; want %+v", name, len(d.Partitions),
				setting(name, topic.ConfigCleanup), setting(name, topic.ConfigRetention), want)
		}
	}
	if len(names) != 6 {
		t.Errorf("topics %v", names)
	}
}

func TestOutputsMayNotShareATopic(t *testing.T) {
	cases := map[string][]topic.Output{
		"of the default output": {topic.NewOutput("", "g", "live", "")},
		"of the batches":        {topic.NewOutput("", "g", "a", "telemetry.batches")},
		"of another":            {topic.NewOutput("", "g", "a", "x"), topic.NewOutput("", "g", "b", "x.late")},
		"two outputs":           {topic.NewOutput("", "g", "a", "x"), topic.NewOutput("", "g", "a", "y")},
	}
	for want, outs := range cases {
		if _, err := openWithOutputs(t, t.TempDir(), outs...); err == nil || !strings.Contains(err.Error(), want[strings.LastIndex(want, " ")+1:]) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// A compacted topic would keep one row of each key. That is the trouble of the output
// alone; the others begin, and so does it when the topic is as it should be.
func TestUnsuitableOutputTopicIsRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		output, topic string
		parts         int32
		config, want  string
	}{
		"a configured output's rows are compacted": {"models", "models", 1, "compact", "cleanup.policy=compact, needed is delete"},
		"the default output's time map is deleted": {"", topic.NewNames("").Timemap, 1, "delete", "cleanup.policy=delete, needed is compact"},
		"a state of another count":                 {"", topic.NewNames("").State, 3, "compact", "must be equal"},
	} {
		t.Run(name, func(t *testing.T) {
			fake, err := kfake.NewCluster(kfake.NumBrokers(1))
			if err != nil {
				t.Fatal(err)
			}
			defer fake.Close()
			cl, err := kgo.NewClient(kgo.SeedBrokers(fake.ListenAddrs()...))
			if err != nil {
				t.Fatal(err)
			}
			defer cl.Close()
			adm := kadm.NewClient(cl)
			if _, err := adm.CreateTopic(t.Context(), tc.parts, 1, map[string]*string{topic.ConfigCleanup: &tc.config}, tc.topic); err != nil {
				t.Fatal(err)
			}
			c, err := Open(t.Context(), Config{
				Brokers: fake.ListenAddrs(), Partitions: 2, AllowWeak: true, Log: quietLog(),
				Outputs: []topic.Output{modelsOutput("models"), topic.NewOutput("", "telemetry-sequence", "other", "")},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			for _, output := range []string{"", "models", "other"} {
				err := c.CheckOutput(t.Context(), output)
				if output != tc.output {
					if err != nil {
						t.Errorf("output %q: %v", output, err)
					}
					continue
				}
				if !errors.Is(err, ErrTopic) || !NeedsPerson(err) || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("the output itself: %v, want %s", err, tc.want)
				}
			}
			if _, err := adm.DeleteTopic(t.Context(), tc.topic); err != nil {
				t.Fatal(err)
			}
			if err := c.CheckOutput(t.Context(), tc.output); err != nil {
				t.Errorf("with the topic deleted: %v", err)
			}
		})
	}
}

// TestAnOutputsMissingRightsAreItsOwn: what the user may not do to the topics of one
// output is told by that output alone, with the topic and the right.
func TestAnOutputsMissingRightsAreItsOwn(t *testing.T) {
	denied := kerr.TopicAuthorizationFailed.Code
	about := func(name string) bool { return strings.HasPrefix(name, "telemetry.models") }
	for name, tc := range map[string]struct {
		key   kmsg.Key
		reply func(r kmsg.Request) kmsg.Response // nil: not about the output
	}{
		"describe settings": {kmsg.DescribeConfigs, func(r kmsg.Request) kmsg.Response {
			resp, hit := r.ResponseKind().(*kmsg.DescribeConfigsResponse), false
			for _, rr := range r.(*kmsg.DescribeConfigsRequest).Resources {
				a := kmsg.NewDescribeConfigsResponseResource()
				a.ResourceName, a.ResourceType, a.ErrorCode = rr.ResourceName, rr.ResourceType, denied
				resp.Resources = append(resp.Resources, a)
				hit = hit || about(rr.ResourceName)
			}
			if !hit {
				return nil
			}
			return resp
		}},
		"create": {kmsg.CreateTopics, func(r kmsg.Request) kmsg.Response {
			resp, hit := r.ResponseKind().(*kmsg.CreateTopicsResponse), false
			for _, rt := range r.(*kmsg.CreateTopicsRequest).Topics {
				a := kmsg.NewCreateTopicsResponseTopic()
				a.Topic, a.ErrorCode = rt.Topic, denied
				resp.Topics = append(resp.Topics, a)
				hit = hit || about(rt.Topic)
			}
			if !hit {
				return nil
			}
			return resp
		}},
	} {
		t.Run(name, func(t *testing.T) {
			fake, err := kfake.NewCluster(kfake.NumBrokers(1))
			if err != nil {
				t.Fatal(err)
			}
			defer fake.Close()
			denial := kafkatest.Refuse(fake, tc.key, tc.reply)
			denial.Next(kafkatest.Always)
			c, err := Open(t.Context(), Config{
				Brokers: fake.ListenAddrs(), Partitions: 2, AllowWeak: true, Log: quietLog(),
				Outputs: []topic.Output{modelsOutput(""), topic.NewOutput("", "telemetry-sequence", "other", "")},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			for _, output := range []string{"", "other"} {
				if err := c.CheckOutput(t.Context(), output); err != nil {
					t.Errorf("output %q: %v", output, err)
				}
			}
			err = c.CheckOutput(t.Context(), "models")
			if !NeedsPerson(err) || !strings.Contains(err.Error(), "telemetry.models") || !strings.Contains(err.Error(), "the user needs") {
				t.Errorf("the output itself: %v", err)
			}
			denial.Next(0)
			if err := c.CheckOutput(t.Context(), "models"); err != nil {
				t.Errorf("with the right given: %v", err)
			}
		})
	}
}

// outputCommit writes one row of an output, as its sequencer does.
func outputCommit(t *testing.T, c *Cluster, name string, seq uint64) {
	t.Helper()
	b, err := c.OutputBackend(name)
	if err != nil {
		t.Fatal(err)
	}
	part := topic.Partition([]byte("car-1"), 2)
	take(t, b, part, func(ctx context.Context, s sequence.Session) error {
		if _, err := s.Load(ctx); err != nil {
			return err
		}
		return s.Commit(ctx, []topic.Record{sampleRecord(b.c, seq, "1/1")}, []topic.Record{stateRecord(b.c, part, 1)}, 1)
	})
}

func TestRenamedOutputIsRefused(t *testing.T) {
	dir := t.TempDir()
	c, err := openWithOutputs(t, dir, modelsOutput("rows"))
	if err != nil {
		t.Fatal(err)
	}
	produce(t, c, batchRecord(c, "car-1", 1))
	outputCommit(t, c, "models", 1)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c, err = openWithOutputs(t, dir, topic.NewOutput("", "telemetry-sequence", "others", "rows"), modelsOutput("rows2"))
	if err != nil {
		t.Fatalf("with one output under another name: %v", err)
	}
	if err := c.CheckOutput(t.Context(), "others"); !errors.Is(err, ErrTopic) || !strings.Contains(err.Error(), "was the output renamed") {
		t.Errorf("under another name: %v", err)
	}
	if err := c.CheckOutput(t.Context(), "models"); err != nil {
		t.Errorf("beside it: %v", err)
	}
	if err := c.CheckOutput(t.Context(), "third"); err == nil || errors.Is(err, ErrTopic) {
		t.Errorf("one that is not configured: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if c, err = openWithOutputs(t, dir, modelsOutput("rows2")); err != nil {
		t.Fatalf("with another topic: %v", err)
	}
	outputCommit(t, c, "models", 2)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if c, err = openWithOutputs(t, dir, modelsOutput("rows")); err != nil {
		t.Fatalf("as it was: %v", err)
	}
	if err := c.CheckOutput(t.Context(), "models"); err != nil {
		t.Errorf("as it was: %v", err)
	}
}

// TestOneOutputsTroubleIsItsOwn: a right that is missing on one output's topics, or a
// partition of theirs without a leader, keeps neither the cluster nor another
// output from being used.
func TestOneOutputsTroubleIsItsOwn(t *testing.T) {
	bad := modelsOutput("")
	for name, tc := range map[string]struct {
		topic     string
		partition int32
		err       *kerr.Error
	}{
		"no right to read rows":          {bad.Names.Samples, 0, kerr.TopicAuthorizationFailed},
		"no leader of rows":              {bad.Names.Samples, 0, kerr.LeaderNotAvailable},
		"no leader of one more of rows":  {bad.Names.Samples, 1, kerr.LeaderNotAvailable},
		"no leader of the state":         {bad.Names.State, 0, kerr.LeaderNotAvailable},
		"no right to describe the state": {bad.Names.State, 1, kerr.TopicAuthorizationFailed},
	} {
		t.Run(name, func(t *testing.T) {
			fake, err := kfake.NewCluster(kfake.NumBrokers(1))
			if err != nil {
				t.Fatal(err)
			}
			defer fake.Close()
			refuseOffsets(fake, tc.topic, tc.partition, tc.err)
			c, err := Open(t.Context(), Config{
				Brokers: fake.ListenAddrs(), Partitions: 2, AllowWeak: true, Log: quietLog(),
				Outputs: []topic.Output{bad, topic.NewOutput("", "telemetry-sequence", "other", "")},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			if err := c.CheckOutput(t.Context(), "other"); err != nil {
				t.Errorf("the other output: %v", err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			err = c.CheckOutput(ctx, "models")
			if err == nil || errors.Is(err, ErrTopic) || !strings.Contains(err.Error(), tc.topic) {
				t.Errorf("the output itself: %v", err)
			}
		})
	}
}

// refuseOffsets has a broker refuse to tell where a partition ends.
func refuseOffsets(fake *kfake.Cluster, name string, part int32, why *kerr.Error) {
	fake.ControlKey(int16(kmsg.ListOffsets), func(r kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		req := r.(*kmsg.ListOffsetsRequest)
		if len(req.Topics) != 1 || req.Topics[0].Topic != name || req.Topics[0].Partitions[0].Partition != part {
			return nil, nil, false
		}
		rp := kmsg.NewListOffsetsResponseTopicPartition()
		rp.Partition, rp.ErrorCode = part, why.Code
		rt := kmsg.NewListOffsetsResponseTopic()
		rt.Topic, rt.Partitions = name, []kmsg.ListOffsetsResponseTopicPartition{rp}
		resp := r.ResponseKind().(*kmsg.ListOffsetsResponse)
		resp.Topics = append(resp.Topics, rt)
		return resp, nil, true
	})
}

// Two outputs and the default one each have state, offset and intent of their own.
func TestOutputsAreSeparate(t *testing.T) {
	c, err := openWithOutputs(t, t.TempDir(), modelsOutput("models"), topic.NewOutput("", "telemetry-sequence", "other", ""))
	if err != nil {
		t.Fatal(err)
	}
	part := topic.Partition([]byte("car-1"), 2)
	for seq := range uint64(3) {
		produce(t, c, batchRecord(c, "car-1", seq+1))
	}
	b, err := c.OutputBackend("models")
	if err != nil {
		t.Fatal(err)
	}
	cutOff(t, b, part, 2)
	other, err := c.OutputBackend("other")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[*Backend]int64{c.Backend(): 0, other: 0, b: 2} {
		take(t, name, part, func(ctx context.Context, s sequence.Session) error {
			l, err := s.Load(ctx)
			if err == nil && (l.Offset != want || len(l.State) != int(want)/2 || len(l.Written) != int(want)/2) {
				err = fmt.Errorf("offset %d, %d state records, %d written; want offset %d", l.Offset, len(l.State), len(l.Written), want)
			}
			return err
		})
	}
	if got := readAll(t, c, "models"); len(got) != 2 {
		t.Errorf("%d rows", len(got))
	}
	if _, err := c.OutputBackend("third"); err == nil {
		t.Error("an output that is not configured has a backend")
	}
}

func TestDeletedOutputTopicIsMadeAnew(t *testing.T) {
	c, err := openWithOutputs(t, t.TempDir(), modelsOutput(""))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(c.outputs(), "telemetry.models.late") {
		t.Fatalf("outputs %v", c.outputs())
	}
	if _, err := c.adm.DeleteTopic(t.Context(), "telemetry.models.late"); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); ; { // brokers learn of it a little later
		if err := c.remakeTopics(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, err := c.EndOffsets(t.Context(), "telemetry.models.late")
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("never made anew: %v", err)
		}
	}
}
