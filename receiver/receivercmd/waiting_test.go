package receivercmd

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"
)

// frozen is a broker that takes connections and never answers.
func frozen(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { // ends with the listener
		defer close(ended)
		var conns []net.Conn
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			conns = append(conns, c)
		}
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-ended
	})
	return l.Addr().String()
}

// Every command that waits for Kafka says so while it does.
func TestCommandsTellThatTheyWait(t *testing.T) {
	addr := frozen(t)
	for _, args := range [][]string{
		{"replay", "--prefix", "again"},
		{"replay", "--what-if", "1s"},
		{"export", "--car", "car-1"},
		{"cat", "samples"},
		{"topics"},
		{"lag"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var out, log lockedBuffer
			root := New()
			root.SetOut(&out)
			root.SetErr(&log)
			root.SetArgs(append(args, "--brokers", addr))
			ended := make(chan error, 1)
			go func() { ended <- root.ExecuteContext(ctx) }() // ends with ctx
			eventually(t, "it tells that it waits", func() bool {
				return strings.Contains(log.String(), args[0]+": kafka does not answer, waiting for it: "+addr)
			})
			cancel()
			select {
			case err := <-ended:
				if err == nil || out.String() != "" {
					t.Errorf("without an answer it ended with %q, %v", out.String(), err)
				}
			case <-time.After(30 * time.Second):
				t.Fatal("it does not end")
			}
		})
	}
}

// A replay outlives an outage of the cluster, says that it waits, and that it goes on.
func TestReplayTellsOfAnOutage(t *testing.T) {
	p, _ := raced(t)
	var out, log lockedBuffer
	root := New()
	root.SetOut(&out)
	root.SetErr(&log)
	root.SetArgs([]string{"replay", "--brokers", p.Cluster.Brokers()[0], "--prefix", "again", "--format", "json", "--lanes", "full"})
	ended := make(chan error, 1)
	go func() { ended <- root.ExecuteContext(t.Context()) }() // ends by itself
	eventually(t, "it plays", func() bool {
		exts, err := p.Past.Extents(t.Context(), "again.samples", 0)
		return err == nil && exts[0].End+exts[1].End > 0
	})
	p.Outage(func() {
		eventually(t, "it tells that it waits", func() bool { return strings.Contains(log.String(), "replay: kafka does not answer, waiting for it: ") })
	})
	select {
	case err := <-ended:
		if err != nil {
			t.Fatalf("it ended with %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("it does not end")
	}
	if n := len(p.Read("again.samples")); n != 120 || !strings.Contains(log.String(), "replay: kafka answers again: ") {
		t.Errorf("%d rows of 120, and it said %q", n, log.String())
	}
}
