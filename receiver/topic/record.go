package topic

import "errors"

// ErrUnacceptable marks a record that Kafka can never take, however often it is
// tried: too large, or not well formed. Every other error of a producer means
// "later".
var ErrUnacceptable = errors.New("topic: record can never be taken by kafka")

// Record is one Kafka record, to be written or read.
type Record struct {
	Topic       string
	Partition   int32 // -1 when written: chosen by Key with [Partition]
	Key, Value  []byte
	Headers     []Header
	TimestampMS int64 // ms since 1970-01-01 UTC; 0 when written to a LogAppendTime topic
	Offset      int64 // set when read; not used when written
}

// Header is one record header. Value is UTF-8 text, never binary: common
// clients decode every header as text and drop the record otherwise.
type Header struct {
	Key   string
	Value []byte
}

// Get returns the value of the first header named key, and whether there is one.
func (r *Record) Get(key string) (string, bool) { return find(r.Headers, key) }

// Size estimates the bytes that the record occupies in a producer's buffer.
func (r *Record) Size() int {
	n := len(r.Key) + len(r.Value) + recordOverhead
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value) + headerOverhead
	}
	return n
}

// What Kafka's record format and our own structures add, in bytes.
const (
	recordOverhead = 64
	headerOverhead = 4
)

func find(hs []Header, key string) (string, bool) {
	for i := range hs {
		if hs[i].Key == key {
			return string(hs[i].Value), true
		}
	}
	return "", false
}
