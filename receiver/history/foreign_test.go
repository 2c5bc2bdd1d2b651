//go:build foreign

package history_test

import (
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"telemetry/receiver/history"
)

// start starts a server and ends it with the test.
func start(t *testing.T, ready string, name string, args ...string) {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			b, _ := os.ReadFile(log.Name())
			t.Logf("%s", b[max(0, len(b)-4000):])
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for tick := time.NewTicker(50 * time.Millisecond); ; <-tick.C {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, ready, nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode < 300 {
				return
			}
		}
		if ctx.Err() != nil {
			t.Fatalf("%s does not serve", name)
		}
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// began is when the samples begin: VictoriaMetrics drops what lies in the future.
const began = int64(1_700_000_000_000_000_000)

// samples are ten seconds at 100 Hz, with a spike each way, behind and before the
// window's ends, and of another car.
func samples() (lines string, at []int64, values []float64) {
	var b strings.Builder
	for i := range 1000 {
		v := math.Round(1000*math.Sin(float64(i)/30)) / 8
		switch i {
		case 333:
			v = 99999.125
		case 777:
			v = -88888.5
		}
		ns := began + int64(i)*10e6
		at, values = append(at, ns), append(values, v)
		fmt.Fprintf(&b, "Engine,car=gt3-7 rpm=%v,gear=%di %d\n", v, i%5, ns)
		fmt.Fprintf(&b, "Engine,car=other rpm=5e9 %d\n", ns)
	}
	return b.String(), at, values
}

func push(t *testing.T, addr, lines string) {
	t.Helper()
	resp, err := http.Post(addr+"/write", "text/plain", strings.NewReader(lines))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusNoContent {
		t.Fatalf("write: %s %s", resp.Status, text)
	}
}

// compare reads back what samples wrote.
func compare(t *testing.T, r history.Reader) {
	t.Helper()
	_, at, values := samples()
	w := history.Window{Car: "gt3-7", Channel: history.Channel{Group: "Engine", Name: "rpm"}, FromNS: at[100], ToNS: at[900]}
	var got []history.Point
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for tick := time.NewTicker(100 * time.Millisecond); ; <-tick.C { // what was written becomes visible a little later
		got = nil
		if err := r.Points(ctx, w, func(p history.Point) error { got = append(got, p); return nil }); err != nil {
			t.Fatal(err)
		}
		if len(got) == 800 {
			break
		}
	}
	for i, p := range got {
		if p.TNS != at[100+i] || p.Value != values[100+i] {
			t.Fatalf("sample %d: %+v, want %d %v", i, p, at[100+i], values[100+i])
		}
	}
	for _, step := range []int64{10e6, 80e6, 1000e6} {
		bins, err := r.Bins(ctx, w, step)
		if err != nil {
			t.Fatal(err)
		}
		want := map[int64]history.Bin{}
		for i := 100; i < 900; i++ {
			k := (at[i] - w.FromNS) / step
			b, ok := want[k]
			if !ok {
				b = history.Bin{At: k, Min: values[i], Max: values[i]}
			}
			b.Min, b.Max = min(b.Min, values[i]), max(b.Max, values[i])
			want[k] = b
		}
		if len(bins) != len(want) {
			t.Fatalf("steps of %d ns: %d, want %d", step, len(bins), len(want))
		}
		for _, b := range bins {
			if b != want[b.At] {
				t.Fatalf("steps of %d ns: %+v, want %+v", step, b, want[b.At])
			}
		}
	}
	w.Channel.Name = "gear"
	if bins, err := r.Bins(ctx, w, 1000e6); err != nil || len(bins) != 8 || bins[3] != (history.Bin{At: 3, Min: 0, Max: 4}) {
		t.Errorf("integers: %+v, %v", bins, err)
	}
	for _, nobody := range []history.Channel{{Group: "Engine", Name: "nobody"}, {Group: "Nothing", Name: "rpm"}} {
		w.Channel = nobody
		bins, err := r.Bins(ctx, w, 1000e6)
		perr := r.Points(ctx, w, func(history.Point) error { return io.ErrUnexpectedEOF })
		if err != nil || perr != nil || len(bins) != 0 {
			t.Errorf("%s: %v, %v, %v", nobody, bins, err, perr)
		}
	}
}

func TestRealVictoriaMetrics(t *testing.T) {
	bin := os.Getenv("TELEMETRY_VICTORIA")
	if bin == "" {
		t.Fatal("TELEMETRY_VICTORIA is not set: run scripts/history-test.sh")
	}
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	start(t, "http://"+addr+"/health", bin, "-storageDataPath="+t.TempDir(), "-httpListenAddr="+addr, "-search.latencyOffset=0s", "-retentionPeriod=100y")
	lines, _, _ := samples()
	push(t, "http://"+addr, lines)
	r, err := history.Open(history.Config{Kind: history.VictoriaMetrics, URL: "http://" + addr})
	if err != nil {
		t.Fatal(err)
	}
	compare(t, r)
}

func TestRealQuestDB(t *testing.T) {
	jar := os.Getenv("TELEMETRY_QUESTDB")
	if jar == "" {
		t.Fatal("TELEMETRY_QUESTDB is not set: run scripts/history-test.sh")
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "conf"), 0o755); err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	conf := fmt.Sprintf("http.bind.to=%s\nhttp.min.enabled=false\nline.tcp.enabled=false\npg.enabled=false\ntelemetry.enabled=false\n", addr)
	if err := os.WriteFile(filepath.Join(dir, "conf", "server.conf"), []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	start(t, "http://"+addr+"/ping", "java", "-Xmx512m", "-p", jar, "-m", "io.questdb/io.questdb.ServerMain", "-d", dir)
	lines, _, _ := samples()
	push(t, "http://"+addr, lines)
	r, err := history.Open(history.Config{Kind: history.QuestDB, URL: "http://" + addr})
	if err != nil {
		t.Fatal(err)
	}
	compare(t, r)
}
