package receivercmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"telemetry/internal/cli"
	"telemetry/internal/config"
	"telemetry/receiver/replay"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// replayOptions are the flags of replay.
type replayOptions struct {
	from clusterFlags // what is read; its prefix is --from-prefix
	// Where it is written.
	prefix, toConfig string
	toBrokers        []string
	partitions       int32
	format           string
	// What of it.
	car, begin, end, session, lap string
	lanes                         []string
	speed, resume                 string
	whatIf                        string
	asJSON                        bool

	files   []string
	windows []time.Duration
	pace    float64
	fromNS  int64
	toNS    int64
	lane    []wire.Lane
	atNS    int64 // of resume
	skip    uint64
}

const replayLong = `Plays what is in the batches topic of a receiver, or in files and folders that "edgeagent spool export -f batches -o FILE" wrote, into topics
under another prefix, or into another cluster. It never writes into topics that it reads, or rows into topics that a receiver writes.

  receiver replay --prefix rerun                                 everything, batches, with the spacing that it had
  receiver replay --prefix rerun --lap Q1/3 --format json        a lap as rows, in the order of event time
  receiver replay --prefix rerun --speed max run.batches         an exported spool, as fast as possible
  receiver replay --what-if 10ms,100ms,1m --session Q1           what other reorder windows would have done

--format batches writes the cars' batches as they are, by the time of their arrival, so that another receiver sequences them as the first one
did; the other formats write the rows of outputs, by event time, each once. --from and --to take a time (2026-05-01T12:00:00Z) or a time ago
(90m); times are those of the samples. Interrupted, it ends cleanly and says how to go on.`

func replayCommand() *cobra.Command {
	var o replayOptions
	c := &cobra.Command{
		Use:   "replay [FILE|FOLDER…] --prefix P",
		Short: "Play a recording into other topics or another cluster, or ask what other windows would have done",
		Long:  replayLong,
		Args:  cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			o.files = args
			if err := o.check(time.Now()); err != nil {
				return cli.Usage(err)
			}
			return runReplay(c.Context(), &o, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f := c.Flags()
	cli.ConfigFlag(c, &o.from.config, defaultConfig)
	f.StringSliceVar(&o.from.brokers, "brokers", nil, "some brokers of the cluster that is read, instead of a configuration")
	f.StringVar(&o.from.prefix, "from-prefix", topic.DefaultPrefix, "first part of the topics that are read, with --brokers")
	f.StringVar(&o.prefix, "prefix", "", "first part of the topics that are written")
	f.StringVar(&o.toConfig, "to-config", "", "configuration of the receiver whose cluster is written to (default: the cluster that is read)")
	f.StringSliceVar(&o.toBrokers, "to-brokers", nil, "some brokers of the cluster that is written to, instead of --to-config")
	f.Int32Var(&o.partitions, "partitions", 0, "of topics that are made (default: as many as are read)")
	f.StringVarP(&o.format, "format", "f", replay.FormatBatches, strings.Join(replay.FormatNames(), ", "))
	f.StringVar(&o.speed, "speed", "1", "times as fast as it was, or max")
	f.StringVar(&o.car, "car", "", "only this car")
	f.StringVar(&o.begin, "from", "", "only samples from this time on")
	f.StringVar(&o.end, "to", "", "only samples before this time")
	f.StringVar(&o.session, "session", "", "only this session, by id or name")
	f.StringVar(&o.lap, "lap", "", "only this lap, as SESSION/LAP")
	f.StringSliceVar(&o.lanes, "lanes", nil, "critical, live, full (default: batches all, rows critical and full)")
	f.StringVar(&o.resume, "resume", "", "go on behind a place that an interrupted replay has told; all other flags as they were")
	f.StringVar(&o.whatIf, "what-if", "", "play nothing: print what these reorder windows would have done, as 10ms,100ms,1m,none")
	f.BoolVar(&o.asJSON, "json", false, "print the report as JSON")
	fixed := func(list ...string) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return list, cobra.ShellCompDirectiveNoFileComp
		}
	}
	for name, list := range map[string][]string{"format": replay.FormatNames(), "speed": {"1", "2", "10", "max"}, "lanes": {"critical", "live", "full"}} {
		if err := c.RegisterFlagCompletionFunc(name, fixed(list...)); err != nil {
			panic("receivercmd: " + err.Error()) // a flag without its name
		}
	}
	return c
}

// check reads the flags; now counts for times ago.
func (o *replayOptions) check(now time.Time) (err error) {
	switch {
	case o.whatIf == "" && o.prefix == "":
		return errors.New("want --prefix P, the first part of the topics to write (or --what-if)")
	case o.whatIf == "" && !config.TopicPrefix(o.prefix):
		return fmt.Errorf("--prefix: %q cannot begin a topic's name (want 1 to 64 of letters, digits, '.', '_', '-')", o.prefix)
	case o.whatIf != "" && len(o.files) > 0:
		return errors.New("--what-if needs arrivals, which files do not have (want a cluster)")
	case !slices.Contains(replay.FormatNames(), o.format):
		return fmt.Errorf("--format: %q is no format (want %s)", o.format, strings.Join(replay.FormatNames(), ", "))
	case o.toConfig != "" && len(o.toBrokers) > 0:
		return errors.New("--to-config stands beside --to-brokers (want one of them)")
	case o.partitions < 0:
		return errors.New("--partitions: want 1 or more")
	case o.session != "" && o.lap != "" || (o.session != "" || o.lap != "") && (o.begin != "" || o.end != ""):
		return errors.New("want one of --session, --lap, and --from with --to")
	case o.lap != "" && !strings.Contains(o.lap, "/"):
		return fmt.Errorf("--lap: %q (want SESSION/LAP)", o.lap)
	case o.car != "" && wire.ValidCar(o.car) != nil:
		return fmt.Errorf("--car: %w", wire.ValidCar(o.car))
	}
	if o.speed != "max" {
		if o.pace, err = strconv.ParseFloat(strings.TrimPrefix(o.speed, "×"), 64); err != nil || !(o.pace > 0 && o.pace <= 1e6) {
			return fmt.Errorf("--speed: %q (want a number above 0, or max)", o.speed)
		}
	}
	for _, l := range o.lanes {
		lane, err := wire.ParseLane(l)
		if err != nil {
			return fmt.Errorf("--lanes: %q is no lane (want critical, live or full)", l)
		}
		o.lane = append(o.lane, lane)
	}
	if o.fromNS, err = instant(o.begin, now); err != nil {
		return fmt.Errorf("--from: %w", err)
	}
	if o.toNS, err = instant(o.end, now); err != nil {
		return fmt.Errorf("--to: %w", err)
	}
	if o.toNS > 0 && o.toNS <= o.fromNS {
		return errors.New("--to is not after --from")
	}
	if o.windows, err = windows(o.whatIf); err != nil {
		return fmt.Errorf("--what-if: %w", err)
	}
	return o.readResume()
}

// instant reads a time, ns since 1970; 0 for none.
func instant(s string, now time.Time) (int64, error) {
	if s == "" {
		return 0, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d).UnixNano(), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || t.UnixNano() <= 0 {
		return 0, fmt.Errorf("%q is no time (want one as 2026-05-01T12:00:00Z, or a time ago as 90m)", s)
	}
	return t.UnixNano(), nil
}

// windows reads a list of reorder windows.
func windows(s string) ([]time.Duration, error) {
	if s == "" {
		return nil, nil
	}
	var out []time.Duration
	for w := range strings.SplitSeq(s, ",") {
		d, err := time.ParseDuration(strings.TrimSpace(w))
		switch {
		case strings.TrimSpace(w) == "none":
			d = -1
		case err != nil || d < 0:
			return nil, fmt.Errorf("%q is no window (want durations as 10ms,100ms,1m, or none)", w)
		}
		out = append(out, d)
	}
	if len(out) > replay.MaxWindows {
		return nil, fmt.Errorf("%d windows (want at most %d)", len(out), replay.MaxWindows)
	}
	return out, nil
}

// resumePlace writes a place as --resume takes it.
func resumePlace(atNS int64, same uint64) string {
	return time.Unix(0, atNS).UTC().Format(time.RFC3339Nano) + "+" + strconv.FormatUint(same, 10)
}

// readResume reads a place.
func (o *replayOptions) readResume() error {
	if o.resume == "" {
		return nil
	}
	at, n, ok := strings.Cut(o.resume, "+")
	t, err := time.Parse(time.RFC3339, at)
	if ok && err == nil {
		o.skip, err = strconv.ParseUint(n, 10, 64)
	}
	if !ok || err != nil || t.UnixNano() <= 0 {
		return fmt.Errorf("--resume: %q is no place (want one that an interrupted replay has printed, as 2026-05-01T12:00:00.123Z+4)", o.resume)
	}
	o.atNS = t.UnixNano()
	return nil
}

// runReplay plays, or asks what other windows would have done.
func runReplay(ctx context.Context, o *replayOptions, stdout, stderr io.Writer) (err error) {
	r := &replayRun{o: o, name: "replay", stdout: stdout, stderr: stderr}
	defer func() { err = errors.Join(err, r.close()) }()
	if err := r.open(ctx); err != nil {
		return err
	}
	if err := r.choose(ctx); err != nil {
		return err
	}
	if len(o.windows) > 0 {
		return r.whatIf(ctx)
	}
	return r.play(ctx)
}
