package config

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// maxOutputs bounds the outputs beside the default one: each reads all batches.
const maxOutputs = 32

// Output is one output beside the default one: channels of some lanes, in one
// format, into topics of its own, with windows of its own.
type Output struct {
	Name       string   `yaml:"name"`       // part of its consumer group and its state; another name is another output
	Format     string   `yaml:"format"`     // json, batch, protobuf, protobuf-raw, arrow or quix
	Topic      string   `yaml:"topic"`      // of its rows; default <prefix>.<name>
	Lanes      []string `yaml:"lanes"`      // critical and full, or live alone; default critical and full
	Windows    Windows  `yaml:"windows"`    // default those of sequence
	Include    Patterns `yaml:"include"`    // channels; empty = all
	Exclude    Patterns `yaml:"exclude"`    // wins over include
	Partitions int      `yaml:"partitions"` // of the topic of rows, when it is made; default kafka.partitions
	Retention  Duration `yaml:"retention"`  // of what it writes, when its topics are made; default 168h, of live 24h
	Integers   string   `yaml:"integers"`   // json: number, or text for those beyond ±2^53; default number
}

// Registry is a schema registry with Confluent's interface, for the outputs in
// format protobuf.
type Registry struct {
	URL      string  `yaml:"url"`
	User     string  `yaml:"user"`
	Password *Secret `yaml:"password"` // of that user
	CA       string  `yaml:"ca"`       // of an https:// registry; default the system's
}

// Takes reports whether the output has a channel.
func (o *Output) Takes(group, channel string) bool {
	names := []string{channel, group + "." + channel}
	return (len(o.Include) == 0 || o.Include.Match(names...) >= 0) && o.Exclude.Match(names...) < 0
}

var outputName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,31}$`)

var outputFormats = []string{"json", "batch", "protobuf", "protobuf-raw", "arrow", "quix"}

// defaults fills in what an output takes over from the rest.
func (o *Output) defaults(s *Sequence, k *Kafka) {
	def(&o.Topic, k.Prefix+"."+o.Name)
	def(&o.Partitions, k.Partitions)
	def(&o.Integers, "number")
	if len(o.Lanes) == 0 {
		o.Lanes = []string{"critical", "full"}
	}
	for _, w := range []struct{ own, of **Window }{
		{&o.Windows.Critical, &s.Windows.Critical}, {&o.Windows.Live, &s.Windows.Live}, {&o.Windows.Full, &s.Windows.Full},
	} {
		if *w.own == nil {
			*w.own = *w.of
		}
	}
	keep := 7 * 24 * time.Hour
	if o.Live() {
		keep = 24 * time.Hour
	}
	def(&o.Retention, Duration(keep))
}

// Live reports whether the output is of the live lane.
func (o *Output) Live() bool { return slices.Equal(o.Lanes, []string{"live"}) }

func (o *Output) validate(at string, report reporter) {
	if !outputName.MatchString(o.Name) {
		report(at+".name", "%q cannot name an output (want 1 to 32 of a to z, 0 to 9, '_' and '-')", o.Name)
	}
	if !slices.Contains(outputFormats, o.Format) {
		report(at+".format", "%q is no format (want %s)", o.Format, strings.Join(outputFormats, ", "))
	}
	if !topicName.MatchString(o.Topic) {
		report(at+".topic", "%q cannot name a topic (want 1 to 200 of letters, digits, '.', '_', '-')", o.Topic)
	}
	for i, l := range o.Lanes {
		switch {
		case l != "critical" && l != "live" && l != "full":
			report(fmt.Sprintf("%s.lanes[%d]", at, i), "%q is no lane (want critical, live or full)", l)
		case slices.Contains(o.Lanes[:i], l):
			report(fmt.Sprintf("%s.lanes[%d]", at, i), "%s stands there twice", l)
		case l == "live" && len(o.Lanes) > 1:
			report(at+".lanes", "has live beside others: it is a preview of what they carry, and every value would be there twice (want an output of its own for live)")
		}
	}
	o.Include.validate(at+".include", report)
	o.Exclude.validate(at+".exclude", report)
	if o.Format == "batch" && len(o.Include)+len(o.Exclude) > 0 {
		report(at+".include", "stands beside format batch, which has batches as the cars sealed them (want another format, or all channels)")
	}
	if o.Partitions < 1 || o.Partitions > 4096 {
		report(at+".partitions", "is %d (want 1 to 4096)", o.Partitions)
	}
	if o.Retention.D() < 2*time.Hour {
		report(at+".retention", "is %v (want at least 2h)", o.Retention.D())
	}
	switch {
	case o.Integers != "number" && o.Integers != "text":
		report(at+".integers", "%q is no way to write integers (want number or text)", o.Integers)
	case o.Integers == "text" && o.Format != "json":
		report(at+".integers", "is of format json only: the others keep integers whole")
	}
}

var topicName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,200}$`)

func (c *Receiver) validateOutputs(report reporter) {
	outs := c.Sequence.Outputs
	if len(outs) > maxOutputs {
		report("sequence.outputs", "has %d entries (want at most %d: each reads all batches)", len(outs), maxOutputs)
	}
	for i := range outs {
		o, at := &outs[i], fmt.Sprintf("sequence.outputs[%d]", i)
		o.validate(at, report)
		for j := range outs[:i] {
			if outs[j].Name == o.Name {
				report(at+".name", "%q is the name of another output too", o.Name)
			}
			if outs[j].Topic == o.Topic {
				report(at+".topic", "%s is the topic of output %s too", o.Topic, outs[j].Name)
			}
		}
		if o.Format == "protobuf" && c.Kafka.Registry == nil {
			report(at+".format", "protobuf needs a schema registry (want kafka.registry.url, or format protobuf-raw)")
		}
	}
	if r := c.Kafka.Registry; r != nil {
		r.validate("kafka.registry", report)
	}
}

func (r *Registry) validate(at string, report reporter) {
	u, err := url.Parse(r.URL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil {
		report(at+".url", "%q is no registry (want http://host:port or https://host:port, and a path if it has one)", r.URL)
	}
	switch {
	case (r.User == "") != (r.Password == nil):
		report(at+".user", "and password belong together")
	case r.Password != nil:
		r.Password.check(at+".password", report)
	}
}
