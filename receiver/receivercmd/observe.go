package receivercmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"telemetry/internal/cli"
	"telemetry/internal/config"
	"telemetry/internal/status"
	"telemetry/receiver"
	"telemetry/receiver/kafka"
	"telemetry/receiver/topic"
)

// clusterFlags say which cluster a reading command asks.
type clusterFlags struct {
	config  string
	brokers []string
	prefix  string

	say  func(text string) // to the person who waits; nil: nobody does
	told *kafka.Teller
}

func (f *clusterFlags) add(c *cobra.Command) {
	f.say = func(text string) { fmt.Fprintf(c.ErrOrStderr(), "%s: %s\n", c.Name(), text) }
	cli.ConfigFlag(c, &f.config, defaultConfig)
	c.Flags().StringSliceVar(&f.brokers, "brokers", nil, "some brokers of the cluster, instead of a configuration: no outputs, no TLS, no login")
	c.Flags().StringVar(&f.prefix, "prefix", topic.DefaultPrefix, "first part of the topics' names, with --brokers")
}

// teller tells that Kafka is waited for: one for all clients of the command.
func (f *clusterFlags) teller() *kafka.Teller {
	if f.told == nil && f.say != nil {
		f.told = kafka.NewTeller(f.say)
	}
	return f.told
}

// patience is how long a reading of the past waits for brokers that are away: they
// start again, or elect. It is told meanwhile.
const patience = 2 * time.Minute

// kafka returns how the cluster is reached.
func (f *clusterFlags) kafka(ctx context.Context) (k kafka.Config, err error) {
	defer func() { k.Teller, k.Patience = f.teller(), patience }()
	log := slog.New(slog.DiscardHandler)
	if len(f.brokers) > 0 {
		return kafka.Config{Brokers: f.brokers, Prefix: f.prefix, AllowWeak: true, Log: log}, nil
	}
	cfg, err := config.ReadReceiver(f.config)
	if err != nil {
		return kafka.Config{}, err
	}
	return clusterOf(ctx, cfg, log)
}

// socketLimit bounds how long a running receiver is asked for its address.
const socketLimit = 3 * time.Second

// clusterOf returns how the cluster of a configuration is reached from outside the
// receiver's process: the embedded one under the address that its process has.
func clusterOf(ctx context.Context, cfg *config.Receiver, log *slog.Logger) (kafka.Config, error) {
	k, err := receiver.KafkaConfig(cfg, log)
	if err != nil || len(k.Brokers) > 0 {
		return k, err
	}
	k.AllowWeak, k.TLS, k.SASL = true, nil, kafka.SASL{}
	k.Brokers = []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(cfg.Kafka.Embedded.Port))}
	if cfg.Socket == "" {
		if cfg.Kafka.Embedded.Port == 0 {
			return k, errors.New("the embedded kafka has any free port (kafka.embedded.port: 0), and there is no socket to ask for it: set one of them")
		}
		return k, nil
	}
	ctx, cancel := context.WithTimeout(ctx, socketLimit)
	defer cancel()
	var s receiver.Status
	err = status.Call(ctx, cfg.Socket, http.MethodGet, "/v1/status", &s)
	switch {
	case err == nil && s.Listen.Kafka != "":
		k.Brokers = []string{s.Listen.Kafka}
	case cfg.Kafka.Embedded.Port == 0:
		return k, fmt.Errorf("the embedded kafka is inside the running receiver: %w", errors.Join(err, errors.New("start it, or wait until it is ready")))
	}
	return k, nil
}

// observe connects to the cluster.
func (f *clusterFlags) observe(ctx context.Context) (*kafka.Observer, error) {
	k, err := f.kafka(ctx)
	if err != nil {
		return nil, err
	}
	return kafka.Observe(ctx, k)
}

// completeTopics completes the topics of the configuration; it asks no cluster.
func (f *clusterFlags) completeTopics(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names, outs := topic.NewNames(f.prefix), []topic.Output(nil)
	if cfg, err := config.ReadReceiver(f.config); err == nil && len(f.brokers) == 0 {
		names = topic.NewNames(cfg.Kafka.Prefix)
		if k, err := receiver.KafkaConfig(cfg, slog.New(slog.DiscardHandler)); err == nil {
			outs = k.Outputs
		}
	}
	specs := names.Specs(0)
	for i := range outs {
		specs = append(specs, outs[i].Specs(0)...)
	}
	list := make([]string, len(specs))
	for i, s := range specs {
		list[i] = s.Name
	}
	return list, cobra.ShellCompDirectiveNoFileComp
}
