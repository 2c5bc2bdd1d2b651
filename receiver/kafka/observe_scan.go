package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"telemetry/receiver/topic"
)

// Place is a place in a topic. The zero value is the beginning of what is kept.
type Place struct {
	Kind PlaceKind
	N    int64 // offset, number of records, or ms since 1970
}

// PlaceKind says what a [Place] counts in.
type PlaceKind uint8

// Kinds of places.
const (
	AtStart  PlaceKind = iota
	AtEnd              // what comes from now on
	AtOffset           // N, in each partition
	AtLast             // the last N offsets of each partition; markers of transactions count
	AtTime             // the first record of N ms or later
)

// Scan says what [Observer.Scan] reads.
type Scan struct {
	Topic       string
	Partition   int32  // -1: all
	From        Place  //
	Until       *Place // nil: the end as it is at the start; records there are not read
	Follow      bool   // go on behind the end until ctx ends; Until is not used
	Uncommitted bool   // records of open and aborted transactions too
}

// ErrStop, returned by the function of a scan, ends it without an error.
var ErrStop = errors.New("enough")

// Scan calls fn for the records of a topic, in offset order within a partition and
// one partition after the other; behind the end, when it follows, as they come.
func (o *Observer) Scan(ctx context.Context, s Scan, fn func(topic.Record) error) error {
	first := o.c.reader(s.Topic, 0, 0)
	if err := first.find(ctx); err != nil {
		return err
	}
	var parts []int32
	for p := range first.partitions {
		if s.Partition < 0 || s.Partition == p {
			parts = append(parts, p)
		}
	}
	if len(parts) == 0 {
		return fmt.Errorf("kafka: %s has %d partitions, numbered from 0: there is no partition %d", s.Topic, first.partitions, s.Partition)
	}
	take := func(k *kgo.Record) error { return fn(fromKafka(k)) }
	rs := make([]*reader, 0, len(parts))
	for _, p := range parts {
		r, end, err := o.place(ctx, s, p)
		if err != nil {
			return err
		}
		rs = append(rs, r)
		if err := r.readTo(ctx, end, take); err != nil {
			if errors.Is(err, ErrStop) {
				return nil
			}
			return err
		}
	}
	if !s.Follow {
		return nil
	}
	return follow(ctx, rs, take)
}

// place returns a reader at where a scan begins, and where it ends.
func (o *Observer) place(ctx context.Context, s Scan, part int32) (*reader, int64, error) {
	r := o.c.reader(s.Topic, part, 0)
	r.dirty = s.Uncommitted
	what := int64(listEnd)
	if s.Uncommitted {
		what = listHigh
	}
	start, err := r.list(ctx, listStart)
	if err != nil {
		return nil, 0, err
	}
	end, err := r.list(ctx, what)
	if err != nil {
		return nil, 0, err
	}
	at := func(p Place) (int64, error) {
		switch p.Kind {
		case AtEnd:
			return end, nil
		case AtOffset:
			return min(max(p.N, start), end), nil
		case AtLast:
			return max(start, end-p.N), nil
		case AtTime:
			n, err := r.list(ctx, max(0, p.N))
			if n < 0 { // nothing is as late as that
				n = end
			}
			return min(max(n, start), end), err
		default:
			return start, nil
		}
	}
	if r.pos, err = at(s.From); err != nil || s.Until == nil || s.Follow {
		return r, end, err
	}
	end, err = at(*s.Until)
	return r, end, err
}

// followWait is how long one partition is asked for records before the next one is.
const followWait = 100 * time.Millisecond

// follow reads on, one partition after the other, until ctx ends.
func follow(ctx context.Context, rs []*reader, take func(*kgo.Record) error) error {
	var pause backoff
	question := asking{w: rs[0].watch}
	defer func() { question.over(ctx.Err()) }()
	for ctx.Err() == nil {
		for _, r := range rs {
			question.ask()
			c, err := r.fetch(ctx, followWait, maxFetchBytes)
			switch {
			case ctx.Err() != nil:
				return nil
			case errors.Is(err, errGone):
				r.pos = c.start
			case err != nil && final(err):
				return withRemedy(err)
			case err != nil:
				_ = pause.wait(ctx) // ctx is looked at above
				continue
			}
			question.over(nil)
			pause.reset()
			for _, k := range c.recs {
				if err := take(k); err != nil {
					if errors.Is(err, ErrStop) {
						return nil
					}
					return err
				}
			}
		}
	}
	return nil
}

// Broker is one broker of the cluster.
type Broker struct {
	ID      int32
	Addr    string
	Version string // guessed from the requests that it knows
	// MaxTransaction and the session bounds are its settings; 0: not told.
	MaxTransaction, MinSession, MaxSession time.Duration
	// Missing are requests that the receiver needs and the broker does not know.
	Missing []string
}

// needed are the newest requests that the receiver cannot do without.
var needed = []kmsg.Key{kmsg.Produce, kmsg.Fetch, kmsg.ListOffsets, kmsg.InitProducerID, kmsg.AddPartitionsToTxn, kmsg.TxnOffsetCommit, kmsg.EndTxn, kmsg.DescribeConfigs}

// Brokers returns the brokers of the cluster.
func (o *Observer) Brokers(ctx context.Context) ([]Broker, error) {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	o.c.watch.begin()
	list, err := o.c.adm.ListBrokers(ctx)
	o.c.watch.end(err)
	if err != nil {
		return nil, fmt.Errorf("kafka: list brokers: %w", withRemedy(err))
	}
	versions, err := o.c.adm.ApiVersions(ctx)
	if err != nil && len(versions) == 0 {
		return nil, fmt.Errorf("kafka: versions of the brokers: %w", withRemedy(err))
	}
	out := make([]Broker, 0, len(list))
	for _, d := range list {
		b := Broker{ID: d.NodeID, Addr: fmt.Sprintf("%s:%d", d.Host, d.Port)}
		if v, ok := versions[d.NodeID]; ok && v.Err == nil {
			b.Version = v.VersionGuess()
			for _, k := range needed {
				if _, ok := v.KeyMaxVersion(int16(k)); !ok {
					b.Missing = append(b.Missing, k.Name())
				}
			}
		} else if v.Err != nil {
			b.Missing = []string{v.Err.Error()}
		}
		if cs, err := o.c.adm.DescribeBrokerConfigs(ctx, d.NodeID); err == nil {
			b.settings(cs)
		}
		out = append(out, b)
	}
	return out, nil
}

func (b *Broker) settings(cs kadm.ResourceConfigs) {
	for _, rc := range cs {
		for _, kv := range rc.Configs {
			d, err := time.ParseDuration(kv.MaybeValue() + "ms")
			if err != nil {
				continue
			}
			switch kv.Key {
			case "transaction.max.timeout.ms":
				b.MaxTransaction = d
			case "group.min.session.timeout.ms":
				b.MinSession = d
			case "group.max.session.timeout.ms":
				b.MaxSession = d
			}
		}
	}
}

// Timeouts returns what the receiver asks of brokers: the life of a transaction
// and the silence of a group's member.
func (o *Observer) Timeouts() (transaction, session time.Duration) {
	return o.c.cfg.txnTimeout, o.c.cfg.SessionTimeout
}

// Denied lists what the user may not do and the receiver needs. Brokers without
// authorisation deny nothing.
func (o *Observer) Denied(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(kadm.WithAuthorizedOps(ctx), requestLimit)
	defer cancel()
	var out []string
	check := func(what string, have []kadm.ACLOperation, want ...kadm.ACLOperation) {
		if len(have) == 0 {
			return // old brokers do not say
		}
		for _, w := range want {
			if !slices.Contains(have, w) && !slices.Contains(have, kadm.OpAll) {
				out = append(out, fmt.Sprintf("%s on %s", w, what))
			}
		}
	}
	// One at a time: the library gives up all answers for one denial.
	for _, spec := range o.c.specs() {
		topics, err := o.c.adm.ListTopics(ctx, spec.Name)
		switch d := topics[spec.Name]; {
		case errors.Is(err, kerr.TopicAuthorizationFailed) || errors.Is(d.Err, kerr.TopicAuthorizationFailed):
			out = append(out, "DESCRIBE on topic "+spec.Name)
		case err != nil:
			return out, fmt.Errorf("kafka: list topic %s: %w", spec.Name, withRemedy(err))
		case d.Err == nil:
			check("topic "+spec.Name, d.AuthorizedOperations, kadm.OpRead, kadm.OpWrite, kadm.OpDescribe, kadm.OpDescribeConfigs)
		}
	}
	for _, g := range o.groups {
		groups, err := o.c.adm.DescribeGroups(ctx, g.Name)
		switch d := groups[g.Name]; {
		case errors.Is(err, kerr.GroupAuthorizationFailed) || errors.Is(d.Err, kerr.GroupAuthorizationFailed):
			out = append(out, "DESCRIBE on group "+g.Name)
		case err != nil:
			return out, fmt.Errorf("kafka: describe group %s: %w", g.Name, withRemedy(err))
		case d.Err == nil:
			check("group "+g.Name, d.AuthorizedOperations, kadm.OpRead, kadm.OpDescribe)
		}
	}
	return out, nil
}
