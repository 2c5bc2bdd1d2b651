package receiver

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
)

// freePort returns a port on which nobody listens.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

const clusterLine = `{brokers: ["127.0.0.1:%d"], partitions: 2, replication: 1, allow_unsafe: true}`

// A cluster that is not up yet is waited for: the process lives, says that it is
// not ready and why, and serves when the cluster comes.
func TestKafkaThatComesLater(t *testing.T) {
	port := freePort(t)
	lines := &logbook{}
	r, err := Prepare(configure(t, t.TempDir(), fmt.Sprintf(clusterLine, port), plainMQTT), slog.New(slog.NewTextHandler(lines, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }() // ends with ctx
	alive := func() {
		t.Helper()
		select {
		case err := <-done:
			t.Fatalf("run ended: %v", err)
		default:
		}
	}
	eventually(t, "tries are counted", func() bool { alive(); return r.Status(ctx).Kafka.Tries >= 4 })
	s := r.Status(ctx)
	if s.Ready || len(s.Waits) != 1 || !strings.Contains(s.Waits[0], "connection refused") || !strings.Contains(s.Waits[0], fmt.Sprint(port)) {
		t.Errorf("status %+v", s)
	}
	if code, body := get(t, s.Listen.Live, "/healthz"); code != http.StatusOK {
		t.Errorf("health: %d %s", code, body)
	}
	if code, body := get(t, s.Listen.Live, "/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "connection refused") {
		t.Errorf("readiness: %d %s", code, body)
	}
	if code, _ := get(t, s.Listen.Live, "/"); code != http.StatusServiceUnavailable {
		t.Errorf("page: %d", code)
	}
	if n := lines.count("kafka does not answer, will retry"); n != 1 {
		t.Errorf("%d log lines in a second, want 1", n)
	}
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(port))
	if err != nil {
		t.Fatal(err)
	}
	defer fake.Close()
	eventually(t, "the receiver is ready", func() bool { alive(); return r.Status(ctx).Ready })
	if code, body := get(t, r.Status(ctx).Listen.Live, "/readyz"); code != http.StatusOK {
		t.Errorf("readiness with kafka: %d %s", code, body)
	}
	if r.Status(ctx).Kafka.Tries < 4 {
		t.Error("the tries are forgotten")
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("stop: %v", err)
	}
}

func TestStopWhileKafkaIsWaitedFor(t *testing.T) {
	r, err := Prepare(configure(t, t.TempDir(), fmt.Sprintf(clusterLine, freePort(t)), plainMQTT), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }() // ends with ctx
	eventually(t, "a try has failed", func() bool { return r.Status(ctx).Kafka.Tries > 0 })
	addr := r.Status(ctx).Listen.Live
	cancel()
	if err := <-done; err != nil {
		t.Errorf("stop: %v", err)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatalf("the page's port is still taken: %v", err)
	}
	_ = l.Close()
}

// What waiting does not mend ends the process at once, with the reason.
func TestWrongKafkaEndsAtOnce(t *testing.T) {
	open, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	cases := map[string]struct{ kafka, want string }{
		"replication refused": {fmt.Sprintf(`{brokers: [%q], replication: 1}`, open.ListenAddrs()[0]), "acknowledged records can be lost"},
		"embedded port":       {fmt.Sprintf(`{embedded: {dir: kafka, port: %s}}`, open.ListenAddrs()[0][strings.LastIndex(open.ListenAddrs()[0], ":")+1:]), "is the port taken"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			r, err := Prepare(configure(t, t.TempDir(), tc.kafka, plainMQTT), slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() { done <- r.Run(ctx) }() // ends with ctx
			eventually(t, "run ended", func() bool { return len(done) == 1 || r.Status(ctx).Kafka.Tries > 0 })
			if n := r.Status(ctx).Kafka.Tries; n > 0 {
				t.Fatalf("it is waited for: %v", r.Status(ctx).Waits)
			}
			if err := <-done; err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}
