package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// LagReport is how far one group has come on one partition of telemetry.batches.
type LagReport struct {
	Output    string  `json:"output"`
	Group     string  `json:"group"`
	Partition int32   `json:"partition"`
	Committed int64   `json:"committed"` // next offset to be settled; -1: never committed
	End       int64   `json:"end"`
	Lag       int64   `json:"lag"`   // records
	LagS      float64 `json:"lag_s"` // from the oldest unsettled record to the newest one, by LogAppendTime
	Owner     string  `json:"owner"` // client and host of the member that has it; "" for none, or the embedded cluster's
	Error     string  `json:"error,omitempty"`
}

// Lag reports every group of the configuration on every partition.
func (o *Observer) Lag(ctx context.Context) ([]LagReport, error) {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	name := o.c.names.Batches
	starts, err := o.c.adm.ListStartOffsets(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("kafka: list offsets of %s: %w", name, withRemedy(err))
	}
	ends, err := o.c.adm.ListEndOffsets(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("kafka: list offsets of %s: %w", name, withRemedy(err))
	}
	if err := ends.Error(); err != nil {
		return nil, fmt.Errorf("kafka: list offsets of %s: %w", name, withRemedy(err))
	}
	var out []LagReport
	newest := map[int32]int64{}
	for _, g := range o.groups {
		owners, fault := o.owners(ctx, g.Name)
		committed, err := o.c.adm.FetchOffsetsForTopics(ctx, g.Name, name)
		if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
			fault = err
		}
		for p := range int32(len(ends[name])) {
			r := LagReport{Output: g.Output, Group: g.Name, Partition: p, Committed: -1, End: ends[name][p].Offset, Owner: owners[p]}
			if c, ok := committed.Lookup(name, p); ok && c.Err == nil {
				r.Committed = c.At
			}
			from := max(r.Committed, starts[name][p].Offset)
			r.Lag = max(0, r.End-from)
			if r.Lag > 0 {
				var why error
				if r.LagS, why = o.age(ctx, p, from, r.End, newest); why != nil && fault == nil {
					fault = why
				}
			}
			if fault != nil {
				r.Error = withRemedy(fault).Error()
			}
			out = append(out, r)
		}
	}
	return out, nil
}

// owners returns the members of a group by partition of telemetry.batches.
func (o *Observer) owners(ctx context.Context, group string) (map[int32]string, error) {
	owners := map[int32]string{}
	ds, err := o.c.adm.DescribeGroups(ctx, group)
	if err != nil {
		return owners, err
	}
	d := ds[group]
	if d.Err != nil {
		if errors.Is(d.Err, kerr.GroupIDNotFound) {
			return owners, nil
		}
		return owners, d.Err
	}
	for i := range d.Members {
		m := &d.Members[i]
		a, ok := m.Assigned.AsConsumer()
		if !ok {
			continue
		}
		for _, t := range a.Topics {
			for _, p := range t.Partitions {
				if t.Topic == o.c.names.Batches {
					owners[p] = m.ClientID + m.ClientHost
				}
			}
		}
	}
	return owners, nil
}

// age returns the seconds from the record at from to the last one before end.
// newest keeps the latter by partition.
func (o *Observer) age(ctx context.Context, part int32, from, end int64, newest map[int32]int64) (float64, error) {
	first, err := o.stampAt(ctx, part, from, end)
	if err != nil {
		return 0, err
	}
	last, ok := newest[part]
	if !ok {
		if last, err = o.stampAt(ctx, part, end-1, end); err != nil {
			return 0, err
		}
		newest[part] = last
	}
	if first == 0 || last == 0 {
		return 0, nil
	}
	return max(0, float64(last-first)/1000), nil
}

// stampAt returns the time of the first record of a partition at or after an
// offset and before end, in ms since 1970; 0 when there is none.
func (o *Observer) stampAt(ctx context.Context, part int32, at, end int64) (ms int64, err error) {
	r := o.c.reader(o.c.names.Batches, part, at)
	err = r.readTo(ctx, end, func(k *kgo.Record) error {
		ms = k.Timestamp.UnixMilli()
		return errFound
	})
	if err != nil && ms == 0 {
		return 0, err
	}
	return ms, nil
}

// Skew is how the clock of a broker that stamps telemetry.batches compares with
// this machine's, judged by records that came in while it was looked: a record is
// seen later than it was stamped, so Behind is too large by its way here.
type Skew struct {
	Broker int32
	Behind time.Duration // least seen; negative: the broker's clock is ahead
	Seen   int           // records
}

// Skews watches telemetry.batches for a while and returns what it saw, by broker.
func (o *Observer) Skews(ctx context.Context, watch time.Duration) (map[int32]Skew, error) {
	ends, err := o.c.EndOffsets(ctx, o.c.names.Batches)
	if err != nil {
		return nil, err
	}
	out := map[int32]Skew{}
	until := time.Now().Add(watch)
	rs := make([]*reader, 0, len(ends))
	for p, end := range ends {
		rs = append(rs, newReader(o.c.cl, o.c.names.Batches, p, end))
	}
	for len(rs) > 0 && time.Now().Before(until) {
		for _, r := range rs {
			c, err := r.fetch(ctx, max(10*time.Millisecond, watch/time.Duration(4*len(rs))), maxFetchBytes)
			if err != nil {
				return out, withRemedy(err)
			}
			now := time.Now()
			for _, k := range c.recs {
				if k.Timestamp.UnixMilli() <= 0 {
					continue // a broker that stamps nothing
				}
				s, behind := out[r.leader], now.Sub(k.Timestamp)
				if s.Seen == 0 || behind < s.Behind {
					s.Behind = behind
				}
				s.Broker, s.Seen = r.leader, s.Seen+1
				out[r.leader] = s
			}
		}
	}
	return out, nil
}
