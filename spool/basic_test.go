package spool_test

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"telemetry/spool"
	"telemetry/spool/spooltest"
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

func TestNewerVersionIsRefused(t *testing.T) {
	for _, file := range []string{"epoch", "cursor"} {
		r := newRig(t)
		r.boot()
		r.fill(8)
		r.close()
		for _, slot := range []string{".0", ".1"} {
			_ = r.m.Change("spool/"+file+slot, func(b []byte) []byte {
				b[4] = 9
				body := b[:len(b)-4]
				return binary.LittleEndian.AppendUint32(body, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
			})
		}
		writes, renames := r.m.Calls("write"), r.m.Calls("rename")
		r.cfg.Disk = r.m.Boot()
		if _, _, err := spool.Open(r.cfg); !errors.Is(err, spool.ErrNewer) {
			t.Errorf("%s: %v", file, err)
		}
		if r.m.Calls("write") != writes || r.m.Calls("rename") != renames {
			t.Errorf("%s: the directory was touched", file)
		}
	}
}

// TestDisks holds the model and the operating system to the same behaviour.
func TestDisks(t *testing.T) {
	for _, tc := range []struct {
		name string
		disk spool.Disk
		dir  string
	}{
		{"operating system", spool.OS(), t.TempDir()},
		{"model", spooltest.New().Boot(), "dir"},
	} {
		t.Run(tc.name, func(t *testing.T) { checkDisk(t, tc.disk, tc.dir) })
	}
}

func checkDisk(t *testing.T, d spool.Disk, dir string) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	must(d.MkdirAll(in("a")))
	must(d.SyncDir(dir))
	l, err := d.OpenLog(in("a/c"), 1<<20)
	must(err)
	must(l.Append([][]byte{[]byte("one"), noise(1, 300)}))
	must(l.Append([][]byte{[]byte("three")}))
	must(l.Sync())
	must(l.Close())
	must(d.SyncDir(in("a/c")))
	f, err := d.Open(in("a/c/" + spool.SegmentName))
	must(err)
	n, err := f.Size()
	must(err)
	b := make([]byte, n)
	if m, _ := f.ReadAt(b, 0); int64(m) != n || sprint(offsets(b)) != "[1 6 307]" {
		t.Errorf("segment of %d bytes, records at %v", n, offsets(b))
	}
	must(d.Rename(in("a/c"), in("b")))
	if m, err := f.ReadAt(b[:3], 1); m != 3 || string(b[:3]) != "one" {
		t.Errorf("read after rename: %q, %v", b[:3], err)
	}
	must(f.Close())
	must(d.Truncate(in("b/"+spool.SegmentName), 4))
	must(d.Write(in("b/x"), []byte("longer than")))
	must(d.Write(in("b/x"), []byte("this")))
	es, err := d.ReadDir(in("b"))
	must(err)
	if got := sprint(es); got != "[{00000000000000000001 false 4} {x false 4}]" {
		t.Errorf("directory %s", got)
	}
	must(d.RemoveAll(in("b")))
	must(d.RemoveAll(in("b")))
	if _, err := d.Open(in("b/x")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open of a removed file: %v", err)
	}
	if _, err := d.ReadDir(in("b")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("list of a removed directory: %v", err)
	}
	lock, err := d.Lock(in("lock"), "me")
	must(err)
	if _, err := d.Lock(in("lock"), "you"); !errors.Is(err, spool.ErrLocked) || !strings.Contains(err.Error(), "me") {
		t.Errorf("second lock: %v", err)
	}
	must(lock.Close())
	lock, err = d.Lock(in("lock"), "you")
	must(err)
	must(lock.Close())
}
