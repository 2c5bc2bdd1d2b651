package demo

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// binaries builds the real ones.
func binaries(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and runs the real binaries")
	}
	dir := t.TempDir()
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", dir, "telemetry/cmd/edgeagent", "telemetry/cmd/receiver")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

// transcript is what a screen has written; seen is closed when it holds a text.
type transcript struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	want string
	seen chan struct{}
}

func (w *transcript) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	had := strings.Contains(w.buf.String(), w.want)
	w.buf.Write(b)
	if !had && strings.Contains(w.buf.String(), w.want) {
		close(w.seen)
	}
	return len(b), nil
}

func (w *transcript) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}

const arrived = "the first sample is in Kafka"

func TestTheRealBinariesLoseNothing(t *testing.T) {
	bin := binaries(t)
	for _, c := range []struct {
		name    string
		length  time.Duration
		stopped bool
		says    []string
	}{
		{"until its time is over", minFor, false, []string{"falls silent", "moves again", "is cut", "can be reached again", "time is over"}},
		{"until it is stopped", 0, true, []string{"stopped"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("TMPDIR", shortTemp(t))
			w := &transcript{want: arrived, seen: make(chan struct{})}
			stop := make(chan struct{})
			if c.stopped {
				go func() { // ends when something was delivered
					<-w.seen
					close(stop)
				}()
			}
			opt := Options{For: c.length, Channels: 40, RateHz: 100, Seed: 5, Bin: bin}
			out, err := Run(t.Context(), opt, stop, NewScreen(w, nil, false))
			if err != nil {
				t.Fatal(err)
			}
			if !out.Good() || out.Full.Made == 0 || out.Critical.Made == 0 || out.Read.Checked == 0 || out.FirstData <= 0 {
				t.Errorf("%+v", out)
			}
			for _, s := range append(c.says, arrived) {
				if !strings.Contains(w.String(), s) {
					t.Errorf("it does not say %q:\n%s", s, w)
				}
			}
			empty(t, os.TempDir())
		})
	}
	t.Run("aborted, leaving nothing behind", func(t *testing.T) { testAbort(t, bin) })
}

func testAbort(t *testing.T, bin string) {
	opt := Options{Channels: 40, RateHz: 100, Seed: 5, Bin: bin}
	t.Setenv("TMPDIR", shortTemp(t))
	w := &transcript{want: arrived, seen: make(chan struct{})}
	ctx, abort := context.WithCancelCause(t.Context())
	go func() { // ends when something was delivered
		<-w.seen
		abort(errInterrupted)
	}()
	if _, err := Run(ctx, opt, nil, NewScreen(w, nil, false)); !errors.Is(err, errInterrupted) {
		t.Errorf("got %v", err)
	}
	empty(t, os.TempDir())
}

// shortTemp is a folder with a path short enough for unix sockets.
func shortTemp(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "demo")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func empty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("%d entries are left in the folder for state (%v)", len(left), err)
	}
}
