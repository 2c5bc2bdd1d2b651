package doctor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"telemetry/internal/checkup"

	"telemetry/receiver/kafka"
)

// kafka looks at the cluster, beginning with whether there is one.
func (r *report) kafka(ctx context.Context) {
	embedded := len(r.cfg.Kafka.Brokers) == 0
	if embedded && r.opt.Running == nil {
		r.Add(checkup.Warn, "kafka", "it is embedded in the receiver, which does not run: topics and settings were not looked at", "start the receiver and ask again")
		return
	}
	if r.opt.Unreachable != nil {
		r.Add(checkup.Fail, "kafka", r.opt.Unreachable.Error(), "correct kafka.tls and kafka.sasl, or the files that they name")
		return
	}
	o, err := kafka.Observe(ctx, r.opt.Cluster)
	if err != nil {
		r.Add(checkup.Fail, "kafka", err.Error()+": nothing can be written, cars keep what they have", "start the brokers; compare kafka.brokers, tls and sasl with their listeners")
		return
	}
	defer func() {
		if err := o.Close(); err != nil {
			r.Add(checkup.Warn, "kafka", err.Error(), "")
		}
	}()
	if embedded {
		r.OK("kafka", "embedded, at %s: for one machine; a broken disk loses what it holds", strings.Join(r.opt.Cluster.Brokers, ", "))
	}
	r.brokers(ctx, o, embedded)
	r.rights(ctx, o)
	r.topics(ctx, o)
	r.lag(ctx, o)
	r.skew(ctx, o)
}

// brokers looks at versions and settings of the brokers.
func (r *report) brokers(ctx context.Context, o *kafka.Observer, embedded bool) {
	list, err := o.Brokers(ctx)
	if err != nil {
		r.Add(checkup.Fail, "kafka: brokers", err.Error(), "look at the brokers' own logs")
		return
	}
	if n := len(list); n < 3 && !embedded {
		level, do := checkup.Warn, "run three brokers on machines of their own, with replication 3 and min.insync.replicas 2"
		r.Add(level, "kafka: brokers", fmt.Sprintf("%d of them: when one is away, writing stops or acknowledged records can be lost", n), do)
	}
	transaction, session := o.Timeouts()
	for _, b := range list {
		what := fmt.Sprintf("kafka: broker %d", b.ID)
		good := true
		fault := func(why, do string) {
			good = false
			r.Add(checkup.Fail, what, why, do)
		}
		if len(b.Missing) > 0 {
			fault("cannot be used: "+strings.Join(b.Missing, ", "), "use Apache Kafka 2.5 or newer, and look at the listener "+b.Addr)
		}
		if b.MaxTransaction > 0 && b.MaxTransaction < transaction {
			fault(fmt.Sprintf("transaction.max.timeout.ms is %v, the sequencer's transactions ask for %v: it cannot start", b.MaxTransaction, transaction),
				fmt.Sprintf("set transaction.max.timeout.ms to %d or more", transaction.Milliseconds()))
		}
		if b.MinSession > session || b.MaxSession > 0 && b.MaxSession < session {
			fault(fmt.Sprintf("sessions of groups may last %v to %v, the sequencer asks for %v: it cannot join", b.MinSession, b.MaxSession, session),
				"widen group.min.session.timeout.ms and group.max.session.timeout.ms")
		}
		if good {
			r.OK(what, "%s, %s", b.Addr, b.Version)
		}
	}
}

// rights looks at what the user may do.
func (r *report) rights(ctx context.Context, o *kafka.Observer) {
	denied, err := o.Denied(ctx)
	for _, d := range denied {
		r.Add(checkup.Fail, "kafka: rights", "the user lacks "+d, "grant it: kafka-acls.sh --add --allow-principal User:… --operation …")
	}
	switch {
	case err != nil:
		r.Add(checkup.Warn, "kafka: rights", err.Error(), "look at the brokers' own logs")
	case len(denied) == 0:
		r.OK("kafka: rights", "nothing that the receiver needs is denied")
	}
}

// topics looks at every topic of the configuration.
func (r *report) topics(ctx context.Context, o *kafka.Observer) {
	list, err := o.Topics(ctx)
	if err != nil {
		r.Add(checkup.Fail, "kafka: topics", err.Error(), "give the user Describe and DescribeConfigs on the topics, or look at the brokers' own logs")
		return
	}
	good := 0
	for i := range list {
		t := &list[i]
		what := "kafka: topic " + t.Topic
		for _, why := range t.Faults {
			if !t.Exists {
				r.Add(checkup.Warn, what, why, "start the receiver, or make the topic by hand as docs/receiver.md says")
				continue
			}
			r.Add(checkup.Fail, what, "the receiver refuses to start with it: "+why, "change that setting, or make the topic anew; receiver topics shows all of them")
		}
		if t.UnderISR > 0 {
			r.Add(checkup.Warn, what, fmt.Sprintf("replicas of %d of %d partitions are behind or down: one more loss may stop writing", t.UnderISR, t.Partitions), "look after the brokers that are away")
		}
		if len(t.Faults) == 0 {
			good++
		}
	}
	if good > 0 {
		r.OK("kafka: topics", "%d of %d are as the receiver needs them", good, len(list))
	}
}

// late is a lag that no reorder window explains.
const late = 5 * time.Minute

// lag looks at how far the outputs are behind.
func (r *report) lag(ctx context.Context, o *kafka.Observer) {
	list, err := o.Lag(ctx)
	if err != nil {
		r.Add(checkup.Warn, "kafka: lag", err.Error(), "look at the brokers' own logs")
		return
	}
	worst := 0.0
	for i := range list {
		l := &list[i]
		what := fmt.Sprintf("output %s", l.Output)
		worst = max(worst, l.LagS)
		switch {
		case l.Error != "":
			r.Add(checkup.Warn, what, l.Error, "receiver lag shows each partition")
		case l.LagS > late.Seconds():
			r.Add(checkup.Warn, what, fmt.Sprintf("partition %d is %d records and %.0f s behind", l.Partition, l.Lag, l.LagS), "more instances or faster ones; if a window is that long, nothing")
		}
	}
	r.OK("kafka: lag", "at most %.1f s", worst)
}

// clockLimit is a difference of clocks that makes a broker's LogAppendTime, by which
// windows and holes are judged, worth a warning.
const clockLimit = time.Second

// skew compares the brokers' clocks with this machine's.
func (r *report) skew(ctx context.Context, o *kafka.Observer) {
	seen, err := o.Skews(ctx, r.opt.Watch)
	if err != nil {
		r.Add(checkup.Warn, "kafka: clocks", err.Error(), "compare them by hand: chronyc tracking on each machine")
		return
	}
	if len(seen) == 0 {
		r.OK("kafka: clocks", "not compared: no record came in within %v", r.opt.Watch)
		return
	}
	for _, id := range slices.Sorted(maps.Keys(seen)) {
		s := seen[id]
		what := fmt.Sprintf("kafka: clock of broker %d", id)
		switch {
		case s.Behind < -clockLimit:
			r.Add(checkup.Warn, what, fmt.Sprintf("is %v ahead of this machine's: windows close by the brokers' clocks", (-s.Behind).Round(time.Millisecond)), "run chrony or ntpd on both")
		case s.Behind > clockLimit:
			r.Add(checkup.Warn, what, fmt.Sprintf("is behind this machine's, or records take that long to be seen: %v", s.Behind.Round(time.Millisecond)), "run chrony or ntpd on both; look at the brokers' load")
		default:
			r.OK(what, "within %v of this machine's", clockLimit)
		}
	}
}
