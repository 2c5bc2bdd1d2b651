package deploycheck

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"telemetry/internal/agent"
	"telemetry/internal/config"
	"telemetry/receiver"
)

// exposed is what a scrape has: for each metric the values of its labels by name.
// A metric that is declared and has no series yet has none.
type exposed map[string]map[string]map[string]bool

// add takes one answer in Prometheus' text format.
func (e exposed) add(text string) error {
	for line := range strings.Lines(text) { // the parser leaves out metrics without series
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, _, _ := strings.Cut(rest, " ")
			if e[name] == nil {
				e[name] = map[string]map[string]bool{}
			}
		}
	}
	p := expfmt.NewTextParser(model.UTF8Validation)
	families, err := p.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		return fmt.Errorf("a scrape that Prometheus cannot read: %w", err)
	}
	for name, f := range families {
		if f.GetType() == dto.MetricType_HISTOGRAM { // its series have names of their own
			e[name+"_bucket"] = map[string]map[string]bool{"le": {"+Inf": true}}
			e[name+"_sum"], e[name+"_count"] = map[string]map[string]bool{}, map[string]map[string]bool{}
			for _, m := range f.GetMetric() {
				for _, l := range m.GetLabel() {
					for _, suffix := range []string{"_bucket", "_sum", "_count"} {
						if e[name+suffix][l.GetName()] == nil {
							e[name+suffix][l.GetName()] = map[string]bool{}
						}
						e[name+suffix][l.GetName()][l.GetValue()] = true
					}
				}
			}
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if e[name][l.GetName()] == nil {
					e[name][l.GetName()] = map[string]bool{}
				}
				e[name][l.GetName()][l.GetValue()] = true
			}
		}
	}
	return nil
}

// has reports whether a metric has series.
func (e exposed) has(name string) bool { return len(e[name]) > 0 }

const receiverYAML = `
version: 1
name: bench
mqtt: {listen: "127.0.0.1:0", insecure: true}
kafka:
  embedded: {dir: kafka, port: 0}
  partitions: 2
  registry: {url: "http://127.0.0.1:1"}
sequence:
  outputs:
    - {name: rows, format: json}
    - {name: models, format: protobuf}
live: {listen: "127.0.0.1:0"}
health: {listen: "127.0.0.1:0"}
`

const agentYAML = `
version: 1
car: car-1
spool: {dir: spool, quota: 64MB}
socket: agent.sock
sources: [{name: sim, sim: {channels: 20, rate: 10Hz}}]
links:
  - {name: a, addresses: ["tcp://%s"], modem: {port: nothing, watch_only: true}}
`

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// until polls a condition for a minute: the machine may be busy.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// serve runs a service until the test ends.
func serve(t *testing.T, run func(ctx context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }() // ends with ctx
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// scrape starts a receiver and a car and returns what both expose once data flows.
func scrape(t *testing.T) (ofReceiver, ofAgent exposed) {
	t.Helper()
	dir := t.TempDir()
	cfg, err := config.ReadReceiver(write(t, dir, "receiver.yaml", receiverYAML))
	if err != nil {
		t.Fatal(err)
	}
	r, err := receiver.Prepare(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	serve(t, r.Run)
	until(t, "the receiver listens", func() bool {
		s := r.Status(t.Context())
		return s.Listen.MQTT != "" && s.Listen.Health != ""
	})
	listen := r.Status(t.Context()).Listen
	if _, _, err := net.SplitHostPort(listen.Health); err != nil {
		t.Fatal(err)
	}

	carCfg, err := config.ReadAgent(write(t, dir, "car.yaml", fmt.Sprintf(agentYAML, listen.MQTT)))
	if err != nil {
		t.Fatal(err)
	}
	a, err := agent.Prepare(carCfg, os.DirFS("/"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	serve(t, a.Run)

	ofReceiver = exposed{}
	until(t, "a lane of the car is written by both outputs", func() bool {
		resp, err := http.Get("http://" + listen.Health + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if err := ofReceiver.add(string(text)); err != nil {
			t.Fatal(err)
		}
		return ofReceiver.has("telemetry_sequence_car_lag_seconds") && ofReceiver.has("telemetry_output_rows_total") && ofReceiver.has("telemetry_ingest_car_credit_bytes")
	})
	ofAgent = exposed{}
	until(t, "the agent knows its links", func() bool {
		w := httptest.NewRecorder()
		a.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
		if err := ofAgent.add(w.Body.String()); err != nil {
			t.Fatal(err)
		}
		return ofAgent.has("edgeagent_link_state") && ofAgent.has("edgeagent_modem_state")
	})
	return ofReceiver, ofAgent
}
