package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const goodAgent = `version: 1
car: car-7
spool: {dir: spool, quota: 512MiB}
sources:
  - name: bus
    candump: {file: lap.log.gz, speed: x10, dbc: car.dbc}
  - name: sim
    sim: {channels: 50, rate: 1.5kHz}
receiver: {addresses: ["tcp://127.0.0.1:1883"]}
links:
  - {name: a, interface: wwan0}
  - {name: b, addresses: ["tcp://127.0.0.1:1884"]}
`

func write(t *testing.T, body string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(p, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestReadAgentFillsDefaultsAndResolvesPaths(t *testing.T) {
	p := write(t, goodAgent)
	c, err := ReadAgent(p)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.Spool.Dir, filepath.Join(filepath.Dir(p), "spool"); got != want {
		t.Errorf("spool.dir: got %q, want %q", got, want)
	}
	if got, want := c.Sources[0].Candump.Speed, Speed(10); got != want {
		t.Errorf("speed: got %v, want %v", got, want)
	}
	if got, want := c.Sources[1].Sim.Rate, Rate(1_500_000); got != want {
		t.Errorf("rate: got %v mHz, want %v", got, want)
	}
	if got, want := c.Spool.Quota, Size(512<<20); got != want {
		t.Errorf("quota: got %v, want %v", got, want)
	}
	if got, want := c.Links[0].Addresses[0], "tcp://127.0.0.1:1883"; got != want {
		t.Errorf("links[0] address: got %q, want %q", got, want)
	}
	if got, want := c.Seal.Full.D(), 100*time.Millisecond; got != want {
		t.Errorf("seal.full: got %v, want %v", got, want)
	}
}

func TestFaultsNameTheirPlace(t *testing.T) {
	tests := []struct {
		name, from, to string
		want           string // "line:column" and a part of the message
		part           string
	}{
		{"unknown key", "car: car-7", "carr: car-7", "2:1", `unknown key, did you mean "car"?`},
		{"unknown key deep", "quota: 512MiB", "qota: 512MiB", "3:21", `spool.qota: unknown key, did you mean "quota"?`},
		{"missing unit", "512MiB", "512", "3:28", "has no unit (want a size with its unit"},
		{"wrong unit", "1.5kHz", "1.5s", "8:31", "has no known unit (want a rate"},
		{"list for a mapping", "{dir: spool, quota: 512MiB}", "[1]", "3:8", "is a list (want a mapping with dir"},
		{"mapping for a text", "car: car-7", "car: {a: 1}", "2:6", "is a mapping (want a text)"},
		{"bad car", "car-7", "car/7", "2:6", "has a byte"},
		{"unknown kind", "sim: {channels: 50, rate: 1.5kHz}", "nothing: 1", "8:5", "unknown key"},
		{"bad address", "tcp://127.0.0.1:1884", "mqtt://x", "12:27", "is no address"},
		{"tls without identity", "tcp://127.0.0.1:1883", "tls://127.0.0.1:1883", "9:", "want ca, cert and key"},
		{"syntax", "car: car-7", "car: [", "", ""},
		{"wrong version", "version: 1", "version: 2", "1:10", "this build reads version 1"},
		{"second document", "links:\n", "---\nlinks:\n", "11:", "second document"},
		{"duplicate key", "car: car-7", "car: a\ncar: b", "3:1", "already defined"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			body := strings.Replace(goodAgent, tt.from, tt.to, 1)
			if body == goodAgent {
				t.Fatalf("%q is not in the good file", tt.from)
			}
			_, err := ReadAgent(write(t, body))
			var fs Faults
			if !errors.As(err, &fs) {
				t.Fatalf("got %v, want Faults", err)
			}
			if got := err.Error(); !strings.Contains(got, "c.yaml:"+tt.want) || !strings.Contains(got, tt.part) {
				t.Errorf("got  %s\nwant c.yaml:%s … %s", got, tt.want, tt.part)
			}
		})
	}
}

func TestAllFaultsAreReportedAtOnce(t *testing.T) {
	_, err := ReadAgent(write(t, "version: 1\ncra: x\nspol: {}\nlinks: 3\n"))
	var fs Faults
	if !errors.As(err, &fs) || len(fs) != 3 {
		t.Fatalf("got %d faults (%v), want 3", len(fs), err)
	}
}

func TestReceiverWindows(t *testing.T) {
	c, err := ReadReceiver(write(t, "version: 1\nmqtt: {insecure: true, listen: '127.0.0.1:1883'}\nkafka: {embedded: {dir: k}}\nsequence: {windows: {full: none, live: 10ms}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	w := c.Sequence.Windows
	if *w.Full != WindowNone || *w.Live != Window(10*time.Millisecond) || *w.Critical != Window(time.Minute) {
		t.Errorf("got full %v, live %v, critical %v", *w.Full, *w.Live, *w.Critical)
	}
	if _, err := ReadReceiver(write(t, "version: 1\nkafka: {embedded: {dir: k}}\n")); err == nil || !strings.Contains(err.Error(), "mqtt.tls") {
		t.Errorf("a broker without TLS was accepted: %v", err)
	}
}
