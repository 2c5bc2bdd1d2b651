package spool

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/tidwall/wal"
)

// TestWalKeepsNoTail: the version of the library in use has the fields that walTail
// looks for, and what is written is the same.
func TestWalKeepsNoTail(t *testing.T) {
	var want []byte
	var files [2]string
	for i, forget := range []bool{true, false} {
		dir := filepath.Join(t.TempDir(), "log")
		files[i] = filepath.Join(dir, SegmentName)
		w, err := wal.Open(dir, &wal.Options{NoSync: true, SegmentSize: 4 << 20})
		if err != nil {
			t.Fatal(err)
		}
		tail := tailOf(w)
		if tail.buf == nil || tail.file == nil || tail.file.Name() != files[i] {
			t.Fatal("this version of tidwall/wal keeps its tail or its file elsewhere")
		}
		tail.lend(make([]byte, 0, 1<<10))
		var b wal.Batch
		for n := range uint64(50) {
			b.Clear()
			b.Write(2*n+1, bytes.Repeat([]byte{byte(n)}, int(n*7)+1))
			b.Write(2*n+2, []byte("second"))
			if err := w.WriteBatch(&b); err != nil {
				t.Fatal(err)
			}
			if forget {
				tail.clear()
				if len(*tail.buf) != 0 {
					t.Fatal("the tail was not forgotten")
				}
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(files[1])
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(files[0]); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, want %d, %v", len(got), len(want), err)
	}
	w, err := wal.Open(filepath.Dir(files[0]), nil)
	if err != nil {
		t.Fatalf("the library does not read it back: %v", err)
	}
	defer w.Close()
	if last, err := w.LastIndex(); err != nil || last != 100 {
		t.Errorf("last index %d, %v", last, err)
	}
}
