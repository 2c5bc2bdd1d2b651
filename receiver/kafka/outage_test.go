//go:build foreign

package kafka

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"telemetry/receiver/topic"
)

// lineCounter counts what is logged at warn and above.
type lineCounter struct {
	slog.Handler
	mu    sync.Mutex
	lines []string // guarded by mu
}

func (l *lineCounter) Enabled(context.Context, slog.Level) bool { return true }

func (l *lineCounter) Handle(_ context.Context, r slog.Record) error {
	if r.Level < slog.LevelWarn {
		return nil
	}
	text := r.Time.Format("05.000 ") + r.Message
	r.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, text)
	return nil
}

func (l *lineCounter) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.lines
	l.lines = nil
	return out
}

// The broker goes away and comes back under feed: producer, sequencer and member
// recover by themselves.
func TestApacheBrokerOutages(t *testing.T) {
	b := apacheProcess(t)
	counter := &lineCounter{Handler: slog.DiscardHandler}
	c := openApache(t, func(cfg *Config) { cfg.Log = slog.New(counter) })
	f := newFeeder(c)
	stopFeed := f.start(t)
	r := newRelay(c)
	var commits atomic.Int64
	r.told = func(format string, _ ...any) {
		if strings.HasPrefix(format, "commit") {
			commits.Add(1)
		}
	}
	r.serve(t, c)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%d commits, %d batches acknowledged, log: %q", commits.Load(), f.count(), counter.take())
		}
	})
	length := outageLength(t)
	outages := []struct {
		name       string
		begin, end func()
	}{
		{"stopped", func() { b.stop(t) }, func() { b.start(t) }},
		{"frozen", func() { b.signal(t, syscall.SIGSTOP) }, func() { b.signal(t, syscall.SIGCONT) }},
		{"killed", func() { b.signal(t, syscall.SIGKILL) }, func() { b.start(t) }},
	}
	for _, o := range outages {
		n := commits.Load()
		until(t, 30*time.Second, "commits before the outage", func() bool { return commits.Load() > n+20 })
		counter.take()
		o.begin()
		late, err := c.NewProducer() // it begins without a broker
		if err != nil {
			t.Fatal(err)
		}
		lateDone := make(chan error, 1)
		late.Produce(topic.Record{Topic: c.names.Events, Partition: 0, Value: []byte(o.name)}, func(err error) { lateDone <- err })
		wait(t, length)
		if err := late.State(); err == nil {
			t.Errorf("%s: the producer does not say that it fails", o.name)
		}
		o.end()
		began, n, fed := time.Now(), commits.Load(), f.count()
		until(t, 90*time.Second, "commits after the broker was "+o.name, func() bool { return commits.Load() > n+20 && f.count() > fed+100 })
		if err := <-lateDone; err != nil {
			t.Errorf("a producer that began while the broker was %s: %v", o.name, err)
		}
		if err := late.Close(t.Context()); err != nil {
			t.Error(err)
		}
		lines := counter.take()
		t.Logf("%s for %v: works again after %v, %d lines of log", o.name, length, time.Since(began).Round(time.Millisecond), len(lines))
		for i, line := range lines {
			if i < 12 {
				t.Log("   ", line)
			}
		}
		if len(lines) > 40 {
			t.Errorf("%s: %d lines of log for one outage", o.name, len(lines))
		}
	}
	stopFeed()
	drained(t, c)
	f.mu.Lock()
	t.Logf("%d batches, %d writings failed", checkRelayed(t, c), f.tries)
	f.mu.Unlock()
	f.checkAcked(t)
}

// outageLength is how long the tests let a broker be away: TELEMETRY_KAFKA_OUTAGE
// as a duration, or 4 s.
func outageLength(t *testing.T) time.Duration {
	t.Helper()
	s := os.Getenv("TELEMETRY_KAFKA_OUTAGE")
	if s == "" {
		return 4 * time.Second
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// One of three nodes is killed after the other under feed: leaders, coordinators
// and the controller move, and come back, and nothing is lost or doubled.
func TestApacheNodesFail(t *testing.T) {
	apacheBrokers(t)
	dir := os.Getenv("TELEMETRY_KAFKA_DIR3")
	if dir == "" {
		t.Skip("needs the directory that scripts/kafka.sh has started three nodes in: TELEMETRY_KAFKA_DIR3")
	}
	_, port, _ := strings.Cut(apacheBrokers(t)[0], ":")
	counter := &lineCounter{Handler: slog.DiscardHandler}
	c := openApache(t, func(cfg *Config) { cfg.AllowWeak, cfg.Log = false, slog.New(counter) })
	f := newFeeder(c)
	stopFeed := f.start(t)
	r := newRelay(c)
	var commits atomic.Int64
	r.told = func(format string, _ ...any) {
		if strings.HasPrefix(format, "commit") {
			commits.Add(1)
		}
	}
	r.serve(t, c)
	for node := 1; node <= 3; node++ {
		n := commits.Load()
		until(t, 30*time.Second, "commits before the failure", func() bool { return commits.Load() > n+20 })
		broker{filepath.Join(dir, strconv.Itoa(node)), ""}.signal(t, syscall.SIGKILL)
		began, n, fed := time.Now(), commits.Load(), f.count()
		until(t, 60*time.Second, "commits with two nodes", func() bool { return commits.Load() > n+50 && f.count() > fed+300 })
		t.Logf("node %d killed: works again after %v", node, time.Since(began).Round(time.Millisecond))
		for i, line := range counter.take() {
			if i < 12 {
				t.Log("   ", line)
			}
		}
		began = time.Now()
		broker{}.script(t, "start3", dir, port)
		started := time.Since(began).Round(time.Millisecond)
		until(t, 60*time.Second, "all replicas are in sync", func() bool { return inSync(t, c) })
		t.Logf("node %d started after %v, in sync after %v", node, started, time.Since(began).Round(time.Millisecond))
	}
	stopFeed()
	drained(t, c)
	f.mu.Lock()
	t.Logf("%d batches, %d writings failed", checkRelayed(t, c), f.tries)
	f.mu.Unlock()
	f.checkAcked(t)
}

// inSync reports whether no partition of the cluster lacks a replica.
func inSync(t *testing.T, c *Cluster) bool {
	t.Helper()
	topics, err := c.adm.ListTopicsWithInternal(t.Context())
	if err != nil {
		return false
	}
	for _, d := range topics {
		for _, p := range d.Partitions {
			if len(p.ISR) < len(p.Replicas) {
				return false
			}
		}
	}
	return true
}
