package cli_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"telemetry/internal/agent/agentcmd"
	"telemetry/internal/cli"
	"telemetry/internal/status"
	"telemetry/lab/modemsim"
	"telemetry/receiver/receivercmd"
)

// TestMain lets this test binary be both commands: the scripts run it under
// their names.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"edgeagent": func() { os.Exit(cli.Main(agentcmd.New(), os.Args[1:], os.Stderr)) },
		"receiver":  func() { os.Exit(cli.Main(receivercmd.New(), os.Args[1:], os.Stderr)) },
	})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits": exits, "await": await, "signal": sendSignal, "settle": settle, "modemsim": startModem,
		},
	})
}

// exits CODE COMMAND ARG… runs a command that must end with the code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ARG…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var ee *exec.ExitError
		if !errors.As(err, &ee) {
			ts.Fatalf("%v", err)
		}
		got = ee.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// awaitLimit bounds the wait for a condition: it only matters when it fails.
const awaitLimit = time.Minute

// await SOCKET REGEXP asks the command behind a socket for its status until the
// JSON matches.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: await SOCKET REGEXP")
	}
	re, err := regexp.Compile(args[1])
	ts.Check(err)
	var last string
	poll(ts, func() bool {
		var s json.RawMessage
		if err := status.Call(context.Background(), ts.MkAbs(args[0]), http.MethodGet, "/v1/status", &s); err != nil {
			last = err.Error()
			return false
		}
		last = string(s)
		return re.Match(s)
	}, &last)
}

// settle FILE REGEXP waits until the file matches.
func settle(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: settle FILE REGEXP")
	}
	re, err := regexp.Compile(args[1])
	ts.Check(err)
	var last string
	poll(ts, func() bool {
		b, err := os.ReadFile(ts.MkAbs(args[0]))
		last = string(b)
		return err == nil && re.Match(b)
	}, &last)
}

func poll(ts *testscript.TestScript, ok func() bool, last *string) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(awaitLimit); !ok(); <-tick.C {
		if time.Now().After(end) {
			ts.Fatalf("not within %v; last seen: %s", awaitLimit, *last)
		}
	}
}

// modemsim PORT [PIN] starts a simulated modem on a pseudo terminal called PORT;
// its card wants the PIN.
func startModem(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: modemsim PORT [PIN]")
	}
	m := modemsim.New(modemsim.Config{PIN: strings.Join(args[1:], ""), Boot: 500 * time.Millisecond, Register: 100 * time.Millisecond, Attach: 10 * time.Millisecond})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	path := ts.MkAbs(args[0])
	go func() { done <- m.ServePTY(ctx, path) }() // ends with the script
	ts.Defer(func() { cancel(); <-done })
	poll(ts, func() bool { _, err := os.Stat(path); return err == nil }, new(string))
}

// signal NAME sends a signal to the command that was started last.
func sendSignal(ts *testscript.TestScript, neg bool, args []string) {
	sig := map[string]os.Signal{"HUP": syscall.SIGHUP, "TERM": syscall.SIGTERM, "INT": os.Interrupt, "PWR": syscall.SIGPWR}
	cmds := ts.BackgroundCmds()
	if neg || len(args) != 1 || sig[args[0]] == nil || len(cmds) == 0 {
		ts.Fatalf("usage: signal HUP|TERM|INT|PWR, with a command in the background")
	}
	ts.Check(cmds[len(cmds)-1].Process.Signal(sig[args[0]]))
}
