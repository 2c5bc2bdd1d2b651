package kafka

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"telemetry/receiver/topic"
)

// The embedded broker's own compaction removes a partition's files before it
// writes them anew: a kill in between loses them. It is switched off, and with it
// the broker's retention, which runs in the same place. Instead of it:
//
//   - A compacted partition is renewed: the newest record of each key is appended
//     once more, and when that is durable, everything before is deleted. Whenever
//     that is cut off, the newest record of each key still has the same value:
//     files are only added to, and go oldest first.
//   - Records beyond retention are deleted by request, but never the last one: a
//     partition whose files are all gone begins at offset 0 after a kill.
//
// Nobody else may write to a partition that is renewed, since a copy would hide
// what is written meanwhile: the state's is renewed by its owner, the others
// before anything else runs.

// renewBytes is what a compacted partition may grow by, in bytes, before it is
// renewed; or to four times of what is live in it, if that is more.
const renewBytes = 64 << 20

// headerRenewed marks the copies in a partition that was renewed.
const headerRenewed = "renewed"

// retainEvery is how often records beyond retention are looked for.
const retainEvery = time.Hour

// brokerConfigs are those of the embedded broker: an interval of a century, in
// ms, keeps its compaction from running.
var brokerConfigs = map[string]string{"log.cleaner.backoff.ms": strconv.FormatInt(100*365*24*time.Hour.Milliseconds(), 10)}

// contents is what was read of a compacted partition.
type contents struct {
	live  []*kgo.Record // the newest of each key, without tombstones
	end   int64         // read up to here
	total int64         // bytes of keys and values of all records
	bytes int64         // of those in live
}

// readNewest reads a compacted partition up to its present end.
func readNewest(ctx context.Context, r *reader) (contents, error) {
	var c contents
	var err error
	if c.end, err = r.list(ctx, listEnd); err != nil {
		return c, err
	}
	newest := map[string]int{}
	var all []*kgo.Record
	err = r.readTo(ctx, c.end, func(k *kgo.Record) error {
		c.total += recordBytes(k)
		if i, ok := newest[string(k.Key)]; ok {
			all[i] = k
			return nil
		}
		newest[string(k.Key)] = len(all)
		all = append(all, k)
		return nil
	})
	if err != nil {
		return c, err
	}
	c.live = all[:0]
	for _, k := range all {
		if k.Value != nil { // no tombstone
			c.live = append(c.live, k)
			c.bytes += recordBytes(k)
		}
	}
	return c, nil
}

func recordBytes(k *kgo.Record) int64 { return int64(len(k.Key) + len(k.Value)) }

// worthwhile reports whether a partition that holds grown bytes of superseded
// records is to be renewed.
func (c *Cluster) worthwhile(grown, live int64) bool { return grown > max(c.cfg.renewBytes, 3*live) }

// renew appends what is live in a partition and deletes everything before. The
// client belongs to the only writer of the partition.
func (c *Cluster) renew(ctx context.Context, cl *kgo.Client, name string, part int32, have contents) error {
	copies := make([]*kgo.Record, len(have.live))
	for i, k := range have.live {
		if k.Key == nil {
			return fmt.Errorf("kafka: renew %s/%d: the record at %d has no key", name, part, k.Offset)
		}
		headers := k.Headers[:len(k.Headers):len(k.Headers)]
		if _, again := fromKafkaHeader(k, headerRenewed); !again {
			headers = append(headers, kgo.RecordHeader{Key: headerRenewed, Value: []byte("1")})
		}
		copies[i] = &kgo.Record{Topic: name, Partition: part, Key: k.Key, Value: k.Value, Headers: headers, Timestamp: k.Timestamp}
	}
	if len(copies) == 0 {
		return nil // the last records must stay
	}
	if err := cl.ProduceSync(ctx, copies...).FirstErr(); err != nil {
		return fmt.Errorf("kafka: renew %s/%d: %w", name, part, err)
	}
	if c.cfg.renewed != nil {
		c.cfg.renewed()
	}
	return c.deleteBefore(ctx, name, part, have.end)
}

func fromKafkaHeader(k *kgo.Record, key string) (string, bool) {
	for _, h := range k.Headers {
		if h.Key == key {
			return string(h.Value), true
		}
	}
	return "", false
}

func (c *Cluster) deleteBefore(ctx context.Context, name string, part int32, offset int64) error {
	cut := kadm.Offsets{}
	cut.Add(kadm.Offset{Topic: name, Partition: part, At: offset})
	resp, err := c.adm.DeleteRecords(ctx, cut)
	if err == nil {
		err = resp.Error()
	}
	if err != nil {
		return fmt.Errorf("kafka: delete %s/%d before %d: %w", name, part, offset, err)
	}
	return nil
}

// renewShared renews the compacted topics that all partitions' owners write. It
// must be called before anybody does.
func (c *Cluster) renewShared(ctx context.Context) error {
	cl, err := c.newClient(c.cfg.producerOpts()...)
	if err != nil {
		return err
	}
	defer cl.Close()
	for _, name := range []string{c.names.Catalogues, c.names.Timemap} {
		dirs, err := c.adm.DescribeAllLogDirs(ctx, kadm.TopicsSet{name: {0: {}}})
		if err != nil {
			return fmt.Errorf("kafka: size of %s: %w", name, err)
		}
		size := int64(0)
		dirs.Each(func(d kadm.DescribedLogDir) {
			d.Topics.Each(func(p kadm.DescribedLogDirPartition) { size += p.Size })
		})
		if size <= c.cfg.renewBytes {
			continue
		}
		have, err := readNewest(ctx, newReader(cl, name, 0, 0))
		if err != nil {
			return err
		}
		if !c.worthwhile(have.total-have.bytes, have.bytes) {
			continue
		}
		if err := c.renew(ctx, cl, name, 0, have); err != nil {
			return err
		}
		c.cfg.Log.Info("topic renewed", "topic", name, "records", len(have.live), "bytes_before", size, "bytes_live", have.bytes)
	}
	return nil
}

// smallSegments lets the files of renewed partitions go soon: only whole ones
// do. Directories of older versions have the broker's default.
func (c *Cluster) smallSegments(ctx context.Context) error {
	const entry = "segment.bytes"
	want := stateConfig[entry]
	names := append(c.states(), c.names.Catalogues, c.names.Timemap)
	configs, err := c.adm.DescribeTopicConfigs(ctx, names...)
	if err != nil {
		return fmt.Errorf("kafka: describe topics: %w", err)
	}
	for _, rc := range configs {
		for _, kv := range rc.Configs {
			if kv.Key != entry || kv.MaybeValue() != strconv.Itoa(100<<20) {
				continue
			}
			resp, err := c.adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: entry, Value: &want}}, rc.Name)
			if err == nil {
				_, err = resp.On(rc.Name, func(r *kadm.AlterConfigsResponse) error { return r.Err })
			}
			if err != nil {
				return fmt.Errorf("kafka: set %s of %s: %w", entry, rc.Name, err)
			}
		}
	}
	return nil
}

// keepHouse deletes records beyond retention until ctx ends.
func (c *Cluster) keepHouse(ctx context.Context) {
	for {
		if err := c.retain(ctx, time.Now()); err != nil && ctx.Err() == nil {
			c.cfg.Log.Warn("records beyond retention were not deleted, will retry", "error", err)
		}
		t := time.NewTimer(retainEvery)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// retain deletes what is older than the topics' retention.
func (c *Cluster) retain(ctx context.Context, now time.Time) error {
	var names []string
	for _, s := range c.specs() {
		names = append(names, s.Name)
	}
	configs, err := c.adm.DescribeTopicConfigs(ctx, names...)
	if err != nil {
		return fmt.Errorf("kafka: describe topics: %w", err)
	}
	var errs []error
	for _, rc := range configs {
		for _, kv := range rc.Configs {
			if kv.Key != topic.ConfigRetention {
				continue
			}
			if ms, err := strconv.ParseInt(kv.MaybeValue(), 10, 64); err == nil && ms >= 0 {
				errs = append(errs, c.retainTopic(ctx, rc.Name, now.UnixMilli()-ms))
			}
		}
	}
	return errors.Join(errs...)
}

// retainTopic deletes what precedes the first record that is not older than a
// time, in ms since 1970.
func (c *Cluster) retainTopic(ctx context.Context, name string, oldest int64) error {
	// The ends come first. Where no record is young enough, the client answers
	// with an end that it asks for afterwards: what was written in between would
	// count as old.
	ends, err := c.adm.ListEndOffsets(ctx, name)
	if err != nil {
		return fmt.Errorf("kafka: list offsets of %s: %w", name, err)
	}
	from, err := c.adm.ListOffsetsAfterMilli(ctx, oldest, name)
	if err != nil {
		return fmt.Errorf("kafka: list offsets of %s: %w", name, err)
	}
	starts, err := c.adm.ListStartOffsets(ctx, name)
	if err != nil {
		return fmt.Errorf("kafka: list offsets of %s: %w", name, err)
	}
	var errs []error
	from.Each(func(o kadm.ListedOffset) {
		start, ok1 := starts.Lookup(name, o.Partition)
		end, ok2 := ends.Lookup(name, o.Partition)
		at := min(o.Offset, end.Offset-1) // the last record stays
		if err := errors.Join(o.Err, start.Err, end.Err); err != nil {
			errs = append(errs, fmt.Errorf("kafka: list offsets of %s/%d: %w", name, o.Partition, err))
		} else if ok1 && ok2 && at > start.Offset {
			errs = append(errs, c.deleteBefore(ctx, name, o.Partition, at))
		}
	})
	return errors.Join(errs...)
}
