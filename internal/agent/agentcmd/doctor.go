package agentcmd

import (
	"errors"
	"net/http"
	"os"

	"github.com/spf13/cobra"

	"telemetry/internal/agent"
	"telemetry/internal/agent/doctor"
	"telemetry/internal/checkup"
	"telemetry/internal/cli"
	"telemetry/internal/config"
	"telemetry/internal/status"
)

func doctorCommand() *cobra.Command {
	var path string
	var f checkup.Flags
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
			found := doctor.Examine(c.Context(), cfg, doctor.Options{Root: os.DirFS("/"), Timeout: f.Timeout, Running: running, Links: s.Links}, f.Each(c.OutOrStdout()))
			worst, err := f.Finish(c.OutOrStdout(), found, running)
			if worst == checkup.Fail {
				err = errors.Join(err, errors.New("doctor: data will be missing"))
			}
			return err
		},
	}
	cli.ConfigFlag(c, &path, defaultConfig)
	f.Add(c)
	return c
}
