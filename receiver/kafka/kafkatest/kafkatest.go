// Package kafkatest makes a Kafka inside a test answer as a real one in trouble. The
// entry point is [Refuse].
//
// It decides nothing by time, and leaves alone what a test has not named.
package kafkatest

import (
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Always is as often as anybody asks.
const Always = 1 << 40

// Refusal answers requests of one kind in a broker's place. It is safe for concurrent
// use.
type Refusal struct {
	left  atomic.Int64
	times atomic.Int64
}

// Refuse lets reply answer requests of one kind, as often as [Refusal.Next] says; before
// that it answers none. A nil answer leaves the request to the broker.
func Refuse(fake *kfake.Cluster, key kmsg.Key, reply func(kmsg.Request) kmsg.Response) *Refusal {
	f := &Refusal{}
	fake.ControlKey(int16(key), func(r kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		if f.left.Load() <= 0 {
			return nil, nil, false
		}
		resp := reply(r)
		if resp == nil {
			return nil, nil, false
		}
		f.left.Add(-1)
		f.times.Add(1)
		return resp, nil, true
	})
	return f
}

// Next has the next n requests refused; 0 ends it.
func (f *Refusal) Next(n int64) { f.left.Store(n) }

// Times returns how many requests were refused.
func (f *Refusal) Times() int64 { return f.times.Load() }
