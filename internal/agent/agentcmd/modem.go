package agentcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"telemetry/board"
	"telemetry/internal/agent"
	"telemetry/internal/cli"
	"telemetry/internal/status"
	"telemetry/modem/keeper"
	"telemetry/modem/ladder"
)

func modemCommand() *cobra.Command {
	var socket string
	c := &cobra.Command{Use: "modem", Short: "See and mend the modems that the running agent looks after"}
	c.PersistentFlags().StringVar(&socket, "socket", defaultSocket, "unix socket of the running agent")
	c.AddCommand(modemListCommand(&socket), modemInfoCommand(&socket), modemATCommand(&socket), modemResetCommand(&socket))
	return c
}

// modemRow is a line of `modem list`.
type modemRow struct {
	Link   string         `json:"link,omitempty"`
	State  string         `json:"link_state,omitempty"`
	Modem  *keeper.Status `json:"modem,omitempty"`
	Device *board.USB     `json:"usb,omitempty"`
}

func modemListCommand(socket *string) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "The links' modems, and what looks like a modem on the USB",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var s agent.Status
			serr := status.Call(c.Context(), *socket, http.MethodGet, "/v1/status", &s)
			var rows []modemRow
			for _, l := range s.Links {
				rows = append(rows, modemRow{Link: l.Name, State: l.State, Modem: l.Modem})
			}
			for _, u := range board.Open(board.Profile{}, os.DirFS("/")).Modems() {
				rows = append(rows, modemRow{Device: &u})
			}
			if serr != nil && len(rows) == 0 {
				return serr
			}
			if asJSON {
				return cli.WriteJSON(c.OutOrStdout(), rows)
			}
			if serr != nil {
				fmt.Fprintf(c.ErrOrStderr(), "no running agent (%v): only what is plugged in\n", serr)
			}
			return printModems(c.OutOrStdout(), rows)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print everything as JSON")
	return c
}

func printModems(out io.Writer, rows []modemRow) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "LINK\tSTATE\tMODEM\tOPERATOR\tTECH\tRSRP\tREASON")
	for _, r := range rows {
		switch {
		case r.Device != nil:
			ttys := slices.Sorted(maps.Values(r.Device.TTYs))
			fmt.Fprintf(w, "(usb %s)\t\t%s %s:%s\t\t\t\t%s\n", r.Device.Path, r.Device.Name, r.Device.Vendor, r.Device.Product, strings.Join(append(ttys, r.Device.Nets...), " "))
		case r.Modem == nil:
			fmt.Fprintf(w, "%s\t%s\t-\t\t\t\tnot looked after\n", r.Link, r.State)
		default:
			i := r.Modem.Info
			rsrp := "-"
			if v, ok := i.Numbers["rsrp_dbm"]; ok {
				rsrp = fmt.Sprintf("%.0f dBm", v)
			}
			fmt.Fprintf(w, "%s\t%s\t%s %s\t%s\t%s\t%s\t%s\n", r.Link, r.Modem.State, i.Manufacturer, i.Texts["model"], i.Texts["operator"], i.Texts["tech"], rsrp, r.Modem.Reason)
		}
	}
	return w.Flush()
}

func modemInfoCommand(socket *string) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "info LINK",
		Short: "Everything that is known of one modem",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			m, err := askModem(c.Context(), *socket, args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return cli.WriteJSON(c.OutOrStdout(), m)
			}
			return printModem(c.OutOrStdout(), m)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print everything as JSON")
	return c
}

func askModem(ctx context.Context, socket, link string) (*keeper.Status, error) {
	var s agent.Status
	if err := status.Call(ctx, socket, http.MethodGet, "/v1/status", &s); err != nil {
		return nil, err
	}
	var names []string
	for _, l := range s.Links {
		if l.Modem == nil {
			continue
		}
		if l.Name == link {
			return l.Modem, nil
		}
		names = append(names, l.Name)
	}
	if names == nil {
		return nil, errors.New("the agent looks after no modem: give a link a modem in the configuration")
	}
	return nil, fmt.Errorf("no modem is kept for link %q (want one of %s)", link, strings.Join(names, ", "))
}

func printModem(out io.Writer, m *keeper.Status) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	line := func(name, format string, args ...any) {
		if v := fmt.Sprintf(format, args...); v != "" {
			fmt.Fprintf(w, "%s\t%s\n", name, v)
		}
	}
	i := m.Info
	line("state", "%s (%s)", m.State, m.Reason)
	line("module", "%s", strings.TrimSpace(i.Manufacturer+" "+i.Texts["model"]+" "+i.Texts["revision"]))
	line("profile", "%s", i.Profile)
	line("sim", "%s", i.SIM)
	line("registration", "%d", i.Registration)
	if i.Cause != 0 {
		line("rejected for", "cause %d of 3GPP TS 24.301", i.Cause)
	}
	line("cell", "%X, area %X", i.Cell, i.Area)
	for _, k := range slices.Sorted(maps.Keys(i.Texts)) {
		line(k, "%s", i.Texts[k])
	}
	for _, k := range slices.Sorted(maps.Keys(i.Numbers)) {
		line(k, "%g", i.Numbers[k])
	}
	line("addresses", "%s", strings.Join(i.Addresses, " "))
	line("name servers", "%s", strings.Join(i.NameServers, " "))
	for _, k := range slices.Sorted(maps.Keys(m.Port)) {
		line("port "+k, "%d", m.Port[k])
	}
	line("port error", "%s", m.PortError)
	line("busy", "%s", m.Busy)
	if m.NoPIN {
		line("pin", "refused by the card: it is not tried again before the configuration or the card changes")
	}
	for r, n := range m.Stats.Tried {
		if n > 0 {
			line(ladder.Rung(r).String(), "tried %d, helped %d", n, m.Stats.Helped[r])
		}
	}
	return w.Flush()
}

func modemATCommand(socket *string) *cobra.Command {
	return &cobra.Command{
		Use:     "at LINK COMMAND",
		Short:   "Send one AT command to a modem, between two polls of the agent",
		Example: "  edgeagent modem at a 'AT+COPS?'",
		Args:    cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			var lines []string
			q := url.Values{"link": {args[0]}, "command": {args[1]}}
			if err := status.Call(c.Context(), *socket, http.MethodPost, "/v1/modem/at?"+q.Encode(), &lines); err != nil {
				return err
			}
			for _, l := range lines {
				fmt.Fprintln(c.OutOrStdout(), l)
			}
			fmt.Fprintln(c.OutOrStdout(), "OK")
			return nil
		},
	}
}

func modemResetCommand(socket *string) *cobra.Command {
	var rung string
	c := &cobra.Command{
		Use:   "reset LINK",
		Short: "Do one step of the recovery ladder now",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			q := url.Values{"link": {args[0]}, "rung": {rung}}
			if err := status.Call(c.Context(), *socket, http.MethodPost, "/v1/modem/reset?"+q.Encode(), nil); err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "%s of the modem of link %s is done: edgeagent modem info %s shows what it brought\n", rung, args[0], args[0])
			return nil
		},
	}
	c.Flags().StringVar(&rung, "rung", "reset", "redial, reattach, radio, reset, usb, reset_pin or power_key")
	return c
}
