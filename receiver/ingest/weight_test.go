package ingest

import (
	"runtime"
	"testing"

	"telemetry/wire"
)

// While Kafka takes nothing, a car's credit bounds the memory that it costs, however
// small its batches are: a record's headers and what is noted of it are far more than
// forty bytes.
func TestSmallBatchesCostWhatTheCreditSays(t *testing.T) {
	r := newRig(t, nil)
	most := int64(DefaultCarCredit + DefaultCarCredit/4 + controlRoom)
	before := heap()
	for i := 1; r.c.n.Overflow == 0; i++ {
		if r.deliver(msg{lane: wire.LaneCritical, seq: uint64(i), body: wire.Body{Payload: []byte{100, 0}}}); int64(i) > most/64 {
			t.Fatalf("%d batches were taken", i)
		}
	}
	if used := heap() - before; used > 2*most {
		t.Errorf("%d batches cost %d bytes, the limit is %d", len(r.out.Produce), used, most)
	}
	runtime.KeepAlive(r)
}

// heap returns the bytes in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
