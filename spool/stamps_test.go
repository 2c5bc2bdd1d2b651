package spool_test

import (
	"testing"
	"testing/synctest"
	"time"

	"telemetry/wire"
)

// TestStampsOfSampledBatches: the spool knows when the newest sampled batches were
// sealed and durable, and nothing of others.
func TestStampsOfSampledBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.boot()
		var ids []wire.ID
		begin := r.cfg.Clock.BootNS()
		for i := range uint64(18) {
			ids = append(ids, r.put(wire.LaneFull, i, 100, int64(i)))
		}
		if _, _, ok := r.sp.Stamps(ids[0]); ok {
			t.Error("a batch that is not durable has stamps")
		}
		time.Sleep(5 * time.Millisecond) // of the bubble
		r.sync()
		for i, id := range ids {
			sealed, durable, ok := r.sp.Stamps(id)
			switch {
			case ok != wire.Sampled(id.Seq):
				t.Errorf("batch %d: stamps %t", i+1, ok)
			case ok && (sealed != begin || durable < begin+int64(5*time.Millisecond)):
				t.Errorf("batch %d: sealed at %d, durable at %d; appended at %d", i+1, sealed, durable, begin)
			}
		}
		other := ids[0]
		other.Stream.Epoch.Nonce++
		if _, _, ok := r.sp.Stamps(other); ok {
			t.Error("a batch of another epoch has stamps")
		}
		r.close()
	})
}
