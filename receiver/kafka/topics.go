package kafka

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// topicsEvery is how often a cluster is asked whether its topics are there.
const topicsEvery = 5 * time.Second

// topicsSaid is how often it is logged that this fails.
const topicsSaid = time.Minute

// keepTopics makes output topics anew that somebody has deleted, until ctx ends:
// the partitions' commits fail meanwhile, and go on by themselves. Topics that
// hold more than output are left to a person: an empty telemetry.batches or state
// would look as if nothing had ever come, and empty catalogues as if the cars'
// were lost.
func (c *Cluster) keepTopics(ctx context.Context) {
	t := time.NewTicker(topicsEvery)
	defer t.Stop()
	var said time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if err := c.remakeTopics(ctx); err != nil && ctx.Err() == nil && time.Since(said) >= topicsSaid {
			said = time.Now()
			c.cfg.Log.Warn("topics not looked after, will retry", "error", withRemedy(err))
		}
	}
}

// remakeTopics makes the output topics that do not exist.
func (c *Cluster) remakeTopics(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	have, err := c.adm.ListTopics(ctx, c.outputs()...)
	if err != nil {
		return err
	}
	outputs := map[string]bool{}
	for _, name := range c.outputs() {
		outputs[name] = true
	}
	var errs []error
	for _, spec := range c.specs() {
		if d, ok := have[spec.Name]; !outputs[spec.Name] || !ok || !errors.Is(d.Err, kerr.UnknownTopicOrPartition) {
			continue
		}
		brokers, err := c.adm.ListBrokers(ctx)
		if err != nil {
			return err
		}
		c.cfg.Log.Error("an output topic is gone (was it deleted?): making it anew; what was in it is lost", "topic", spec.Name)
		errs = append(errs, c.create(ctx, spec, len(brokers)))
	}
	return errors.Join(errs...)
}
