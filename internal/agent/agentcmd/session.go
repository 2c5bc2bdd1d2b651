package agentcmd

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"telemetry/internal/agent"
	"telemetry/internal/cli"
	"telemetry/internal/status"
)

func sessionCommand() *cobra.Command {
	var socket string
	var asJSON bool
	c := &cobra.Command{
		Use:   "session",
		Short: "Show, begin, mark or end the car's session",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return callSession(c, socket, asJSON, http.MethodGet, "/v1/session")
		},
	}
	c.PersistentFlags().StringVar(&socket, "socket", defaultSocket, "unix socket of the running agent")
	c.PersistentFlags().BoolVar(&asJSON, "json", false, "print the session as JSON")
	c.AddCommand(
		&cobra.Command{
			Use: "start [NAME]", Short: "Begin a session", Example: "  edgeagent session start Q1", Args: cobra.MaximumNArgs(1),
			RunE: func(c *cobra.Command, args []string) error {
				return callSession(c, socket, asJSON, http.MethodPost, "/v1/session/start?name="+url.QueryEscape(strings.Join(args, "")))
			},
		},
		&cobra.Command{
			Use: "stop", Short: "End the session", Args: cobra.NoArgs,
			RunE: func(c *cobra.Command, _ []string) error {
				return callSession(c, socket, asJSON, http.MethodPost, "/v1/session/stop")
			},
		},
		&cobra.Command{
			Use: "mark [TEXT]", Short: "Mark this moment of the session", Example: `  edgeagent session mark "new tyres"`, Args: cobra.MaximumNArgs(1),
			RunE: func(c *cobra.Command, args []string) error {
				return callSession(c, socket, asJSON, http.MethodPost, "/v1/session/mark?text="+url.QueryEscape(strings.Join(args, "")))
			},
		},
	)
	return c
}

// callSession asks the running agent and prints its session.
func callSession(c *cobra.Command, socket string, asJSON bool, method, path string) error {
	var on *agent.Session
	if err := status.Call(c.Context(), socket, method, path, &on); err != nil {
		return err
	}
	if asJSON {
		return cli.WriteJSON(c.OutOrStdout(), on)
	}
	if on == nil {
		_, err := fmt.Fprintln(c.OutOrStdout(), "no session is under way")
		return err
	}
	more := ""
	if n := on.Timer.Ignored; n > 0 {
		more = fmt.Sprintf(", %d crossings ignored", n)
	}
	if on.Unkept != "" {
		more += ", not kept: " + on.Unkept
	}
	_, err := fmt.Fprintf(c.OutOrStdout(), "session %s %q: %d laps, best %v, last %v, %d marks%s\n",
		on.ID, on.Name, on.Laps, time.Duration(on.BestNS), time.Duration(on.LastNS), on.Marks, more)
	return err
}
