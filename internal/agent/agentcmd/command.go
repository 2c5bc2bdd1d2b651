// Package agentcmd is the command line of edgeagent. The entry point is [New].
// It holds no logic of the car: that is package agent's.
package agentcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"runtime/debug"
	"sync/atomic"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"telemetry/internal/agent"
	"telemetry/internal/agent/spoolcmd"
	"telemetry/internal/cli"
	"telemetry/internal/config"
	"telemetry/internal/procs"
	"telemetry/internal/status"
)

const (
	defaultConfig = "/etc/edgeagent/edgeagent.yaml"
	defaultSocket = "/run/edgeagent/edgeagent.sock"
)

// New returns the command tree of edgeagent.
func New() *cobra.Command {
	root := &cobra.Command{
		Use:   "edgeagent",
		Short: "Telemetry of a race car: sensors to spool to three modems",
	}
	root.AddCommand(runCommand(), validateCommand(), statusCommand(), configCommand(), dbcCommand(), canCommand(), channelsCommand(), tailCommand(), sessionCommand(), modemCommand(), doctorCommand(), spoolcmd.New(defaultConfig), cli.VersionCommand("edgeagent"))
	return cli.Command(root)
}

func runCommand() *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:   "run",
		Short: "Run until SIGTERM; SIGHUP reads the configuration again, all or nothing",
		RunE:  func(c *cobra.Command, _ []string) error { return run(c.Context(), path, c.ErrOrStderr()) },
	}
	cli.ConfigFlag(c, &path, defaultConfig)
	return c
}

func run(ctx context.Context, path string, stderr io.Writer) error {
	cfg, err := config.ReadAgent(path)
	if err != nil {
		return err
	}
	hup, release := cli.Hangups()
	defer release()
	log, level := cli.Logger(cfg.Log, stderr)
	debug.SetMemoryLimit(int64(cfg.MemoryLimit))
	first, err := agent.Prepare(cfg, os.DirFS("/"), log)
	if err != nil {
		return err
	}
	// Before the spool, where a new epoch would be opened for nothing. The socket
	// outlives a reload: whoever asks is answered by the agent that runs now.
	listener, err := status.Listen(cfg.Socket)
	if err != nil {
		return err
	}
	var now atomic.Pointer[agent.Agent]
	now.Store(first)
	front := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { now.Load().Handler().ServeHTTP(w, r) })
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	power, releasePower := powerSignals()
	defer releasePower()
	go awaitPower(ctx, power, now.Load, end) // ends with ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go procs.Keep(ctx, log) // ends with ctx
	served := make(chan error, 1)
	go func() { // ends with ctx
		err := status.ServeOn(ctx, listener, front)
		if err != nil {
			cancel()
		}
		served <- err
	}()
	err = cli.LoopOn(ctx, log, hup, first, func() (cli.Service, error) {
		changed, next, err := reload(path, cfg, log)
		if err != nil {
			return nil, err
		}
		cli.SetLevel(level, changed.Log)
		cfg = changed
		now.Store(next)
		return next, nil
	})
	cancel()
	err = errors.Join(err, <-served)
	if cause := context.Cause(ctx); errors.Is(cause, errPower) {
		err = errors.Join(cause, err)
	}
	return err
}

// reload prepares the agent of the changed file. A change that a running
// process cannot take is an error that names it, and so is a source that cannot
// be used: the old configuration is better than half of the new one.
func reload(path string, old *config.Agent, log *slog.Logger) (*config.Agent, *agent.Agent, error) {
	cfg, err := config.ReadAgent(path)
	if err != nil {
		return nil, nil, err
	}
	var fixed config.Faults
	need := func(key string, changed bool) {
		if changed {
			fixed = append(fixed, cfg.Fault(key, "changed: this needs a restart"))
		}
	}
	need("car", cfg.Car != old.Car)
	need("spool.dir", cfg.Spool.Dir != old.Spool.Dir)
	need("socket", cfg.Socket != old.Socket)
	need("memory_limit", cfg.MemoryLimit != old.MemoryLimit)
	need("log.format", cfg.Log.Format != old.Log.Format)
	if len(fixed) > 0 {
		return nil, nil, fixed
	}
	next, err := agent.Prepare(cfg, os.DirFS("/"), log)
	if err != nil {
		return nil, nil, err
	}
	if fs := next.Faults(); len(fs) > 0 {
		return nil, nil, fs
	}
	return cfg, next, nil
}

func validateCommand() *cobra.Command {
	var path string
	var asJSON bool
	c := &cobra.Command{
		Use:   "validate",
		Short: "Check a configuration and everything it names; needs no running agent",
		RunE: func(c *cobra.Command, _ []string) error {
			return validate(path, asJSON, c.OutOrStdout())
		},
	}
	cli.ConfigFlag(c, &path, defaultConfig)
	c.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return c
}

func validate(path string, asJSON bool, out io.Writer) error {
	cfg, err := config.ReadAgent(path)
	if err != nil {
		return cli.Validated(out, path, err, asJSON)
	}
	warnings := agent.Surroundings(cfg)
	a, err := agent.Prepare(cfg, os.DirFS("/"), slog.New(slog.DiscardHandler))
	if err == nil {
		warnings = append(warnings, a.Warnings()...)
		if fs := a.Faults(); len(fs) > 0 {
			err = fs
		}
	}
	return cli.Validated(out, path, err, asJSON, warnings.Sorted()...)
}

func statusCommand() *cobra.Command {
	var socket string
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Ask the running agent what it does",
		RunE: func(c *cobra.Command, _ []string) error {
			var s agent.Status
			if err := status.Call(c.Context(), socket, http.MethodGet, "/v1/status", &s); err != nil {
				return err
			}
			if asJSON {
				return cli.WriteJSON(c.OutOrStdout(), s)
			}
			return printStatus(c.OutOrStdout(), s)
		},
	}
	c.Flags().StringVar(&socket, "socket", defaultSocket, "unix socket of the running agent")
	c.Flags().BoolVar(&asJSON, "json", false, "print everything as JSON")
	return c
}

func printStatus(out io.Writer, s agent.Status) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "car %s\tepoch %s\tup %.0f s\n\n", s.Car, s.Epoch, s.UptimeS)
	fmt.Fprintln(w, "LANE\tSAMPLES\tBATCHES\tPENDING\tOLDEST")
	for _, l := range []string{"critical", "live", "full"} {
		ls := s.Lanes[l]
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d ms\n", l, ls.Samples, ls.Batches, ls.Pending, ls.OldestMS)
	}
	fmt.Fprintln(w, "\nLINK\tSTATE\tRTT\tRATE\tSHARE\tIN FLIGHT\tTODAY\tRESENT\tWINS\tLAST CHANGE")
	for _, l := range s.Links {
		fmt.Fprintf(w, "%s\t%s\t%.1f ms\t%.2f Mbit/s\t%.0f %%\t%d B\t%d B\t%d B\t%d\t%s\n",
			l.Name, l.State, l.RTTMS, float64(l.RateBitS)/1e6, 100*l.Share, l.InFlight, l.Today, l.Resent, l.Wins, l.LastChange)
	}
	fmt.Fprintln(w, "\nSOURCE\tSTATE\tROWS\tCHANNELS\tRESTARTS\tERROR")
	for _, x := range s.Sources {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%s\n", x.Name, x.State, x.Rows, x.Channels, x.Restarts, x.Error)
	}
	fmt.Fprintf(w, "\nspool\t%.1f of %.1f MiB\tlost: quota %d, corrupt %d, disk %d\n", float64(s.Spool.DiskBytes)/(1<<20),
		float64(s.Spool.QuotaBytes)/(1<<20), s.Spool.LostQuota, s.Spool.LostCorrupt, s.Spool.LostDisk)
	if s.Dropped > 0 {
		fmt.Fprintf(w, "dropped\t%d samples before the spool\tsee the agent's log\n", s.Dropped)
	}
	if s.Spool.Degraded {
		fmt.Fprintf(w, "spool\tDEGRADED\tdisk %s\t%s\n", s.Spool.Disk, s.Spool.LastError)
	}
	if s.Spool.Locked > 0 {
		fmt.Fprintf(w, "spool\t%d batches are encrypted and no key opens them\tsee spool.encrypt.identity\n", s.Spool.Locked)
	}
	return w.Flush()
}
