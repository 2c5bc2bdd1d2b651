package spool_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"telemetry/spool"
	"telemetry/spool/spooltest"
	"telemetry/wire"
)

func TestGroupCommitByTimeAndBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.boot()
		stop := r.run()
		r.put(wire.LaneFull, 20, 50, 0) // nothing was committed for long: at once
		synctest.Wait()
		if got := data(r.sp, wire.LaneFull); len(got) != 1 {
			t.Errorf("the first of full: %v", got)
		}
		r.mustSettle(wire.ID{Stream: r.stream(wire.LaneFull), Seq: 1})
		syncs := r.m.Calls("sync")
		for i := range uint64(3) {
			r.put(wire.LaneFull, i, 500, 0)
		}
		r.put(wire.LaneCritical, 9, 50, 0)
		time.Sleep(25 * time.Millisecond)
		if got := data(r.sp, wire.LaneCritical); len(got) != 1 {
			t.Errorf("critical after 25 ms: %v", got)
		}
		if got := data(r.sp, wire.LaneFull); len(got) != 0 {
			t.Errorf("full after 25 ms: %v", got)
		}
		time.Sleep(80 * time.Millisecond)
		if got := data(r.sp, wire.LaneFull); len(got) != 3 {
			t.Errorf("full after 105 ms: %v", got)
		}
		if got := r.m.Calls("sync") - syncs; got != 2 {
			t.Errorf("%d fsyncs, want one per lane", got)
		}
		for i := range uint64(9) { // more than CommitBytes: at once
			r.put(wire.LaneFull, i, 500, 0)
		}
		synctest.Wait()
		if got := data(r.sp, wire.LaneFull); len(got) < 11 {
			t.Errorf("full after a whole group: %v", got)
		}
		stop()
		if got := data(r.sp, wire.LaneFull); len(got) != 12 {
			t.Errorf("full after Run: %v", got)
		}
		if _, err := r.sp.Append(wire.Body{Lane: wire.LaneFull, Payload: []byte{1}}); !errors.Is(err, spool.ErrClosed) {
			t.Errorf("append after Run: %v", err)
		}
		r.close()
	})
}

// TestSlowDiskCommitsAtOnce: where a commit takes longer than the interval, the next
// one follows at once: nothing waits for longer than two commits and
// the cursor that may come between them.
func TestSlowDiskCommitsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const disk = 150 * time.Millisecond
		r := newRig(t)
		r.cfg.Disk = spooltest.Slow{Disk: r.m.Boot(), Sync: disk}
		r.cfg.ChunkBytes, r.cfg.QuotaBytes = 1<<20, 8<<20
		sp, _, err := spool.Open(r.cfg)
		if err != nil {
			t.Fatal(err)
		}
		r.sp = sp
		stop := r.run()
		r.put(wire.LaneFull, 999, 20, 0)
		r.sync() // the chunk is made
		put := map[uint64]time.Time{1: time.Now()}
		waited := time.Duration(0)
		for i := range uint64(300) {
			put[r.put(wire.LaneFull, i, 20, 0).Seq] = time.Now()
			time.Sleep(7 * time.Millisecond)
			for _, it := range all(sp, wire.LaneFull) {
				waited = max(waited, time.Since(put[it.ID.Seq]))
				r.mustSettle(it.ID)
			}
		}
		if waited < disk || waited > 3*disk+20*time.Millisecond {
			t.Errorf("a batch waited %v to be durable", waited)
		}
		stop()
		r.close()
	})
}

func TestSettledChunksAreDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.boot()
		stop := r.run()
		var ids []wire.ID
		for i := range uint64(40) {
			ids = append(ids, r.put(wire.LaneFull, i, 1000, 0))
		}
		r.sync()
		before := r.sp.Stats()
		r.mustSettle(ids...)
		_, open := r.open()
		r.mustSettle(open)
		order := []string{}
		r.m.SetFault(func(op spooltest.Op) error {
			if op.Kind == "write" || op.Kind == "rename" {
				order = append(order, op.Kind)
			}
			return nil
		})
		time.Sleep(40 * time.Second)
		st := r.sp.Stats()
		if before.Chunks < 6 || st.Chunks != 0 || st.DiskBytes != 0 || st.Trimmed == 0 {
			t.Errorf("before %d chunks, now %d with %d bytes", before.Chunks, st.Chunks, st.DiskBytes)
		}
		if len(order) == 0 || order[0] != "write" {
			t.Errorf("the cursor is not first: %v", order)
		}
		stop()
		r.close()
	})
}

func TestAppendBlocksWhileTheQueueIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.QueueBytes = 8 << 10
		r.boot()
		var done atomic.Bool
		go func() { // ends when Run makes room
			for i := range uint64(100) {
				r.put(wire.LaneFull, i, 1000, 0)
			}
			done.Store(true)
		}()
		synctest.Wait()
		if done.Load() {
			t.Fatal("100 KB fit a queue of 8 KB")
		}
		stop := r.run()
		time.Sleep(time.Second)
		if !done.Load() {
			t.Fatal("append is still blocked")
		}
		stop()
		r.close()
		if got := data(r.sp, wire.LaneFull); len(got) != 100 {
			t.Errorf("%d batches, want 100", len(got))
		}
	})
}

func TestCloseFreesWhoIsBlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.QueueBytes = 8 << 10
		r.boot()
		var err error
		go func() { // ends with Close
			for err == nil {
				_, err = r.sp.Append(wire.Body{Lane: wire.LaneFull, Samples: 1, Payload: noise(1, 1000)})
			}
		}()
		synctest.Wait()
		r.close()
		synctest.Wait()
		if !errors.Is(err, spool.ErrClosed) {
			t.Errorf("got %v", err)
		}
	})
}

func TestLiveIsSuperseded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.LiveMaxBytes = 4 << 10
		r.boot()
		a := r.put(wire.LaneLive, 1, 500, 0)
		time.Sleep(1500 * time.Millisecond)
		b := r.put(wire.LaneLive, 2, 500, 100)
		if it, ok := r.sp.Next(wire.LaneLive, wire.ID{}); !ok || it.ID != a {
			t.Errorf("next %v", it)
		}
		time.Sleep(time.Second)
		if it, ok := r.sp.Next(wire.LaneLive, wire.ID{}); !ok || it.ID != b {
			t.Errorf("next %v, want the younger one", it)
		}
		if _, err := r.sp.Read(a, nil); !errors.Is(err, spool.ErrGone) {
			t.Errorf("read of a superseded preview: %v", err)
		}
		if got := r.sp.Base(a.Stream); got != 2 {
			t.Errorf("base %d, want 2", got)
		}
		r.mustRead(b, 2, 500)
		if _, ok := r.sp.NextIn(wire.LaneLive, wire.ID{}, 0, 50); ok {
			t.Error("found a preview outside of the time range")
		}
		r.settle(b)
		if got := r.sp.Base(a.Stream); got != 3 {
			t.Errorf("base %d, want 3", got)
		}
		for i := range uint64(20) {
			r.put(wire.LaneLive, i, 1000, 0)
		}
		if st := r.sp.Stats(); st.Lanes[wire.LaneLive].PendingBytes > 4<<10 || st.Superseded < 16 || st.LiveSettled != 1 {
			t.Errorf("stats %+v", st)
		}
		r.close()
	})
}

func TestRefuseBecomesALoss(t *testing.T) {
	r := newRig(t)
	r.boot()
	ids := r.fill(8)
	r.sp.Refuse(ids[2], wire.ReasonRefused)
	if got := data(r.sp, wire.LaneFull); len(got) != 7 {
		t.Errorf("pending %v", got)
	}
	r.sync()
	losses, at := r.losses()
	if !named(losses, ids[2], wire.ReasonRefused) {
		t.Fatalf("losses %v", losses)
	}
	r.mustSettle(ids[:2]...)
	if got := r.sp.Base(ids[0].Stream); got != 3 {
		t.Errorf("base %d before the ack, want 3", got)
	}
	r.mustSettle(at...)
	if got := r.sp.Base(ids[0].Stream); got != 4 {
		t.Errorf("base %d after the ack, want 4", got)
	}
	r.sp.Refuse(ids[2], wire.ReasonRefused) // again, late
	r.m.Cut(nil)
	r.boot()
	if r.rep.LostBatches != 0 {
		t.Errorf("report %+v", r.rep)
	}
}

// TestRule13OverrideIsSettled: a dropped batch that was on loan turns out delivered.
func TestRule13OverrideIsSettled(t *testing.T) {
	r := newRig(t)
	r.cfg.QuotaBytes = 5 * r.cfg.ChunkBytes
	r.boot()
	ids := r.fill(60)
	r.sp.Settle(ids[0].Stream, wire.Ranges{{First: 1, Last: 2}})
	if st := r.sp.Stats(); st.Overrides != 2 {
		t.Errorf("overrides %d, want 2", st.Overrides)
	}
	if got := r.sp.Base(ids[0].Stream); got != 3 {
		t.Errorf("base %d, want 3", got)
	}
}

func TestNextInFollowsEventTime(t *testing.T) {
	r := newRig(t)
	r.boot()
	ids := r.fill(60) // event time 100·i … 100·i+9
	for _, tc := range []struct {
		name     string
		from, to int64
		want     []int
	}{
		{"inside one", 1003, 1004, []int{10}},
		{"over two", 1009, 1100, []int{10, 11}},
		{"between", 1010, 1099, nil},
		{"before", -5, -1, nil},
		{"after", 99999, 100000, nil},
		{"the last", 5900, 1 << 60, []int{59}},
	} {
		var got []wire.ID
		var after wire.ID
		for {
			it, ok := r.sp.NextIn(wire.LaneFull, after, tc.from, tc.to)
			if !ok {
				break
			}
			got = append(got, it.ID)
			after = it.ID
		}
		var want []wire.ID
		for _, i := range tc.want {
			want = append(want, ids[i])
		}
		if sprint(got) != sprint(want) {
			t.Errorf("%s: got %v, want %v", tc.name, got, want)
		}
	}
}

func TestCatalogues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.boot()
		one, two := noise(1, 5000), noise(2, 6000)
		h1, err := r.sp.PutCatalogue(one)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := r.sp.PutCatalogue(one); err != nil || again != h1 {
			t.Errorf("put again: %v %v", again, err)
		}
		if _, err := r.sp.Append(wire.Body{Lane: wire.LaneFull, Samples: 1, Catalogue: h1, Payload: []byte{1, 2}}); err != nil {
			t.Fatal(err)
		}
		r.sync()
		r.m.Cut(nil)
		r.boot()
		stop := r.run()
		if b, err := r.sp.Catalogue(h1); err != nil || string(b) != string(one) {
			t.Fatalf("catalogue after a power cut: %v", err)
		}
		time.Sleep(2 * time.Minute)
		it, _ := r.sp.Next(wire.LaneFull, wire.ID{})
		if it.Catalogue != h1 {
			t.Errorf("item %+v", it)
		}
		r.mustSettle(it.ID)
		time.Sleep(2 * time.Minute)
		if _, err := r.sp.Catalogue(h1); err != nil {
			t.Errorf("the newest catalogue went: %v", err)
		}
		h2, err := r.sp.PutCatalogue(two)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		if _, err := r.sp.Catalogue(h1); !errors.Is(err, spool.ErrNoCatalogue) {
			t.Errorf("unused catalogue: %v", err)
		}
		if _, err := r.sp.Catalogue(h2); err != nil {
			t.Error(err)
		}
		stop()
		r.close()
		if _, err := r.sp.PutCatalogue(one); !errors.Is(err, spool.ErrClosed) {
			t.Errorf("put after close: %v", err)
		}
	})
}

// TestConcurrentUse is for the race detector: producers, readers, acks, quota and
// Run at once on the real disk.
func TestConcurrentUse(t *testing.T) {
	cfg := realConfig(filepath.Join(t.TempDir(), "spool"))
	cfg.ChunkBytes, cfg.CommitBytes, cfg.QuotaBytes = 32<<10, 8<<10, 512<<10
	sp, _, err := spool.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var runs, users sync.WaitGroup
	runs.Go(func() {
		if err := sp.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	const each = 400
	for p := range 3 {
		users.Go(func() {
			for i := range each {
				lane := []wire.Lane{wire.LaneFull, wire.LaneCritical, wire.LaneLive}[(i+p)%3]
				if _, err := sp.Append(wire.Body{Lane: lane, Samples: 1, Payload: noise(uint64(i), 300)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	stop := make(chan struct{})
	for p := range 2 {
		runs.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(p), 1))
			var buf []byte
			for {
				select {
				case <-stop:
					return
				default:
				}
				for _, lane := range wire.Lanes {
					var after wire.ID
					for {
						it, ok := sp.Next(lane, after)
						if !ok {
							break
						}
						after = it.ID
						b, err := sp.Read(it.ID, buf[:0])
						if err != nil && !errors.Is(err, spool.ErrGone) {
							t.Error(err)
						}
						buf = b
						_ = sp.Base(it.ID.Stream)
						if rnd.IntN(3) == 0 {
							sp.Settle(it.ID.Stream, wire.Ranges{{First: it.ID.Seq, Last: it.ID.Seq}})
						}
						_, _ = sp.NextIn(lane, after, 0, 1<<60)
					}
				}
				_ = sp.Stats()
				if err := sp.Sync(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	users.Wait()
	close(stop)
	cancel()
	runs.Wait()
	if err := sp.Close(); err != nil {
		t.Error(err)
	}
	if st := sp.Stats(); st.Lanes[wire.LaneFull].Appended != each || st.LostDisk+st.LostCorrupt+st.ReadErrors > 0 {
		t.Errorf("stats %+v", st)
	}
}

func TestAppendAllocates(t *testing.T) {
	r := newRig(t)
	r.cfg.QuotaBytes = 64 << 20
	r.boot()
	body := wire.Body{Lane: wire.LaneFull, Samples: 1, Payload: noise(1, 1000)}
	step := func() {
		if _, err := r.sp.Append(body); err != nil {
			t.Fatal(err)
		}
	}
	for range 200 {
		step()
	}
	r.sync()
	if got := testing.AllocsPerRun(3, step); got > 0 {
		t.Errorf("%.1f allocations per batch, want 0", got)
	}
}
