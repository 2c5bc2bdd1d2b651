package topic

import (
	"slices"
	"time"
)

// Output is an output beside the default one. A sequencer of its own writes it:
// it has a consumer group, a state topic and transactional ids of its own, so that
// its windows are its own, and nothing that befalls it holds another output up.
type Output struct {
	Name      string
	Group     string        // consumer group
	Names     Names         // what it reads and writes; "" is what it does not have
	Rows      int32         // partitions of the topic of rows; 0 means as many as telemetry.batches
	Retention time.Duration // of what it writes; 0 means that of samples, or of live
	Preview   bool          // it is of the live lane
}

// NewOutput names the topics of an output. rows is the topic of its rows, "" for
// <prefix>.<name>. Its state topic and its group follow its name alone: another
// topic goes on where the one before ended, another name is another output.
func NewOutput(prefix, group, name, rows string) Output {
	all := NewNames(prefix)
	if prefix == "" {
		prefix = DefaultPrefix
	}
	if rows == "" {
		rows = prefix + "." + name
	}
	return Output{
		Name: name, Group: group + "-" + name,
		Names: Names{
			Batches: all.Batches, Catalogues: all.Catalogues,
			Samples: rows, Live: rows, Late: rows + ".late", Events: rows + ".events",
			Gaps: rows + ".gaps", DeadLetter: rows + ".dlq",
			State: prefix + ".sequence." + name + ".state",
		},
	}
}

// Specs returns what the output's own topics must be, for n partitions of
// batches; n <= 0 means [DefaultPartitions]. Unlike those of the default output
// they are checked: a compacted topic would lose all rows of a key but the last.
func (o *Output) Specs(n int32) []Spec {
	if n <= 0 {
		n = DefaultPartitions
	}
	keep := o.Retention
	if keep == 0 {
		keep = BatchRetention
		if o.Preview {
			keep = liveRetention
		}
	}
	rows := n
	if o.Rows > 0 {
		rows = o.Rows
	}
	t := &o.Names
	event := func(name string, partitions int32, keep time.Duration) Spec {
		return spec(name, partitions, "delete", "CreateTime", keep, ConfigCleanup, ConfigTimestamp)
	}
	return []Spec{
		event(t.Samples, rows, keep), event(t.Late, n, keep), event(t.Events, n, max(keep, longRetention)),
		spec(t.Gaps, n, "compact,delete", "CreateTime", longRetention),
		event(t.DeadLetter, n, longRetention),
		spec(t.State, n, "compact", "CreateTime", 0, ConfigCleanup),
	}
}

// distinct returns the names that are there, each once, in their order.
func distinct(names ...string) []string {
	var out []string
	for _, n := range names {
		if n != "" && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}
