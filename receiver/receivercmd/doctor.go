package receivercmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"telemetry/internal/cli"
	"telemetry/internal/config"
	"telemetry/internal/status"
	"telemetry/receiver"
	"telemetry/receiver/doctor"
)

func doctorCommand() *cobra.Command {
	var path string
	var asJSON, all bool
	var timeout, watch time.Duration
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
			o := doctor.Options{Timeout: timeout, Watch: watch, Running: ask(c.Context(), cfg)}
			o.Cluster, o.Unreachable = clusterOf(c.Context(), cfg, slog.New(slog.DiscardHandler))
			found := doctor.Examine(c.Context(), cfg, o, func(f doctor.Finding) {
				if asJSON || (f.Level == doctor.OK && !all) {
					return
				}
				fmt.Fprintf(c.OutOrStdout(), "%-4s  %s: %s\n", f.Level, f.What, f.Why)
				if f.Do != "" {
					fmt.Fprintf(c.OutOrStdout(), "      → %s\n", f.Do)
				}
			})
			worst := doctor.Worst(found)
			if asJSON {
				err = cli.WriteJSON(c.OutOrStdout(), struct {
					Level    doctor.Level     `json:"level"`
					Running  bool             `json:"running"`
					Findings []doctor.Finding `json:"findings"`
				}{worst, o.Running != nil, found})
			} else {
				_, err = fmt.Fprintf(c.OutOrStdout(), "%d things looked at: %s\n", len(found), worst)
			}
			switch worst {
			case doctor.Fail:
				err = errors.Join(err, errors.New("doctor: data will not get through"))
			case doctor.Warn:
				err = &cli.ExitError{Code: cli.ExitDegraded, Err: errors.Join(err, errors.New("doctor: there are warnings"))}
			}
			return err
		},
	}
	cli.ConfigFlag(c, &path, defaultConfig)
	c.Flags().BoolVar(&asJSON, "json", false, "print everything as JSON")
	c.Flags().BoolVarP(&all, "all", "a", false, "show what is well, too")
	c.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "of one connection attempt")
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
