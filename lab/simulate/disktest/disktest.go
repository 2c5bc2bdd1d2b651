// Package disktest holds every disk of the spool to the same behaviour: the
// model that the simulation uses, and the operating system's file system.
//
// The entry points are [Run] and [Full]. They never ask for what only a power cut
// shows.
package disktest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"telemetry/spool"
)

// Run runs all cases. open returns a fresh disk and a folder in it that exists.
func Run(t *testing.T, open func(t *testing.T) (spool.Disk, string)) {
	cases := []struct {
		name string
		run  func(t *testing.T, d spool.Disk, dir string)
	}{
		{"directories", directories},
		{"write replaces", writeReplaces},
		{"missing names", missingNames},
		{"rename replaces a file", renameReplaces},
		{"rename onto a directory", renameOntoDirectory},
		{"a file outlives its name", fileOutlivesName},
		{"truncate", truncate},
		{"sync file", syncFile},
		{"log", appendLog},
		{"mark", mark},
		{"lock", lock},
		{"remove a tree", removeTree},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			d, dir := open(t)
			c.run(t, d, dir)
		})
	}
}

// Full runs what a disk with little room left must do. open returns a fresh disk
// that takes less than room bytes, and a folder in it.
func Full(t *testing.T, room int, open func(t *testing.T) (spool.Disk, string)) {
	d, dir := open(t)
	must(t, d.Write(filepath.Join(dir, "kept"), []byte("kept")))
	l, err := d.OpenLog(filepath.Join(dir, "0000000001"), 64<<20)
	must(t, err)
	first := bytes.Repeat([]byte("f"), 1000)
	must(t, l.Append([][]byte{first}))
	must(t, l.Sync())
	err = l.Append([][]byte{bytes.Repeat([]byte("x"), room)})
	if err == nil {
		err = l.Sync() // a file system may tell only now
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a record of %d bytes gives %v, want no space", room, err)
	}
	_ = l.Close()
	if got := content(t, d, filepath.Join(dir, "0000000001", spool.SegmentName)); !strings.HasPrefix(got[2:], string(first)) {
		t.Error("what was synced before is not there any more")
	}
	if err := d.Write(filepath.Join(dir, "new"), bytes.Repeat([]byte("y"), room)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a file of %d bytes gives %v, want no space", room, err)
	}
	want(t, "another file", content(t, d, filepath.Join(dir, "kept")), "kept")
	must(t, d.RemoveAll(filepath.Join(dir, "new")))
	must(t, d.RemoveAll(filepath.Join(dir, "0000000001")))
	must(t, d.SyncDir(dir))
	must(t, d.Write(filepath.Join(dir, "again"), bytes.Repeat([]byte("z"), room/4))) // there is room again
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// content reads a whole file, with its size.
func content(t *testing.T, d spool.Disk, name string) string {
	t.Helper()
	f, err := d.Open(name)
	must(t, err)
	defer f.Close()
	size, err := f.Size()
	must(t, err)
	b := make([]byte, size)
	if n, err := f.ReadAt(b, 0); n != len(b) || err != nil && !errors.Is(err, io.EOF) {
		t.Fatalf("read %d of %d bytes of %s: %v", n, size, name, err)
	}
	if n, err := f.ReadAt(make([]byte, 4), size); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("reading at the end of %s gives %d bytes and %v, want 0 and EOF", name, n, err)
	}
	return string(b)
}

// names lists a directory as "name/" or "name:size".
func names(t *testing.T, d spool.Disk, dir string) string {
	t.Helper()
	es, err := d.ReadDir(dir)
	must(t, err)
	var out []string
	for _, e := range es {
		if e.IsDir {
			out = append(out, e.Name+"/")
		} else {
			out = append(out, fmt.Sprintf("%s:%d", e.Name, e.Size))
		}
	}
	return strings.Join(out, " ")
}

func want(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func directories(t *testing.T, d spool.Disk, dir string) {
	must(t, d.MkdirAll(filepath.Join(dir, "b", "c")))
	must(t, d.MkdirAll(filepath.Join(dir, "b")))
	must(t, d.Write(filepath.Join(dir, "a"), []byte("xyz")))
	want(t, "listing by name", names(t, d, dir), "a:3 b/")
	want(t, "inner listing", names(t, d, filepath.Join(dir, "b")), "c/")
	must(t, d.SyncDir(dir))
	must(t, d.SyncDir(filepath.Join(dir, "b")))
}

func writeReplaces(t *testing.T, d spool.Disk, dir string) {
	name := filepath.Join(dir, "f")
	must(t, d.Write(name, []byte("a long text")))
	must(t, d.Write(name, []byte("short")))
	want(t, "content", content(t, d, name), "short")
	must(t, d.Write(name, nil))
	want(t, "empty", content(t, d, name), "")
}

func missingNames(t *testing.T, d spool.Disk, dir string) {
	gone := filepath.Join(dir, "gone")
	for what, err := range map[string]error{
		"open":      second(d.Open(gone)),
		"readdir":   second(d.ReadDir(gone)),
		"rename":    d.Rename(gone, filepath.Join(dir, "x")),
		"truncate":  d.Truncate(gone, 0),
		"open mark": second(d.OpenMark(gone)),
		"write":     d.Write(filepath.Join(gone, "f"), nil),
		"sync":      d.SyncDir(gone),
	} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s of a missing name: %v, want not exist", what, err)
		}
	}
	must(t, d.RemoveAll(gone))
}

func second[T any](_ T, err error) error { return err }

func renameReplaces(t *testing.T, d spool.Disk, dir string) {
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	must(t, d.Write(a, []byte("new")))
	must(t, d.Write(b, []byte("old")))
	must(t, d.Rename(a, b))
	want(t, "listing", names(t, d, dir), "b:3")
	want(t, "content", content(t, d, b), "new")
}

func renameOntoDirectory(t *testing.T, d spool.Disk, dir string) {
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	must(t, d.MkdirAll(a))
	must(t, d.MkdirAll(b))
	must(t, d.Write(filepath.Join(b, "f"), []byte("x")))
	if err := d.Rename(a, b); err == nil {
		t.Error("a directory took the place of one that is not empty")
	}
	must(t, d.Rename(b, filepath.Join(dir, "c")))
	want(t, "content moves with its directory", content(t, d, filepath.Join(dir, "c", "f")), "x")
}

func fileOutlivesName(t *testing.T, d spool.Disk, dir string) {
	name := filepath.Join(dir, "f")
	must(t, d.Write(name, []byte("still here")))
	f, err := d.Open(name)
	must(t, err)
	defer f.Close()
	must(t, d.RemoveAll(name))
	b := make([]byte, 10)
	if n, err := f.ReadAt(b, 0); n != 10 || err != nil && !errors.Is(err, io.EOF) || string(b) != "still here" {
		t.Errorf("after the removal: %d bytes, %v, %q", n, err, b)
	}
}

func truncate(t *testing.T, d spool.Disk, dir string) {
	name := filepath.Join(dir, "f")
	must(t, d.Write(name, []byte("0123456789")))
	must(t, d.Truncate(name, 4))
	want(t, "content", content(t, d, name), "0123")
}

func appendLog(t *testing.T, d spool.Disk, dir string) {
	chunk := filepath.Join(dir, "0000000001")
	l, err := d.OpenLog(chunk, 1<<16)
	must(t, err)
	records := [][]byte{[]byte("one"), bytes.Repeat([]byte("x"), 300), []byte("three")}
	must(t, l.Append(records[:2]))
	must(t, l.Sync())
	must(t, l.Append(records[2:]))
	must(t, l.Sync())
	var expect []byte
	for _, r := range records {
		expect = binary.AppendUvarint(expect, uint64(len(r)))
		expect = append(expect, r...)
	}
	want(t, "listing", names(t, d, chunk), fmt.Sprintf("%s:%d", spool.SegmentName, len(expect)))
	want(t, "content", content(t, d, filepath.Join(chunk, spool.SegmentName)), string(expect))
	must(t, l.Close())
	want(t, "content after close", content(t, d, filepath.Join(chunk, spool.SegmentName)), string(expect))
	must(t, d.SyncDir(chunk))
}

func mark(t *testing.T, d spool.Disk, dir string) {
	name := filepath.Join(dir, "mark")
	must(t, d.Write(name, make([]byte, 8)))
	m, err := d.OpenMark(name)
	must(t, err)
	if _, err := m.WriteAt([]byte("ab"), 4); err != nil {
		t.Fatal(err)
	}
	must(t, m.Close())
	want(t, "content", content(t, d, name), "\x00\x00\x00\x00ab\x00\x00")
}

func lock(t *testing.T, d spool.Disk, dir string) {
	name := filepath.Join(dir, "lock")
	first, err := d.Lock(name, "me")
	must(t, err)
	if _, err := d.Lock(name, "you"); !errors.Is(err, spool.ErrLocked) {
		t.Errorf("a second lock: %v, want locked", err)
	}
	must(t, first.Close())
	again, err := d.Lock(name, "you")
	must(t, err)
	must(t, again.Close())
}

func removeTree(t *testing.T, d spool.Disk, dir string) {
	must(t, d.MkdirAll(filepath.Join(dir, "a", "b")))
	must(t, d.Write(filepath.Join(dir, "a", "b", "f"), []byte("x")))
	must(t, d.RemoveAll(filepath.Join(dir, "a")))
	want(t, "listing", names(t, d, dir), "")
}

func syncFile(t *testing.T, d spool.Disk, dir string) {
	name := filepath.Join(dir, "file")
	must(t, d.Write(name, []byte("abc")))
	must(t, d.SyncFile(name))
	if got := content(t, d, name); got != "abc" {
		t.Errorf("holds %q", got)
	}
	if err := d.SyncFile(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}
