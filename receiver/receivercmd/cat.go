package receivercmd

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"telemetry/internal/cli"
	"telemetry/receiver/inspect"
	"telemetry/receiver/kafka"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// catOptions are the flags of cat.
type catOptions struct {
	clusterFlags
	from, until string
	car         string
	partition   int32
	count       int
	follow      bool
	uncommitted bool
}

func catCommand() *cobra.Command {
	var o catOptions
	c := &cobra.Command{
		Use:   "cat TOPIC",
		Short: "Show the records of a topic as JSON, whatever their format",
		Long: "Prints one JSON object a line for each record: where it is, its key and headers, its kind, and its value decoded: sealed batches, JSON rows,\n" +
			"protobuf (schema_id is that of the registry), Arrow, Quix, gaps, time map, sessions, catalogues, dead letters with their reason; of the\n" +
			"sequencer's state a summary. What cannot be decoded has `error` or `what`, and its bytes in base64; the rest goes on.\n\n" +
			"TOPIC may lack the prefix: `samples` is telemetry.samples. --from and --until take an offset (1200), the last N of each partition (-100),\n" +
			"a time (2026-05-01T12:00:00Z), a time ago (10m), start or end. A time is the record's own: of telemetry.batches that of its arrival.\n" +
			"Partitions come one after the other. Ends at the present end, unless --follow. Numbers that JSON has not (NaN) are text.",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: o.completeTopics,
		RunE: func(c *cobra.Command, args []string) error {
			return cat(c.Context(), &o, args[0], c.OutOrStdout(), time.Now())
		},
	}
	o.add(c)
	f := c.Flags()
	f.StringVar(&o.from, "from", "start", "where to begin")
	f.StringVar(&o.until, "until", "", "where to end (default: the present end)")
	f.StringVar(&o.car, "car", "", "only this car")
	f.Int32Var(&o.partition, "partition", -1, "only this partition")
	f.IntVarP(&o.count, "count", "n", 0, "end after that many records")
	f.BoolVarP(&o.follow, "follow", "f", false, "go on with what comes, until interrupted")
	f.BoolVar(&o.uncommitted, "read-uncommitted", false, "records of open and aborted transactions too")
	return c
}

// place reads a place in a topic; now counts for times ago.
func place(s string, now time.Time) (kafka.Place, error) {
	switch s {
	case "start", "":
		return kafka.Place{Kind: kafka.AtStart}, nil
	case "end":
		return kafka.Place{Kind: kafka.AtEnd}, nil
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		if n < 0 || strings.HasPrefix(s, "-") {
			return kafka.Place{Kind: kafka.AtLast, N: max(-n, 0)}, nil
		}
		return kafka.Place{Kind: kafka.AtOffset, N: n}, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return kafka.Place{Kind: kafka.AtTime, N: now.Add(-d).UnixMilli()}, nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return kafka.Place{Kind: kafka.AtTime, N: t.UnixMilli()}, nil
	}
	return kafka.Place{}, fmt.Errorf("%q is no place in a topic (want start, end, an offset, -N for the last N, a time as 2026-05-01T12:00:00Z, or a time ago as 10m)", s)
}

func cat(ctx context.Context, o *catOptions, name string, stdout io.Writer, now time.Time) error {
	s := kafka.Scan{Topic: name, Partition: o.partition, Follow: o.follow, Uncommitted: o.uncommitted}
	var err error
	if s.From, err = place(o.from, now); err != nil {
		return cli.Usage(fmt.Errorf("--from: %w", err))
	}
	if o.until != "" {
		until, err := place(o.until, now)
		if err != nil {
			return cli.Usage(fmt.Errorf("--until: %w", err))
		}
		s.Until = &until
	}
	switch {
	case o.count < 0 || o.partition < -1:
		return cli.Usage(errors.New("-n and --partition: want 0 or more"))
	case o.follow && o.until != "":
		return cli.Usage(errors.New("--follow has no end: want one of --follow and --until"))
	}
	ob, err := o.observe(ctx)
	if err != nil {
		return err
	}
	names := ob.Names()
	if full := strings.TrimSuffix(names.Batches, "batches") + name; !ob.Has(name) && ob.Has(full) {
		s.Topic = full
	}
	cats := ob.Catalogues()
	v := &inspect.Viewer{
		Batches: names.Batches, Catalogues: names.Catalogues,
		Catalogue: func(h wire.CatalogueHash) ([]byte, bool, error) { return cats.Get(ctx, h) },
	}
	out := bufio.NewWriterSize(stdout, 64<<10)
	shown := 0
	err = ob.Scan(ctx, s, func(r topic.Record) error {
		if o.car != "" && inspect.Car(&r) != o.car {
			return nil
		}
		if err := writeLine(out, v.View(&r)); err != nil {
			return err
		}
		if o.follow {
			if err := out.Flush(); err != nil {
				return err
			}
		}
		if shown++; o.count > 0 && shown >= o.count {
			return kafka.ErrStop
		}
		return nil
	})
	return errors.Join(err, out.Flush(), ob.Close())
}

// writeLine prints v as one line of JSON.
func writeLine(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
