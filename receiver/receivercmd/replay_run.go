package receivercmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"telemetry/internal/cli"
	"telemetry/internal/config"
	"telemetry/receiver"
	"telemetry/receiver/archive"
	"telemetry/receiver/kafka"
	"telemetry/receiver/replay"
	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/formats"
	"telemetry/wire"
)

// replayRun is one replay.
type replayRun struct {
	o              *replayOptions
	name           string // of the command
	stdout, stderr io.Writer

	observer *kafka.Observer // nil: files are read, and catalogues are nowhere else
	past     *kafka.Past     // likewise
	files    *replay.Files   // nil: a cluster is read
	writer   *kafka.Writer
	archive  *archive.Archive
	query    archive.Query
	registry func(topic string) uint32
	closers  []func() error
}

func (r *replayRun) close() error {
	var errs []error
	for _, f := range slices.Backward(r.closers) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

func (r *replayRun) note(format string, args ...any) {
	fmt.Fprintf(r.stderr, onLineOfItsOwn(r.stderr, r.name+": "+format+"\n"), args...)
}

// open opens what is read. Beside files a cluster is only asked for catalogues.
func (r *replayRun) open(ctx context.Context) (err error) {
	o := r.o
	o.from.say = func(text string) { r.note("%s", text) }
	var src archive.Source
	if len(o.files) > 0 {
		if r.files, err = replay.OpenFiles(o.files); err != nil {
			return err
		}
		r.closers = append(r.closers, r.files.Close)
		for _, f := range r.files.Skipped {
			r.note("%s holds no batches and is left out", f)
		}
		src = r.files
	}
	if r.observer, err = o.from.observe(ctx); err == nil {
		r.closers = append(r.closers, r.observer.Close)
		if r.past, err = r.observer.Past(); err == nil {
			r.closers = append(r.closers, r.past.Close)
		}
	}
	switch {
	case r.files != nil && err != nil && o.toConfig == "" && len(o.toBrokers) == 0:
		return err // it is where the files are played to
	case r.files != nil && err == nil:
		r.files.Elsewhere = r.past.Catalogue
	case r.files == nil && err != nil:
		return err
	case r.files == nil:
		src = r.past
	}
	r.archive = archive.New(src, archive.Options{})
	return nil
}

// choose finds out which car and which time are meant.
func (r *replayRun) choose(ctx context.Context) error {
	o := r.o
	r.query = archive.Query{Car: o.car, FromNS: o.fromNS, ToNS: o.toNS, Lanes: o.lane}
	what := o.session + o.lap
	if what == "" {
		return nil
	}
	cars := []string{o.car}
	if o.car == "" {
		var err error
		if cars, err = r.archive.Cars(ctx); err != nil {
			return err
		}
	}
	var found []string
	var last error
	for _, car := range cars {
		from, to, err := r.archive.Span(ctx, car, what)
		switch {
		case err == nil:
			found = append(found, car)
			r.query.Car, r.query.FromNS, r.query.ToNS = car, from, to
		case errors.Is(err, archive.ErrUnknown):
			last = err
		default:
			return err
		}
	}
	switch {
	case len(found) > 1:
		return cli.Usage(fmt.Errorf("%s is of the cars %v: want one of them as --car", what, found))
	case len(found) == 0 && last == nil:
		return fmt.Errorf("there is no car (so no session %s)", what)
	case len(found) == 0:
		return last
	}
	return nil
}

// whatIf prints what windows would have done.
func (r *replayRun) whatIf(ctx context.Context) error {
	p := newProgress(r.stderr)
	list, err := replay.WhatIf(ctx, r.archive, r.query, r.o.windows, p.read)
	p.end()
	if err != nil {
		return err
	}
	if r.o.asJSON {
		return cli.WriteJSON(r.stdout, struct {
			Windows []replay.Outcome `json:"windows"`
		}{list})
	}
	w := tabwriter.NewWriter(r.stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "window\tlane\tbatches\tdelayed\tp50 ms\tp99 ms\tmax ms\tlate\tlost\twaiting\t")
	for _, x := range list {
		window := "none"
		if x.WindowMS >= 0 {
			window = (time.Duration(x.WindowMS) * time.Millisecond).String()
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%.0f\t%.0f\t%.0f\t%d\t%d\t%d\t\n", window, x.Lane, x.Batches, x.Delayed, x.P50MS, x.P99MS, x.MaxMS, x.Late, x.Lost, x.Waiting)
	}
	if len(list) == 0 {
		fmt.Fprintln(w, "there is no batch\t")
	}
	return w.Flush()
}

// target opens what is written to, and refuses what must not be.
func (r *replayRun) target(ctx context.Context) (*replay.Target, error) {
	o := r.o
	cfg, err := r.targetConfig(ctx)
	if err != nil {
		return nil, err
	}
	cfg.Prefix, cfg.Outputs, cfg.Partitions, cfg.Teller = o.prefix, nil, 0, o.from.teller()
	if r.writer, err = kafka.OpenWriter(ctx, cfg); err != nil {
		return nil, err
	}
	r.closers = append(r.closers, r.writer.Close)
	parts := o.partitions
	if parts == 0 && r.past != nil {
		if exts, err := r.past.Extents(ctx, r.past.Names().Batches, 0); err == nil {
			parts = int32(len(exts))
		} else if r.files == nil {
			return nil, err
		}
	}
	t := replay.NewTarget(r.writer, r.archive.Source(), o.format, parts, slices.Contains(o.lane, wire.LaneLive), func(s string) { r.note("%s", s) })
	past := r.past
	if r.files != nil {
		past = nil
	}
	has := func(string) bool { return false }
	if r.observer != nil {
		has = r.observer.Has
	}
	if err := t.Guard(ctx, past, has); err != nil {
		return nil, err
	}
	return t, nil
}

// targetConfig returns how the cluster is reached that is written to.
func (r *replayRun) targetConfig(ctx context.Context) (kafka.Config, error) {
	o := r.o
	log := slog.New(slog.DiscardHandler)
	path := o.toConfig
	switch {
	case len(o.toBrokers) > 0:
		return kafka.Config{Brokers: o.toBrokers, AllowWeak: true, Log: log}, nil
	case path == "" && len(o.from.brokers) > 0:
		return o.from.kafka(ctx)
	case path == "":
		path = o.from.config
	}
	cfg, err := config.ReadReceiver(path)
	if err != nil {
		return kafka.Config{}, err
	}
	if o.format == formats.Protobuf {
		if err := r.schema(ctx, cfg.Kafka.Registry, log); err != nil {
			return kafka.Config{}, err
		}
	}
	return clusterOf(ctx, cfg, log)
}

// registryLimit bounds how long a schema registry is waited for.
const registryLimit = 20 * time.Second

// schema asks a registry for the ids of the topics' schemas.
func (r *replayRun) schema(ctx context.Context, c *config.Registry, log *slog.Logger) error {
	p := r.o.prefix
	k, err := receiver.RegistryKeeper(c, log, p+".samples", p+".live", p+".events")
	if err != nil {
		return err
	}
	run, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- k.Run(run) }() // ends with run
	r.closers = append(r.closers, func() error { stop(); return <-ended })
	wait, cancel := context.WithTimeout(ctx, registryLimit)
	defer cancel()
	if err := k.Ready(wait); err != nil {
		return fmt.Errorf("the schema registry does not answer: %w", errors.Join(k.State().Err, err))
	}
	r.registry = k.ID
	return nil
}

// source returns what is played, and its report when that is over.
func (r *replayRun) source(p *progress) (replay.Source, func() archive.Report) {
	o := r.o
	if o.format == replay.FormatBatches {
		s := &replay.Batches{Archive: r.archive, Query: r.query, Topic: r.writer.Names().Batches, Progress: p.read, Order: archive.ByArrival}
		if r.files != nil {
			s.Order = archive.ByTime
			if len(s.Query.Lanes) == 0 {
				s.Query.Lanes = wire.Lanes[:]
			}
		}
		return s, func() archive.Report { return s.Report }
	}
	s := &replay.Rows{Archive: r.archive, Query: r.query, Names: r.writer.Names(), Progress: p.read}
	s.Format = func() (sequence.Format, error) {
		return formats.OfLanes(o.format, wire.Lanes[:], formats.Options{SchemaID: r.registry})
	}
	return s, func() archive.Report { return s.Report }
}

// flushLimit bounds how long what was given to Kafka is waited for after an interrupt.
const flushLimit = 20 * time.Second

// play plays.
func (r *replayRun) play(ctx context.Context) error {
	o := r.o
	if o.format == formats.Protobuf && o.toConfig == "" && (len(o.toBrokers) > 0 || len(o.from.brokers) > 0) {
		return cli.Usage(errors.New("format protobuf needs kafka.registry of a configuration (want --to-config, or format protobuf-raw)"))
	}
	t, err := r.target(ctx)
	if err != nil {
		return err
	}
	p := newProgress(r.stderr)
	src, report := r.source(p)
	if o.resume != "" {
		src = replay.Resumed{Source: src, AtNS: o.atNS, Skip: o.skip}
	}
	pace := replay.NewPace(o.pace)
	st, err := replay.Play(ctx, src, pace, shown{t, p})
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushLimit)
	defer cancel()
	interrupted := ctx.Err() != nil
	if interrupted {
		err = nil // that is how it is ended
	}
	if unwritten := t.Flush(flush); unwritten != nil {
		err = errors.Join(err, unwritten)
		st.LastNS, st.Same = t.Durable() // not what was given
	}
	if st.LastNS == o.atNS {
		st.Same += o.skip
	}
	p.end()
	rep := r.report(&st, t, report(), err == nil && !interrupted)
	if err != nil {
		rep.Error = err.Error()
	}
	if printed := r.print(rep); printed != nil {
		return errors.Join(err, printed)
	}
	if err == nil && interrupted {
		return &cli.ExitError{Code: cli.ExitDegraded, Err: errors.New("stopped before its end, " + rep.how())}
	}
	if err != nil && rep.Resume != "" {
		return fmt.Errorf("%w (%s)", err, rep.how())
	}
	return err
}

// shown is a target whose progress is shown.
type shown struct {
	*replay.Target
	p *progress
}

// Put implements replay.Sink.
func (s shown) Put(ctx context.Context, it *replay.Item) error {
	s.p.item(it, s.Target)
	return s.Target.Put(ctx, it)
}

// how says how to go on.
func (r *replayReport) how() string {
	if r.Resume == "" {
		return "nothing was played"
	}
	return "go on with the same flags and --resume " + strconv.Quote(r.Resume)
}
