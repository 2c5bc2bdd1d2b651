package receivercmd

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"telemetry/internal/cli"
	"telemetry/receiver/kafka"
)

func topicsCommand() *cobra.Command {
	var f clusterFlags
	var asJSON bool
	c := &cobra.Command{
		Use:   "topics",
		Short: "Show every topic of the configuration, and what differs from what is wanted",
		Long: "Asks the cluster for every topic that this configuration has: partitions, replication, cleanup, retention, timestamps, how much is in it and\n" +
			"how new the newest record is. A fault is what the receiver refuses to start with (exit code 1); a note is what differs from what it would\n" +
			"have made. Changes nothing. RECORDS counts offsets: markers of transactions and what compaction has removed are among them.",
		RunE: func(c *cobra.Command, _ []string) error {
			o, err := f.observe(c.Context())
			if err != nil {
				return err
			}
			list, err := o.Topics(c.Context())
			if err = errors.Join(err, o.Close()); err != nil {
				return err
			}
			if asJSON {
				err = cli.WriteJSON(c.OutOrStdout(), struct {
					Topics []kafka.TopicReport `json:"topics"`
				}{list})
			} else {
				err = printTopics(c.OutOrStdout(), list)
			}
			bad := 0
			for i := range list {
				if len(list[i].Faults) > 0 {
					bad++
				}
			}
			if bad > 0 {
				err = errors.Join(err, fmt.Errorf("%d of %d topics are not as the receiver needs them", bad, len(list)))
			}
			return err
		},
	}
	f.add(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return c
}

func printTopics(out io.Writer, list []kafka.TopicReport) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "TOPIC\tOUTPUT\tPARTITIONS\tREPLICAS\tCLEANUP\tRETENTION\tTIME\tRECORDS\tBYTES\tNEWEST")
	for i := range list {
		t := &list[i]
		if !t.Exists {
			fmt.Fprintf(w, "%s\t%s\tMISSING\n", t.Topic, t.Output)
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%s\t%s\t%d\t%s\t%s\n", t.Topic, t.Output, t.Partitions, t.Replication, t.Cleanup,
			retention(t.RetentionMS), t.Timestamp, t.Records, size(t.Bytes), stamp(t.NewestMS))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for i := range list {
		for _, s := range list[i].Faults {
			fmt.Fprintf(out, "FAULT  %s: %s\n", list[i].Topic, s)
		}
		for _, s := range list[i].Notes {
			fmt.Fprintf(out, "note   %s: %s\n", list[i].Topic, s)
		}
	}
	return nil
}

func retention(ms string) string {
	n, err := strconv.ParseInt(ms, 10, 64)
	switch {
	case err != nil:
		return "?"
	case n < 0:
		return "for ever"
	case n%(24*3600*1000) == 0:
		return fmt.Sprintf("%d d", n/(24*3600*1000))
	}
	return (time.Duration(n) * time.Millisecond).String()
}

func size(n int64) string {
	if n < 0 {
		return "?"
	}
	return fmt.Sprintf("%.1f MiB", mib(n))
}

func stamp(ms int64) string {
	if ms <= 0 {
		return "–"
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}
