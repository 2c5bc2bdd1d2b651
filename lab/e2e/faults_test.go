package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"telemetry/internal/agent"
	"telemetry/lab/link"
	"telemetry/lab/stack"
)

// binaries builds the real ones and returns their folder.
func binaries(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("go", "build", "-o", dir+"/", "telemetry/cmd/edgeagent", "telemetry/cmd/receiver")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return dir
}

const testDBC = `BO_ 256 Engine: 8 ECU
 SG_ RPM : 0|16@1+ (0.25,0) [0|0] "rpm" X
 SG_ Temp : 16|8@1- (1,40) [0|0] "degC" X
`

// faultyDBC has the same message among statements that cannot be read.
const faultyDBC = "BO_ what Nothing: 8 ECU\nNO STATEMENT\n" +
	"BO_ 256 Engine: 8 ECU\n SG_ RPM : 0|16@1+ (0.25,0) [0|0] \"rpm\" X\n SG_ Broken : 0|x@1+ (1,0) [0|0] \"\" X\n" +
	" SG_ Temp : 16|8@1- (1,40) [0|0] \"degC\" X\nVAL_ 999 Nobody 0 \"a\" ;\nCM_ \"a text that never ends\n"

// testLog has n frames, 1 ms apart, an unknown id after each tenth, a line that
// is no frame, and an end in the middle of a line.
func testLog(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "(%d.%06d) can0 100#%02X%02X%02X0000000000\n", 1_700_000_000+i/1000, i%1000*1000, i&255, i>>8&255, i&255)
		if i%10 == 9 {
			fmt.Fprintf(&b, "(%d.%06d) can0 7FF#00\n", 1_700_000_000+i/1000, i%1000*1000)
		}
	}
	b.WriteString("noise on the line\n")
	fmt.Fprintf(&b, "(%d.999999) can0 100#0102", 1_700_000_000+n/1000)
	return b.String()
}

// refuser is an MQTT broker that turns every client away: not authorized.
func refuser(t *testing.T) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() { // ends with the listener
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 4096)) // CONNECT
			_, _ = c.Write([]byte{0x20, 3, 0, 0x87, 0})
			_ = c.Close()
		}
	}()
	return ln.Addr().String()
}

func file(t *testing.T, dir, name, text string) string {
	t.Helper()
	p := filepath.Join(dir, name)
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// until polls a condition of the status.
func until(t *testing.T, s *stack.Stack, what string, ok func(agent.Status) bool) agent.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		st, err := s.AgentStatus(ctx)
		if err == nil && ok(st) {
			return st
		}
		select {
		case <-tick.C:
		case <-s.Failed():
			t.Fatalf("%s: %v", what, s.Err())
		case <-ctx.Done():
			t.Fatalf("%s: not within a minute: %+v, %v", what, st, err)
		}
	}
}

func sources(st agent.Status) map[string]agent.SourceStatus {
	m := map[string]agent.SourceStatus{}
	for _, s := range st.Sources {
		m[s.Name] = s
	}
	return m
}

// One car with everything wrong at once: each fault has its message and its
// counter, and what is right arrives.
func TestFaultsOfInputStopNothingElse(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs the real binaries")
	}
	bin := binaries(t)
	dir, err := os.MkdirTemp("", "e2e") // short: unix sockets lie in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	const frames = 2000
	cut, good := file(t, dir, "cut.log", testLog(frames)), file(t, dir, "good.dbc", testDBC)
	source := func(name, log, dbc string) string {
		return fmt.Sprintf("- name: %s\n  candump:\n    file: %q\n    dbc: %q\n    speed: x10\n", name, log, dbc)
	}
	s, err := stack.Start(t.Context(), stack.Config{
		Dir: dir, Bin: bin, Car: "car", LiveListen: "off",
		Sources: source("cut", cut, good) +
			source("faulty-dbc", cut, file(t, dir, "faulty.dbc", faultyDBC)) +
			source("no-dbc", cut, file(t, dir, "no.dbc", "\x00\x01 this is a picture")) +
			source("no-log", file(t, dir, "no.log", "no frame\nin here\n"), good),
		Links: []stack.Link{{Name: "good"}, {Name: "closed"}, {Name: "turned-away", Address: refuser(t)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Kill() })
	s.Relay(1).Set(link.Down)

	st := until(t, s, "both logs at their end, faults seen", func(st agent.Status) bool {
		m := sources(st)
		return m["cut"].State == "done" && m["faulty-dbc"].State == "done" && m["no-log"].Restarts > 0 &&
			len(st.Links) == 3 && st.Links[1].DialErrors > 0 && st.Links[2].Refused > 0
	})
	m := sources(st)
	for _, name := range []string{"cut", "faulty-dbc"} {
		for counter, want := range map[string]uint64{
			"values": 2 * frames, "frames_unknown": frames / 10, "lines_bad": 1, "frames_cut": 1, "logs_damaged": 0,
		} {
			if got := m[name].Counters[counter]; got != want {
				t.Errorf("%s: %s is %d, want %d", name, counter, got, want)
			}
		}
	}
	if got := m["faulty-dbc"].Counters["dbc_faults"]; got < 2 {
		t.Errorf("%d faults of the DBC were counted, want those of lines 1 and 5 at least", got)
	}
	for name, want := range map[string]string{"no-dbc": "no.dbc", "no-log": "no frame in the log"} {
		if got := m[name].Error; !strings.Contains(got, want) {
			t.Errorf("%s: error %q, want one that says %q", name, got, want)
		}
	}
	if l := st.Links[2]; l.State == "up" || !strings.Contains(strings.ToLower(l.LastChange), "not authorized") {
		t.Errorf("the refusing broker's link is %s: %q", l.State, l.LastChange)
	}
	log, err := os.ReadFile(s.LogPath("edgeagent"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"bad line in log", "no time stamp", "faulty.dbc", "line 1:", "line 5:", "log ends inside a frame", "7FF", "not authorized"} {
		if !strings.Contains(strings.ToLower(string(log)), strings.ToLower(want)) {
			t.Errorf("the agent's log does not say %q", want)
		}
	}
	if st, err = s.Drain(t.Context(), time.Minute); err != nil {
		t.Fatalf("what is right did not arrive: %v", err)
	}
	if got := st.Lanes["full"]; got.Samples < 4*frames || got.Pending != 0 || st.Dropped != 0 {
		t.Errorf("full lane %+v, dropped %d", got, st.Dropped)
	}
	if t.Failed() {
		t.Logf("the agent's log:\n%s", log)
	}
}
