package receivercmd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"telemetry/internal/cli"
	"telemetry/receiver"
)

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// command runs one command to its end.
func command(t *testing.T, args ...string) (string, error) {
	t.Helper()
	root := New()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(args)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func write(t *testing.T, dir, more string) string {
	t.Helper()
	path := filepath.Join(dir, "r.yaml")
	text := "version: 1\nname: test\nsocket: s\nkafka: {embedded: {dir: k, port: 0}, partitions: 1}\n" + more
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const listens0 = "mqtt: {listen: \"127.0.0.1:0\", insecure: true}\nlive: {listen: \"127.0.0.1:0\"}\n"

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// TestRunStatusReload runs the command, asks it by the status command, and sends
// this process SIGHUP: first with files that must change nothing, then with a
// good one.
func TestRunStatusReload(t *testing.T) {
	dir := t.TempDir()
	path, socket := write(t, dir, listens0), filepath.Join(dir, "s")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var log lockedBuffer
	done := make(chan error, 1)
	go func() { done <- run(ctx, path, &log) }() // ends with ctx
	var s receiver.Status
	ready := func() bool {
		out, err := command(t, "status", "--socket", socket, "--json")
		s = receiver.Status{}
		return err == nil && json.Unmarshal([]byte(out), &s) == nil && s.Ready
	}
	eventually(t, "ready", ready)
	mqtt := s.Listen.MQTT
	out, err := command(t, "status", "--socket", socket)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"receiver test", "ready", "kafka embedded", mqtt, "ingest ok", "PARTITION", "running"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, bad := range []struct{ more, want string }{
		{listens0 + "speed: 3\n", "unknown key"},
		{listens0 + "log: {format: json}\n", "need a restart"},
		{strings.Replace(listens0, "live: {listen: \"127.0.0.1:0\"", fmt.Sprintf("live: {listen: %q", taken.Addr()), 1), "cannot listen on " + taken.Addr().String()},
	} {
		write(t, dir, bad.more)
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, bad.want, func() bool { return strings.Contains(log.String(), bad.want) })
		if !ready() || s.Listen.MQTT != mqtt {
			t.Fatalf("a wrong configuration was taken: %+v", s.Listen)
		}
	}
	write(t, dir, "live: {listen: \"off\"}\nmqtt: {listen: \"127.0.0.1:0\", insecure: true}\n")
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "reloaded", func() bool { return ready() && s.Listen.Live == "" && s.Listen.MQTT != mqtt })
	cancel()
	if err := <-done; err != nil {
		t.Errorf("run: %v", err)
	}
	if _, err := command(t, "status", "--socket", socket); err == nil || !strings.Contains(err.Error(), "nobody answers") {
		t.Errorf("status of nobody: %v", err)
	}
}

func TestExitCodes(t *testing.T) {
	dir := t.TempDir()
	good := write(t, dir, listens0)
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("version: 1\nspeed: 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name string
		args []string
		code int
		out  string
	}{
		{"good file", []string{"validate", "--config", good}, cli.ExitOK, "good"},
		{"bad file", []string{"validate", "--config", bad}, cli.ExitConfig, ""},
		{"bad file as JSON", []string{"validate", "--json", "--config", bad}, cli.ExitConfig, `"ok": false`},
		{"run of a bad file", []string{"run", "--config", bad}, cli.ExitConfig, ""},
		{"nobody to ask", []string{"status", "--socket", filepath.Join(dir, "none")}, cli.ExitFailed, ""},
		{"unknown flag", []string{"status", "--sock"}, cli.ExitUsage, ""},
		{"unknown command", []string{"stat"}, cli.ExitUsage, ""},
		{"version", []string{"version"}, cli.ExitOK, "receiver"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			out, err := command(t, c.args...)
			if got := cli.Code(err); got != c.code || !strings.Contains(out, c.out) {
				t.Errorf("exit %d (%v), output %s", got, err, out)
			}
		})
	}
}
