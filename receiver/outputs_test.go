package receiver

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"google.golang.org/protobuf/proto"

	"telemetry/receiver/kafka"
	"telemetry/receiver/sequence/columnpb/telemetrypb"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// topics reads whole topics of the cluster behind an address.
func topics(t *testing.T, broker string, names ...string) map[string][]topic.Record {
	t.Helper()
	c, err := kafka.Open(t.Context(), kafka.Config{Brokers: []string{broker}, AllowWeak: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	out := map[string][]topic.Record{}
	for _, name := range names {
		if _, err := c.Read(t.Context(), name, nil, func(r topic.Record) error { out[name] = append(out[name], r); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// registryAt serves a registry that gives id 7 to everything on a free port;
// until up is set it answers that it cannot.
func registryAt(t *testing.T) (url string, up *atomic.Bool) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	up = new(atomic.Bool)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !up.Load() {
			http.Error(w, "not yet", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, `{"id":7}`)
	})}
	done := make(chan struct{})
	go func() { // ends with Close
		defer close(done)
		_ = srv.Serve(l)
	}()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	return "http://" + l.Addr().String(), up
}

func (r *Receiver) outputState(t *testing.T, name string) OutputStatus {
	t.Helper()
	for _, o := range r.Status(t.Context()).Outputs {
		if o.Name == name {
			return o
		}
	}
	t.Fatalf("no output %s", name)
	return OutputStatus{}
}

// TestOutputsSideBySide runs all formats at once, with a registry that is not there
// at the start, a short window beside a long one, and a selection of channels.
func TestOutputsSideBySide(t *testing.T) {
	url, up := registryAt(t)
	sequence := `sequence:
  formats: {full: none}
  outputs:
    - {name: rows, format: json, windows: {full: 50ms}, include: rpm}
    - {name: slow, format: json}
    - {name: sealed, format: batch}
    - {name: pb, format: protobuf}
    - {name: raw, format: protobuf-raw}
    - {name: ipc, format: arrow, topic: arrows}
    - {name: qx, format: quix}
    - {name: glance, format: json, lanes: [live]}
`
	cfg := configure(t, t.TempDir(), `{embedded: {dir: kafka, port: 0}, partitions: 2, registry: {url: "`+url+`"}}`, plainMQTT+"\n"+sequence)
	r, _ := run(t, cfg)
	s := r.Status(t.Context())
	car := beginCar(t, s.Listen.MQTT)
	car.send(car.Event(1e9, "mark"))
	first, second, third := car.Full(2e9, 5), car.Full(3e9, 5), car.Full(4e9, 5)
	car.send(first)
	car.send(third)
	car.send(car.Live(4e9))
	all := []string{
		"telemetry.rows", "telemetry.rows.gaps", "telemetry.rows.late", "telemetry.rows.events", "telemetry.slow", "telemetry.slow.late",
		"telemetry.sealed", "telemetry.pb", "telemetry.pb.events", "telemetry.raw", "arrows", "telemetry.qx", "telemetry.qx.events",
		"telemetry.glance", "telemetry.glance.gaps", "telemetry.samples", "telemetry.events",
	}
	var got map[string][]topic.Record
	counts := func(want map[string]int) func() bool {
		return func() bool {
			got = topics(t, s.Listen.Kafka, all...)
			for name, n := range want {
				if len(got[name]) != n {
					return false
				}
			}
			return true
		}
	}
	eventually(t, "the short window is over, and the long one is not", counts(map[string]int{
		"telemetry.rows": 10, "telemetry.rows.gaps": 1, "telemetry.slow": 5, "telemetry.glance": 1, "telemetry.rows.events": 1,
	}))
	if n := len(got["telemetry.pb"]); n != 0 {
		t.Errorf("%d records before the registry has answered", n)
	}
	if o := r.outputState(t, "pb"); o.State != OutputWaiting || o.Registry.State != OutputWaiting || !strings.Contains(o.Error, "registry") {
		t.Errorf("pb without a registry: %+v", o)
	}
	code, body := get(t, s.Listen.Live, "/readyz")
	if code != http.StatusOK || !strings.Contains(body, "degraded: output pb: nothing is written before the schema registry answers") {
		t.Errorf("readyz: %d %s", code, body)
	}
	if _, body = get(t, s.Listen.Live, "/metrics"); !strings.Contains(body, `telemetry_output_registry_up{output="pb"} 0`) ||
		!strings.Contains(body, `telemetry_output_state{output="rows",state="ok"} 1`) {
		t.Errorf("metrics:\n%s", body)
	}

	up.Store(true)
	car.send(second)
	eventually(t, "all have all of it", counts(map[string]int{
		"telemetry.rows": 10, "telemetry.rows.late": 5, "telemetry.slow": 15, "telemetry.slow.late": 0,
		"telemetry.pb": 3, "telemetry.pb.events": 1, "telemetry.raw": 3, "arrows": 3, "telemetry.qx": 3, "telemetry.qx.events": 1,
		"telemetry.glance": 1, "telemetry.events": 1,
	}))
	for _, rec := range got["telemetry.rows"] {
		var row map[string]any
		if err := json.Unmarshal(rec.Value, &row); err != nil || row["rpm"] == nil || row["gear"] != nil {
			t.Errorf("row %s: %v", rec.Value, err)
		}
	}
	var seqs []uint64
	for _, rec := range got["telemetry.pb"] {
		var m telemetrypb.Batch
		if err := proto.Unmarshal(rec.Value[6:], &m); err != nil || rec.Value[4] != 7 {
			t.Fatalf("% x: %v", rec.Value[:6], err)
		}
		seqs = append(seqs, m.Seq)
		if m.Group != "Engine" || len(m.Columns) != 2 || m.Rows != 5 {
			t.Errorf("message %v", &m)
		}
	}
	if fmt.Sprint(seqs) != "[1 2 3]" {
		t.Errorf("protobuf has batches %v", seqs)
	}
	if len(got["telemetry.samples"]) != 0 || len(got["telemetry.glance.gaps"]) != 0 {
		t.Errorf("samples %d, gaps of live %d: want none", len(got["telemetry.samples"]), len(got["telemetry.glance.gaps"]))
	}
	if batches := got["telemetry.sealed"]; len(batches) < 3 {
		t.Errorf("%d sealed batches", len(batches))
	} else if b, _, err := wire.Parse(batches[0].Value); err != nil || b.Header.Stream.Car != "car-1" {
		t.Errorf("sealed batch: %v", err)
	}
	eventually(t, "nothing is degraded", func() bool { return len(r.Status(t.Context()).Degraded) == 0 })
}

func TestOutputsThatClashAreRefused(t *testing.T) {
	cfg := configure(t, t.TempDir(), embeddedLine, plainMQTT+"\nsequence: {outputs: [{name: live, format: json}]}")
	if _, err := Prepare(cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "give it another name or topic") {
		t.Errorf("prepare: %v", err)
	}
}

// TestOneOutputThatMayNotBeginHoldsUpNobody: the right to read one output's rows is
// missing. The cars and the other output are served, it is told why the one waits,
// and it begins by itself when the right is given.
func TestOneOutputThatMayNotBeginHoldsUpNobody(t *testing.T) {
	fake, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer fake.Close()
	var allowed atomic.Bool
	fake.ControlKey(int16(kmsg.ListOffsets), func(r kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		req := r.(*kmsg.ListOffsetsRequest)
		if allowed.Load() || len(req.Topics) != 1 || req.Topics[0].Topic != "telemetry.models" {
			return nil, nil, false
		}
		rt := kmsg.NewListOffsetsResponseTopic()
		rt.Topic = req.Topics[0].Topic
		for _, p := range req.Topics[0].Partitions {
			rp := kmsg.NewListOffsetsResponseTopicPartition()
			rp.Partition, rp.ErrorCode = p.Partition, kerr.TopicAuthorizationFailed.Code
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp := r.ResponseKind().(*kmsg.ListOffsetsResponse)
		resp.Topics = append(resp.Topics, rt)
		return resp, nil, true
	})
	cluster := `{brokers: ["` + fake.ListenAddrs()[0] + `"], allow_unsafe: true, replication: 1, partitions: 1}`
	sequence := "sequence: {outputs: [{name: models, format: json}, {name: other, format: json}]}"
	r, _ := run(t, configure(t, t.TempDir(), cluster, plainMQTT+"\n"+sequence))
	s := r.Status(t.Context())
	car := beginCar(t, s.Listen.MQTT)
	car.send(car.Full(2e9, 5))
	has := func(name string) func() bool {
		return func() bool { return len(topics(t, fake.ListenAddrs()[0], name)[name]) == 5 }
	}
	eventually(t, "the other output has the rows", has("telemetry.other"))
	eventually(t, "it is told why the one waits", func() bool {
		o := r.outputState(t, "models")
		return o.State == OutputStopped && strings.Contains(o.Error, "telemetry.models/0") && strings.Contains(o.Error, "TOPIC_AUTHORIZATION_FAILED")
	})
	eventually(t, "the process is ready", func() bool {
		code, body := get(t, s.Listen.Live, "/readyz")
		return code == http.StatusOK && strings.Contains(body, "degraded: output models: stopped, nothing is written: kafka: list offsets of telemetry.models/0")
	})
	if o := r.outputState(t, "other"); o.State != OutputOK {
		t.Errorf("the other output: %+v", o)
	}
	allowed.Store(true)
	eventually(t, "the one has the rows as well", has("telemetry.models"))
	eventually(t, "nothing is degraded", func() bool { return len(r.Status(t.Context()).Degraded) == 0 })
}

// TestRenamedOutputFailsAlone: with the topic of an output of another name it would
// write everything again; it does not begin, and says so.
func TestRenamedOutputFailsAlone(t *testing.T) {
	dir := t.TempDir()
	count := func(r *Receiver, name string) int {
		return len(topics(t, r.Status(t.Context()).Listen.Kafka, name)[name])
	}
	t.Run("as it was", func(t *testing.T) {
		r, _ := run(t, configure(t, dir, embeddedLine, plainMQTT+"\nsequence: {outputs: [{name: models, format: json, topic: rows}]}"))
		car := beginCar(t, r.Status(t.Context()).Listen.MQTT)
		car.send(car.Full(2e9, 5))
		eventually(t, "rows", func() bool { return count(r, "rows") == 5 })
	})
	r, _ := run(t, configure(t, dir, embeddedLine, plainMQTT+"\nsequence: {outputs: [{name: renamed, format: json, topic: rows}, {name: other, format: json}]}"))
	eventually(t, "it is told", func() bool {
		o := r.outputState(t, "renamed")
		return o.State == OutputStopped && strings.Contains(o.Error, "was the output renamed")
	})
	eventually(t, "the other output has the rows", func() bool { return count(r, "telemetry.other") == 5 })
	if n := count(r, "rows"); n != 5 || !r.Status(t.Context()).Ready {
		t.Errorf("%d rows, want 5; ready: %v", n, r.Status(t.Context()).Ready)
	}
}
