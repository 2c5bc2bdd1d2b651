package kafka

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"telemetry/receiver/sequence"
	"telemetry/receiver/topic"
)

// Its own compaction removes files before it writes them anew: it must never run,
// nor in a directory in which another interval was stored.
func TestEmbeddedBrokerDoesNotCompact(t *testing.T) {
	dir := t.TempDir()
	c := openEmbedded(t, dir)
	interval := func() string {
		t.Helper()
		configs, err := c.adm.DescribeBrokerConfigs(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, kv := range configs[0].Configs {
			if kv.Key == "log.cleaner.backoff.ms" {
				return kv.MaybeValue()
			}
		}
		return ""
	}
	const century = "3153600000000"
	if got := interval(); got != century {
		t.Errorf("compaction runs every %s ms", got)
	}
	often := "1"
	resp, err := c.adm.AlterBrokerConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "log.cleaner.backoff.ms", Value: &often}})
	if err != nil || len(resp) != 1 || resp[0].Err != nil {
		t.Fatal(err, resp)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = openEmbedded(t, dir)
	if got := interval(); got != century {
		t.Errorf("after a restart compaction runs every %s ms", got)
	}
}

// segmentsOf sets the size of a partition's files, in bytes.
func segmentsOf(ctx context.Context, c *Cluster, name, bytes string) error {
	resp, err := c.adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "segment.bytes", Value: &bytes}}, name)
	if err != nil {
		return err
	}
	_, err = resp.On(name, func(r *kadm.AlterConfigsResponse) error { return r.Err })
	return err
}

// sizeOf returns the bytes of a partition's files with records.
func sizeOf(t *testing.T, dir, name string, part int32) (size int64) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "data", "partitions", fmt.Sprintf("%s-%d", name, part), "*.dat"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	return size
}

// The state of a process that runs for long does not grow for ever, and is the
// same after it.
func TestStateIsRenewed(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{Partitions: 2, Embedded: Embedded{Dir: dir}, Log: quietLog(), renewBytes: 4 << 10}
	c, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if err := segmentsOf(t.Context(), c, c.names.State, "1024"); err != nil {
		t.Fatal(err)
	}
	filler := func(v byte) topic.Record {
		return topic.Record{Topic: c.names.State, Partition: 0, Key: []byte("car-1"), Value: []byte(strings.Repeat(string(v), 512))}
	}
	quiet := topic.Record{Topic: c.names.State, Partition: 0, Key: []byte("car-2"), Value: []byte("written once"), TimestampMS: 77}
	take(t, c.Backend(), 0, func(ctx context.Context, s sequence.Session) error {
		if _, err := s.Load(ctx); err != nil {
			return err
		}
		if err := s.Commit(ctx, nil, []topic.Record{quiet, stateRecord(c, 0, 0)}, 0); err != nil {
			return err
		}
		for i := range int64(60) {
			if err := s.Commit(ctx, nil, []topic.Record{filler('a' + byte(i%26)), stateRecord(c, 0, i+1)}, i+1); err != nil {
				return err
			}
		}
		return nil
	})
	if size := sizeOf(t, dir, c.names.State, 0); size > 20<<10 {
		t.Errorf("%d bytes after 60 commits of 600", size)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if c, err = Open(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	take(t, c.Backend(), 0, func(ctx context.Context, s sequence.Session) error {
		l, err := s.Load(ctx)
		if err != nil {
			return err
		}
		got := map[string]string{}
		for _, r := range l.State {
			got[string(r.Key)] = string(r.Value)
			if string(r.Key) == "car-2" && r.TimestampMS != 77 {
				t.Errorf("a copy has the time %d", r.TimestampMS)
			}
		}
		want := map[string]string{"car-1": string(filler('a' + 59%26).Value), "car-2": "written once", sequence.PartitionKey: string(stateRecord(c, 0, 60).Value)}
		if l.Offset != 60 || !reflect.DeepEqual(got, want) || s.(*local).last != 61 {
			t.Errorf("offset %d, commit %d, state %q", l.Offset, s.(*local).last, got)
		}
		return nil
	})
}

// A renewal that is killed between its steps leaves what it found: the child
// stops there and is killed.
func TestRenewalIsKilledBetweenItsSteps(t *testing.T) {
	job := childJob{Dir: t.TempDir(), RenewBytes: 1 << 10, StopRenewing: true}
	for range 3 {
		c := startChild(t, job)
		c.await(t, "renewing", nil)
		c.kill()
	}
	job.RenewBytes, job.StopRenewing = 0, false
	c, err := Open(t.Context(), job.config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	stop := newRelay(c).serve(t, c)
	drained(t, c)
	stop()
	t.Logf("%d batches", checkRelayed(t, c))
}

// Processes are killed at seeded moments during and soon after a renewal, with
// small files, which go at once.
func TestRenewingSurvivesKills(t *testing.T) {
	if testing.Short() {
		t.Skip("10 processes are killed")
	}
	job := childJob{Dir: t.TempDir(), RenewBytes: 1 << 10}
	random := rand.New(rand.NewPCG(11, 0))
	for range 10 {
		c := startChild(t, job)
		c.await(t, "renewing", nil)
		<-time.After(time.Duration(random.Int64N(int64(20 * time.Millisecond)))) // the moment is the test's subject
		c.kill()
	}
	c, err := Open(t.Context(), job.config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	stop := newRelay(c).serve(t, c)
	drained(t, c)
	stop()
	t.Logf("%d batches", checkRelayed(t, c))
}

// What all partitions' owners write is renewed at the start.
func TestSharedTopicsAreRenewedAtTheStart(t *testing.T) {
	dir := t.TempDir()
	c := openEmbedded(t, dir)
	if err := segmentsOf(t.Context(), c, c.names.Timemap, "1024"); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		produce(t, c, topic.Record{Topic: c.names.Timemap, Partition: 0, Key: []byte{'k', byte(i % 3)}, Value: []byte(fmt.Sprintf("%0200d", i))})
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second finds nothing to do
		c, err := Open(t.Context(), Config{Partitions: 2, Embedded: Embedded{Dir: dir}, Log: quietLog(), renewBytes: 4 << 10})
		if err != nil {
			t.Fatal(err)
		}
		recs := readAll(t, c, c.names.Timemap)
		newest := map[string]string{}
		for _, r := range recs {
			newest[string(r.Key)] = strings.TrimLeft(string(r.Value), "0")
		}
		if want := map[string]string{"k\x00": "99", "k\x01": "97", "k\x02": "98"}; len(recs) != 3 || !reflect.DeepEqual(newest, want) {
			t.Errorf("%d records, newest %q", len(recs), newest)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if size := sizeOf(t, dir, c.names.Timemap, 0); size > 4<<10 {
		t.Errorf("%d bytes are left", size)
	}
}

// Retention deletes what is old but never the last record: offsets must not begin
// anew when the process is killed.
func TestRetentionKeepsTheLastRecord(t *testing.T) {
	c := openEmbedded(t, t.TempDir())
	part := topic.Partition([]byte("car-1"), 2)
	for seq := range uint64(5) {
		produce(t, c, batchRecord(c, "car-1", seq+1))
	}
	count := func() int { t.Helper(); return len(readAll(t, c, c.names.Batches)) }
	if err := c.retain(t.Context(), time.Now()); err != nil || count() != 5 {
		t.Errorf("%d records, want all: %v", count(), err)
	}
	for range 2 {
		if err := c.retain(t.Context(), time.Now().Add(2*topic.BatchRetention)); err != nil || count() != 1 {
			t.Errorf("%d records, want the last one: %v", count(), err)
		}
	}
	r := newReader(c.cl, c.names.Batches, part, 0)
	if at, err := r.list(t.Context(), listStart); err != nil || at != 4 {
		t.Errorf("the log starts at %d, %v", at, err)
	}
}

// TestRetentionTakesNothingThatComesMeanwhile: the first records of an empty
// partition were once taken for old ones.
func TestRetentionTakesNothingThatComesMeanwhile(t *testing.T) {
	for range 5 {
		c := openEmbedded(t, t.TempDir())
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for ctx.Err() == nil {
				if err := c.retain(ctx, time.Now()); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
		}()
		for seq := range uint64(40) {
			produce(t, c, batchRecord(c, "car-"+strconv.Itoa(int(seq%4)), seq/4+1))
		}
		cancel()
		<-ended
		if n := len(readAll(t, c, c.names.Batches)); n != 40 {
			t.Errorf("%d of 40 records are left", n)
		}
	}
}

func TestPickOffset(t *testing.T) {
	c := &Cluster{names: topic.NewNames("")}
	state := []topic.Record{stateRecord(c, 0, 7)}
	cases := map[string]struct {
		group int64
		ok    bool
		state []topic.Record
		want  int64
		has   bool
	}{
		"nothing":                     {0, false, nil, 0, false},
		"group alone":                 {3, true, nil, 3, true},
		"state alone":                 {0, false, state, 7, true},
		"group moved on by hand":      {9, true, state, 7, true},
		"owner died before the group": {5, true, state, 5, true},
		"equal":                       {7, true, state, 7, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if at, ok := pickOffset(tc.group, tc.ok, tc.state); at != tc.want || ok != tc.has {
				t.Errorf("got %d %v, want %d %v", at, ok, tc.want, tc.has)
			}
		})
	}
}

func setCleanup(t *testing.T, c *Cluster, name, policy string) {
	t.Helper()
	rs, err := c.adm.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "cleanup.policy", Value: &policy}}, name)
	if err == nil {
		err = rs[0].Err
	}
	if err != nil {
		t.Fatalf("cleanup.policy of %s: %v", name, err)
	}
}

// An offset of the group whose state is gone is refused, by both kinds of
// session, until the offset is gone as well or retention has deleted everything
// before it.
func TestOffsetWithoutStateIsRefused(t *testing.T) {
	kinds := map[string]func(t *testing.T) *Cluster{
		"embedded":    func(t *testing.T) *Cluster { return openEmbedded(t, t.TempDir()) },
		"transaction": func(t *testing.T) *Cluster { return openCluster(t, nil) },
	}
	part := topic.Partition([]byte("car-1"), 2)
	load := func(t *testing.T, c *Cluster) (l sequence.Loaded, err error) {
		take(t, c.Backend(), part, func(ctx context.Context, s sequence.Session) error {
			l, err = s.Load(ctx)
			return nil
		})
		return l, err
	}
	for kind, open := range kinds {
		t.Run(kind, func(t *testing.T) {
			c := open(t)
			for seq := range uint64(9) {
				produce(t, c, batchRecord(c, "car-1", seq+1))
			}
			if l, err := load(t, c); err != nil || l.Offset != 0 {
				t.Fatalf("a new partition: %+v, %v", l, err)
			}
			if l, err := load(t, c); err != nil || l.Offset != 0 {
				t.Fatalf("a partition that was owned, without a commit: %+v, %v", l, err)
			}
			take(t, c.Backend(), part, func(ctx context.Context, s sequence.Session) error {
				if _, err := s.Load(ctx); err != nil {
					return err
				}
				return s.Commit(ctx, nil, []topic.Record{stateRecord(c, part, 6)}, 6)
			})
			if l, err := load(t, c); err != nil || l.Offset != 6 {
				t.Fatalf("with state: %+v, %v", l, err)
			}
			end, err := newReader(c.cl, c.names.State, part, 0).list(t.Context(), listEnd)
			if err != nil {
				t.Fatal(err)
			}
			setCleanup(t, c, c.names.State, "compact,delete") // Kafka deletes nothing on demand in a topic that is compacted only
			if err := c.deleteBefore(t.Context(), c.names.State, part, end); err != nil {
				t.Fatal(err)
			}
			setCleanup(t, c, c.names.State, "compact")
			_, err = load(t, c)
			if !errors.Is(err, ErrStateGone) {
				t.Fatalf("without state: %v", err)
			}
			for _, want := range []string{c.names.State, c.cfg.Group, c.names.Batches, "is at 6", "start anew on purpose", "delete both"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not say %q: %v", want, err)
				}
			}
			if err := c.deleteBefore(t.Context(), c.names.Batches, part, 5); err != nil {
				t.Fatal(err)
			}
			if _, err = load(t, c); !errors.Is(err, ErrStateGone) {
				t.Errorf("one record before the offset is left: %v", err)
			}
			if err := c.deleteBefore(t.Context(), c.names.Batches, part, 6); err != nil {
				t.Fatal(err)
			}
			if l, err := load(t, c); err != nil || l.Offset != 6 || l.LogStart != 6 {
				t.Errorf("all before the offset was deleted: %+v, %v", l, err)
			}
		})
	}
}

// What the error says helps: the group and the state deleted together.
func TestStartAnewOnPurpose(t *testing.T) {
	dir := t.TempDir()
	c := openEmbedded(t, dir)
	part := topic.Partition([]byte("car-1"), 2)
	produce(t, c, batchRecord(c, "car-1", 1), batchRecord(c, "car-1", 2))
	take(t, c.Backend(), part, func(ctx context.Context, s sequence.Session) error {
		if _, err := s.Load(ctx); err != nil {
			return err
		}
		return s.Commit(ctx, nil, []topic.Record{stateRecord(c, part, 2)}, 2)
	})
	if _, err := c.adm.DeleteTopic(t.Context(), c.names.State); err != nil {
		t.Fatal(err)
	}
	if resp, err := c.adm.DeleteGroup(t.Context(), c.cfg.Group); err != nil || resp.Err != nil {
		t.Fatal(err, resp.Err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = openEmbedded(t, dir) // makes the topic
	take(t, c.Backend(), part, func(ctx context.Context, s sequence.Session) error {
		l, err := s.Load(ctx)
		if err != nil || l.Offset != 0 {
			return fmt.Errorf("starts at %d: %w", l.Offset, err)
		}
		return nil
	})
}
