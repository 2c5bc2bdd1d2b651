package agentcmd

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"telemetry/internal/agent"
	"telemetry/internal/agent/doctor"
	"telemetry/internal/cli"
	"telemetry/internal/config"
	"telemetry/internal/status"
)

func doctorCommand() *cobra.Command {
	var path string
	var asJSON, all bool
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Find out why data does not come: ports, CAN, disk, clock, permissions, certificates, routes, receiver over each link",
		Long:  "Looks at everything that the configuration names, beside a running agent or without one.\nSays what is wrong, why it matters, and what to do. Exit code 1 if data will be missing.",
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := config.ReadAgent(path)
			if err != nil {
				return err
			}
			var s agent.Status
			running := status.Call(c.Context(), cfg.Socket, http.MethodGet, "/v1/status", &s) == nil
			show := func(f doctor.Finding) {
				if asJSON || (f.Level == doctor.OK && !all) {
					return
				}
				fmt.Fprintf(c.OutOrStdout(), "%-4s  %s: %s\n", f.Level, f.What, f.Why)
				if f.Do != "" {
					fmt.Fprintf(c.OutOrStdout(), "      → %s\n", f.Do)
				}
			}
			found := doctor.Examine(c.Context(), cfg, doctor.Options{Root: os.DirFS("/"), Timeout: timeout, Running: running, Links: s.Links}, show)
			worst := doctor.Worst(found)
			if asJSON {
				err = cli.WriteJSON(c.OutOrStdout(), struct {
					Level    doctor.Level     `json:"level"`
					Running  bool             `json:"running"`
					Findings []doctor.Finding `json:"findings"`
				}{worst, running, found})
			} else {
				_, err = fmt.Fprintf(c.OutOrStdout(), "%d things looked at: %s\n", len(found), worst)
			}
			if worst == doctor.Fail {
				err = errors.Join(err, errors.New("doctor: data will be missing"))
			}
			return err
		},
	}
	cli.ConfigFlag(c, &path, defaultConfig)
	c.Flags().BoolVar(&asJSON, "json", false, "print everything as JSON")
	c.Flags().BoolVarP(&all, "all", "a", false, "show what is well, too")
	c.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "of one connection attempt")
	return c
}
