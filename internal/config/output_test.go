package config

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func readOutputs(t *testing.T, kafka, outputs string) (*Receiver, error) {
	t.Helper()
	return ReadReceiver(write(t, "version: 1\nmqtt: {insecure: true}\nkafka: {embedded: {dir: k}"+kafka+"}\nsequence:\n  windows: {full: 7s}\n  outputs:\n"+outputs))
}

func TestOutputsTakeOverTheRest(t *testing.T) {
	c, err := readOutputs(t, ", prefix: team, partitions: 3", `
    - {name: models, format: quix, include: ["Engine.*", Speed], exclude: "*Raw", windows: {full: 100ms}}
    - {name: glance, format: json, lanes: [live], topic: glance, integers: text}
`)
	if err != nil {
		t.Fatal(err)
	}
	a, b := c.Sequence.Outputs[0], c.Sequence.Outputs[1]
	if a.Topic != "team.models" || !slices.Equal(a.Lanes, []string{"critical", "full"}) || a.Partitions != 3 || a.Retention.D() != 168*time.Hour {
		t.Errorf("models: %+v", a)
	}
	if time.Duration(*a.Windows.Full) != 100*time.Millisecond || time.Duration(*a.Windows.Critical) != time.Minute {
		t.Errorf("windows of models: full %v, critical %v", *a.Windows.Full, *a.Windows.Critical)
	}
	if b.Topic != "glance" || !b.Live() || b.Retention.D() != 24*time.Hour || time.Duration(*b.Windows.Full) != 7*time.Second {
		t.Errorf("glance: %+v", b)
	}
	for name, want := range map[string]bool{"Engine.Rpm": true, "Engine.RpmRaw": false, "Chassis.Speed": true, "Chassis.Yaw": false} {
		group, channel, _ := strings.Cut(name, ".")
		if got := a.Takes(group, channel); got != want {
			t.Errorf("models take %s: %v, want %v", name, got, want)
		}
	}
	if !b.Takes("any", "thing") {
		t.Error("an output without patterns does not take a channel")
	}
}

func TestOutputsRefused(t *testing.T) {
	cases := map[string]struct{ kafka, outputs, want string }{
		"no name":        {"", "    - {format: json}", "outputs[0].name"},
		"no format":      {"", "    - {name: a}", "outputs[0].format"},
		"unknown format": {"", "    - {name: a, format: avro}", "want json, batch, protobuf, protobuf-raw, arrow, quix"},
		"same name":      {"", "    - {name: a, format: json}\n    - {name: a, format: json, topic: b}", "outputs[1].name"},
		"same topic":     {"", "    - {name: a, format: json}\n    - {name: b, format: json, topic: telemetry.a}", "topic of output a too"},
		"live beside":    {"", "    - {name: a, format: json, lanes: [live, full]}", "an output of its own for live"},
		"lane twice":     {"", "    - {name: a, format: json, lanes: [full, full]}", "twice"},
		"unknown lane":   {"", "    - {name: a, format: json, lanes: [slow]}", `"slow" is no lane`},
		"batch filtered": {"", "    - {name: a, format: batch, include: x}", "as the cars sealed them"},
		"bad pattern":    {"", "    - {name: a, format: json, include: '[a'}", "is no pattern"},
		"no registry":    {"", "    - {name: a, format: protobuf}", "needs a schema registry"},
		"registry's url": {", registry: {url: localhost:8081}", "    - {name: a, format: protobuf}", "is no registry"},
		"half a login":   {", registry: {url: 'http://r:1', user: u}", "    - {name: a, format: protobuf}", "belong together"},
		"two secrets":    {", registry: {url: 'http://r:1', user: u, password: {env: A, file: b}}", "    - {name: a, format: json}", "exactly one"},
		"text integers":  {"", "    - {name: a, format: quix, integers: text}", "format json only"},
		"short-lived":    {"", "    - {name: a, format: json, retention: 1m}", "at least 2h"},
		"partitions":     {"", "    - {name: a, format: json, partitions: -1}", "want 1 to 4096"},
		"unknown key":    {"", "    - {name: a, format: json, channel: x}", "channel"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := readOutputs(t, c.kafka, c.outputs)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
}

func TestCompression(t *testing.T) {
	c, err := readOutputs(t, "", "    - {name: a, format: json}\n")
	if err != nil || c.Kafka.Compression != "lz4" {
		t.Fatalf("default %q, %v", c.Kafka.Compression, err)
	}
	if c, err = readOutputs(t, ", compression: gzip", "    - {name: a, format: json}\n"); err != nil || c.Kafka.Compression != "gzip" {
		t.Errorf("gzip: %q, %v", c.Kafka.Compression, err)
	}
	_, err = readOutputs(t, ", compression: brotli", "    - {name: a, format: json}\n")
	if err == nil || !strings.Contains(err.Error(), `kafka.compression: "brotli" is no compression (want lz4, gzip, snappy, zstd or none)`) {
		t.Errorf("brotli: %v", err)
	}
}

func TestDefaultOutputWithoutALane(t *testing.T) {
	c, err := ReadReceiver(write(t, "version: 1\nmqtt: {insecure: true}\nkafka: {embedded: {dir: k}}\nsequence: {formats: {full: none}}\n"))
	if err != nil || c.Sequence.Formats.Full != "none" || c.Sequence.Formats.Critical != "json" {
		t.Errorf("%+v, %v", c, err)
	}
	_, err = ReadReceiver(write(t, "version: 1\nmqtt: {insecure: true}\nkafka: {embedded: {dir: k}}\nsequence: {formats: {full: arrow}}\n"))
	if err == nil || !strings.Contains(err.Error(), "sequence.outputs has the others") {
		t.Errorf("arrow as the default output's format: %v", err)
	}
}
