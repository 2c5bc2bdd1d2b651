package atrest

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// TestAnIdentityIsWholeOrNotThere: a file is durable, with its name, or there is none, so
// that the next try does not find half an identity in its way.
func TestAnIdentityIsWholeOrNotThere(t *testing.T) {
	fault := errors.New("injected")
	for _, tc := range []struct {
		name        string
		write, sync error
	}{
		{"all is well", nil, nil},
		{"half of it is written", fault, nil},
		{"the name is not durable", nil, fault},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "id")
			synced := ""
			err := create(file, func(w io.Writer) error {
				_, err := io.WriteString(w, "half")
				return errors.Join(err, tc.write)
			}, func(dir string) error {
				if b, err := os.ReadFile(file); err != nil || string(b) != "half" {
					t.Errorf("the name is synced before the text: %q, %v", b, err)
				}
				synced = dir
				return errors.Join(syncDir(dir), tc.sync)
			})
			good := tc.write == nil && tc.sync == nil
			if _, serr := os.Stat(file); (err == nil) != good || (serr == nil) != good {
				t.Errorf("%v; the file: %v", err, serr)
			}
			if tc.write == nil && synced != filepath.Dir(file) {
				t.Errorf("synced %q", synced)
			}
		})
	}
}
