package receivercmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"telemetry/internal/cli"
	"telemetry/receiver/archive"
	"telemetry/receiver/export"
	"telemetry/receiver/past"
	"telemetry/receiver/topic"
)

// exportOptions are the flags of export.
type exportOptions struct {
	replayOptions // what is read, and what of it
	channels      []string
	units         bool
	out           string
	kind          export.Format
}

const exportLong = `Writes samples out of the batches topic of a receiver, or out of files that "edgeagent spool export -f batches" wrote, as files of other tools.

  receiver export --lap Q1/3 -f parquet -o q1-3/              a folder with a file per group
  receiver export --lap Q1/3 --channels 'Engine.*' -o lap.csv   one group is one file
  receiver export --from 90m --car gt3-7 -f mcap -o run.mcap

Each group of channels has a clock of its own, so it is a table of its own: several groups are a folder, or a .zip, of one file each, with
channels.csv (units, descriptions, enumerations). MCAP is one file. Values are Kafka's to the last bit; docs/history.md says how each appears.
--from and --to take a time (2026-05-01T12:00:00Z) or a time ago (90m), of the samples. -o - writes to standard output.`

func exportCommand() *cobra.Command {
	var o exportOptions
	c := &cobra.Command{
		Use:   "export [FILE|FOLDER…]",
		Short: "Write samples of a time, a session or a lap as CSV, Parquet, Arrow or MCAP",
		Long:  exportLong,
		Args:  cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			o.files = args
			if err := o.checkExport(time.Now()); err != nil {
				return cli.Usage(err)
			}
			return runExport(c.Context(), &o, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f := c.Flags()
	cli.ConfigFlag(c, &o.from.config, defaultConfig)
	f.StringSliceVar(&o.from.brokers, "brokers", nil, "some brokers of the cluster, instead of a configuration")
	f.StringVar(&o.from.prefix, "prefix", topic.DefaultPrefix, "first part of the topics, with --brokers")
	f.StringVarP(&o.format, "format", "f", "", "csv, parquet, arrow or mcap (default: what -o ends in, or csv)")
	f.StringVar(&o.car, "car", "", "the car (default: the only one there is)")
	f.StringVar(&o.begin, "from", "", "samples from this time on")
	f.StringVar(&o.end, "to", "", "samples before this time")
	f.StringVar(&o.session, "session", "", "this session, by id or name")
	f.StringVar(&o.lap, "lap", "", "this lap, as SESSION/LAP")
	f.StringSliceVar(&o.channels, "channels", nil, "group.channel, channel or group.* (default: all, and events)")
	f.BoolVar(&o.units, "units", false, `"name [unit]" in the head of a CSV`)
	f.StringVarP(&o.out, "output", "o", "", "file, folder (ends in / or exists) or - (default: a file here, named after car and time)")
	return c
}

// checkExport reads the flags; now counts for times ago.
func (o *exportOptions) checkExport(now time.Time) (err error) {
	ext := strings.TrimPrefix(filepath.Ext(o.out), ".")
	switch {
	case o.format != "":
	case ext == "" || ext == "zip" || o.folder():
		o.format = string(export.CSV)
	default:
		o.format = ext
	}
	if o.kind, err = export.ParseFormat(o.format); err != nil {
		return fmt.Errorf("--format: %w", err)
	}
	format := o.format
	o.format, o.speed, o.prefix = "batches", "max", "none" // of a replay, which this is not
	defer func() { o.format = format }()
	return o.check(now)
}

// folder reports whether -o names one.
func (o *exportOptions) folder() bool {
	if o.out == "" || o.out == "-" {
		return false
	}
	info, err := os.Stat(o.out)
	return strings.HasSuffix(o.out, string(filepath.Separator)) || err == nil && info.IsDir()
}

func runExport(ctx context.Context, o *exportOptions, stdout, stderr io.Writer) (err error) {
	r := &replayRun{o: &o.replayOptions, name: "export", stdout: stdout, stderr: stderr}
	defer func() { err = errors.Join(err, r.close()) }()
	if err := r.open(ctx); err != nil {
		return err
	}
	if err := r.choose(ctx); err != nil {
		return err
	}
	if r.query.Car == "" {
		cars, err := r.archive.Cars(ctx)
		switch {
		case err != nil:
			return err
		case len(cars) != 1:
			return cli.Usage(fmt.Errorf("there are %d cars %v: want one of them as --car", len(cars), cars))
		}
		r.query.Car = cars[0]
	}
	d, err := openDestination(o, r.query.Car, r.query.FromNS, stdout)
	if err != nil {
		return err
	}
	rep, n, err := writeExport(ctx, o, r, d)
	if err = d.end(err); errors.Is(err, export.ErrEmpty) {
		if cars, lerr := r.archive.Cars(ctx); lerr == nil && !slices.Contains(cars, r.query.Car) {
			err = fmt.Errorf("%w: --car is %s, there are %v", err, r.query.Car, cars)
		}
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(stderr, "export: %d values of %s in %s\n", n, r.query.Car, strings.Join(d.made(), ", "))
	if rep.Missing > 0 || rep.Unreadable > 0 {
		fmt.Fprintf(stderr, "export: %d batches are missing, %d cannot be read: see `receiver lag` and telemetry.gaps\n", rep.Missing, rep.Unreadable)
	}
	return nil
}

// writeExport reads the archive into the files, and returns how many values there are.
func writeExport(ctx context.Context, o *exportOptions, r *replayRun, d *destination) (rep archive.Report, n uint64, err error) {
	w, err := export.New(o.kind, d.out, export.Options{Car: r.query.Car, Name: d.name, Units: o.units})
	if err != nil {
		return rep, 0, err
	}
	sel := past.ParseSelection(o.channels...)
	r.query.Take = sel.Take()
	p := newProgress(r.stderr)
	rep, err = r.archive.Read(ctx, r.query, func(rows *archive.Rows) error {
		if rows.Event != nil && !sel.WantsEvents() {
			return nil
		}
		return past.Put(w, rows)
	}, p.read)
	p.end()
	if err == nil {
		err = w.Close()
	}
	return rep, w.Samples(), err
}

// destination is where the files go.
type destination struct {
	out    export.Output
	name   string         // first part of files' names
	folder *export.Folder // nil: a stream
	file   *os.File       // of a stream; nil: standard output
	path   string         // of the file, as it will be called
}

// partial stands behind a file's name until it is whole.
const partial = ".partial"

func openDestination(o *exportOptions, car string, from int64, stdout io.Writer) (*destination, error) {
	d := &destination{name: past.BaseName(car, from), path: o.out}
	switch {
	case o.folder():
		var err error
		if d.folder, err = export.NewFolder(o.out); err != nil {
			return nil, err
		}
		d.out = d.folder
	case o.out == "-":
		d.out = export.NewStream(stdout, d.name, time.Unix(0, from), nil)
	default:
		if d.path == "" {
			d.path = d.name + "." + string(o.kind)
		}
		if err := absent(d.path); err != nil {
			return nil, err
		}
		f, err := os.OpenFile(d.path+partial, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
		if err != nil {
			return nil, fmt.Errorf("export: %w", err)
		}
		d.file = f
		d.out = export.NewStream(f, d.name, time.Unix(0, from), d.begin)
	}
	return d, nil
}

// begin learns whether the file is an archive: then it is called so.
func (d *destination) begin(name, _ string) {
	if filepath.Ext(name) == ".zip" && filepath.Ext(d.path) != ".zip" {
		d.path += ".zip"
	}
}

func absent(path string) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("export: %s exists: remove it, or name another with -o", path)
	}
	return nil
}

// end makes the files whole, or removes them.
func (d *destination) end(err error) error {
	switch {
	case d.folder != nil && err != nil:
		return errors.Join(err, d.folder.Discard())
	case d.file == nil:
		return err
	}
	temporary := d.file.Name()
	err = errors.Join(err, d.file.Close())
	if err == nil {
		err = absent(d.path)
	}
	if err == nil {
		err = os.Rename(temporary, d.path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return nil
}

// made names what was made.
func (d *destination) made() []string {
	switch {
	case d.folder != nil:
		return d.folder.Made()
	case d.file == nil:
		return []string{"standard output"}
	default:
		return []string{d.path}
	}
}
