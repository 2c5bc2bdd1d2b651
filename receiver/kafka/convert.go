package kafka

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"telemetry/receiver/topic"
)

var bg = context.Background() // for calls that take a context and do not wait

// toKafka converts a record that is to be written. They share memory.
func toKafka(r *topic.Record) *kgo.Record {
	k := &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value}
	if len(r.Headers) > 0 {
		k.Headers = make([]kgo.RecordHeader, len(r.Headers))
		for i, h := range r.Headers {
			k.Headers[i] = kgo.RecordHeader{Key: h.Key, Value: h.Value}
		}
	}
	if r.TimestampMS != 0 {
		k.Timestamp = time.UnixMilli(r.TimestampMS)
	}
	return k
}

// fromKafka converts a record that was read. They share memory.
func fromKafka(k *kgo.Record) topic.Record {
	r := topic.Record{
		Topic: k.Topic, Partition: k.Partition, Key: k.Key, Value: k.Value,
		TimestampMS: k.Timestamp.UnixMilli(), Offset: k.Offset,
	}
	if len(k.Headers) > 0 {
		r.Headers = make([]topic.Header, len(k.Headers))
		for i, h := range k.Headers {
			r.Headers[i] = topic.Header{Key: h.Key, Value: h.Value}
		}
	}
	return r
}
