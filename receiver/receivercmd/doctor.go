package receivercmd

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"telemetry/internal/checkup"
	"telemetry/internal/cli"
	"telemetry/internal/config"
	"telemetry/internal/status"
	"telemetry/receiver"
	"telemetry/receiver/doctor"
)

func doctorCommand() *cobra.Command {
	var path string
	var f checkup.Flags
	var watch time.Duration
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Find out why data does not come: certificates, ports, disk, Kafka, rights, topics, clocks, registry",
		Long: "Looks at everything that the configuration names, beside a running receiver or without one, and writes nothing to Kafka.\n" +
			"Says what is wrong, why it matters, and what to do. Exit code 1 if data will not get through, 4 if there are only warnings.",
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := config.ReadReceiver(path)
			if err != nil {
				return err
			}
			o := doctor.Options{Timeout: f.Timeout, Watch: watch, Running: ask(c.Context(), cfg)}
			o.Cluster, o.Unreachable = clusterOf(c.Context(), cfg, slog.New(slog.DiscardHandler))
			found := doctor.Examine(c.Context(), cfg, o, f.Each(c.OutOrStdout()))
			worst, err := f.Finish(c.OutOrStdout(), found, o.Running != nil)
			switch worst {
			case checkup.Fail:
				err = errors.Join(err, errors.New("doctor: data will not get through"))
			case checkup.Warn:
				err = &cli.ExitError{Code: cli.ExitDegraded, Err: errors.Join(err, errors.New("doctor: there are warnings"))}
			}
			return err
		},
	}
	cli.ConfigFlag(c, &path, defaultConfig)
	f.Add(c)
	c.Flags().DurationVar(&watch, "watch", 2*time.Second, "how long arriving records are watched to compare clocks")
	return c
}

// ask returns what the running receiver says of itself; nil: none answers.
func ask(ctx context.Context, cfg *config.Receiver) *receiver.Status {
	if cfg.Socket == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, socketLimit)
	defer cancel()
	var s receiver.Status
	if err := status.Call(ctx, cfg.Socket, http.MethodGet, "/v1/status", &s); err != nil {
		return nil // doctor says so
	}
	return &s
}
