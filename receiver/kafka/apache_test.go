//go:build foreign

package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"telemetry/receiver/sequence"
	"telemetry/receiver/topic"
)

// apacheBrokers returns the brokers of a real Apache Kafka, which the script starts.
func apacheBrokers(t *testing.T) []string {
	t.Helper()
	list := os.Getenv("TELEMETRY_KAFKA")
	if list == "" {
		t.Fatal("needs a real Apache Kafka: TELEMETRY_KAFKA=host:port (see scripts/kafka-test.sh)")
	}
	return strings.Split(list, ",")
}

// openApache opens the real cluster under a prefix of the test's own.
func openApache(t *testing.T, more func(*Config)) *Cluster {
	t.Helper()
	apacheBrokers(t)
	return openCluster(t, more)
}

// again opens a cluster once more, as another process would.
func again(t *testing.T, c *Cluster, log *slog.Logger) *Cluster {
	t.Helper()
	cfg := c.cfg
	if log != nil {
		cfg.Log = log
	}
	other, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Close() })
	return other
}

// broker is the real broker's process, which scripts/kafka.sh has started.
type broker struct{ dir, port string }

func apacheProcess(t *testing.T) broker {
	t.Helper()
	addr := apacheBrokers(t)[0]
	dir := os.Getenv("TELEMETRY_KAFKA_DIR")
	if dir == "" {
		t.Skip("needs the directory that scripts/kafka.sh has started the broker in: TELEMETRY_KAFKA_DIR")
	}
	_, port, _ := strings.Cut(addr, ":")
	return broker{dir, port}
}

func (b broker) script(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join("..", "..", "scripts", "kafka.sh"), args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("kafka.sh %v: %v\n%s", args, err, out)
	}
}

func (b broker) stop(t *testing.T)  { b.script(t, "stop", b.dir) }
func (b broker) start(t *testing.T) { b.script(t, "start", b.dir, b.port) }

func (b broker) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(b.dir, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, s); err != nil {
		t.Fatal(err)
	}
}

// wait lets real time pass: an outage has a length.
func wait(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}

func TestApacheCreatesTopicsAsNeeded(t *testing.T) {
	c := openApache(t, func(cfg *Config) { cfg.Partitions = 3 })
	cases := map[string]struct {
		name   string
		parts  int
		config map[string]string
	}{
		"batches":    {c.names.Batches, 3, map[string]string{"message.timestamp.type": "LogAppendTime", "cleanup.policy": "delete", "retention.ms": "604800000"}},
		"state":      {c.names.State, 3, map[string]string{"cleanup.policy": "compact", "segment.bytes": "16777216"}},
		"catalogues": {c.names.Catalogues, 1, map[string]string{"cleanup.policy": "compact"}},
		"timemap":    {c.names.Timemap, 1, map[string]string{"cleanup.policy": "compact"}},
		"gaps":       {c.names.Gaps, 3, map[string]string{"cleanup.policy": "compact,delete"}},
		"samples": {c.names.Samples, 3, map[string]string{
			"message.timestamp.type":          "CreateTime",
			"message.timestamp.after.max.ms":  strconv.FormatInt(math.MaxInt64, 10),
			"message.timestamp.before.max.ms": strconv.FormatInt(math.MaxInt64, 10),
		}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			details, err := c.adm.ListTopics(t.Context(), tc.name)
			if err != nil || len(details[tc.name].Partitions) != tc.parts {
				t.Errorf("%d partitions, want %d (%v)", len(details[tc.name].Partitions), tc.parts, err)
			}
			rc, err := c.adm.DescribeTopicConfigs(t.Context(), tc.name)
			if err != nil {
				t.Fatal(err)
			}
			have := map[string]string{}
			for _, kv := range rc[0].Configs {
				have[kv.Key] = kv.MaybeValue()
			}
			tc.config["unclean.leader.election.enable"] = "false"
			tc.config["max.message.bytes"] = "1048576"
			tc.config["min.insync.replicas"] = strconv.Itoa(min(2, len(details[tc.name].Partitions[0].Replicas)))
			for k, want := range tc.config {
				if !sameSetting(have[k], want) {
					t.Errorf("%s=%s, want %s", k, have[k], want)
				}
			}
		})
	}
	cfg := c.cfg
	cfg.Partitions = 5
	if _, err := Open(t.Context(), cfg); !errors.Is(err, ErrTopic) || !strings.Contains(err.Error(), "configure 3") {
		t.Errorf("another partition count: %v", err)
	}
	v := "100000"
	if _, err := c.adm.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Name: "max.message.bytes", Value: &v}}, c.names.Batches); err != nil {
		t.Fatal(err)
	}
	until(t, 10*time.Second, "a topic whose records may be too small is refused", func() bool {
		_, err := Open(t.Context(), c.cfg)
		return errors.Is(err, ErrTopic) && strings.Contains(err.Error(), "max.message.bytes=1048576")
	})
}

// One broker can hold one replica only: nothing is created, so that nothing has
// to be deleted when the others are there.
func TestApacheWeakReplicationCreatesNothing(t *testing.T) {
	if len(apacheBrokers(t)) > 1 {
		t.Skip("needs a cluster of one broker")
	}
	base := openApache(t, nil)
	cfg := base.cfg
	cfg.AllowWeak, cfg.Prefix = false, base.cfg.Prefix+"weak"
	_, err := Open(t.Context(), cfg)
	if !errors.Is(err, ErrTopic) || !strings.Contains(err.Error(), "allow weak replication") {
		t.Errorf("error %v", err)
	}
	have, err := base.adm.ListTopics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name := range have {
		if strings.HasPrefix(name, cfg.Prefix) {
			t.Errorf("%s was created", name)
		}
	}
}

func TestApacheSurvivesKills(t *testing.T) {
	c := openApache(t, func(cfg *Config) { cfg.SessionTimeout = shortSession })
	f := newFeeder(c)
	stopFeed := f.start(t)
	began := time.Now()
	commits := 0
	killChildren(t, childJob{Brokers: c.cfg.Brokers, Prefix: c.cfg.Prefix}, 400*time.Millisecond, func(line string) {
		if strings.HasPrefix(line, "commit") {
			commits++
		}
	})
	took := time.Since(began).Round(time.Millisecond)
	stopFeed()
	newRelay(c).serve(t, c)
	drained(t, c)
	t.Logf("%d kills in %v, %d commits, %d batches", kills, took, commits, checkRelayed(t, c))
	f.checkAcked(t)
}

// A whole process stands still in the middle of a transaction. Its successor
// goes on; when it wakes, its commit is refused, nothing of it is ever seen, and
// it does not disturb the new owner.
func TestApacheFrozenProcessIsFenced(t *testing.T) {
	c := openApache(t, func(cfg *Config) { cfg.SessionTimeout = shortSession })
	f := newFeeder(c)
	stopFeed := f.start(t)
	child := startChild(t, childJob{Brokers: c.cfg.Brokers, Prefix: c.cfg.Prefix, Freeze: true})
	child.await(t, "frozen", nil)
	child.signal(t, syscall.SIGSTOP)
	r := newRelay(c)
	began := time.Now()
	r.serve(t, c)
	until(t, 30*time.Second, "the successor serves", func() bool { return r.loadsOf(0) > 0 && r.loadsOf(1) > 0 })
	t.Logf("successor serves after %v", time.Since(began).Round(time.Millisecond))
	stopFeed()
	drained(t, c)
	child.signal(t, syscall.SIGCONT)
	if _, err := fmt.Fprintln(child.in, "go on"); err != nil {
		t.Fatal(err)
	}
	if line := child.await(t, "result", nil); !strings.Contains(line, "lost=true") {
		t.Errorf("the frozen owner's commit: %s, want lost", line)
	} else {
		t.Log(line)
	}
	// It joins again and gets a partition; until then it has fenced nobody.
	child.await(t, "opened", nil)
	if n := r.loadsOf(0) + r.loadsOf(1); n != 2 {
		t.Errorf("the successor needed %d sessions for two partitions", n)
	}
	for _, rec := range readAll(t, c, c.names.Samples) {
		if string(rec.Value) == "ghost" {
			t.Errorf("an output of the frozen owner: %+v", rec)
		}
	}
	checkRelayed(t, c)
	if r.double {
		t.Error("two sessions of one process served one partition")
	}
}

// Members come and go while batches come in: nothing is lost or doubled, and a
// partition that moves is served by one at a time.
func TestApacheRebalances(t *testing.T) {
	c := openApache(t, func(cfg *Config) { cfg.Partitions = 4; cfg.SessionTimeout = 6 * time.Second })
	f := newFeeder(c)
	stopFeed := f.start(t)
	r := newRelay(c) // shared by all members, so that it sees two at a time
	r.serve(t, c)
	total := func() (n int) {
		for part := range int32(4) {
			n += r.loadsOf(part)
		}
		return n
	}
	until(t, 30*time.Second, "the first member serves all", func() bool { return total() >= 4 })
	began := time.Now()
	for range 3 {
		before := total()
		stop := r.serve(t, again(t, c, nil))
		until(t, 30*time.Second, "the second member gets two", func() bool { return total() >= before+2 })
		n := f.count()
		until(t, 30*time.Second, "the feed goes on", func() bool { return f.count() > n+100 })
		stop()
		until(t, 30*time.Second, "the first member has all again", func() bool { return total() >= before+4 })
	}
	stopFeed()
	drained(t, c)
	t.Logf("6 rebalances in %v, %d sessions, %d batches", time.Since(began).Round(time.Millisecond), total(), checkRelayed(t, c))
	f.checkAcked(t)
	if r.double {
		t.Error("a partition was served by two at a time")
	}
}

// Group offsets expire, records are deleted by retention: the state says where
// to go on, and what is gone is said.
func TestApacheOffsetsAndRecordsThatAreGone(t *testing.T) {
	counter := &lineCounter{Handler: slog.DiscardHandler}
	c := openApache(t, func(cfg *Config) { cfg.Log = slog.New(counter) })
	part := topic.Partition([]byte("car-1"), 2)
	for seq := range uint64(9) {
		produce(t, c, batchRecord(c, "car-1", seq+1))
	}
	take(t, c.Backend(), part, func(ctx context.Context, s sequence.Session) error {
		if _, err := s.Load(ctx); err != nil {
			return err
		}
		return s.Commit(ctx, []topic.Record{sampleRecord(c, 1, "0/1")}, []topic.Record{stateRecord(c, part, 4)}, 4)
	})
	var resp kadm.DeleteGroupResponse
	until(t, 20*time.Second, "the group is empty", func() bool {
		var err error
		resp, err = c.adm.DeleteGroup(t.Context(), c.cfg.Group)
		return err == nil && resp.Err == nil
	})
	load := func(offset, first int64) {
		t.Helper()
		take(t, c.Backend(), part, func(ctx context.Context, s sequence.Session) error {
			l, err := s.Load(ctx)
			if err != nil {
				return err
			}
			recs, err := fetchAll(ctx, s, first)
			if err != nil {
				return err
			}
			if l.Offset != offset || len(recs) == 0 || recs[0].Offset != first {
				return fmt.Errorf("offset %d, %d records, want offset %d, first record %d", l.Offset, len(recs), offset, first)
			}
			if _, err := s.Read(ctx, 2); first > 2 && l.LogStart > 2 && !errors.Is(err, sequence.ErrGone) {
				return fmt.Errorf("a deleted record reads as %w", err)
			}
			return nil
		})
	}
	load(4, 4)
	cut := kadm.Offsets{}
	cut.Add(kadm.Offset{Topic: c.names.Batches, Partition: part, At: 6})
	if _, err := c.adm.DeleteRecords(t.Context(), cut); err != nil {
		t.Fatal(err)
	}
	counter.take()
	load(4, 6)
	if lines := strings.Join(counter.take(), "\n"); !strings.Contains(lines, "deleted by retention") || !strings.Contains(lines, "from_offset=4") {
		t.Errorf("the log does not say what is gone: %s", lines)
	}
	// A topic that was made anew is shorter than what was read of it.
	if err := deleteTopic(t, c, c.names.Batches); err != nil {
		t.Fatal(err)
	}
	other := again(t, c, nil)
	produce(t, other, batchRecord(c, "car-1", 1))
	take(t, other.Backend(), part, func(ctx context.Context, s sequence.Session) error {
		if _, err := s.Load(ctx); err != nil {
			return err
		}
		for range 2 {
			if _, _, _, err := s.Fetch(ctx, 1, 0); !errors.Is(err, sequence.ErrTruncated) {
				return fmt.Errorf("fetch of a topic made anew: %w", err)
			}
		}
		return nil
	})
}

func deleteTopic(t *testing.T, c *Cluster, name string) error {
	t.Helper()
	if _, err := c.adm.DeleteTopic(t.Context(), name); err != nil {
		return err
	}
	until(t, 20*time.Second, "the topic is deleted", func() bool {
		d, err := c.adm.ListTopics(t.Context())
		return err == nil && !d.Has(name)
	})
	return nil
}

func TestApacheErrorsSayWhatToDo(t *testing.T) {
	c := openApache(t, func(cfg *Config) { cfg.txnTimeout = time.Second })
	commit := func(out ...topic.Record) error {
		var result error
		take(t, c.Backend(), 0, func(ctx context.Context, s sequence.Session) error {
			if _, err := s.Load(ctx); err != nil {
				return err
			}
			result = s.Commit(ctx, out, []topic.Record{stateRecord(c, 0, 0)}, 0)
			return nil
		})
		return result
	}
	large := sampleRecord(c, 1, "0/1")
	large.Value = make([]byte, 2<<20)
	foreign := sampleRecord(c, 1, "0/1")
	foreign.Topic = c.cfg.Prefix + ".no-such-topic"
	if err := commit(large); !errors.Is(err, kerr.MessageTooLarge) || !strings.Contains(err.Error(), "max.message.bytes") {
		t.Errorf("too large an output: %v", err)
	}
	if err := commit(foreign); !errors.Is(err, kerr.UnknownTopicOrPartition) || !strings.Contains(err.Error(), "was the topic deleted?") {
		t.Errorf("an output to a topic that is not there: %v", err)
	}
	if err := commit(sampleRecord(c, 2, "0/1")); err != nil {
		t.Errorf("after them: %v", err)
	}
	if n := len(readAll(t, c, c.names.Samples)); n != 1 {
		t.Errorf("%d samples, want only the last one", n)
	}
	take(t, c.Backend(), 0, func(ctx context.Context, s sequence.Session) error {
		if _, err := s.Load(ctx); err != nil {
			return err
		}
		x := s.(*transactional)
		if err := x.cl.BeginTransaction(); err != nil {
			return err
		}
		if err := x.flush(ctx, x.produce(ctx, []topic.Record{sampleRecord(c, 3, "0/1")}, nil)); err != nil {
			return err
		}
		wait(t, 13*time.Second) // the broker looks every 10 s by default
		if err := sessionError("end", x.cl.EndTransaction(ctx, true)); !errors.Is(err, sequence.ErrLost) {
			return fmt.Errorf("commit after the transaction's time: %w, want lost", err)
		}
		return nil
	})
	if n := len(readAll(t, c, c.names.Samples)); n != 1 {
		t.Errorf("%d samples after a transaction that timed out, want 1", n)
	}
	cfg := c.cfg
	cfg.SessionTimeout = 24 * time.Hour
	other, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err = other.Backend().Own(ctx, func(context.Context, sequence.Session) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "group.max.session.timeout.ms") {
		t.Errorf("a session timeout that the brokers refuse: %v", err)
	}
}

func (c *child) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

func (r *relay) loadsOf(part int32) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.loads[part]
}
