package receiver

import (
	"strings"
	"testing"

	"telemetry/internal/config"
	"telemetry/wire"
)

// Two receivers on one host are two instances to the cars.
func TestDefaultNamesDiffer(t *testing.T) {
	for name, c := range map[string]struct {
		host string
		mqtt config.MQTT
		want string
	}{
		"embedded broker":              {"pit", config.MQTT{Listen: ":8883"}, "pit-8883"},
		"embedded broker, any port":    {"pit", config.MQTT{Listen: "127.0.0.1:0"}, "pit-77"},
		"external broker":              {"pit", config.MQTT{Listen: ":8883", Broker: "tcp://broker:1883"}, "pit-77"},
		"a name as long as a host's":   {strings.Repeat("h", 80), config.MQTT{Listen: ":8883"}, strings.Repeat("h", wire.MaxName-5) + "-8883"},
		"a long name, no port to tell": {strings.Repeat("h", 64), config.MQTT{Broker: "tcp://b:1"}, strings.Repeat("h", wire.MaxName-3) + "-77"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := defaultName(c.host, c.mqtt, 77); got != c.want {
				t.Errorf("named %q, want %q", got, c.want)
			}
		})
	}
}
