//go:build foreign

package spoolcmd_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestForeignTools: Python's csv, mcap, python-can and cantools read what export
// writes, and find what was put in. SPOOL_PYTHON is an interpreter that has them.
func TestForeignTools(t *testing.T) {
	python := os.Getenv("SPOOL_PYTHON")
	if python == "" {
		t.Fatal("SPOOL_PYTHON is not set: run check_export.sh")
	}
	m := makeSpool(t)
	defer m.sp.Close()
	dir := t.TempDir()
	for _, format := range []string{"batches", "candump", "csv", "mcap"} {
		must(t, "export", "-f", format, "-o", filepath.Join(dir, "out."+format), m.Dir)
	}
	want, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "want.json"), want, 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(python, "check_export.py", dir).CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}
