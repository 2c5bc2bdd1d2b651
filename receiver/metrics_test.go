package receiver

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"telemetry/receiver/hop"
	"telemetry/receiver/ingest"
	"telemetry/receiver/live"
	"telemetry/receiver/sequence"
	"telemetry/wire"
)

var sampleLine = regexp.MustCompile(`^([a-z_]+)(\{([a-z_]+="([^"\\]|\\.)*",?)+\})? (\S+)$`)

// parseMetrics checks Prometheus' text format and returns the samples by name and
// labels.
func parseMetrics(t *testing.T, text string) map[string]float64 {
	t.Helper()
	out := map[string]float64{}
	kind := map[string]string{}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, k, _ := strings.Cut(rest, " ")
			if kind[name] != "" {
				t.Errorf("metric %s stands twice", name)
			}
			kind[name] = k
			continue
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		m := sampleLine.FindStringSubmatch(line)
		if m != nil && kind[m[1]] == "" { // one line of a histogram
			if base := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(m[1], "_bucket"), "_sum"), "_count"); kind[base] == "histogram" {
				kind[m[1]] = "histogram"
			}
		}
		if m == nil {
			t.Errorf("not a sample: %q", line)
			continue
		}
		v, err := strconv.ParseFloat(m[5], 64)
		if err != nil || kind[m[1]] == "" {
			t.Errorf("sample %q: %v, kind %q", line, err, kind[m[1]])
		}
		if strings.HasSuffix(m[1], "_total") != (kind[m[1]] == "counter") {
			t.Errorf("%s is a %s", m[1], kind[m[1]])
		}
		if _, twice := out[m[1]+m[2]]; twice {
			t.Errorf("sample %s%s stands twice", m[1], m[2])
		}
		out[m[1]+m[2]] = v
	}
	return out
}

func TestMetricsSayWhatTheStatusSays(t *testing.T) {
	s := Status{Name: `pit "1"\`, Ready: true, UptimeS: 12.5, Kafka: KafkaStatus{Mode: "cluster", Partitions: 4, State: KafkaFailing, Tries: 3}}
	s.Ingest = &IngestStatus{
		State: "stalled", StalledMS: 2500, WaitingBytes: 77, Counters: ingest.Counters{Batches: 5},
		Cars: []CarStatus{{Car: "car-1", Credit: 99, Batches: 4}, {Car: "car-2"}},
	}
	p := PartitionStatus{Counters: sequence.Counters{Released: 6}, Partition: 2, State: sequence.StateRetrying, Lag: 8, CommitMS: 20}
	gaps := map[string]uint64{"card replaced": 5}
	p.Cars = []SequenceCarStatus{
		{Car: "car-1", Lanes: map[string]SequenceLaneStatus{"full": {LagMS: 1500, Holes: 2, Gaps: gaps}}},
		{Car: "car-2", Lanes: map[string]SequenceLaneStatus{"full": {Gaps: gaps}}},
	}
	var hops hop.Set
	hops.Observe(hop.Sent, 3*time.Millisecond)
	hops.Observe(hop.Sent, time.Hour)
	hops.Observe(hop.Received, -time.Millisecond)
	figures, _ := hops.Snapshot()
	s.Latency = &LatencyStatus{UncertaintyMS: 2, Hops: figures}
	s.Live = &live.Counters{ViewersSlowed: 12, ChartsRefused: 13, Strips: 14, StripBytes: 15}
	s.Sequence = &SequenceStatus{HeldBytes: 11, Partitions: []PartitionStatus{p}}
	var b strings.Builder
	if err := s.Metrics(&b); err != nil {
		t.Fatal(err)
	}
	got := parseMetrics(t, b.String())
	for name, want := range map[string]float64{
		`telemetry_receiver_info{name="pit \"1\"\\",version="",kafka="cluster"}`: 1,
		"telemetry_receiver_ready":                                                  1,
		"telemetry_kafka_up":                                                        0,
		"telemetry_kafka_start_tries_total":                                         3,
		`telemetry_ingest_state{state="stalled"}`:                                   1,
		`telemetry_ingest_state{state="ok"}`:                                        0,
		"telemetry_ingest_stalled_seconds":                                          2.5,
		"telemetry_ingest_waiting_bytes":                                            77,
		"telemetry_ingest_batches_total":                                            5,
		`telemetry_ingest_car_credit_bytes{car="car-1"}`:                            99,
		`telemetry_ingest_car_batches_total{car="car-1"}`:                           4,
		`telemetry_sequence_partition_state{partition="2",state="retrying"}`:        1,
		`telemetry_sequence_released_total{partition="2"}`:                          6,
		`telemetry_sequence_lag_records{partition="2"}`:                             8,
		`telemetry_sequence_commit_seconds{partition="2"}`:                          0.02,
		`telemetry_sequence_car_lag_seconds{car="car-1",lane="full"}`:               1.5,
		`telemetry_sequence_car_holes{car="car-1",lane="full"}`:                     2,
		`telemetry_sequence_gaps_batches_total{lane="full",reason="card replaced"}`: 10,
		`telemetry_sequence_gaps_batches_total{lane="live",reason="gap"}`:           0,
		"telemetry_kafka_partitions":                                                4,
		`telemetry_receiver_hop_seconds_bucket{hop="sent",le="0.002"}`:              0,
		`telemetry_receiver_hop_seconds_bucket{hop="sent",le="0.005"}`:              1,
		`telemetry_receiver_hop_seconds_bucket{hop="sent",le="+Inf"}`:               2,
		`telemetry_receiver_hop_seconds_count{hop="sent"}`:                          2,
		`telemetry_receiver_hop_seconds_sum{hop="sent"}`:                            3600.003,
		`telemetry_receiver_hop_below_zero_total{hop="received"}`:                   1,
		"telemetry_receiver_hop_uncertainty_seconds":                                0.002,
		"telemetry_live_viewers_slowed_total":                                       12,
		"telemetry_live_charts_refused_total":                                       13,
		"telemetry_live_strips":                                                     14,
		"telemetry_live_strip_bytes":                                                15,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %v (%t), want %v", name, v, ok, want)
		}
	}
}

// Without a page the machines' own port answers, before Kafka does and after.
func TestHealthPortAnswersThroughoutARun(t *testing.T) {
	cfg := configure(t, t.TempDir(), `{brokers: ["127.0.0.1:1"], allow_unsafe: true}`, plainMQTT)
	cfg.Health.Listen, cfg.Live.Listen = "127.0.0.1:0", liveOff
	r, err := Prepare(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }() // ends with ctx
	eventually(t, "a try to reach Kafka has failed", func() bool {
		s := r.Status(t.Context())
		return s.Listen.Health != "" && s.Kafka.Tries > 0
	})
	addr := r.Status(t.Context()).Listen.Health
	if code, body := get(t, addr, "/healthz"); code != http.StatusOK {
		t.Errorf("healthz while Kafka is away: %d %s", code, body)
	}
	if code, body := get(t, addr, "/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "Kafka has not answered") {
		t.Errorf("readyz while Kafka is away: %d %s", code, body)
	}
	code, body := get(t, addr, "/metrics")
	if m := parseMetrics(t, body); code != http.StatusOK || m["telemetry_kafka_up"] != 0 || m["telemetry_kafka_start_tries_total"] == 0 {
		t.Errorf("metrics while Kafka is away: %d %s", code, body)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := http.Get("http://" + addr + "/healthz"); err == nil {
		t.Error("the port answers after the end")
	}
}

func TestReadyPageHasMetrics(t *testing.T) {
	cfg := configure(t, t.TempDir(), embeddedLine, plainMQTT)
	cfg.Live.Listen = "127.0.0.1:0"
	r, _ := run(t, cfg)
	code, body := get(t, r.Status(t.Context()).Listen.Live, "/metrics")
	m := parseMetrics(t, body)
	if code != http.StatusOK || m["telemetry_receiver_ready"] != 1 || m["telemetry_kafka_up"] != 1 || m[`telemetry_ingest_state{state="ok"}`] != 1 {
		t.Errorf("%d %s", code, body)
	}
}

// stuck is a producer of a Kafka that takes nothing.
type stuck struct{ err error }

func (s stuck) State() error { return s.err }

func TestKafkaTroubleIsNamed(t *testing.T) {
	down := errors.New("kafka: nothing written for 3s")
	for name, c := range map[string]struct {
		err     error
		ingest  wire.InstanceState
		part    string
		state   string
		ready   bool
		reasons string
	}{
		"all is well":                  {nil, wire.InstanceOK, "", KafkaOK, true, ""},
		"a hiccup":                     {down, wire.InstanceOK, "", KafkaFailing, true, "nothing written"},
		"stalled":                      {down, wire.InstanceStalled, "", KafkaFailing, false, "nothing written"},
		"a partition cannot be served": {nil, wire.InstanceOK, "fetch: not authorized", KafkaFailing, true, "partition 0: fetch: not authorized"},
	} {
		t.Run(name, func(t *testing.T) {
			s := Status{Ingest: &IngestStatus{State: instanceState(c.ingest)}, Sequence: &SequenceStatus{Partitions: []PartitionStatus{{Error: c.part}}}}
			s.kafkaState(&running{producer: stuck{c.err}, started: time.Now()})
			if s.Kafka.State != c.state || (len(s.Waits) == 0) != c.ready || !strings.Contains(s.Kafka.Error, c.reasons) {
				t.Errorf("state %s, error %q, waits %q", s.Kafka.State, s.Kafka.Error, s.Waits)
			}
		})
	}
}
