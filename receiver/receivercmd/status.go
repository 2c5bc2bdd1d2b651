package receivercmd

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"telemetry/internal/cli"
	"telemetry/internal/status"
	"telemetry/receiver"
)

func statusCommand() *cobra.Command {
	var socket string
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Ask the running receiver what it does",
		RunE: func(c *cobra.Command, _ []string) error {
			var s receiver.Status
			if err := status.Call(c.Context(), socket, http.MethodGet, "/v1/status", &s); err != nil {
				return err
			}
			if asJSON {
				return cli.WriteJSON(c.OutOrStdout(), s)
			}
			return printStatus(c.OutOrStdout(), &s)
		},
	}
	c.Flags().StringVar(&socket, "socket", defaultSocket, "unix socket of the running receiver (`socket` in its configuration)")
	c.Flags().BoolVar(&asJSON, "json", false, "print everything as JSON")
	return c
}

func printStatus(out io.Writer, s *receiver.Status) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "receiver %s\troles %s\tup %.0f s\t%s\n", s.Name, strings.Join(s.Roles, ", "), s.UptimeS, readiness(s))
	fmt.Fprintf(w, "kafka %s\t%s\t%d partitions\tprefix %s\n", s.Kafka.Mode, strings.Join(s.Kafka.Brokers, ", "), s.Kafka.Partitions, s.Kafka.Prefix)
	if s.Listen.MQTT != "" || s.Listen.Live != "" {
		fmt.Fprintf(w, "listens\tmqtt %s\tlive %s\n", cmp.Or(s.Listen.MQTT, "off"), cmp.Or(s.Listen.Live, "off"))
	}
	for _, x := range s.Waits {
		fmt.Fprintf(w, "WAITS\t%s\n", x)
	}
	for _, x := range s.Degraded {
		fmt.Fprintf(w, "DEGRADED\t%s\n", x)
	}
	if s.Ingest != nil {
		printIngest(w, s.Ingest)
	}
	if s.Sequence != nil {
		printSequence(w, s.Sequence)
	}
	printOutputs(w, s.Outputs)
	if s.Latency != nil {
		printLatency(w, s.Latency)
	}
	return w.Flush()
}

func readiness(s *receiver.Status) string {
	if s.Ready {
		return "ready"
	}
	return "NOT READY"
}

func printIngest(w io.Writer, in *receiver.IngestStatus) {
	n := in.Counters
	fmt.Fprintf(w, "\ningest %s\tinstance %s\t%d waiting, %.1f MiB\t%d held for a catalogue\n",
		in.State, in.Instance, in.Waiting, mib(in.WaitingBytes), in.HeldBytes)
	fmt.Fprintf(w, "received %d\tdurable %d\tduplicates %d\trefused %d\n", n.Batches, n.Produced, n.Duplicates, n.Refused)
	if bad := n.Forbidden + n.Damaged + n.Undecodable + n.Unknown + n.Overflow + n.Conflicts; bad > 0 {
		fmt.Fprintf(w, "dropped %d\tforbidden %d, damaged %d, undecodable %d, unknown topic %d, overflow %d, conflicts %d\n",
			bad, n.Forbidden, n.Damaged, n.Undecodable, n.Unknown, n.Overflow, n.Conflicts)
	}
	fmt.Fprintln(w, "\nCAR\tLINK\tSILENT\tMESSAGES\tBYTES\tCREDIT\tWAITING")
	for _, c := range in.Cars {
		for _, l := range c.Links {
			fmt.Fprintf(w, "%s\t%d.%d\t%d ms\t%d\t%d\t\t\n", c.Car, l.Link, l.Gen, l.SilentMS, l.Messages, l.Bytes)
		}
		fmt.Fprintf(w, "%s\tall\t%d ms\t\t\t%.1f MiB\t%.1f MiB\n", c.Car, c.SilentMS, mib(int64(c.Credit)), mib(c.WaitingBytes))
	}
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

func printSequence(w io.Writer, q *receiver.SequenceStatus) {
	fmt.Fprintln(w, "\nPARTITION\tSTATE\tOFFSET\tEND\tLAG\tCOMMITS\tDEAD LETTERS\tERROR")
	for _, p := range q.Partitions {
		fmt.Fprintf(w, "%d\t%s\t%d\t%d\t%d\t%d\t%d\t%s\n", p.Partition, p.State, p.Committed, p.End, p.Lag, p.Commits, p.DeadLetters, p.Error)
	}
	fmt.Fprintln(w, "\nCAR\tLANE\tEPOCH\tFLOOR\tROWS\tLAG\tHOLES\tMISSING\tLATE\tDUPLICATES")
	for _, p := range q.Partitions {
		for _, c := range p.Cars {
			for _, l := range []string{"critical", "live", "full"} {
				v := c.Lanes[l]
				fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d ms\t%d\t%d\t%d\t%d\n", c.Car, l, v.Epoch, v.Floor, v.Rows, v.LagMS, v.Holes,
					v.Missing-min(v.Missing, v.Found), v.Late, v.Duplicates)
			}
		}
	}
}

// printLatency shows where sampled batches spent their time.
func printLatency(w io.Writer, l *receiver.LatencyStatus) {
	fmt.Fprintf(w, "\nHOP\tP50\tP90\tP99\tBATCHES\tcar's clock ± %.1f ms\n", l.UncertaintyMS)
	for _, f := range l.Hops {
		fmt.Fprintf(w, "%s\t%.1f ms\t%.1f ms\t%.1f ms\t%d\n", f.Hop, f.P50MS, f.P90MS, f.P99MS, f.Count)
	}
}

// printOutputs shows the outputs beside the default one.
func printOutputs(w io.Writer, outs []receiver.OutputStatus) {
	if len(outs) == 0 {
		return
	}
	fmt.Fprintln(w, "\nOUTPUT\tFORMAT\tTOPIC\tSTATE\tREGISTRY\tPARTITIONS\tLAG\tDEAD LETTERS\tERROR")
	for i := range outs {
		o := &outs[i]
		registry := "–"
		if o.Registry != nil {
			registry = o.Registry.State
		}
		var lag int64
		var dead uint64
		for k := range o.Partitions {
			lag += o.Partitions[k].Lag
			dead += o.Partitions[k].DeadLetters
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%s\n", o.Name, o.Format, o.Topic, o.State, registry, len(o.Partitions), lag, dead, o.Error)
	}
}
