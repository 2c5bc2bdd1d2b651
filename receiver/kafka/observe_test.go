package kafka

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"telemetry/receiver/topic"
)

// observed returns an observer of a fake cluster whose topics the receiver has made.
func observed(t *testing.T, more func(*Config)) (*Observer, *Cluster) {
	t.Helper()
	fake, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	cfg := Config{
		Brokers: fake.ListenAddrs(), Partitions: 2, AllowWeak: true, Log: quietLog(),
		Outputs: []topic.Output{topic.NewOutput("", "telemetry-sequence", "models", "")},
	}
	c, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if more != nil {
		more(&cfg)
	}
	o, err := Observe(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.Close() })
	return o, c
}

func report(t *testing.T, o *Observer, name string) TopicReport {
	t.Helper()
	list, err := o.Topics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range list {
		if list[i].Topic == name {
			return list[i]
		}
	}
	t.Fatalf("no topic %s", name)
	return TopicReport{}
}

func TestObserverComparesTopics(t *testing.T) {
	o, c := observed(t, nil)
	list, err := o.Topics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	outputs := map[string]int{}
	for i := range list {
		outputs[list[i].Output]++
		if r := &list[i]; !r.Exists || len(r.Faults)+len(r.Notes) > 0 || r.Partitions == 0 || r.Replication != 1 {
			t.Errorf("made by the receiver itself: %+v", *r)
		}
	}
	if outputs[DefaultOutput] != 12 || outputs["models"] != 6 {
		t.Errorf("topics by output: %v", outputs)
	}
	set := func(name, key, value string) {
		t.Helper()
		rs, err := c.adm.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: key, Value: &value}}, name)
		if err == nil {
			_, err = rs.On(name, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	set("telemetry.batches", topic.ConfigTimestamp, "CreateTime")
	set("telemetry.samples", topic.ConfigRetention, "1000")
	if r := report(t, o, "telemetry.batches"); len(r.Faults) != 1 || !strings.HasPrefix(r.Faults[0], "has message.timestamp.type=CreateTime, needed is LogAppendTime: kafka-configs.sh") {
		t.Errorf("faults %q", r.Faults)
	}
	if r := report(t, o, "telemetry.samples"); len(r.Faults) != 0 || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "retention.ms=1000") {
		t.Errorf("faults %q, notes %q", r.Faults, r.Notes)
	}
	if _, err := c.adm.DeleteTopics(t.Context(), "telemetry.models.late"); err != nil {
		t.Fatal(err)
	}
	if r := report(t, o, "telemetry.models.late"); r.Exists || len(r.Faults) != 1 || r.Output != "models" {
		t.Errorf("a topic that is gone: %+v", r)
	}
}

func TestObserverNamesWeakTopics(t *testing.T) {
	o, _ := observed(t, func(c *Config) { c.AllowWeak = false })
	if r := report(t, o, "telemetry.batches"); !slices.ContainsFunc(r.Faults, func(s string) bool { return strings.Contains(s, "has 1 replica") }) {
		t.Errorf("faults %q", r.Faults)
	}
}

func TestObserverLag(t *testing.T) {
	o, c := observed(t, nil)
	produce(t, c, batchRecord(c, "car-1", 1), batchRecord(c, "car-1", 2), batchRecord(c, "car-1", 3))
	part := topic.Partition([]byte("car-1"), 2)
	member, err := c.newClient(kgo.ConsumerGroup("telemetry-sequence"), kgo.ConsumeTopics(c.names.Batches), kgo.DisableAutoCommit(), kgo.ClientID("owner"))
	if err != nil {
		t.Fatal(err)
	}
	defer member.Close()
	recs := member.PollFetches(t.Context()).Records()
	if len(recs) == 0 {
		t.Fatal("nothing fetched")
	}
	if err := member.CommitRecords(t.Context(), recs[0]); err != nil {
		t.Fatal(err)
	}
	list, err := o.Lag(t.Context())
	if err != nil || len(list) != 4 {
		t.Fatalf("%d reports: %v", len(list), err)
	}
	for _, l := range list {
		want := LagReport{Output: l.Output, Group: l.Group, Partition: l.Partition, Committed: -1, LagS: l.LagS}
		if l.Partition == part {
			want.End, want.Lag = 3, 3
		}
		if l.Output == DefaultOutput {
			want.Owner = l.Owner
			if !strings.HasPrefix(l.Owner, "owner") {
				t.Errorf("partition %d has owner %q", l.Partition, l.Owner)
			}
			if l.Partition == part {
				want.Committed, want.Lag = 1, 2
			}
		}
		if l != want || l.LagS < 0 {
			t.Errorf("got %+v, want %+v", l, want)
		}
	}
}

func TestScanSeesCommittedRecordsUnlessAsked(t *testing.T) {
	o, c := observed(t, nil)
	write := func(value string, end kgo.TransactionEndTry) {
		t.Helper()
		cl, err := c.newClient(kgo.TransactionalID("test-"+value), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: c.names.Samples, Value: []byte(value)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := cl.EndTransaction(t.Context(), end); err != nil {
			t.Fatal(err)
		}
	}
	write("good", kgo.TryCommit)
	write("aborted", kgo.TryAbort)
	for _, uncommitted := range []bool{false, true} {
		var got []string
		err := o.Scan(t.Context(), Scan{Topic: c.names.Samples, Partition: -1, Uncommitted: uncommitted}, func(r topic.Record) error {
			got = append(got, string(r.Value))
			return nil
		})
		want := []string{"good"}
		if uncommitted {
			want = []string{"good", "aborted"}
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("uncommitted %v: %q, %v", uncommitted, got, err)
		}
	}
}

func TestScanFollows(t *testing.T) {
	o, c := observed(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	produce(t, c, topic.Record{Topic: c.names.Events, Key: []byte("car"), Value: []byte("0"), Partition: -1})
	var got []string
	err := o.Scan(ctx, Scan{Topic: c.names.Events, Partition: -1, Follow: true}, func(r topic.Record) error {
		got = append(got, string(r.Value))
		if len(got) == 1 {
			produce(t, c, topic.Record{Topic: c.names.Events, Key: []byte("other"), Value: []byte("1"), Partition: -1})
			return nil
		}
		cancel()
		return nil
	})
	if err != nil || !slices.Equal(got, []string{"0", "1"}) {
		t.Errorf("%q, %v", got, err)
	}
	enough := errors.New("disk full")
	if err := o.Scan(t.Context(), Scan{Topic: c.names.Events, Partition: -1}, func(topic.Record) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("the function's error became %v", err)
	}
}

func TestObserverBrokers(t *testing.T) {
	o, _ := observed(t, nil)
	list, err := o.Brokers(t.Context())
	if err != nil || len(list) != 1 || len(list[0].Missing) > 0 || list[0].Version == "" {
		t.Errorf("%+v, %v", list, err)
	}
	if denied, err := o.Denied(t.Context()); err != nil || len(denied) > 0 {
		t.Errorf("denied %q, %v", denied, err)
	}
}

func TestObserverComparesClocks(t *testing.T) {
	c := openEmbedded(t, t.TempDir())
	o, err := Observe(t.Context(), Config{Brokers: c.Brokers(), AllowWeak: true, Log: quietLog()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	p, err := c.NewProducer()
	if err != nil {
		t.Fatal(err)
	}
	go func() { // ends with ctx
		defer close(done)
		for n := uint64(1); ctx.Err() == nil; n++ {
			written := make(chan struct{})
			p.Produce(batchRecord(c, "car-1", n), func(error) { close(written) })
			<-written
		}
	}()
	seen, err := o.Skews(ctx, time.Second)
	cancel()
	<-done
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err != nil || len(seen) != 1 {
		t.Fatalf("%v, %v", seen, err)
	}
	for _, s := range seen {
		if s.Seen == 0 || s.Behind < -time.Minute || s.Behind > time.Minute {
			t.Errorf("%+v", s)
		}
	}
}

func TestObserverNamesWhatIsDenied(t *testing.T) {
	allow := func(of kmsg.ACLResourceType, name string, op kmsg.ACLOperation) kfake.ACL {
		return kfake.ACL{Resource: of, Name: name, Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: op, Allow: true}
	}
	const topics, groups = kmsg.ACLResourceTypeTopic, kmsg.ACLResourceTypeGroup
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("PLAIN", "admin", "a"),
		kfake.User("PLAIN", "reader", "r",
			allow(topics, "telemetry.batches", kmsg.ACLOperationRead), allow(topics, "telemetry.batches", kmsg.ACLOperationDescribe),
			allow(topics, "telemetry.batches", kmsg.ACLOperationDescribeConfigs), allow(topics, "telemetry.samples", kmsg.ACLOperationAll),
			allow(groups, "telemetry-sequence", kmsg.ACLOperationDescribe)),
		kfake.BrokerConfigs(map[string]string{"transaction.max.timeout.ms": "1000"}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	cfg := Config{Brokers: fake.ListenAddrs(), AllowWeak: true, Log: quietLog(), SASL: SASL{Mechanism: "PLAIN", User: "admin", Password: "a"}}
	c, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	admin, err := Observe(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Close() })
	var at kadm.Offsets
	at.AddOffset("telemetry.batches", 0, 0, -1)
	if err := admin.c.adm.CommitAllOffsets(t.Context(), "telemetry-sequence", at); err != nil { // a group that is not there tells nothing
		t.Fatal(err)
	}
	if denied, err := admin.Denied(t.Context()); err != nil || len(denied) > 0 {
		t.Errorf("the administrator is denied %q, %v", denied, err)
	}
	if list, err := admin.Brokers(t.Context()); err != nil || len(list) != 1 || list[0].MaxTransaction != time.Second {
		t.Errorf("brokers %+v, %v", list, err)
	}
	cfg.SASL = SASL{Mechanism: "PLAIN", User: "reader", Password: "r"}
	o, err := Observe(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.Close() })
	denied, err := o.Denied(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(denied, "\n")
	for _, want := range []string{"WRITE on topic telemetry.batches", "READ on group telemetry-sequence", "DESCRIBE on topic telemetry.events"} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in\n%s", want, all)
		}
	}
	for _, never := range []string{"telemetry.samples", "READ on topic telemetry.batches"} {
		if strings.Contains(all, never) {
			t.Errorf("%q in\n%s", never, all)
		}
	}
}
