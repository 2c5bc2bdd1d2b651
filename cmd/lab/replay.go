package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"telemetry/lab/replaybench"
)

func replayCommand() *cobra.Command {
	var cfg replaybench.Config
	var asJSON bool
	c := &cobra.Command{
		Use:   "replay",
		Short: "Measure replays on a real Kafka: spacing at ×1, full speed beside a bare copy, the same bytes twice",
		Long:  "Without --brokers it starts an Apache Kafka for itself, with scripts/kafka.sh of the folder that it runs in.",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			cfg.Progress = c.ErrOrStderr()
			enc := json.NewEncoder(c.OutOrStdout())
			cfg.Print = func(l replaybench.Line) error {
				if asJSON {
					return enc.Encode(l)
				}
				limit := ""
				if l.Limit != nil {
					limit = fmt.Sprintf("limit %g", *l.Limit)
				}
				if !l.OK {
					limit += "  MISSED"
				}
				_, err := fmt.Fprintf(c.OutOrStdout(), "%-26s %10.4g  %s\n", l.Name, l.Value, limit)
				return err
			}
			if len(cfg.Brokers) == 0 {
				addr, stop, err := startKafka(c.Context())
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, stop()) }()
				cfg.Brokers = []string{addr}
			}
			return replaybench.Run(c.Context(), cfg)
		},
	}
	f := c.Flags()
	f.StringSliceVar(&cfg.Brokers, "brokers", nil, "of an Apache Kafka (default: one is started)")
	f.StringVar(&cfg.Prefix, "prefix", "replaybench", "of all topics")
	f.IntVar(&cfg.Repeats, "repeats", 3, "how often each side is measured")
	f.DurationVar(&cfg.For, "for", 15*time.Second, "length of the recording that is replayed at ×1")
	f.StringSliceVar(&cfg.Only, "only", nil, "parts: spacing, rate (default all)")
	f.BoolVar(&asJSON, "json", false, "one line of JSON per figure")
	return c
}

// startKafka starts a broker of one node whose log lies in memory, where that is
// possible.
func startKafka(ctx context.Context) (addr string, stop func() error, err error) {
	script, err := filepath.Abs(filepath.Join("scripts", "kafka.sh"))
	if err != nil {
		return "", nil, err
	}
	parent := ""
	if st, err := os.Stat("/dev/shm"); err == nil && st.IsDir() {
		parent = "/dev/shm"
	}
	dir, err := os.MkdirTemp(parent, "replaybench-")
	if err != nil {
		return "", nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	run := func(ctx context.Context, args ...string) error {
		cmd := exec.CommandContext(ctx, script, args...)
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		return cmd.Run()
	}
	stop = func() error {
		return errors.Join(run(context.WithoutCancel(ctx), "stop", dir), os.RemoveAll(dir))
	}
	if err := run(ctx, "start", dir, strconv.Itoa(port)); err != nil {
		return "", nil, errors.Join(fmt.Errorf("start Kafka: %w", err), stop())
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), stop, nil
}
