package spool

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"telemetry/spool"
	"telemetry/wire"
)

// TestReadOnlyRemount: an ext4 under a running spool goes read-only and comes back. In
// between batches stay in memory, nothing that was durable is missing, and the spool
// goes on by itself.
func TestReadOnlyRemount(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("loop devices and mounts need root")
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skip("no loop devices here")
	}
	l, err := newLoop(t.Context(), t.TempDir(), 32<<20, "")
	if err != nil {
		t.Skip(err) // a container without the right to mount
	}
	defer func() {
		if err := l.close(); err != nil {
			t.Error(err)
		}
	}()
	dir := filepath.Join(l.mnt, "spool")
	cfg := ChildSpec{Dir: dir, Chunk: 64 << 10, Commit: 16 << 10, CommitMS: 5}.config()
	ctx, cancel := context.WithCancel(t.Context())
	sp, _, err := spool.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ran := make(chan error, 1)
	go func() { ran <- sp.Run(ctx) }() // ends with cancel
	n := 0
	put := func() {
		t.Helper()
		n++
		if _, err := sp.Append(wire.Body{Lane: wire.LaneFull, FirstNS: 1, LastNS: 1, Samples: 1, Payload: make([]byte, 900)}); err != nil {
			t.Fatal(err)
		}
	}
	durable := func() (n int) {
		for at := (wire.ID{}); ; n++ {
			it, ok := sp.Next(wire.LaneFull, at)
			if !ok {
				return n
			}
			at = it.ID
		}
	}
	for range 100 {
		put()
	}
	if err := sp.Sync(ctx); err != nil {
		t.Fatal(err)
	}

	// While the chunk is open for writing the kernel refuses; a mount above the spool
	// gives it the first errors, and with them the spool lets go of its files.
	if err := unix.Mount("", l.mnt, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); !errors.Is(err, unix.EBUSY) {
		t.Fatalf("remount under an open chunk: %v", err)
	}
	if err := errors.Join(unix.Mount("", l.mnt, "", unix.MS_PRIVATE, ""), unix.Mount(dir, dir, "", unix.MS_BIND, ""), unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")); err != nil {
		t.Fatal(err)
	}
	await(t, "errors", func() bool {
		for range 10 {
			put()
		}
		return sp.Stats().Degraded
	})
	await(t, "the file system to be free of writers", func() bool {
		return unix.Mount("", l.mnt, "", unix.MS_REMOUNT|unix.MS_RDONLY, "") == nil
	})
	if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(l.mnt, "x"), nil, 0o644); !errors.Is(err, unix.EROFS) {
		t.Fatalf("the file system is not read-only: %v", err)
	}
	failures := sp.Stats().Failures
	had := durable()
	for range 50 {
		put()
	}
	await(t, "tries on the read-only file system", func() bool { return sp.Stats().Failures > failures })
	if st := sp.Stats(); !st.Degraded || st.DiskFull || durable() != had || had < 100 {
		t.Fatalf("%d durable, %d before: %+v", durable(), had, st)
	}

	if err := unix.Mount("", l.mnt, "", unix.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	await(t, "recovery", func() bool { return !sp.Stats().Degraded && durable() == n })
	put()
	if err := sp.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := errors.Join(<-ran, sp.Close()); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", l.mnt, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if _, _, err := spool.Open(cfg); !errors.Is(err, unix.EROFS) {
		t.Errorf("open on a read-only card: %v", err)
	}
	v, err := spool.OpenView(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	if err := v.Each(wire.LaneFull, func(wire.Batch) error { seen++; return nil }); err != nil || seen != n {
		t.Errorf("a view of the read-only card shows %d of %d: %v", seen, n, err)
	}
	if err := unix.Mount("", l.mnt, "", unix.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	sp, rep, err := spool.Open(cfg)
	if err != nil || rep.LostBatches != 0 {
		t.Fatalf("%+v, %v", rep, err)
	}
	if got := len(collect(sp)); got != n {
		t.Errorf("%d of %d after a start", got, n)
	}
	if err := sp.Close(); err != nil {
		t.Error(err)
	}
}

func collect(sp *spool.Spool) (out []wire.ID) {
	for at := (wire.ID{}); ; {
		it, ok := sp.Next(wire.LaneFull, at)
		if !ok {
			return out
		}
		at = it.ID
		out = append(out, at)
	}
}

// await polls until cond holds.
func await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !cond(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still waiting for %s", what)
		}
	}
}
