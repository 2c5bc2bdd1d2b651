package agentcmd

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"telemetry/internal/cli"
	"telemetry/internal/config"
	"telemetry/sensors/dbc"
)

func configCommand() *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "Make configurations"}
	var o initOptions
	first := &cobra.Command{
		Use:     "init --from-dbc FILE",
		Short:   "Print a first configuration for a CAN bus that a DBC file describes",
		Example: "  edgeagent config init --from-dbc car.dbc --interface can0 >edgeagent.yaml",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if len(o.files) == 0 {
				return cli.Usage(fmt.Errorf("--from-dbc is missing (want a DBC file, once for each bus)"))
			}
			if len(o.buses) > 0 && len(o.buses) != len(o.files) {
				return cli.Usage(fmt.Errorf("%d times --interface for %d times --from-dbc (want as many, or none)", len(o.buses), len(o.files)))
			}
			return initConfig(o, c.OutOrStdout())
		},
	}
	f := first.Flags()
	f.StringArrayVar(&o.files, "from-dbc", nil, "DBC file; once for each bus")
	f.StringArrayVar(&o.buses, "interface", nil, "network interface of the bus, in the same order (default can0, can1, …)")
	f.StringVar(&o.car, "car", "car-1", "name of the car")
	c.AddCommand(first, &cobra.Command{
		Use:   "schema",
		Short: "Print a JSON Schema of the configuration, for editors",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return cli.WriteJSON(c.OutOrStdout(), config.Schema()) },
	})
	return c
}

type initOptions struct {
	files, buses []string
	car          string
}

// initConfig prints a configuration that is valid as it is, with what the
// database knows in comments.
func initConfig(o initOptions, out io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\ncar: %q\nspool:\n  dir: /var/lib/edgeagent/spool\n  quota: 4GiB\nsources:\n", o.car)
	for i, path := range o.files {
		db, warnings, err := readDBC(path)
		if err != nil {
			return err
		}
		if abs, err := filepath.Abs(path); err == nil {
			path = abs
		}
		bus := fmt.Sprintf("can%d", i)
		if len(o.buses) > 0 {
			bus = o.buses[i]
		}
		fmt.Fprintf(&b, "  - name: %q\n    socketcan:\n      interface: %q\n", bus, bus)
		b.WriteString("      # bitrate: 500kbit/s # the agent then sets the interface up, listen-only\n")
		fmt.Fprintf(&b, "      dbc: %q\n      raw: false # true: every frame as it is, beside its signals\n", path)
		fmt.Fprintf(&b, "      # %d messages, %d signals, %d faults tolerated (edgeagent dbc lint):\n", len(db.Messages), countSignals(db), len(warnings))
		for _, m := range db.Messages {
			listMessage(&b, m)
		}
	}
	b.WriteString(`live: # what a page draws while the car drives; all else comes in full
  rate: 10Hz
  statistic: last
  channels: ["*"] # names of channels, with * and ?
receiver:
  addresses: ["tcp://receiver.example:1883"] # tls://… with tls: {ca, cert, key}
links:
  - {name: modem0, interface: wwan0}
`)
	_, err := io.WriteString(out, b.String())
	return err
}

// maxListed bounds the signals of a message that are listed.
const maxListed = 64

func listMessage(b *strings.Builder, m *dbc.Message) {
	width := 3
	if m.Extended {
		width = 8
	}
	fmt.Fprintf(b, "      #   %s (%0*X", oneLine(m.Name), width, m.ID)
	if m.CycleMS > 0 {
		fmt.Fprintf(b, ", every %g ms", m.CycleMS)
	}
	b.WriteString("):")
	for i := range m.Signals[:min(len(m.Signals), maxListed)] {
		s := &m.Signals[i]
		b.WriteString(" " + oneLine(s.Name))
		if s.Unit != "" {
			b.WriteString(" [" + oneLine(s.Unit) + "]")
		}
	}
	if n := len(m.Signals) - maxListed; n > 0 {
		fmt.Fprintf(b, " and %d more", n)
	}
	b.WriteByte('\n')
}

// oneLine keeps a text from a file out of the next line of a comment.
func oneLine(s string) string { return strings.Join(strings.Fields(s), "_") }
