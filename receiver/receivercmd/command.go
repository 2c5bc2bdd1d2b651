// Package receivercmd is the command line of receiver. The entry point is [New].
// It holds no logic of the cloud side: that is package receiver's.
package receivercmd

import (
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"telemetry/internal/cli"
	"telemetry/internal/config"
	"telemetry/receiver"
	"telemetry/receiver/sequence/columnpb/telemetrypb"
)

const (
	defaultConfig = "/etc/receiver/receiver.yaml"
	defaultSocket = "/run/receiver/receiver.sock"
)

// New returns the command tree of receiver.
func New() *cobra.Command {
	root := &cobra.Command{
		Use:   "receiver",
		Short: "Telemetry of race cars into Kafka: every sample once, in order",
	}
	root.AddCommand(runCommand(), validateCommand(), statusCommand(), topicsCommand(), catCommand(), lagCommand(), doctorCommand(), decodeCommand(), replayCommand(), exportCommand(), caCommand(), pageCommand(), configCommand(), protoCommand(), cli.VersionCommand("receiver"))
	return cli.Command(root)
}

func runCommand() *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:   "run",
		Short: "Run until SIGTERM; SIGHUP reads the configuration again, all or nothing",
		RunE:  func(c *cobra.Command, _ []string) error { return run(c.Context(), path, c.ErrOrStderr()) },
	}
	cli.ConfigFlag(c, &path, defaultConfig)
	return c
}

func protoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "proto",
		Short: "Print batch.proto, the schema of outputs in format protobuf and protobuf-raw",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := io.WriteString(c.OutOrStdout(), telemetrypb.Schema)
			return err
		},
	}
}

func configCommand() *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "Make configurations"}
	c.AddCommand(&cobra.Command{
		Use:   "schema",
		Short: "Print a JSON Schema of the configuration, for editors",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return cli.WriteJSON(c.OutOrStdout(), config.ReceiverSchema())
		},
	})
	return c
}

func validateCommand() *cobra.Command {
	var path string
	var asJSON bool
	c := &cobra.Command{
		Use:   "validate",
		Short: "Check a configuration and every file it names; needs no running receiver",
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := config.ReadReceiver(path)
			if err == nil {
				if _, err = receiver.Prepare(cfg, slog.New(slog.DiscardHandler)); err != nil {
					err = &cli.ExitError{Code: cli.ExitConfig, Err: err}
				}
			}
			return cli.Validated(c.OutOrStdout(), path, err, asJSON)
		},
	}
	cli.ConfigFlag(c, &path, defaultConfig)
	c.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return c
}
