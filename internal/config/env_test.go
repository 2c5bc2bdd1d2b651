package config

import (
	"errors"
	"maps"
	"strings"
	"testing"
)

func TestExpand(t *testing.T) {
	vars := map[string]string{"HOST": "pit", "EMPTY": "", "_a1": "x", "YAML": "a: [b]\n- c", "REF": "${HOST}"}
	lookup := func(name string) (string, bool) { v, ok := vars[name]; return v, ok }
	for _, tt := range []struct {
		name, in, want, fault string
		used                  map[string]string
	}{
		{"none", "plain", "plain", "", nil},
		{"a whole value", "${HOST}", "pit", "", map[string]string{"HOST": "pit"}},
		{"parts", "tcp://${HOST}:${_a1}/", "tcp://pit:x/", "", map[string]string{"HOST": "pit", "_a1": "x"}},
		{"set, default unused", "${HOST:-other}", "pit", "", map[string]string{"HOST": "pit"}},
		{"unset, default", "${NOT:-a:-b c}", "a:-b c", "", map[string]string{"NOT": ""}},
		{"unset, empty default", "x${NOT:-}", "x", "", map[string]string{"NOT": ""}},
		{"empty counts as unset for a default", "${EMPTY:-d}", "d", "", map[string]string{"EMPTY": ""}},
		{"empty without a default", "x${EMPTY}", "x", "", map[string]string{"EMPTY": ""}},
		{"a dollar", "a$$b", "a$b", "", nil},
		{"a reference that is meant as text", "$${HOST}", "${HOST}", "", nil},
		{"a lone dollar", "a$b$", "a$b$", "", nil},
		{"what comes in is not expanded again", "${REF}", "${HOST}", "", map[string]string{"REF": "${HOST}"}},
		{"what comes in is text", "${YAML}", "a: [b]\n- c", "", map[string]string{"YAML": "a: [b]\n- c"}},
		{"missing", "${NOT}", "", "environment variable NOT is not set", nil},
		{"no name", "${}", "", "names no variable", nil},
		{"begins with a digit", "${1A}", "", "names no variable", nil},
		{"another default of the shell's", "${HOST-x}", "", "names no variable", nil},
		{"open", "${HOST", "", "without its }", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, used, err := expand(tt.in, lookup)
			if tt.fault != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fault) {
					t.Errorf("got %q, %v; want %q", got, err, tt.fault)
				}
				return
			}
			if err != nil || got != tt.want || !maps.Equal(used, tt.used) {
				t.Errorf("got %q, %v, %v; want %q, %v", got, used, err, tt.want, tt.used)
			}
		})
	}
}

// Variables reach every kind of value, of both binaries, and no key.
func TestVariablesInFiles(t *testing.T) {
	t.Setenv("T_DIR", "k")
	t.Setenv("T_PORT", "0")
	t.Setenv("T_TRUE", "true")
	t.Setenv("T_BROKER", "kafka:9092")
	t.Setenv("T_SIZE", "16")
	t.Setenv("T_LIST", "[a, b]")
	c, err := ReadReceiver(write(t, `version: 1
name: ${T_NAME:-pit-1}
mqtt: {insecure: "${T_TRUE}", listen: "127.0.0.1:${T_PORT}"}
kafka:
  brokers: ["${T_BROKER}", 'b$$:1']
  partitions: ${T_SIZE}
  embedded: {dir: &d "/${T_DIR}", port: "${T_PORT}"}
ingest: {credit_per_car: "${T_SIZE}MiB"}
sequence: {outputs: [{name: a, format: json, include: "${T_LIST}"}]}
socket: *d
`))
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != "pit-1" || !c.MQTT.Insecure || c.MQTT.Listen != "127.0.0.1:0" || c.Kafka.Brokers[0] != "kafka:9092" || c.Kafka.Brokers[1] != "b$:1" ||
		c.Kafka.Partitions != 16 || c.Kafka.Embedded.Dir != "/k" || c.Kafka.Embedded.Port != 0 || c.Ingest.CreditPerCar != 16<<20 || c.Socket != "/k" {
		t.Errorf("%+v", c)
	}
	if in := c.Sequence.Outputs[0].Include; len(in) != 1 || in[0] != "[a, b]" {
		t.Errorf("a variable became a list: %q", in)
	}
	t.Setenv("T_CAR", "gt3-7")
	t.Setenv("T_RATE", "2.5")
	a, err := ReadAgent(write(t, "version: 1\ncar: ${T_CAR}\nspool: {dir: s}\nsources: [{name: s, sim: {}}]\nmoving: {above: '${T_RATE}'}\n"))
	if err != nil || a.Car != "gt3-7" || a.Moving.Above != 2.5 {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestVariablesAtFault(t *testing.T) {
	t.Setenv("T_SECRET", "hunter2hunter2")
	t.Setenv("T_WORD", "many")
	const head = "version: 1\nmqtt: {insecure: true}\nkafka: {embedded: {dir: k}}\n"
	for _, tt := range []struct {
		name, text string
		want, not  string
	}{
		{"missing", head + "name: ${T_NOT_SET}\n", "c.yaml:4:7: name: environment variable T_NOT_SET is not set", ""},
		{"missing deep", head + "sequence:\n  outputs:\n    - {name: a, topic: 'x-${T_NOT_SET}'}\n", "c.yaml:6:24: sequence.outputs[0].topic: environment variable T_NOT_SET", ""},
		{"all missing ones", head + "name: ${T_A}\nsocket: ${T_B}\n", "c.yaml:5:9: socket: environment variable T_B", ""},
		{"a key stays", head + "${T_WORD}: 1\n", "unknown key", "many"},
		{"no number", head + "health: {listen: \"${T_WORD}\"}\n", `health.listen: "${T_WORD}" is no address`, `"many"`},
		{"a whole number", strings.Replace(head, "dir: k", "dir: k, port: \"${T_WORD}\"", 1), `is "${T_WORD}" (want a whole number)`, `"many"`},
		{"a secret in an address", strings.Replace(head, "insecure: true", "broker: \"tcp://u:${T_SECRET}@b:1\"", 1), "${T_SECRET}", "hunter2"},
		{"a secret instead of its file", strings.Replace(head, "dir: k}", "dir: k}, sasl: {mechanism: PLAIN, user: u, password: \"${T_SECRET}\"}", 1), "is a plain value", "hunter2"},
		{"no quotes between braces", "version: 1\nmqtt: {insecure: ${T_TRUE}}\n", "c.yaml:2:", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ReadReceiver(write(t, tt.text))
			var fs Faults
			if !errors.As(err, &fs) || !strings.Contains(err.Error(), tt.want) || tt.not != "" && strings.Contains(err.Error(), tt.not) {
				t.Errorf("got %v\nwant %q, without %q", err, tt.want, tt.not)
			}
		})
	}
	a, err := ReadAgent(write(t, "version: 1\ncar: c\nboard: ${T_SECRET}\nspool: {dir: s}\nsources: [{name: s, sim: {}}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	if f := a.Fault("board", "%q is no board", a.Board); strings.Contains(f.Error(), "hunter2") || !strings.Contains(f.Error(), "T_SECRET") {
		t.Errorf("a later fault: %v", f)
	}
}
