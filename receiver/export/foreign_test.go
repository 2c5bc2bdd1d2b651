//go:build foreign

package export_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"telemetry/receiver/export"
	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/columns/columnstest"
)

// TestForeignReaders: pyarrow, polars, pandas and MCAP's Python readers find every
// value, to the last bit, with its time, unit and names. EXPORT_PYTHON is an
// interpreter that has them.
func TestForeignReaders(t *testing.T) {
	python := os.Getenv("EXPORT_PYTHON")
	if python == "" {
		t.Fatal("EXPORT_PYTHON is not set: run check_export.sh")
	}
	batches := []*sequence.Batch{columnstest.Batch()}
	for seed := range uint64(12) {
		b := columnstest.Random(rand.New(rand.NewPCG(seed, 3)))
		b.Events = nil
		b.ID.Seq = seed + 100
		for i := range b.Catalogue.Groups { // groups of their own: the catalogues differ
			b.Catalogue.Groups[i].Name = fmt.Sprintf("R%d_%d", seed, i)
		}
		batches = append(batches, b)
	}
	dir := t.TempDir()
	want := map[string][][3]any{}
	for _, b := range batches {
		for name, points := range columnstest.Truth(b, nil) {
			for _, p := range points {
				want[name] = append(want[name], [3]any{fmt.Sprint(p.UTC), fmt.Sprint(p.Boot), bitsOf(p.Value)})
			}
		}
	}
	text, err := json.Marshal(want)
	check(t, err)
	check(t, os.WriteFile(filepath.Join(dir, "want.json"), text, 0o644))
	for _, f := range export.Formats() {
		out, err := export.NewFolder(filepath.Join(dir, string(f)))
		check(t, err)
		w, err := export.New(f, out, export.Options{Car: "gt3-7", Name: "run"})
		check(t, err)
		put(t, w, nil, batches...)
		check(t, w.Close())
	}
	for _, f := range export.Formats() { // as a browser gets it
		file, err := os.Create(filepath.Join(dir, "web."+string(f)))
		check(t, err)
		w, err := export.New(f, export.NewStream(file, "run", time.Unix(1_800_000_000, 0), nil), export.Options{Car: "gt3-7"})
		check(t, err)
		put(t, w, func(group, _ string) bool { return group == "Engine" }, batches[0])
		check(t, w.Close())
		check(t, file.Close())
	}
	msg, err := exec.Command(python, "testdata/check_export.py", dir).CombinedOutput()
	t.Logf("%s", msg)
	check(t, err)
}

// bitsOf writes a value as its kind and its bits.
func bitsOf(v any) string {
	switch v := v.(type) {
	case int64:
		return fmt.Sprintf("i%d", v)
	case uint64:
		return fmt.Sprintf("u%d", v)
	case float32:
		return fmt.Sprintf("f%08x", math.Float32bits(v))
	default:
		return fmt.Sprintf("d%016x", math.Float64bits(v.(float64)))
	}
}
