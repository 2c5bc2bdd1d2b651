package stack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"telemetry/internal/agent"
	"telemetry/internal/config"
	"telemetry/internal/status"
	"telemetry/lab/link"
	"telemetry/receiver"
)

// The test's own binary plays the children under their names: it reads the real
// configuration and answers where the real one does.
func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case receiverName:
		os.Exit(playReceiver(os.Args[3]))
	case agentName:
		os.Exit(playAgent(os.Args[3]))
	case "parent":
		os.Exit(playParent(os.Args[1], os.Args[2]))
	}
	os.Exit(m.Run())
}

func playReceiver(path string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	cfg, err := config.ReadReceiver(path)
	if err == nil && cfg.Kafka.Prefix == "broken" {
		err = errors.New("the disk is on fire")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "receiver:", err)
		return 7
	}
	ln, err := net.Listen("tcp", cfg.MQTT.Listen)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer ln.Close()
	fmt.Fprintln(os.Stderr, "receiver listens")
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		st := receiver.Status{Ready: true}
		st.Listen = receiver.ListenStatus{MQTT: ln.Addr().String(), Kafka: "127.0.0.1:9999"}
		status.Reply(w, st, nil)
	})
	if err := status.Serve(ctx, cfg.Socket, h); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func playAgent(path string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	cfg, err := config.ReadAgent(path)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 7
	}
	serve := ctx
	if cfg.Car == "stubborn" {
		signal.Ignore(syscall.SIGTERM)
		serve = context.Background()
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status.Reply(w, agent.Status{Car: cfg.Car, Epoch: "1", Draining: r.Method == http.MethodPost}, nil)
	})
	if err := status.Serve(serve, cfg.Socket, h); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 3
}

func playParent(dir, bin string) int {
	s, err := Start(context.Background(), Config{Dir: dir, Bin: bin, Car: "car", Sources: simSource})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(s.AgentPID(), s.ReceiverPID())
	select {} // until killed
}

const simSource = `
- name: sim
  sim:
    channels: 10
    rate: 50Hz
`

// fakes returns a folder in which the test's own binary has the children's
// names.
func fakes(t *testing.T) string {
	t.Helper()
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("children are tied to their parent on linux only")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, n := range []string{receiverName, agentName, "parent"} {
		if err := os.Symlink(self, filepath.Join(dir, n)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// stateDir is a short path: unix sockets lie in it.
func stateDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "stack")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func start(t *testing.T, cfg Config) *Stack {
	t.Helper()
	s, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Kill() })
	return s
}

func TestConfigurationsAreWhatTheBinariesRead(t *testing.T) {
	dir := t.TempDir()
	c := Config{
		Dir: dir, Bin: "bin", Car: "gt3-7", Sources: "    - name: a\n      sim:\n        channels: 10\n    - name: b\n      sim:\n        rate: 50Hz\n",
		Links:   []Link{{Name: "one"}, {Name: "two"}},
		Windows: map[string]string{"full": "none", "critical": "2s"}, Prefix: "lab", Partitions: 3,
		Agent: "live:\n  rate: 5Hz\n", Receiver: "  ingest:\n    credit_per_car: 2MiB\n",
	}
	write := func(name string, b []byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	a, err := config.ReadAgent(write("a.yaml", c.agentYAML([]string{"127.0.0.1:1", "127.0.0.1:2"})))
	if err != nil {
		t.Fatal(err)
	}
	if a.Car != "gt3-7" || a.Spool.Dir != filepath.Join(dir, "spool") || len(a.Sources) != 2 || a.Sources[1].Sim.Rate != 50_000 || a.Live.Rate != 5000 {
		t.Errorf("agent: %+v", a)
	}
	if len(a.Links) != 2 || a.Links[1].Name != "two" || a.Links[1].Addresses[0] != "tcp://127.0.0.1:2" {
		t.Errorf("links: %+v", a.Links)
	}
	r, err := config.ReadReceiver(write("r.yaml", c.receiverYAML(ports{"127.0.0.1:3", "off", 4})))
	if err != nil {
		t.Fatal(err)
	}
	if r.MQTT.Listen != "127.0.0.1:3" || !r.MQTT.Insecure || r.Kafka.Embedded.Port != 4 || r.Kafka.Partitions != 3 || r.Kafka.Prefix != "lab" ||
		r.Live.Listen != "off" || r.Ingest.CreditPerCar != 2<<20 {
		t.Errorf("receiver: %+v", r)
	}
	if w := r.Sequence.Windows; *w.Full != config.WindowNone || time.Duration(*w.Critical) != 2*time.Second || time.Duration(*w.Live) != 250*time.Millisecond {
		t.Errorf("windows: %v %v %v", *w.Critical, *w.Live, *w.Full)
	}
	c.Brokers = []string{"kafka:9092"}
	r, err = config.ReadReceiver(write("r.yaml", c.receiverYAML(ports{"127.0.0.1:3", "127.0.0.1:5", 0})))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Kafka.Brokers) != 1 || r.Kafka.Replication != 1 || !r.Kafka.AllowUnsafe || r.Kafka.Embedded.Dir != "" {
		t.Errorf("receiver with a cluster: %+v", r.Kafka)
	}
}

func TestFaultsOfAConfigurationAreReportedTogether(t *testing.T) {
	c := Config{Car: "a/b", Dir: "/" + strings.Repeat("x", 100), Links: []Link{{}, {Name: "a"}, {Name: "a"}}, Windows: map[string]string{"slow": "1s"}}
	err := c.Validate()
	for _, want := range []string{"binaries", "sources", "socket", "link 0", "link 2", `"slow"`, "car"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %q", err, want)
		}
	}
}

func TestStartRunsBothAndCloseEndsThem(t *testing.T) {
	s := start(t, Config{
		Dir: stateDir(t), Bin: fakes(t), Car: "car", Sources: simSource,
		Links: []Link{{Name: "a"}, {Name: "b", Up: link.Spec{Delay: time.Millisecond}}},
	})
	if st, err := s.AgentStatus(t.Context()); err != nil || st.Car != "car" {
		t.Errorf("agent: %+v, %v", st, err)
	}
	if st, err := s.Drain(t.Context(), time.Second); err != nil || !st.Draining {
		t.Errorf("drain: %+v, %v", st, err)
	}
	c, err := net.Dial("tcp", s.Relay(1).Addr())
	if err != nil {
		t.Fatalf("link: %v", err)
	}
	_ = c.Close()
	if got := s.Brokers(); len(got) != 1 || got[0] != "127.0.0.1:9999" {
		t.Errorf("brokers %v", got)
	}
	if code, err := s.StopAgent(closeLimit); code != 3 || err != nil {
		t.Errorf("agent ended with %d, %v", code, err)
	}
	if err := s.StartAgent(t.Context()); err != nil {
		t.Errorf("second life: %v", err)
	}
	if err := s.StartAgent(t.Context()); err == nil {
		t.Error("a second agent beside the first was started")
	}
	before := s.bound().mqtt
	if _, err := s.StopReceiver(closeLimit); err != nil {
		t.Error(err)
	}
	if err := s.StartReceiver(t.Context()); err != nil {
		t.Errorf("second life: %v", err)
	}
	if now := s.bound().mqtt; now != before {
		t.Errorf("the receiver moved from %s to %s: the links lead nowhere", before, now)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Err(); err != nil {
		t.Errorf("an end that was asked for is reported: %v", err)
	}
}

func TestAChildThatDiesIsReportedWithItsLog(t *testing.T) {
	t.Run("before it is ready", func(t *testing.T) {
		_, err := Start(t.Context(), Config{Dir: stateDir(t), Bin: fakes(t), Car: "car", Sources: simSource, Prefix: "broken"})
		var died *DiedError
		if !errors.As(err, &died) || died.Name != receiverName || died.Code != 7 || !strings.Contains(died.Tail, "the disk is on fire") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("later", func(t *testing.T) {
		s := start(t, Config{Dir: stateDir(t), Bin: fakes(t), Car: "car", Sources: simSource})
		if err := syscall.Kill(s.ReceiverPID(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		<-s.Failed()
		var died *DiedError
		if !errors.As(s.Err(), &died) || died.Code != 137 || !strings.Contains(died.Tail, "receiver listens") {
			t.Errorf("got %v", s.Err())
		}
	})
	t.Run("no such binary", func(t *testing.T) {
		_, err := Start(t.Context(), Config{Dir: stateDir(t), Bin: t.TempDir(), Car: "car", Sources: simSource})
		if !errors.Is(err, os.ErrNotExist) {
			t.Errorf("got %v", err)
		}
	})
}

func TestAChildThatDoesNotEndIsKilled(t *testing.T) {
	s := start(t, Config{Dir: stateDir(t), Bin: fakes(t), Car: "stubborn", Sources: simSource})
	if code, err := s.StopAgent(50 * time.Millisecond); code != 137 || err == nil {
		t.Errorf("got %d, %v", code, err)
	}
}

func TestChildrenDoNotOutliveTheParent(t *testing.T) {
	bin := fakes(t)
	cmd := exec.Command(filepath.Join(bin, "parent"), stateDir(t), bin)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pids [2]int
	_, scanned := fmt.Fscan(out, &pids[0], &pids[1])
	_ = cmd.Process.Kill()
	// It was killed: that is no news.
	_ = cmd.Wait()
	if scanned != nil {
		t.Fatal(scanned)
	}
	deadline := time.Now().Add(20 * time.Second)
	for _, pid := range pids {
		for alive(pid) {
			if time.Now().After(deadline) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
				t.Fatalf("child %d lives on", pid)
			}
			time.Sleep(5 * time.Millisecond) // between two looks
		}
	}
}

// alive is false for a child that is gone or waits to be reaped.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(after, "Z")
}
