package agentcmd

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"telemetry/internal/agent"
	"telemetry/internal/cli"
	"telemetry/internal/clock"
	"telemetry/internal/status"
)

// rateWindow is the time between the two looks that give a rate.
const rateWindow = time.Second

func channelsCommand() *cobra.Command {
	var socket string
	var asJSON bool
	c := &cobra.Command{
		Use:   "channels [NAME]…",
		Short: "List the running agent's channels with rate, latest value and age",
		Args:  cobra.ArbitraryArgs,
		Long:  "List the running agent's channels, all or those of some names (with * and ?), with rate, latest value and age.",
		RunE: func(c *cobra.Command, names []string) error {
			first, err := askChannels(c.Context(), socket, names)
			if err != nil {
				return err
			}
			begun := time.Now()
			if err := clock.Sleep(c.Context(), rateWindow); err != nil {
				return err
			}
			list, err := askChannels(c.Context(), socket, names)
			if err != nil {
				return err
			}
			addRates(first, list, time.Since(begun))
			if asJSON {
				return cli.WriteJSON(c.OutOrStdout(), list)
			}
			return printChannels(c.OutOrStdout(), list)
		},
	}
	c.Flags().StringVar(&socket, "socket", defaultSocket, "unix socket of the running agent")
	c.Flags().BoolVar(&asJSON, "json", false, "print everything as JSON")
	return c
}

func tailCommand() *cobra.Command {
	var socket string
	var asJSON bool
	var every time.Duration
	c := &cobra.Command{
		Use:     "tail NAME…",
		Short:   "Follow channels of the running agent in physical units",
		Example: "  edgeagent tail RPM 'WS_*' --every 500ms",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, names []string) error {
			if every < 20*time.Millisecond {
				return cli.Usage(fmt.Errorf("--every is %v (want 20ms or more)", every))
			}
			told := map[string]int64{}
			for {
				list, err := askChannels(c.Context(), socket, names)
				if err == nil {
					err = printNews(c.OutOrStdout(), list, told, asJSON)
				}
				if err != nil {
					return err
				}
				if clock.Sleep(c.Context(), every) != nil {
					return nil
				}
			}
		},
	}
	c.Flags().StringVar(&socket, "socket", defaultSocket, "unix socket of the running agent")
	c.Flags().BoolVar(&asJSON, "json", false, "a JSON object for each value")
	c.Flags().DurationVar(&every, "every", 200*time.Millisecond, "between two looks")
	return c
}

// askChannels asks the agent and keeps the channels of some names.
func askChannels(ctx context.Context, socket string, names []string) ([]agent.ChannelState, error) {
	var all []agent.ChannelState
	if err := status.Call(ctx, socket, http.MethodGet, "/v1/channels", &all); err != nil {
		return nil, err
	}
	out := []agent.ChannelState{}
	for _, s := range all {
		if wanted(s.Name, names) {
			out = append(out, s)
		}
	}
	if len(out) == 0 && len(names) > 0 {
		return nil, fmt.Errorf("no channel is called %q: edgeagent channels lists them", names)
	}
	return out, nil
}

func wanted(name string, names []string) bool {
	for _, n := range names {
		if ok, err := path.Match(n, name); ok && err == nil {
			return true
		}
	}
	return len(names) == 0
}

// addRates fills in the rates between two looks.
func addRates(first, list []agent.ChannelState, took time.Duration) {
	before := make(map[string]uint64, len(first))
	for _, s := range first {
		before[s.Name] = s.Rows
	}
	for i := range list {
		if was, ok := before[list[i].Name]; ok && list[i].Rows >= was && took > 0 {
			list[i].RateHz = float64(list[i].Rows-was) / took.Seconds()
		}
	}
}

// valueText is a value with its unit, or a dash.
func valueText(s agent.ChannelState) string {
	if s.Value == nil {
		return "-"
	}
	text := strconv.FormatFloat(*s.Value, 'g', 8, 64)
	if s.Unit != "" {
		text += " " + s.Unit
	}
	if s.Text != "" {
		text += " (" + s.Text + ")"
	}
	return text
}

func printChannels(out io.Writer, list []agent.ChannelState) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "CHANNEL\tSOURCE\tGROUP\tLANE\tRATE\tVALUE\tAGE")
	for _, s := range list {
		age := "never"
		if s.TickNS != 0 {
			age = fmt.Sprintf("%d ms", s.AgeMS)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%.1f Hz\t%s\t%s\n", s.Name, s.Source, s.Group, s.Lane, s.RateHz, valueText(s), age)
	}
	return w.Flush()
}

// printNews prints the channels whose latest value is new.
func printNews(out io.Writer, list []agent.ChannelState, told map[string]int64, asJSON bool) error {
	for _, s := range list {
		if s.TickNS == told[s.Name] {
			continue
		}
		told[s.Name] = s.TickNS
		var err error
		if asJSON {
			err = json.NewEncoder(out).Encode(s)
		} else {
			_, err = fmt.Fprintf(out, "%.3f  %s  %s\n", float64(s.TickNS)/1e9, s.Name, valueText(s))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
