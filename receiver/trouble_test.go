package receiver

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"telemetry/internal/config"
	"telemetry/receiver/ca"
	"telemetry/receiver/topic"
)

// logbook is a log that a test reads while it is written.
type logbook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logbook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logbook) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

func (l *logbook) has(words ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.b.String()) {
		all := true
		for _, w := range words {
			all = all && strings.Contains(line, w)
		}
		if all {
			return true
		}
	}
	return false
}

// The right to read the state topic is taken away before a partition is loaded:
// readiness, metrics and log name what is needed, and when it is given back the
// partition is served without a restart.
func TestALoadWithoutTheRightToReadIsShown(t *testing.T) {
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(int16(kmsg.Fetch), 12) // names its topics
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.MaxVersions(versions))
	if err != nil {
		t.Fatal(err)
	}
	defer fake.Close()
	state := topic.NewNames("").State
	var allowed atomic.Bool
	fake.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		req := r.(*kmsg.FetchRequest)
		if allowed.Load() || len(req.Topics) == 0 || req.Topics[0].Topic != state {
			return nil, nil, false
		}
		resp := r.ResponseKind().(*kmsg.FetchResponse)
		for _, t := range req.Topics {
			rt := kmsg.NewFetchResponseTopic()
			rt.Topic = t.Topic
			for _, p := range t.Partitions {
				rp := kmsg.NewFetchResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, kerr.TopicAuthorizationFailed.Code
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	cluster := `{brokers: ["` + fake.ListenAddrs()[0] + `"], allow_unsafe: true, replication: 1, partitions: 1}`
	allowed.Store(true)
	leaveState(t, configure(t, t.TempDir(), cluster, plainMQTT))
	allowed.Store(false)

	cfg := configure(t, t.TempDir(), cluster, plainMQTT+"\nroles: [ingest, sequence]")
	cfg.Health.Listen = "127.0.0.1:0"
	said := &logbook{}
	r, err := Prepare(cfg, slog.New(slog.NewTextHandler(said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }() // ends with ctx
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	eventually(t, "health.listen answers", func() bool { return r.Status(t.Context()).Listen.Health != "" })
	addr := r.Status(t.Context()).Listen.Health
	eventually(t, "readiness says what is needed", func() bool {
		code, body := get(t, addr, "/readyz")
		return code == http.StatusServiceUnavailable && strings.Contains(body, "partition 0 is retrying: load:") && strings.Contains(body, "the user needs Read")
	})
	_, body := get(t, addr, "/metrics")
	m := parseMetrics(t, body)
	for _, name := range []string{
		`telemetry_sequence_partition_failing{partition="0",what="load"}`,
		`telemetry_sequence_partition_state{partition="0",state="retrying"}`, `telemetry_sequence_member`,
	} {
		if m[name] != 1 {
			t.Errorf("%s is not 1 in\n%s", name, body)
		}
	}
	if m["telemetry_kafka_up"] != 0 {
		t.Error("kafka is said to be up")
	}
	if !said.has("kafka fails, will retry", "for=load", "the user needs Read") {
		t.Error("the log does not say what is needed")
	}
	allowed.Store(true)
	eventually(t, "it is ready with the right given back", func() bool {
		code, _ := get(t, addr, "/readyz")
		return code == http.StatusOK
	})
	if s := r.Status(t.Context()); s.Kafka.State != KafkaOK || s.Kafka.Error != "" || !s.Sequence.Member {
		t.Errorf("afterwards: %+v", s.Kafka)
	}
}

// leaveState runs a receiver until its sequencer has committed something.
func leaveState(t *testing.T, cfg *config.Receiver) {
	t.Helper()
	r, stop := run(t, cfg)
	beginCar(t, r.Status(t.Context()).Listen.MQTT)
	eventually(t, "something is committed", func() bool {
		s := r.Status(t.Context())
		return s.Sequence != nil && len(s.Sequence.Partitions) == 1 && s.Sequence.Partitions[0].Commits > 0
	})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

// A list of revocations that breaks while the receiver runs is shown, and cars go on
// being served by the last good one.
func TestABrokenListOfRevocationsIsShown(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	team, err := ca.Init(dir, "Team CA", ca.DefaultCA)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := team.Issue(ca.Request{Name: "receiver", Hosts: []string{"127.0.0.1"}}); err != nil {
		t.Fatal(err)
	}
	crl, issued := filepath.Join(dir, ca.CRLFile), filepath.Join(dir, "issued", "receiver")
	good, err := os.ReadFile(crl)
	if err != nil {
		t.Fatal(err)
	}
	mqtt := fmt.Sprintf("mqtt: {listen: \"127.0.0.1:0\", tls: {ca: %s, cert: %s.crt, key: %s.key, crl: %s}}",
		filepath.Join(dir, ca.CertFile), issued, issued, crl)
	r, _ := run(t, configure(t, t.TempDir(), embeddedLine, mqtt))
	addr := r.Status(t.Context()).Listen.Live
	check := func(what string, failing float64, word string) {
		code, body := get(t, addr, "/readyz")
		_, text := get(t, addr, "/metrics")
		if m := parseMetrics(t, text); code != http.StatusOK || m["telemetry_mqtt_revocations_failing"] != failing {
			t.Errorf("%s: %d %s, metric %v", what, code, body, m["telemetry_mqtt_revocations_failing"])
		}
		if strings.Contains(body, "list of revocations") != (failing == 1) || !strings.Contains(r.Status(t.Context()).Ingest.Revocations, word) {
			t.Errorf("%s: %s", what, body)
		}
	}
	check("at the start", 0, "")
	if err := os.WriteFile(crl, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	check("broken", 1, "no PEM file")
	if err := os.WriteFile(crl, good, 0o600); err != nil {
		t.Fatal(err)
	}
	check("mended", 0, "")
}
