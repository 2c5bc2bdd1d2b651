package receiver

import (
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"telemetry/receiver/hop"
	"telemetry/receiver/sequence"
	"telemetry/wire"
)

// metricsType is the content type of Prometheus' text format.
const metricsType = "text/plain; version=0.0.4; charset=utf-8"

// metrics writes a status in Prometheus' text format. Its names are those of
// `receiver status --json`, so that both can be read side by side.
type metrics struct {
	families map[string]*family
	order    []string
}

// family is one metric with all of its samples.
type family struct {
	kind, help string
	samples    []string
}

// label is one name and its value.
type label struct{ name, value string }

func (m *metrics) add(kind, name, help string, v float64, labels ...label) {
	f := m.family(kind, name, help)
	f.samples = append(f.samples, sample(name, v, labels))
}

// family returns the metric of a name, made on first use.
func (m *metrics) family(kind, name, help string) *family {
	f := m.families[name]
	if f == nil {
		f = &family{kind: kind, help: help}
		m.families[name] = f
		m.order = append(m.order, name)
	}
	return f
}

// sample returns one line.
func sample(name string, v float64, labels []label) string {
	var b strings.Builder
	b.WriteString(name)
	for i, l := range labels {
		b.WriteByte("{,"[min(i, 1)])
		fmt.Fprintf(&b, "%s=\"%s\"", l.name, escape.Replace(l.value))
	}
	if len(labels) > 0 {
		b.WriteByte('}')
	}
	b.WriteByte(' ')
	b.WriteString(strconv.FormatFloat(v, 'g', -1, 64))
	return b.String()
}

// escape makes a label's value.
var escape = strings.NewReplacer("\\", "\\\\", "\"", "\\\"", "\n", "\\n")

func (m *metrics) gauge(name, help string, v float64, labels ...label) {
	m.add("gauge", name, help, v, labels...)
}

func (m *metrics) count(name, help string, v uint64, labels ...label) {
	m.add("counter", name, help, float64(v), labels...)
}

// counters adds every counter of a struct under its JSON name.
func (m *metrics) counters(prefix, help string, v any, labels ...label) {
	r := reflect.ValueOf(v)
	for i := range r.NumField() {
		f := r.Type().Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "" || name == "-":
		case f.Type.Kind() == reflect.Uint64:
			m.count(prefix+"_"+name+"_total", help, r.Field(i).Uint(), labels...)
		case f.Type.Kind() == reflect.Int:
			m.gauge(prefix+"_"+name, help, float64(r.Field(i).Int()), labels...)
		}
	}
}

// histogram adds one series of a histogram; buckets holds how many are at most each
// bound, and at last all.
func (m *metrics) histogram(name, help string, bounds []float64, buckets []uint64, sum float64, labels ...label) {
	f := m.family("histogram", name, help)
	for i, n := range buckets {
		le := "+Inf"
		if i < len(bounds) {
			le = strconv.FormatFloat(bounds[i], 'g', -1, 64)
		}
		f.samples = append(f.samples, sample(name+"_bucket", float64(n), append(slices.Clone(labels), label{"le", le})))
	}
	f.samples = append(f.samples, sample(name+"_sum", sum, labels), sample(name+"_count", float64(buckets[len(buckets)-1]), labels))
}

// one adds a gauge per state, 1 for the present one.
func (m *metrics) one(name, help, state string, all []string, labels ...label) {
	for _, s := range all {
		m.gauge(name, help, truth(s == state), append(slices.Clone(labels), label{"state", s})...)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// writeTo writes all families.
func (m *metrics) writeTo(w io.Writer) error {
	for _, name := range m.order {
		f := m.families[name]
		if _, err := fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n%s\n", name, f.help, name, f.kind, strings.Join(f.samples, "\n")); err != nil {
			return err
		}
	}
	return nil
}

// Metrics writes the present state for Prometheus.
func (s *Status) Metrics(w io.Writer) error {
	m := &metrics{families: map[string]*family{}}
	m.gauge("telemetry_receiver_info", "Name and version of the instance.", 1,
		label{"name", s.Name}, label{"version", s.Version}, label{"kafka", s.Kafka.Mode})
	m.gauge("telemetry_receiver_ready", "1 when every role serves.", truth(s.Ready))
	m.gauge("telemetry_receiver_uptime_seconds", "Since the roles began.", s.UptimeS)
	m.gauge("telemetry_kafka_up", "1 while Kafka takes what this process writes.", truth(s.Kafka.State == KafkaOK))
	m.gauge("telemetry_kafka_partitions", "Partitions of telemetry.batches; 0 while Kafka has not answered.", float64(s.Kafka.Partitions))
	m.count("telemetry_kafka_start_tries_total", "Tries to reach Kafka at the start that failed.", s.Kafka.Tries)
	if s.Ingest != nil {
		s.Ingest.metrics(m)
	}
	if s.Sequence != nil {
		s.Sequence.metrics(m)
	}
	for i := range s.Outputs {
		s.Outputs[i].metrics(m)
	}
	if s.Latency != nil {
		s.Latency.metrics(m)
	}
	if s.Live != nil {
		m.counters("telemetry_live", "Counter of the live page.", *s.Live)
	}
	if s.Login != nil {
		m.counters("telemetry_login", "Counter of the page's login.", *s.Login)
	}
	return m.writeTo(w)
}

func (s *IngestStatus) metrics(m *metrics) {
	m.one("telemetry_ingest_state", "1 for the state that the cars are told.", s.State, []string{"ok", "stalled", "draining", "unknown"})
	m.gauge("telemetry_ingest_stalled_seconds", "Since the last progress, while something waits.", float64(s.StalledMS)/1e3)
	m.gauge("telemetry_ingest_waiting_records", "Records on their way to Kafka.", float64(s.Waiting))
	m.gauge("telemetry_ingest_waiting_bytes", "Bytes on their way to Kafka.", float64(s.WaitingBytes))
	m.gauge("telemetry_ingest_held_bytes", "Bytes of batches that wait for a catalogue.", float64(s.HeldBytes))
	m.gauge("telemetry_ingest_cars", "Cars that this instance remembers.", float64(len(s.Cars)))
	m.counters("telemetry_ingest", "Counter of ingest.", s.Counters)
	m.gauge("telemetry_mqtt_revocations_failing", "1 while the list of revocations cannot be read, or is past its time.", truth(s.Revocations != ""))
	m.counters("telemetry_mqtt", "Counter of the embedded MQTT broker.", s.MQTT)
	for i := range s.Cars {
		c := &s.Cars[i]
		car := label{"car", c.Car}
		m.gauge("telemetry_ingest_car_credit_bytes", "Bytes that the instance takes from a car now.", float64(c.Credit), car)
		m.gauge("telemetry_ingest_car_silent_seconds", "Since a car was heard.", float64(c.SilentMS)/1e3, car)
		m.count("telemetry_ingest_car_batches_total", "Batches newly received from a car.", c.Batches, car)
		m.count("telemetry_ingest_car_duplicates_total", "Copies of batches of a car that were listed already.", c.Duplicates, car)
		m.count("telemetry_ingest_car_slowed_total", "Messages of a car beyond its rates: it gets less credit and is read slower.", c.Slowed, car)
		m.count("telemetry_ingest_car_refused_total", "Batches of a car that can never be taken.", c.Refused, car)
	}
}

func (s *LatencyStatus) metrics(m *metrics) {
	const name = "telemetry_receiver_hop_seconds"
	for i := range s.Hops {
		f := &s.Hops[i]
		m.histogram(name, "Where a sampled batch spent its time between sensor and reader, by hop.", hop.Buckets[:], f.Buckets[:], f.SumS, label{"hop", f.Hop})
	}
	for i := range s.Hops {
		m.count("telemetry_receiver_hop_below_zero_total", "Hops that came out below zero: clocks disagree.", s.Hops[i].Below, label{"hop", s.Hops[i].Hop})
	}
	m.gauge("telemetry_receiver_hop_uncertainty_seconds", "How well a car's clock was known when the last hop was measured by it, half width.", s.UncertaintyMS/1e3)
}

// gaps writes what all cars lack by lane and reason; each series is there from the
// beginning, so that the first gap is an increase.
func (s *SequenceStatus) gaps(m *metrics) {
	for _, lane := range wire.Lanes {
		for why := range len(sequence.Gaps{}) {
			reason := wire.Reason(why).String()
			var n uint64
			for i := range s.Partitions {
				for j := range s.Partitions[i].Cars {
					n += s.Partitions[i].Cars[j].Lanes[lane.String()].Gaps[reason]
				}
			}
			m.count("telemetry_sequence_gaps_batches_total", "Batches reported missing, by reason; withdrawn ones are found.", n,
				label{"lane", lane.String()}, label{"reason", reason})
		}
	}
}

func (s *SequenceStatus) metrics(m *metrics) {
	states := []string{
		sequence.StateLoading, sequence.StateRebuilding, sequence.StateRunning, sequence.StateRetrying, sequence.StateStopped,
	}
	m.one("telemetry_sequence_state", "1 for the state of the default output.", s.State, outputStates)
	m.gauge("telemetry_sequence_member", "1 while this process is a member of its group.", truth(s.Member))
	s.gaps(m)
	m.gauge("telemetry_sequence_held_bytes", "Bytes in memory of batches that wait.", float64(s.HeldBytes))
	for i := range s.Partitions {
		p := &s.Partitions[i]
		part := label{"partition", strconv.Itoa(int(p.Partition))}
		m.one("telemetry_sequence_partition_state", "1 for the state of a partition.", p.State, states, part)
		if p.Failing != "" {
			m.gauge("telemetry_sequence_partition_failing", "1 for what a partition tries again; the reason stands in /readyz.", 1, part, label{"what", p.Failing})
		}
		m.gauge("telemetry_sequence_lag_records", "Records of telemetry.batches not yet read.", float64(p.Lag), part)
		m.gauge("telemetry_sequence_committed_offset", "The group's offset.", float64(p.Committed), part)
		m.gauge("telemetry_sequence_commit_seconds", "What the last commit took.", p.CommitMS/1e3, part)
		m.count("telemetry_sequence_commits_total", "Commits.", p.Commits, part)
		m.counters("telemetry_sequence", "Counter of the sequencer.", p.Counters, part)
		for j := range p.Cars {
			c := &p.Cars[j]
			for _, lane := range []string{"critical", "live", "full"} {
				l, ok := c.Lanes[lane]
				if !ok {
					continue
				}
				where := []label{{"car", c.Car}, {"lane", lane}}
				m.gauge("telemetry_sequence_car_lag_seconds", "What a lane has written lags behind what was read of it.", float64(l.LagMS)/1e3, where...)
				m.gauge("telemetry_sequence_car_holes", "Numbers that a lane waits for.", float64(l.Holes), where...)
			}
		}
	}
}
