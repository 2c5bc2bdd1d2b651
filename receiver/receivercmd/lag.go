package receivercmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"telemetry/internal/cli"
	"telemetry/internal/clock"
	"telemetry/receiver/kafka"
)

func lagCommand() *cobra.Command {
	var f clusterFlags
	var asJSON bool
	var watch time.Duration
	c := &cobra.Command{
		Use:   "lag",
		Short: "Show how far each output is behind, per partition of the batches topic",
		Long: "Shows for each output's consumer group and each partition: the offset that it has settled, the end, what lies between in records and, by\n" +
			"LogAppendTime, in seconds from the oldest unsettled record to the newest one, and the member that has the partition. An offset waits for\n" +
			"the oldest batch that is held behind a hole: a lag of a window's length is no fault. The embedded Kafka's group has no members.",
		RunE: func(c *cobra.Command, _ []string) error {
			if watch < 0 || c.Flags().Changed("watch") && watch < 100*time.Millisecond {
				return cli.Usage(errors.New("--watch: want 100ms or more"))
			}
			o, err := f.observe(c.Context())
			if err != nil {
				return err
			}
			return errors.Join(showLag(c.Context(), c.OutOrStdout(), o, asJSON, watch), o.Close())
		},
	}
	f.add(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print as JSON; with --watch one object a line")
	c.Flags().DurationVarP(&watch, "watch", "w", 0, "show it again and again, this far apart")
	c.Flags().Lookup("watch").NoOptDefVal = "2s"
	return c
}

func showLag(ctx context.Context, out io.Writer, o *kafka.Observer, asJSON bool, watch time.Duration) error {
	for {
		list, err := o.Lag(ctx)
		if ctx.Err() != nil && watch > 0 {
			return nil
		}
		if err != nil {
			return err
		}
		switch {
		case asJSON && watch > 0:
			err = writeLine(out, lagAnswer{list})
		case asJSON:
			err = cli.WriteJSON(out, lagAnswer{list})
		default:
			err = printLag(out, list)
		}
		if err != nil || watch == 0 {
			return err
		}
		if clock.Sleep(ctx, watch) != nil {
			return nil // that is how watching ends
		}
	}
}

// lagAnswer is what `lag --json` prints.
type lagAnswer struct {
	Partitions []kafka.LagReport `json:"partitions"`
}

func printLag(out io.Writer, list []kafka.LagReport) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "OUTPUT\tGROUP\tPARTITION\tCOMMITTED\tEND\tLAG\tSECONDS\tOWNER\tERROR")
	for i := range list {
		l := &list[i]
		committed := "never"
		if l.Committed >= 0 {
			committed = strconv.FormatInt(l.Committed, 10)
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%d\t%d\t%.1f\t%s\t%s\n", l.Output, l.Group, l.Partition, committed, l.End, l.Lag, l.LagS, cmp.Or(l.Owner, "–"), l.Error)
	}
	return w.Flush()
}
