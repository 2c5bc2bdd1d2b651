package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/cobra"

	"telemetry/internal/cli"
	"telemetry/internal/config"
)

func TestExitCodes(t *testing.T) {
	fault := config.Faults{{File: "a.yaml", Message: "bad"}}
	tests := []struct {
		name string
		err  error
		want int
	}{
		{"none", nil, cli.ExitOK},
		{"plain", errors.New("disk is gone"), cli.ExitFailed},
		{"usage", cli.Usage(errors.New("want a file")), cli.ExitUsage},
		{"wrapped usage", fmt.Errorf("run: %w", cli.Usage(errors.New("want a file"))), cli.ExitUsage},
		{"bad configuration", fault, cli.ExitConfig},
		{"wrapped bad configuration", fmt.Errorf("run: %w", fault), cli.ExitConfig},
		{"its own", &cli.ExitError{Code: cli.ExitDegraded, Err: fault}, cli.ExitDegraded},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := cli.Code(tt.err); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

// tree is a small command tree as the binaries build theirs.
func tree(run func() error) *cobra.Command {
	root := &cobra.Command{Use: "box"}
	sub := &cobra.Command{Use: "open", RunE: func(*cobra.Command, []string) error { return run() }}
	sub.Flags().Bool("wide", false, "")
	root.AddCommand(sub, &cobra.Command{Use: "paint COLOUR", Args: cobra.ExactArgs(1), RunE: func(*cobra.Command, []string) error { return run() }})
	root.SetOut(io.Discard)
	return cli.Command(root)
}

func TestMainPrintsOneErrorOnce(t *testing.T) {
	tests := []struct {
		name string
		args []string
		err  error
		code int
		want string // stderr
	}{
		{"good", []string{"open", "--wide"}, nil, 0, ""},
		{"failure", []string{"open"}, errors.New("hinge is stuck"), 1, "box: hinge is stuck\n"},
		{"failure of the package of its name", []string{"open"}, errors.New("box: hinge is stuck"), 1, "box: hinge is stuck\n"},
		{"no command", nil, nil, 2, "box: want a command: see `box --help`\n"},
		{"near miss", []string{"opne"}, nil, 2, "box: unknown command \"opne\" for \"box\", did you mean \"open\"?\n"},
		{"an argument too few", []string{"paint"}, nil, 2, "box: want `box paint COLOUR`, got []: see `box paint --help`\n"},
		{"far off", []string{"destroy"}, nil, 2, "box: unknown command \"destroy\" for \"box\"\n"},
		{"unknown flag", []string{"open", "--narrow"}, nil, 2, "box: unknown flag: --narrow (see `box open --help`)\n"},
		{"too many", []string{"open", "x"}, nil, 2, "box: unknown command \"x\" for \"box open\"\n"},
		{"shell that is none", []string{"completion", "tcsh"}, nil, 2, "box: unknown command \"tcsh\" for \"box completion\"\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var stderr bytes.Buffer
			code := cli.Main(tree(func() error { return tt.err }), tt.args, &stderr)
			if code != tt.code || stderr.String() != tt.want {
				t.Errorf("code %d, %q; want %d, %q", code, stderr.String(), tt.code, tt.want)
			}
		})
	}
}

func TestValidated(t *testing.T) {
	warning := config.Fault{File: "a.yaml", Line: 3, Column: 4, Path: "spool.dir", Message: "is full"}
	fault := config.Faults{{File: "a.yaml", Line: 1, Column: 2, Path: "car", Message: "is empty"}}
	var out bytes.Buffer
	if err := cli.Validated(&out, "a.yaml", nil, false, warning); err != nil || out.String() != "warning: a.yaml:3:4: spool.dir: is full\na.yaml: good\n" {
		t.Errorf("got %q, %v", out.String(), err)
	}
	out.Reset()
	if err := cli.Validated(&out, "a.yaml", fault, true); cli.Code(err) != cli.ExitConfig {
		t.Errorf("got %v", err)
	}
	var got struct {
		OK       bool           `json:"ok"`
		Faults   []config.Fault `json:"faults"`
		Warnings []config.Fault `json:"warnings"`
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || got.OK || len(got.Faults) != 1 || got.Faults[0] != fault[0] || got.Warnings == nil {
		t.Errorf("got %s, %v", out.String(), err)
	}
}

// service runs until it is told to end, or fails on its own.
type service struct {
	name string
	log  *[]string
	fail chan error
	last error
}

func (s *service) Run(ctx context.Context) error {
	*s.log = append(*s.log, s.name+" runs")
	select {
	case <-ctx.Done():
		*s.log = append(*s.log, s.name+" ends")
		return s.last
	case err := <-s.fail:
		return err
	}
}

func TestReloadIsAllOrNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events []string
		var said bytes.Buffer
		hup := make(chan os.Signal)
		next := func() (cli.Service, error) { return nil, errors.New("fault in line 3") }
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- cli.LoopOn(ctx, slog.New(slog.NewTextHandler(&said, nil)), hup, &service{name: "one", log: &events}, func() (cli.Service, error) { return next() })
		}()
		synctest.Wait()
		hup <- syscall.SIGHUP
		synctest.Wait()
		if got := strings.Join(events, ", "); got != "one runs" || !strings.Contains(said.String(), "fault in line 3") {
			t.Errorf("after a fault: %s; %s", got, said.String())
		}
		next = func() (cli.Service, error) { return &service{name: "two", log: &events}, nil }
		hup <- syscall.SIGHUP
		synctest.Wait()
		if got := strings.Join(events, ", "); got != "one runs, one ends, two runs" {
			t.Errorf("after a good reload: %s", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if got := strings.Join(events, ", "); got != "one runs, one ends, two runs, two ends" {
			t.Errorf("at the end: %s", got)
		}
	})
}

func TestLoopEndsWithItsService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events []string
		stuck := errors.New("last commit failed")
		tests := []struct {
			name string
			do   func(s *service, hup chan os.Signal)
		}{
			{"it fails", func(s *service, _ chan os.Signal) { s.fail <- stuck }},
			{"its end fails at a reload", func(_ *service, hup chan os.Signal) { hup <- syscall.SIGHUP }},
		}
		for _, tt := range tests {
			s := &service{name: "one", log: &events, fail: make(chan error), last: stuck}
			hup := make(chan os.Signal)
			done := make(chan error, 1)
			go func() {
				done <- cli.LoopOn(t.Context(), slog.New(slog.DiscardHandler), hup, s, func() (cli.Service, error) {
					return &service{name: "two", log: &events}, nil
				})
			}()
			synctest.Wait()
			tt.do(s, hup)
			select {
			case err := <-done:
				if !errors.Is(err, stuck) {
					t.Errorf("%s: got %v", tt.name, err)
				}
			case <-time.After(time.Minute):
				t.Errorf("%s: the loop goes on", tt.name)
			}
		}
	})
}

func TestHangupIsCaught(t *testing.T) {
	hup, stop := cli.Hangups()
	defer stop()
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if got := <-hup; got != syscall.SIGHUP {
		t.Errorf("got %v", got)
	}
}

func TestLogger(t *testing.T) {
	var out bytes.Buffer
	log, level := cli.Logger(config.Log{Level: "warn", Format: "json"}, &out)
	log.Info("hidden")
	cli.SetLevel(level, config.Log{Level: "info"})
	log.Info("shown")
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || line["msg"] != "shown" {
		t.Errorf("got %q, %v", out.String(), err)
	}
}
