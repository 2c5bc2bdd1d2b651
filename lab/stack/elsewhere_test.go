package stack

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"telemetry/internal/config"
)

func TestConfigurationOfACarElsewhere(t *testing.T) {
	dir := t.TempDir()
	c := Config{
		Dir: dir, Bin: "bin", Car: "gt3-7", Sources: simSource,
		Links: []Link{{Name: "one", Interface: "wwan0"}, {Name: "two", Interface: "wwan1", Address: "tls://198.18.0.1:8883"}},
		Agent: "receiver:\n  tls: {ca: ca.crt, cert: car.crt, key: car.key}\n",
		MQTT:  "broker: tls://198.18.0.1:8883\nclient: {ca: ca.crt, cert: receiver.crt, key: receiver.key}\n",
	}
	path := filepath.Join(dir, "c.yaml")
	if err := os.WriteFile(path, c.agentYAML([]string{"198.18.0.1:1883", c.Links[1].Address}), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := config.ReadAgent(path)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []config.Link{
		{Name: "one", Interface: "wwan0", Addresses: []string{"tcp://198.18.0.1:1883"}},
		{Name: "two", Interface: "wwan1", Addresses: []string{"tls://198.18.0.1:8883"}},
	} {
		if got := a.Links[i]; got.Name != want.Name || got.Interface != want.Interface || len(got.Addresses) != 1 || got.Addresses[0] != want.Addresses[0] {
			t.Errorf("link %d: %+v, want %+v", i, got, want)
		}
	}
	if err := os.WriteFile(path, c.receiverYAML(ports{"127.0.0.1:3", "off", 4}), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := config.ReadReceiver(path)
	if err != nil {
		t.Fatal(err)
	}
	if r.MQTT.Broker != "tls://198.18.0.1:8883" || r.MQTT.Insecure || !strings.HasSuffix(r.MQTT.Client.Cert, "receiver.crt") {
		t.Errorf("receiver: %+v", r.MQTT)
	}
}

func TestTheAgentIsStartedElsewhereAndFrozen(t *testing.T) {
	starts := 0
	s := start(t, Config{
		Dir: stateDir(t), Bin: fakes(t), Car: "car", Sources: simSource, Links: []Link{{Name: "a", Interface: "lo"}}, MQTTHost: "127.0.0.2",
		StartAgent: func(cmd *exec.Cmd) error {
			starts++
			return cmd.Start()
		},
	})
	if s.Relay(0) != nil {
		t.Error("a link that is bound to a device has a relay")
	}
	if at := s.bound().mqtt; !strings.HasPrefix(at, "127.0.0.2:") {
		t.Errorf("the broker listens on %s", at)
	}
	if b, err := os.ReadFile(s.cfg.path(agentName + ".yaml")); err != nil || !strings.Contains(string(b), s.bound().mqtt) {
		t.Errorf("the car does not dial the broker: %s, %v", b, err)
	}
	if err := s.SignalAgent(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for !stopped(t, s.AgentPID()) {
		if time.Now().After(deadline) {
			t.Fatal("the agent does not stop")
		}
		time.Sleep(5 * time.Millisecond) // between two looks
	}
	if err := s.SignalAgent(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AgentStatus(t.Context()); err != nil {
		t.Errorf("after it was thawed: %v", err)
	}
	if err := s.KillAgent(); err != nil {
		t.Fatal(err)
	}
	if err := s.StartAgent(t.Context()); err != nil || starts != 2 {
		t.Errorf("second life: %v, %d starts", err, starts)
	}
	if err := s.Err(); err != nil {
		t.Errorf("a kill that was asked for is reported: %v", err)
	}
}

// stopped reports whether a process has been stopped by a signal.
func stopped(t *testing.T, pid int) bool {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(b), ") ")
	return strings.HasPrefix(after, "T")
}
