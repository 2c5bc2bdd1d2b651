package spool_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"telemetry/spool"
	"telemetry/spool/spooltest"
	"telemetry/wire"
)

// TestPowerFailWithinItsTime: all that was appended is durable within the time that
// PowerFail states, and nothing is written afterwards.
func TestPowerFailWithinItsTime(t *testing.T) {
	for _, tc := range []struct {
		name    string
		batches int // of 10 kB, in the full lane
		limit   time.Duration
	}{
		{"nothing waits", 0, 61 * time.Millisecond},
		{"a tenth of a second of 2 MB/s", 20, 200 * time.Millisecond},
		{"the queue is full", 400, time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.cfg.ChunkBytes, r.cfg.CommitBytes, r.cfg.QueueBytes, r.cfg.QuotaBytes = 1<<20, 128<<10, 4<<20, 64<<20
				r.cfg.Disk = spooltest.Slow{Disk: r.m.Boot(), Sync: 20 * time.Millisecond, BytesPerSecond: 10_000_000}
				sp, _, err := spool.Open(r.cfg)
				if err != nil {
					t.Fatal(err)
				}
				r.sp = sp
				ran := make(chan error, 1)
				go func() { ran <- sp.Run(context.Background()) }() // ends with the power
				synctest.Wait()
				var ids []wire.ID
				for i := range tc.batches {
					ids = append(ids, r.put(wire.LaneFull, uint64(i), 10_000, 0))
				}
				ids = append(ids, r.put(wire.LaneCritical, 0, 100, 0))
				start := time.Now()
				rep, err := sp.PowerFail(t.Context())
				if took := time.Since(start); err != nil || took > tc.limit {
					t.Errorf("%v, %v; want at most %v (%+v)", took, err, tc.limit, rep)
				}
				if err := <-ran; err != nil {
					t.Errorf("run: %v", err)
				}
				if _, err := sp.Append(wire.Body{Lane: wire.LaneFull, Payload: []byte("late")}); !errors.Is(err, spool.ErrClosed) {
					t.Errorf("append: %v", err)
				}
				r.m.SetFault(func(op spooltest.Op) error {
					if op.Kind != "read" && op.Kind != "readat" && op.Kind != "open" {
						t.Errorf("%s of %s after the end", op.Kind, op.Name)
					}
					return nil
				})
				time.Sleep(time.Minute)
				if err := sp.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
				r.m.SetFault(nil)
				r.m.Cut(nil)
				r.boot()
				for _, id := range ids {
					tag, n := id.Seq-1, 10_000
					if id.Stream.Lane == wire.LaneCritical {
						tag, n = 0, 100
					}
					r.mustRead(id, tag, n)
				}
			})
		})
	}
}
