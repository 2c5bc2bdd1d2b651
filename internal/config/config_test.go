package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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
		{"number for a whole number", "channels: 50", "channels: 5.5", "8:21", `is "5.5" (want a whole number)`},
		{"alias of nothing", "car: car-7", "car: *nobody", "2:6", ""},
		{"merge key", "car: car-7", "car: car-7\n<<: {car: x}", "3:1", "unknown key"},
		{"double name", "{name: b,", "{name: a,", "12:12", "used twice"},
		{"reserved name", "name: sim", "name: agent", "7:11", "the agent's own channels"},
		{"speed", "x10", "x-1", "6:40", "is no factor (want a factor"},
		{"speed without its x", "x10", "10", "6:40", `"10" lacks its x: write x10 (want a factor from x0.001`},
		{"speed of the encoder", "links:\n", "seal: {speed: slow}\nlinks:\n", "10:15", `"slow" is no speed (want full, fast or auto)`},
		{"no database", ", dbc: car.dbc", "", "6:14", "candump.dbc: is missing"},
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
	body := `version: 1
cra: x
spool: {dir: s, quota: 512, chunk: 1GiB}
sources: 3
links: [{name: a}, {name: a, interface: [x]}]
live: {rate: 0Hz}
`
	_, err := ReadAgent(write(t, body))
	var fs Faults
	if !errors.As(err, &fs) {
		t.Fatalf("got %v", err)
	}
	var got []string
	for _, f := range fs {
		got = append(got, fmt.Sprintf("%d:%d %s", f.Line, f.Column, f.Path))
	}
	// What follows from a fault is not said again: car is the misspelt cra.
	want := []string{
		"2:1 cra", "3:24 spool.quota", "3:36 spool.chunk", "4:10 sources", "5:9 links[0]",
		"5:20 links[1]", "5:27 links[1].name", "5:41 links[1].interface", "6:14 live.rate",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q\n%v", got, want, err)
	}
}

func TestValuesAsTheyStand(t *testing.T) {
	body := `version: 1
car: 0123
spool: {dir: &dir "a b", quota: 1.5GiB}
socket: *dir
sources:
  - name: yes
    candump: {file: lap.log, dbc: c.dbc, speed: max, "loop": true}
  - {name: sim, sim: {seed: -7}}
live: {rate: 1.5kHz}
`
	p := write(t, body)
	c, err := ReadAgent(p)
	if err != nil {
		t.Fatal(err)
	}
	if c.Car != "0123" || c.Sources[0].Name != "yes" || !c.Sources[0].Candump.Loop || c.Sources[0].Candump.Speed != SpeedMax {
		t.Errorf("got car %q, source %+v", c.Car, c.Sources[0].Candump)
	}
	if want := filepath.Join(filepath.Dir(p), "a b"); c.Socket != want || c.Spool.Dir != want {
		t.Errorf("alias: socket %q, dir %q, want %q", c.Socket, c.Spool.Dir, want)
	}
	if s := c.Sources[1].Sim; s.Seed != -7 || s.Channels != 200 || s.Rate != 100_000 {
		t.Errorf("sim: %+v", s)
	}
	if c.Spool.Quota != 3<<29 || c.Live.Rate != 1_500_000 || c.MemoryLimit != 48<<20 {
		t.Errorf("quota %d, rate %d, memory %d", c.Spool.Quota, c.Live.Rate, c.MemoryLimit)
	}
	f := c.Fault("sources[0].candump.dbc", "is %s", "gone")
	if got, want := f.Error(), p+":7:35: sources[0].candump.dbc: is gone"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A zero in the file is a choice, and is judged as one: no default hides it.
func TestZeroIsNoDefault(t *testing.T) {
	for _, change := range []string{
		"spool: {dir: s, quota: 0B}", "spool: {dir: s, commit_interval: 0s}", "seal: {full: 0s}", "live: {rate: 0Hz}",
		"clock: {interval: 0s}", "memory_limit: 0B", "socket: ''",
	} {
		body := "version: 1\ncar: c\nspool: {dir: s}\nsources: [{name: s, sim: {}}]\n"
		if _, err := ReadAgent(write(t, body)); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(change, "spool") {
			body = strings.Replace(body, "spool: {dir: s}\n", "", 1)
		}
		if _, err := ReadAgent(write(t, body+change+"\n")); err == nil || !strings.Contains(err.Error(), "(want ") {
			t.Errorf("%s was taken: %v", change, err)
		}
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

func TestReceiverPorts(t *testing.T) {
	const quiet = "live: {listen: 'off'}\n"
	for _, tt := range []struct{ name, yaml, want string }{
		{"page on the broker's", "mqtt: {insecure: true, listen: '127.0.0.1:1883'}\nlive: {listen: '127.0.0.1:1883'}\n", "live.listen: 127.0.0.1:1883 is taken by mqtt.listen (127.0.0.1:1883)"},
		{"every address and one", "mqtt: {insecure: true, listen: ':8080'}\n", "live.listen: 127.0.0.1:8080 is taken by mqtt.listen (:8080)"},
		{"IPv6's every address", "mqtt: {insecure: true, listen: '127.0.0.1:81'}\nhealth: {listen: '[::]:81'}\n" + quiet, "health.listen: [::]:81 is taken by mqtt.listen"},
		{"the embedded Kafka's", "mqtt: {insecure: true}\nkafka: {embedded: {dir: k, port: 8081}}\nhealth: {listen: ':8081'}\n" + quiet, "kafka.embedded.port: 127.0.0.1:8081 is taken by health.listen"},
		{"free ports", "mqtt: {insecure: true, listen: '127.0.0.1:0'}\nlive: {listen: '127.0.0.1:0'}\n", ""},
		{"two addresses", "mqtt: {insecure: true, listen: '10.0.0.1:81'}\nlive: {listen: '127.0.0.1:81'}\n", ""},
		{"a broker of others", "mqtt: {broker: 'tcp://a:1883', listen: ':8080'}\n", ""},
		{"no page here", "roles: [ingest]\nmqtt: {insecure: true, listen: ':8080'}\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			yaml := "version: 1\n" + tt.yaml
			if !strings.Contains(yaml, "kafka:") {
				yaml += "kafka: {embedded: {dir: k}}\n"
			}
			_, err := ReadReceiver(write(t, yaml))
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestReceiverBroker(t *testing.T) {
	read := func(mqtt string) (*Receiver, error) {
		return ReadReceiver(write(t, "version: 1\nkafka: {embedded: {dir: k}}\nmqtt: {"+mqtt+"}\n"))
	}
	c, err := read("broker: 'tcp://127.0.0.1:1883', group: pit, user: receiver, password: {file: secret}")
	if err != nil {
		t.Fatal(err)
	}
	if m := c.MQTT; m.Group != "pit" || m.User != "receiver" || !filepath.IsAbs(m.Password.File) {
		t.Errorf("got %+v with the secret in %q, want an absolute path", m, m.Password.File)
	}
	for _, tt := range []struct{ name, mqtt, want string }{
		{"both brokers", "broker: 'tcp://127.0.0.1:1883', insecure: true", "mqtt.broker: stands beside tls or insecure"},
		{"tls without identity", "broker: 'tls://127.0.0.1:8883'", "mqtt.client: is missing"},
		{"group with a slash", "broker: 'tcp://127.0.0.1:1883', group: a/b", "mqtt.group"},
		{"password of nobody", "broker: 'tcp://127.0.0.1:1883', password: {env: P}", "mqtt.user: is missing beside password"},
		{"two passwords", "broker: 'tcp://127.0.0.1:1883', user: u, password: {env: P, file: f}", "want exactly one of file and env"},
		{"group of the embedded one", "insecure: true, group: pit", "are of an external broker"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := read(tt.mqtt); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// Whatever is in a file, reading it ends, in a configuration or in faults that
// name the file.
func FuzzReadAgent(f *testing.F) {
	f.Add(goodAgent)
	f.Add("version: 1\ncar: c\nspool: {dir: s}\nsources: [{name: s, sim: {}, include: '*', rename: {a.b: c}, channels: [{match: [x], deadband: 0.5, preview: {rate: 5Hz}}]}]\n")
	f.Add("version: 1\ncar: ${X:-c}$$\nspool: {dir: '${Y}'}\n")
	f.Add("a: &a [*a]\nb: *a\n")
	f.Add("version: 1\nsources: [{socketcan: {dbc: [a, b]}}, {slcan: {port: p, bitrate: 1Mbit/s}}]\n<<: {car: x}\n? [a]\n: b\n")
	file := filepath.Join(f.TempDir(), "fuzz.yaml")
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := ReadAgent(file)
		var fs Faults
		switch {
		case err == nil && (c == nil || c.Car == ""):
			t.Fatalf("took %q", text)
		case err != nil && (c != nil || !errors.As(err, &fs) || len(fs) == 0 || fs[0].File != file):
			t.Fatalf("%q: %v", text, err)
		}
	})
}
