package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"telemetry/internal/cli"
)

// exitInterrupted is what a shell makes of a process that SIGINT ended.
const exitInterrupted = 130

// Bounds of the flags.
const (
	minFor      = 3 * time.Second
	maxChannels = 5000
	maxRateHz   = 1500
)

var errInterrupted = errors.New("interrupted twice: ended at once, without a drain and a tally")

const longHelp = `A simulated car with the real edgeagent, three bad links (user-space relays
with little rate, delay, jitter, stalls, silence and outages), the real receiver
with everything embedded, and a consumer that counts what comes out of Kafka.

It needs no root, no network and no other software; the default car writes about
30 MB a minute into a temporary folder, which is removed. At the end it takes no more
samples, waits until what was made is in Kafka, and prints a tally. The last line
of standard output is JSON:

  {"made":N,"delivered":N,"missing":N,"duplicates":N}

Exit code 0: nothing is missing, double or wrong. 1: something is. A second
Ctrl-C ends at once with 130.`

const examples = `  demo                          until Ctrl-C
  demo --for 30s                ends by itself
  demo --for 30s | tail -1      only the JSON line
  demo --channels 50 --rate 100 a small car
  demo --for 1m --seed 7 --keep other incidents; logs and state are kept`

// New returns the command.
func New() *cobra.Command {
	var opt Options
	root := &cobra.Command{
		Use:     "demo",
		Short:   "Show one car, three bad links and Kafka on this machine, and prove that nothing is missing",
		Long:    longHelp,
		Example: examples,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := opt.validate(); err != nil {
				return cli.Usage(err)
			}
			return run(opt, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f := root.Flags()
	f.DurationVar(&opt.For, "for", 0, "how long the car drives, as 30s; 0 = until Ctrl-C")
	f.IntVar(&opt.Channels, "channels", usualChannels, "channels of the car")
	f.IntVar(&opt.RateHz, "rate", usualRateHz, "rate of its fastest channels in Hz; others have a fraction of it")
	f.Uint64Var(&opt.Seed, "seed", usualSeed, "decides the car's noise, the links' jitter and what happens to them")
	f.BoolVar(&opt.Keep, "keep", false, "keep the folder with configurations, logs, spool and Kafka")
	f.StringVar(&opt.Bin, "bin", "", "folder of the binaries edgeagent and receiver (default: that of this one)")
	f.StringVar(&opt.Live, "live", "", "host:port of the live page (default: a free port of this machine)")
	return cli.Command(root)
}

func (o *Options) validate() error {
	var errs []error
	if o.For != 0 && o.For < minFor {
		errs = append(errs, fmt.Errorf("--for %v is too short (want %v or more, or 0 for no end)", o.For, minFor))
	}
	if o.Channels < 1 || o.Channels > maxChannels {
		errs = append(errs, fmt.Errorf("--channels %d (want 1 to %d)", o.Channels, maxChannels))
	}
	if o.RateHz < 1 || o.RateHz > maxRateHz {
		errs = append(errs, fmt.Errorf("--rate %d (want 1 to %d, in Hz)", o.RateHz, maxRateHz))
	}
	if o.Seed < 1 || o.Seed > 1<<62 {
		errs = append(errs, fmt.Errorf("--seed %d (want 1 to 2^62)", o.Seed))
	}
	if o.Bin == "" {
		self, err := os.Executable()
		if err != nil {
			errs = append(errs, fmt.Errorf("folder of the binaries: %w", err))
		}
		o.Bin = filepath.Dir(self)
	}
	return errors.Join(errs...)
}

// run is the command: the first signal stops the car, the second everything.
func run(opt Options, stdout, stderr io.Writer) error {
	ctx, abort := context.WithCancelCause(context.Background())
	defer abort(nil)
	stop := make(chan struct{})
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	go func() { // ends with ctx
		for n := 0; ; n++ {
			select {
			case s := <-signals:
				if n == 0 && s != syscall.SIGHUP {
					close(stop)
					continue
				}
				abort(errInterrupted)
				return
			case <-ctx.Done():
				return
			}
		}
	}()
	size, colours := terminal(stdout)
	out, err := Run(ctx, opt, stop, NewScreen(stdout, size, colours))
	if out.Kept != "" {
		fmt.Fprintln(stderr, "demo: configurations, logs and state are kept in", out.Kept)
	}
	switch {
	case ctx.Err() != nil:
		return &cli.ExitError{Code: exitInterrupted, Err: context.Cause(ctx)}
	case err != nil:
		return err
	}
	return report(&out, stdout, stderr)
}

// terminal returns how to ask for the size of w, or nil when it is none or
// cannot move its cursor.
func terminal(w io.Writer) (size func() (int, int), colours bool) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || os.Getenv("TERM") == "dumb" || os.Getenv("TERM") == "" {
		return nil, false
	}
	return func() (int, int) {
		w, h, err := term.GetSize(int(f.Fd()))
		if err != nil || w <= 0 || h <= 0 {
			return 80, 24
		}
		return w, h
	}, os.Getenv("NO_COLOR") == ""
}

// errTallyDiffers is the end of a run that did not show what it was to show.
var errTallyDiffers = errors.New("samples are missing, double or wrong, or a part failed: see above")

// report prints the tally; the last line is JSON.
func report(o *Outcome, stdout, stderr io.Writer) error {
	sum := o.Critical.add(o.Full)
	line, err := json.Marshal(sum)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	for _, f := range o.Faults {
		fmt.Fprintln(stderr, "demo:", strings.TrimPrefix(f, "demo: "))
	}
	if _, err := fmt.Fprintf(stdout, "\n%s\n%s\n%s\n", Table(o.Critical, o.Full), o.words(), line); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	if !o.Good() {
		return errTallyDiffers
	}
	return nil
}

// words says what the tally means.
func (o *Outcome) words() string {
	s := fmt.Sprintf("First sample in Kafka after %s. %s values were compared with the simulation, %s are wrong.",
		first(o.FirstData), thousands(o.Read.Checked), thousands(o.Read.Wrong))
	if o.Good() {
		return s + "\nNothing is missing, nothing is double."
	}
	return s + "\nThis is not what it should be."
}
