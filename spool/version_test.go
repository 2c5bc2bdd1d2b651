package spool_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"telemetry/spool"
	"telemetry/wire"
)

// stored are spools that earlier versions left behind, one for each version of the
// format: two starts of car-7, each with 9 batches in the full lane and 3 in the
// critical one; the cloud took the first two of the first start.
var stored = []string{
	"v1",       // as first released
	"v1-mark",  // with the mark
	"v1-table", // with the table of chunks, which a start believes of some of them
	"v2",       // with encryption at rest
}

// storedIdentity opens the stored spools that are encrypted; it protects nothing else.
const storedIdentity = "AGE-SECRET-KEY-1G3HHFMXGX3GFV4VS8FX9LCHUEYN94MZX9G9ZGG8EHXSA9G0AKNYSMJX6EZ"

// storedConfig is realConfig for a stored spool.
func storedConfig(t *testing.T, name, dir string) spool.Config {
	t.Helper()
	c := realConfig(dir)
	if strings.HasPrefix(name, "v2") {
		c.Keys = person{identity: storedIdentity}.box(t)
	}
	return c
}

func unpack(t *testing.T, name string) string {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name+".tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "spool")
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, filepath.Clean(h.Name))
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(to, 0o755)
		} else {
			var b []byte
			if b, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(to, b, 0o644)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestOlderVersionsOpen: everything that an older version stored is there, and what
// it settled is not.
func TestOlderVersionsOpen(t *testing.T) {
	for _, name := range stored {
		t.Run(name, func(t *testing.T) {
			sp, rep, err := spool.Open(storedConfig(t, name, unpack(t, name)))
			if err != nil || rep.LostBatches != 0 || rep.CursorLost || rep.EpochLost || rep.LockedBatches != 0 || rep.Quarantined != 0 || rep.Epoch.Counter != 3 {
				t.Fatalf("%+v, %v", rep, err)
			}
			got := map[string]int{}
			for _, lane := range []wire.Lane{wire.LaneFull, wire.LaneCritical} {
				for _, it := range all(sp, lane) {
					if it.Control {
						continue
					}
					sealed, err := sp.Read(it.ID, nil)
					if err != nil {
						t.Fatal(err)
					}
					b, _, err := wire.Parse(sealed)
					if err != nil {
						t.Fatal(err)
					}
					var o wire.Opener
					payload, err := o.Payload(b)
					if err != nil {
						t.Fatal(err)
					}
					life := it.ID.Stream.Epoch.Counter - 1
					if want := fmt.Sprintf("life %d batch ", life); !strings.HasPrefix(string(payload), want) {
						t.Errorf("%s holds %.20q", it.ID, payload)
					}
					got[fmt.Sprintf("%d %s", life, lane)]++
				}
			}
			want := map[string]int{"0 full": 7, "0 critical": 3, "1 full": 9, "1 critical": 3}
			for k, n := range want {
				if got[k] != n {
					t.Errorf("%s: %d batches, want %d", k, got[k], n)
				}
			}
			if err := sp.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestNewerVersionsAreRefusedUntouched: a spool of a version to come stays as it is,
// byte for byte, whatever is tried.
func TestNewerVersionsAreRefusedUntouched(t *testing.T) {
	for _, slot := range []string{"epoch.0", "epoch.1", "cursor.0", "cursor.1"} {
		t.Run(slot, func(t *testing.T) {
			dir := unpack(t, stored[len(stored)-1])
			name := filepath.Join(dir, slot)
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			b[4] = 3
			b = binary.LittleEndian.AppendUint32(b[:len(b)-4], crc32.Checksum(b[:len(b)-4], crc32.MakeTable(crc32.Castagnoli)))
			if err := os.WriteFile(name, b, 0o644); err != nil {
				t.Fatal(err)
			}
			before := tree(t, dir)
			if _, _, err := spool.Open(realConfig(dir)); !errors.Is(err, spool.ErrNewer) || !strings.Contains(err.Error(), dir) {
				t.Errorf("open: %v", err)
			}
			if _, err := spool.Repair(realConfig(dir)); !errors.Is(err, spool.ErrNewer) {
				t.Errorf("repair: %v", err)
			}
			if _, err := spool.OpenView(dir, nil); !errors.Is(err, spool.ErrNewer) {
				t.Errorf("view: %v", err)
			}
			if after := tree(t, dir); !bytes.Equal(before, after) {
				t.Error("the spool was changed")
			}
		})
	}
}

// tree is the names and bytes of all files but the lock.
func tree(t *testing.T, dir string) []byte {
	t.Helper()
	var out []byte
	err := fs.WalkDir(os.DirFS(dir), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == "lock" {
			return err
		}
		out = fmt.Appendf(out, "%s %v\n", p, d.IsDir())
		if !d.IsDir() {
			b, err := os.ReadFile(filepath.Join(dir, p))
			if err != nil {
				return err
			}
			out = append(out, b...)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
