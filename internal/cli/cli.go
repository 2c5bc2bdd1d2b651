// Package cli is what every command of the module shares: exit codes, errors
// printed once, a logger from the configuration, reload and stop signals. The
// entry point is [Main]. It never prints data: that is the commands' part, on
// standard output; everything here goes to standard error.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"telemetry/internal/config"
)

// Exit codes.
const (
	ExitOK       = 0
	ExitFailed   = 1
	ExitUsage    = 2
	ExitRestart  = 3  // done, but a restart is needed
	ExitDegraded = 4  // works, with warnings
	ExitConfig   = 78 // the configuration is wrong
)

// usageError is a command line that cannot be understood.
type usageError struct{ error }

// Usage wraps err so that [Main] exits with 2.
func Usage(err error) error {
	if err == nil {
		return nil
	}
	return usageError{err}
}

// ExitError is a failure with its own exit code.
type ExitError struct {
	Code int
	Err  error
}

func (e *ExitError) Error() string { return e.Err.Error() }
func (e *ExitError) Unwrap() error { return e.Err }

// Command prepares root: no usage text on failures, usage errors marked.
func Command(root *cobra.Command) *cobra.Command {
	root.SilenceUsage, root.SilenceErrors = true, true
	// Made by hand, or they would not be there to be marked.
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return Usage(fmt.Errorf("%w (see `%s --help`)", err, c.CommandPath()))
	})
	mark(root)
	return root
}

// mark makes wrong arguments usage errors, and a missing sub-command too.
func mark(c *cobra.Command) {
	args := c.Args
	if args == nil {
		args = cobra.NoArgs
		if c.HasSubCommands() {
			args = cobra.ArbitraryArgs
		}
	}
	c.Args = func(c *cobra.Command, a []string) error {
		err := args(c, a)
		if err == nil || strings.HasPrefix(err.Error(), "unknown command") {
			return Usage(err)
		}
		// Of a wrong count cobra says the number alone.
		return Usage(fmt.Errorf("want `%s`, got %q: see `%s --help`", strings.TrimSuffix(c.UseLine(), " [flags]"), a, c.CommandPath()))
	}
	if c.HasSubCommands() && c.RunE == nil {
		c.RunE = func(c *cobra.Command, a []string) error {
			if len(a) == 0 {
				return Usage(fmt.Errorf("want a command: see `%s --help`", c.CommandPath()))
			}
			c.SuggestionsMinimumDistance = 2 // edits; cobra's own default, which it sets elsewhere
			msg := fmt.Sprintf("unknown command %q for %q", a[0], c.CommandPath())
			if near := c.SuggestionsFor(a[0]); len(near) > 0 {
				msg += fmt.Sprintf(", did you mean %q?", strings.Join(near, `", "`))
			}
			return Usage(errors.New(msg))
		}
	}
	for _, sub := range c.Commands() {
		mark(sub)
	}
}

// Main runs root with args and returns the exit code; the error, if any, is
// printed once on stderr.
func Main(root *cobra.Command, args []string, stderr io.Writer) int {
	root.SetArgs(args)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := root.ExecuteContext(ctx)
	if err == nil {
		return ExitOK
	}
	begins := root.Name() + ": " // the name of its package too, for some errors
	fmt.Fprintln(stderr, begins+strings.TrimPrefix(err.Error(), begins))
	return Code(err)
}

// Code returns the exit code of an error.
func Code(err error) int {
	var exit *ExitError
	var usage usageError
	var unknown *pflag.NotExistError
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &exit):
		return exit.Code
	case config.IsFault(err):
		return ExitConfig
	case errors.As(err, &usage), errors.As(err, &unknown):
		return ExitUsage
	}
	return ExitFailed
}

// Logger returns a logger to w as c says, and the level that can be changed
// while it is in use.
func Logger(c config.Log, w io.Writer) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	SetLevel(level, c)
	opts := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts)), level
	}
	return slog.New(slog.NewTextHandler(w, opts)), level
}

// SetLevel applies the level of c, which was validated.
func SetLevel(v *slog.LevelVar, c config.Log) {
	var l slog.Level
	if l.UnmarshalText([]byte(c.Level)) == nil {
		v.Set(l)
	}
}

// Service is one configuration of a daemon, ready to run once.
type Service interface {
	Run(ctx context.Context) error
}

// Hangups returns SIGHUP as a channel, for [LoopOn], and what gives the signal
// back. From then on it does not end the process, so a daemon calls it before
// anything shows that it is there.
func Hangups() (hup <-chan os.Signal, stop func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	return c, func() { signal.Stop(c) }
}

// Loop is [LoopOn] with SIGHUP caught as long as it runs.
func Loop(ctx context.Context, log *slog.Logger, first Service, prepare func() (Service, error)) error {
	hup, stop := Hangups()
	defer stop()
	return LoopOn(ctx, log, hup, first, prepare)
}

// LoopOn runs a service and replaces it at each hup: prepare reads the
// configuration afresh and builds the next one; only when that succeeds is the
// present one ended. A configuration at fault changes nothing. It returns when
// ctx ends or a service fails.
func LoopOn(ctx context.Context, log *slog.Logger, hup <-chan os.Signal, first Service, prepare func() (Service, error)) error {
	for cur := first; ; {
		run, cancel := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- cur.Run(run) }() // ends with run, below
		next, err := await(ctx, log, hup, done, prepare)
		cancel()
		if next == nil {
			return err
		}
		if err := <-done; err != nil {
			return err
		}
		log.Info("configuration reloaded")
		cur = next
	}
}

// await returns the next service after a good reload, or nil and the result of
// the present one when it ended.
func await(ctx context.Context, log *slog.Logger, hup <-chan os.Signal, done <-chan error, prepare func() (Service, error)) (Service, error) {
	for {
		select {
		case err := <-done:
			return nil, err
		case <-ctx.Done():
			return nil, <-done
		case <-hup:
			next, err := prepare()
			if err == nil {
				return next, nil
			}
			log.Error("reload refused, the old configuration goes on", "error", err)
		}
	}
}
