package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"telemetry/receiver/topic"
)

// OutputBackend returns the sequencer's side of the cluster for one of the
// configured outputs: group, state and topics are the output's own.
func (c *Cluster) OutputBackend(name string) (*Backend, error) {
	for i := range c.cfg.Outputs {
		if o := &c.cfg.Outputs[i]; o.Name == name {
			view := *c
			view.names, view.cfg.Group, view.keeping = o.Names, o.Group, nil
			return &Backend{c: &view}, nil
		}
	}
	return nil, fmt.Errorf("kafka: no output is called %s", name)
}

// specs returns what all topics must be.
func (c *Cluster) specs() []topic.Spec {
	all := c.names.Specs(c.partitions)
	for i := range c.cfg.Outputs {
		all = append(all, c.cfg.Outputs[i].Specs(c.partitions)...)
	}
	return all
}

// outputs lists the topics that sequencers write besides their states.
func (c *Cluster) outputs() []string {
	all := c.names.Outputs()
	for i := range c.cfg.Outputs {
		all = append(all, c.cfg.Outputs[i].Names.Outputs()...)
	}
	return all
}

// states lists the state topics.
func (c *Cluster) states() []string {
	all := []string{c.names.State}
	for i := range c.cfg.Outputs {
		all = append(all, c.cfg.Outputs[i].Names.State)
	}
	return all
}

// checkOutputs refuses outputs that share a topic with anything else.
func (c *Config) checkOutputs() error {
	var errs []error
	names := topic.NewNames(c.Prefix)
	owner := map[string]string{names.Batches: "telemetry.batches", names.Catalogues: "the catalogues", names.State: "the sequencer's state"}
	for _, n := range names.Outputs() {
		owner[n] = "the default output"
	}
	for i := range c.Outputs {
		o := &c.Outputs[i]
		for _, n := range append(o.Names.Outputs(), o.Names.State) {
			if of, taken := owner[n]; taken {
				errs = append(errs, fmt.Errorf("kafka: output %s would write topic %s, which is that of %s: give it another name or topic", o.Name, n, of))
				continue
			}
			owner[n] = "output " + o.Name
		}
		if slices.ContainsFunc(c.Outputs[:i], func(p topic.Output) bool { return p.Name == o.Name || p.Group == o.Group }) {
			errs = append(errs, fmt.Errorf("kafka: two outputs are called %s", o.Name))
		}
	}
	return errors.Join(errs...)
}

// CheckOutput reports whether an output may begin; name "" is the default one. It makes
// the output's topics where they are missing, and refuses unsuitable ones with
// [ErrTopic]. So it does with a configured output without a state whose topic holds rows
// already: it would write again all that telemetry.batches holds. A state is written
// with the first rows, so that two instances that start at once never see one without
// the other. Any other error means that it is not known, see [NeedsPerson]; then it may
// be asked again. It is asked before the output's backend owns anything.
func (c *Cluster) CheckOutput(ctx context.Context, name string) error {
	specs := c.names.Specs(c.partitions)
	var o *topic.Output
	if name != "" {
		i := slices.IndexFunc(c.cfg.Outputs, func(o topic.Output) bool { return o.Name == name })
		if i < 0 {
			return fmt.Errorf("kafka: no output is called %s", name)
		}
		o = &c.cfg.Outputs[i]
		specs = o.Specs(c.partitions)
	}
	specs = slices.DeleteFunc(specs, func(s topic.Spec) bool { return c.isCommon(s.Name) })
	if err := c.ensureOutput(ctx, specs); err != nil || o == nil {
		return err
	}
	cl, err := c.newClient() // fetches of others do not wait for these
	if err != nil {
		return err
	}
	defer cl.Close()
	own := *c
	own.cl = cl
	rows, err := own.written(ctx, o.Names.Samples) // before the state's: a first commit in between has both
	if err != nil {
		return err
	}
	state, err := own.written(ctx, o.Names.State)
	if err != nil {
		return err
	}
	if rows && !state {
		return fmt.Errorf("%w %s: it holds records, but output %s has no state (%s is empty): was the output renamed, or its state deleted? "+
			"It would write again all that %s holds. Give it its old name back, or a topic of its own; or delete %s as well, to start anew",
			ErrTopic, o.Names.Samples, o.Name, o.Names.State, c.names.Batches, o.Names.Samples)
	}
	return nil
}

// ensureOutput creates those of an output's topics that do not exist, and checks all.
// A topic that was just made or deleted may look otherwise for a moment.
func (c *Cluster) ensureOutput(ctx context.Context, specs []topic.Spec) error {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	var pause backoff
	for {
		err := c.makeTopics(ctx, specs)
		if err == nil {
			err = c.checkTopics(ctx, specs)
		}
		if err == nil || !errors.Is(err, kerr.UnknownTopicOrPartition) || pause.wait(ctx) != nil {
			return err
		}
	}
}

// makeTopics creates those topics that do not exist.
func (c *Cluster) makeTopics(ctx context.Context, specs []topic.Spec) error {
	have, err := c.adm.ListTopics(ctx, specNames(specs)...)
	if err != nil {
		return fmt.Errorf("kafka: list topics: %w", withRemedy(err))
	}
	for _, spec := range specs {
		if d, ok := have[spec.Name]; ok && !errors.Is(d.Err, kerr.UnknownTopicOrPartition) {
			continue
		}
		brokers, err := c.adm.ListBrokers(ctx)
		if err != nil {
			return fmt.Errorf("kafka: list brokers: %w", err)
		}
		if err := c.create(ctx, spec, len(brokers)); err != nil {
			return withRemedy(err)
		}
	}
	return nil
}

// written reports whether a topic holds a record; what an aborted transaction has
// left there is none.
func (c *Cluster) written(ctx context.Context, name string) (bool, error) {
	ends, err := c.EndOffsets(ctx, name)
	if err != nil {
		return false, err
	}
	for part, end := range ends {
		err := newReader(c.cl, name, part, 0).readTo(ctx, end, func(*kgo.Record) error { return errFound })
		if errors.Is(err, errFound) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
	return false, nil
}

// errFound ends a reading that has seen enough.
var errFound = errors.New("found")
