package spool_test

import (
	"errors"
	"testing"

	"telemetry/spool"
	"telemetry/wire"
)

func TestAppendSyncReadSettle(t *testing.T) {
	r := newRig(t)
	r.boot()
	var ids []wire.ID
	for i := range uint64(40) {
		ids = append(ids, r.put(wire.LaneFull, i, 1000, int64(i)*10))
	}
	if got := data(r.sp, wire.LaneFull); len(got) != 0 {
		t.Fatalf("visible before durable: %v", got)
	}
	r.sync()
	if got := data(r.sp, wire.LaneFull); len(got) != 40 || got[0] != 1 || got[39] != 40 {
		t.Fatalf("pending %v", got)
	}
	for i, id := range ids {
		r.mustRead(id, uint64(i), 1000)
	}
	if got := r.sp.Base(ids[0].Stream); got != 1 {
		t.Errorf("base %d, want 1", got)
	}
	r.sp.Settle(ids[0].Stream, wire.Ranges{{First: 1, Last: 10}, {First: 12, Last: 12}})
	if got := r.sp.Base(ids[0].Stream); got != 11 {
		t.Errorf("base %d, want 11", got)
	}
	if _, err := r.sp.Read(ids[3], nil); !errors.Is(err, spool.ErrGone) {
		t.Errorf("read of a settled batch: %v", err)
	}
	r.sp.Settle(ids[0].Stream, wire.Ranges{{First: 1, Last: 1 << 40}})
	if got := r.sp.Base(ids[0].Stream); got != 11 {
		t.Errorf("an ack of numbers that don't exist moved base to %d", got)
	}
	r.put(wire.LaneFull, 99, 100, 0)
	r.sync()
	r.sp.Settle(ids[0].Stream, wire.Ranges{{First: 1, Last: 41}})
	if got := data(r.sp, wire.LaneFull); sprint(got) != "[41]" {
		t.Errorf("an ack of a number never handed out settled it: %v", got)
	}
	if got := r.sp.Base(ids[0].Stream); got != 41 {
		t.Errorf("base %d, want 41", got)
	}
	if got := r.sp.Stats().Bogus; got != 2 {
		t.Errorf("bogus %d, want 2", got)
	}
	r.close()
	if _, err := r.sp.Append(wire.Body{Lane: wire.LaneFull, Payload: []byte{1}}); !errors.Is(err, spool.ErrClosed) {
		t.Errorf("append after close: %v", err)
	}
}

func TestRestartResumes(t *testing.T) {
	r := newRig(t)
	r.boot()
	var ids []wire.ID
	for i := range uint64(30) {
		ids = append(ids, r.put(wire.LaneFull, i, 1000, int64(i)))
	}
	r.sync()
	first := r.sp.Epoch()
	r.m.Cut(nil)
	r.boot()
	if r.sp.Epoch().Counter != first.Counter+1 || r.sp.Epoch().Nonce == first.Nonce {
		t.Errorf("epoch %s after %s", r.sp.Epoch(), first)
	}
	for i, id := range ids {
		r.mustRead(id, uint64(i), 1000)
	}
	r.put(wire.LaneFull, 1000, 50, 0)
	r.sync()
	got := all(r.sp, wire.LaneFull)
	if len(got) != 31 || got[30].ID.Stream.Epoch != r.sp.Epoch() || got[0].ID != ids[0] {
		t.Fatalf("pending %v", got)
	}
	if r.rep.LostBatches != 0 {
		t.Errorf("report %+v", r.rep)
	}
	r.settle(ids...)
	r.close()
	r.boot()
	if got := data(r.sp, wire.LaneFull); sprint(got) != "[1]" {
		t.Errorf("settled batches came back: %v", got)
	}
	r.close()
}
