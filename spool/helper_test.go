package spool_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"telemetry/spool"
	"telemetry/spool/spooltest"
	"telemetry/wire"
)

// bootClock is a boot clock that follows package time, so that it is virtual in a
// synctest bubble.
type bootClock struct{ start time.Time }

func (c bootClock) BootNS() int64 { return int64(time.Since(c.start)) + 1 }

// rig is a car with a disk that can lose power.
type rig struct {
	t     *testing.T
	m     *spooltest.Machine
	cfg   spool.Config
	nonce *rand.Rand
	sp    *spool.Spool
	rep   spool.Report
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, m: spooltest.New(), nonce: rand.New(rand.NewPCG(1, 2))}
	r.cfg = spool.Config{
		Dir: "spool", Car: "car-7", Clock: bootClock{time.Now()}, Rand: randReader{r.nonce},
		ChunkBytes: 8 << 10, CommitBytes: 4 << 10, QueueBytes: 1 << 20, QuotaBytes: 1 << 20,
		WarmEntries: 3, // so that all tests read envelopes again and again
	}
	return r
}

type randReader struct{ r *rand.Rand }

func (r randReader) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(r.r.Uint32())
	}
	return len(p), nil
}

// boot opens the spool for a new life of the machine.
func (r *rig) boot() *spool.Spool {
	r.t.Helper()
	r.cfg.Disk = r.m.Boot()
	sp, rep, err := spool.Open(r.cfg)
	if err != nil {
		r.t.Fatalf("open: %v", err)
	}
	r.sp, r.rep = sp, rep
	return sp
}

func (r *rig) sync() {
	r.t.Helper()
	if err := r.sp.Sync(r.t.Context()); err != nil {
		r.t.Fatalf("sync: %v", err)
	}
}

func (r *rig) close() {
	r.t.Helper()
	if err := r.sp.Close(); err != nil {
		r.t.Fatalf("close: %v", err)
	}
}

// noise returns n bytes that no compressor makes smaller, different for each tag. It
// never looks like an encrypted batch.
func noise(tag uint64, n int) []byte {
	rnd := rand.New(rand.NewPCG(tag, 99))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	if n > 0 {
		b[0] &= 0x7f
	}
	return b
}

// put appends a batch of a lane with n bytes of payload and event time at..at+9.
func (r *rig) put(lane wire.Lane, tag uint64, n int, at int64) wire.ID {
	r.t.Helper()
	id, err := r.sp.Append(wire.Body{Lane: lane, FirstNS: at, LastNS: at + 9, Samples: 1, Payload: noise(tag, n)})
	if err != nil {
		r.t.Fatalf("append: %v", err)
	}
	return id
}

// all lists what is pending in a lane, in sending order.
func all(sp *spool.Spool, lane wire.Lane) []wire.Item {
	var out []wire.Item
	var after wire.ID
	for {
		it, ok := sp.Next(lane, after)
		if !ok {
			return out
		}
		out = append(out, it)
		after = it.ID
	}
}

// data lists the numbers of a lane's pending batches without control records.
func data(sp *spool.Spool, lane wire.Lane) []uint64 {
	var out []uint64
	for _, it := range all(sp, lane) {
		if !it.Control {
			out = append(out, it.ID.Seq)
		}
	}
	return out
}

// controls reads all pending control records in order.
func (r *rig) controls() (out []wire.Control, ids []wire.ID) {
	r.t.Helper()
	var o wire.Opener
	for _, it := range all(r.sp, wire.LaneCritical) {
		if !it.Control {
			continue
		}
		b, err := r.sp.Read(it.ID, nil)
		if err != nil {
			r.t.Fatalf("read %s: %v", it.ID, err)
		}
		batch, _, err := wire.Parse(b)
		if err != nil {
			r.t.Fatalf("parse %s: %v", it.ID, err)
		}
		payload, err := o.Payload(batch)
		if err != nil {
			r.t.Fatal(err)
		}
		cs, err := wire.Controls(payload)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, c := range cs {
			out, ids = append(out, c), append(ids, it.ID)
		}
	}
	return out, ids
}

// losses returns the pending loss records.
func (r *rig) losses() (out []*wire.Loss, ids []wire.ID) {
	cs, at := r.controls()
	for i, c := range cs {
		if c.Loss != nil {
			out, ids = append(out, c.Loss), append(ids, at[i])
		}
	}
	return out, ids
}

// open returns the EpochOpen of this start.
func (r *rig) open() (*wire.EpochOpen, wire.ID) {
	r.t.Helper()
	cs, at := r.controls()
	for i, c := range cs {
		if c.EpochOpen != nil && c.EpochOpen.Epoch == r.sp.Epoch() {
			return c.EpochOpen, at[i]
		}
	}
	r.t.Fatalf("no EpochOpen of %s", r.sp.Epoch())
	return nil, wire.ID{}
}

// settle acks one batch.
func (r *rig) settle(ids ...wire.ID) {
	for _, id := range ids {
		r.sp.Settle(id.Stream, wire.Ranges{{First: id.Seq, Last: id.Seq}})
	}
}

// held returns what an EpochOpen says is held of a stream.
func held(o *wire.EpochOpen, st wire.Stream) (wire.Ranges, bool) {
	for _, p := range o.Predecessors {
		if p.Epoch != st.Epoch {
			continue
		}
		for _, h := range p.Held {
			if h.Lane == st.Lane && h.Shard == st.Shard {
				return h.Ranges, true
			}
		}
		return nil, true
	}
	return nil, false
}

// stream names a lane of the present epoch.
func (r *rig) stream(lane wire.Lane) wire.Stream {
	return wire.Stream{Car: r.cfg.Car, Epoch: r.sp.Epoch(), Lane: lane}
}

// mustRead checks that a batch reads back as what put wrote.
func (r *rig) mustRead(id wire.ID, tag uint64, n int) {
	r.t.Helper()
	b, err := r.sp.Read(id, []byte("head"))
	if err != nil {
		r.t.Fatalf("read %s: %v", id, err)
	}
	batch, size, err := wire.Parse(b[4:])
	if err != nil || size != len(b)-4 || string(b[:4]) != "head" {
		r.t.Fatalf("read %s: %d bytes, %v", id, size, err)
	}
	if batch.Header.ID() != id {
		r.t.Fatalf("read %s: got %s", id, batch.Header.ID())
	}
	if !bytes.Equal(batch.Payload, noise(tag, n)) {
		r.t.Fatalf("read %s: payload differs", id)
	}
}

// segments lists the segment files of a lane by chunk number.
func (r *rig) segments(lane wire.Lane) []string {
	r.t.Helper()
	dir := filepath.Join("spool", lane.String())
	es, err := r.m.Boot().ReadDir(dir)
	if err != nil {
		r.t.Fatal(err)
	}
	var out []string
	for _, e := range es {
		out = append(out, filepath.Join(dir, e.Name, spool.SegmentName))
	}
	return out
}

// offsets returns where the records of a segment file begin (their envelope).
func offsets(b []byte) (out []int) {
	for pos := 0; pos < len(b); {
		n, k := binary.Uvarint(b[pos:])
		if k <= 0 || n == 0 {
			return out
		}
		out = append(out, pos+k)
		pos += k + int(n)
	}
	return out
}

// run runs the spool until the returned function is called.
func (r *rig) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	sp := r.sp
	go func() { done <- sp.Run(ctx) }() // ends with stop
	return func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("run: %v", err)
		}
	}
}

var errInjected = errors.New("injected")

var _ io.Reader = randReader{}

func sprint(v ...any) string { return fmt.Sprint(v...) }

// stopAfter is a fault that fails every change of the disk from the n-th on.
func stopAfter(n int) func(spooltest.Op) error {
	return func(op spooltest.Op) error {
		if op.Kind == "read" || op.Kind == "readat" || op.Kind == "open" {
			return nil
		}
		if n--; n < 0 {
			return errInjected
		}
		return nil
	}
}
